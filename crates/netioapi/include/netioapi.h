/*
 * netioapi.h - the programming interface of the Teredo client on Linux, with the names, numbers
 * and layouts that it has on Windows.
 *
 * Two forms. By default the functions return Win32 numbers (DWORD; 0 is success). With
 * NETIOAPI_KERNEL_MODE defined before this file is included, the same functions return NTSTATUS, as
 * the driver documentation has it; ERROR_NOT_READY, ERROR_IO_PENDING and ERROR_INVALID_HANDLE then
 * name the NTSTATUS twins, so that comparing with them and asking NT_SUCCESS are both right.
 *
 * Strings of the functions that end in A are UTF-8, those of the others UTF-16 (WCHAR is char16_t).
 * No function may be called from a signal handler. Each has a page in the reference.
 */
#ifndef NETIOAPI_H
#define NETIOAPI_H

#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#ifndef __cplusplus
#include <uchar.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Types that <windows.h> would bring; NETIOAPI_NO_WINDOWS_TYPES leaves them to the includer. */

#ifndef NETIOAPI_NO_WINDOWS_TYPES
#ifndef VOID
#define VOID void
#endif
#ifndef CONST
#define CONST const
#endif
typedef uint8_t BOOLEAN, *PBOOLEAN;
typedef uint8_t UCHAR, UINT8, BYTE;
typedef uint16_t USHORT, *PUSHORT, UINT16;
typedef uint32_t ULONG, *PULONG, DWORD, *PDWORD, UINT32;
typedef int32_t LONG;
typedef int64_t LONG64 __attribute__((aligned(8)));
typedef uint64_t ULONG64 __attribute__((aligned(8)));
typedef char CHAR, *PCHAR, *PSTR;
typedef const char *PCSTR;
typedef char16_t WCHAR, *PWCHAR, *PWSTR;
typedef const char16_t *PCWSTR;
typedef void *PVOID, *HANDLE, **PHANDLE;
typedef size_t SIZE_T;
typedef union _LARGE_INTEGER {
    struct {
        DWORD LowPart;
        LONG HighPart;
    } u;
    LONG64 QuadPart;
} LARGE_INTEGER, *PLARGE_INTEGER;
typedef struct _GUID {
    uint32_t Data1;
    uint16_t Data2;
    uint16_t Data3;
    uint8_t Data4[8];
} GUID;
#ifndef TRUE
#define TRUE 1
#endif
#ifndef FALSE
#define FALSE 0
#endif
#ifndef WINAPI
#define WINAPI
#endif
#ifndef NTAPI
#define NTAPI
#endif
#endif /* NETIOAPI_NO_WINDOWS_TYPES */

typedef int32_t NTSTATUS;
typedef uint16_t ADDRESS_FAMILY;
typedef uint32_t NET_IFINDEX, *PNET_IFINDEX;
typedef uint32_t NETIOAPI_DWORD;

/* ---- Return codes. */

#ifndef NO_ERROR
#define NO_ERROR 0
#endif
#ifndef ERROR_SUCCESS
#define ERROR_SUCCESS 0
#endif

#define NT_SUCCESS(status) ((NTSTATUS)(status) >= 0)
#define STATUS_SUCCESS ((NTSTATUS)0x00000000)
#define STATUS_PENDING ((NTSTATUS)0x00000103)
#define STATUS_UNSUCCESSFUL ((NTSTATUS)0xC0000001)
#define STATUS_INVALID_HANDLE ((NTSTATUS)0xC0000008)
#define STATUS_INVALID_PARAMETER ((NTSTATUS)0xC000000D)
#define STATUS_NO_MEMORY ((NTSTATUS)0xC0000017)
#define STATUS_ACCESS_DENIED ((NTSTATUS)0xC0000022)
#define STATUS_OBJECT_NAME_INVALID ((NTSTATUS)0xC0000033)
#define STATUS_OBJECT_NAME_NOT_FOUND ((NTSTATUS)0xC0000034)
#define STATUS_INSUFFICIENT_RESOURCES ((NTSTATUS)0xC000009A)
#define STATUS_DEVICE_NOT_READY ((NTSTATUS)0xC00000A3)
#define STATUS_NOT_SUPPORTED ((NTSTATUS)0xC00000BB)
#define STATUS_POSSIBLE_DEADLOCK ((NTSTATUS)0xC0000194)
#define STATUS_NOT_FOUND ((NTSTATUS)0xC0000225)
/* The driver pages name it; no header of Windows defines it. */
#define STATUS_NOT_ENOUGH_MEMORY STATUS_NO_MEMORY

#ifdef NETIOAPI_KERNEL_MODE
typedef NTSTATUS NETIO_STATUS;
#define NETIO_SUCCESS(status) NT_SUCCESS(status)
#define NETIOAPI_API_ NTAPI
#undef ERROR_NOT_READY
#undef ERROR_IO_PENDING
#undef ERROR_INVALID_HANDLE
#define ERROR_NOT_READY STATUS_DEVICE_NOT_READY
#define ERROR_IO_PENDING STATUS_PENDING
#define ERROR_INVALID_HANDLE STATUS_INVALID_HANDLE
#else
typedef NETIOAPI_DWORD NETIO_STATUS;
#define NETIO_SUCCESS(status) ((status) == NO_ERROR)
#define NETIOAPI_API_ WINAPI
#ifndef ERROR_NOT_READY
#define ERROR_FILE_NOT_FOUND 2
#define ERROR_ACCESS_DENIED 5
#define ERROR_INVALID_HANDLE 6
#define ERROR_NOT_ENOUGH_MEMORY 8
#define ERROR_NOT_READY 21
#define ERROR_GEN_FAILURE 31
#define ERROR_NOT_SUPPORTED 50
#define ERROR_INVALID_PARAMETER 87
#define ERROR_INVALID_NAME 123
#define ERROR_IO_PENDING 997
#define ERROR_POSSIBLE_DEADLOCK 1131
#define ERROR_NOT_FOUND 1168
#define ERROR_NO_SYSTEM_RESOURCES 1450
#endif
#endif

/* What the library itself exports: always the user-mode form. */
#define NETIOAPI_API NETIOAPI_DWORD NETIOAPI_API_

#ifdef NETIOAPI_WARN_DEPRECATED
#define NETIOAPI_DEPRECATED(instead) __attribute__((deprecated("use " #instead)))
#else
#define NETIOAPI_DEPRECATED(instead)
#endif

/* ---- Numbers. */

#define MIB_INVALID_TEREDO_PORT_NUMBER 0

/* AF_INET6 as Windows numbers it. Accepted like AF_INET6 (10); see netio_set_af_inet6. */
#define NETIO_AF_INET6_WINDOWS 23

typedef enum _MIB_NOTIFICATION_TYPE {
    MibParameterNotification = 0,
    MibAddInstance = 1,
    MibDeleteInstance = 2,
    MibInitialNotification = 3
} MIB_NOTIFICATION_TYPE, *PMIB_NOTIFICATION_TYPE;

typedef enum _NL_PREFIX_ORIGIN {
    IpPrefixOriginOther = 0,
    IpPrefixOriginManual = 1,
    IpPrefixOriginWellKnown = 2,
    IpPrefixOriginDhcp = 3,
    IpPrefixOriginRouterAdvertisement = 4,
    IpPrefixOriginUnchanged = 16
} NL_PREFIX_ORIGIN;
#define NlpoOther IpPrefixOriginOther
#define NlpoManual IpPrefixOriginManual
#define NlpoWellKnown IpPrefixOriginWellKnown
#define NlpoDhcp IpPrefixOriginDhcp
#define NlpoRouterAdvertisement IpPrefixOriginRouterAdvertisement

typedef enum _NL_SUFFIX_ORIGIN {
    NlsoOther = 0,
    NlsoManual = 1,
    NlsoWellKnown = 2,
    NlsoDhcp = 3,
    NlsoLinkLayerAddress = 4,
    NlsoRandom = 5,
    IpSuffixOriginOther = 0,
    IpSuffixOriginManual = 1,
    IpSuffixOriginWellKnown = 2,
    IpSuffixOriginDhcp = 3,
    IpSuffixOriginLinkLayerAddress = 4,
    IpSuffixOriginRandom = 5,
    IpSuffixOriginUnchanged = 16
} NL_SUFFIX_ORIGIN;

typedef enum _NL_DAD_STATE {
    NldsInvalid = 0,
    NldsTentative = 1,
    NldsDuplicate = 2,
    NldsDeprecated = 3,
    NldsPreferred = 4,
    IpDadStateInvalid = 0,
    IpDadStateTentative = 1,
    IpDadStateDuplicate = 2,
    IpDadStateDeprecated = 3,
    IpDadStatePreferred = 4
} NL_DAD_STATE;

typedef enum _TUNNEL_TYPE {
    TUNNEL_TYPE_NONE = 0,
    TUNNEL_TYPE_OTHER = 1,
    TUNNEL_TYPE_DIRECT = 2,
    TUNNEL_TYPE_6TO4 = 11,
    TUNNEL_TYPE_ISATAP = 13,
    TUNNEL_TYPE_TEREDO = 14,
    TUNNEL_TYPE_IPHTTPS = 15
} TUNNEL_TYPE, *PTUNNEL_TYPE;

#define IF_TYPE_OTHER 1
#define IF_TYPE_ETHERNET_CSMACD 6
#define IF_TYPE_PPP 23
#define IF_TYPE_SOFTWARE_LOOPBACK 24
#define IF_TYPE_ATM 37
#define IF_TYPE_IEEE80211 71
#define IF_TYPE_TUNNEL 131
#define IF_TYPE_IEEE1394 144

typedef enum _IF_OPER_STATUS {
    IfOperStatusUp = 1,
    IfOperStatusDown = 2,
    IfOperStatusTesting = 3,
    IfOperStatusUnknown = 4,
    IfOperStatusDormant = 5,
    IfOperStatusNotPresent = 6,
    IfOperStatusLowerLayerDown = 7
} IF_OPER_STATUS;

typedef enum _NET_IF_ADMIN_STATUS {
    NET_IF_ADMIN_STATUS_UP = 1,
    NET_IF_ADMIN_STATUS_DOWN = 2,
    NET_IF_ADMIN_STATUS_TESTING = 3
} NET_IF_ADMIN_STATUS;

typedef enum _NET_IF_MEDIA_CONNECT_STATE {
    MediaConnectStateUnknown = 0,
    MediaConnectStateConnected = 1,
    MediaConnectStateDisconnected = 2
} NET_IF_MEDIA_CONNECT_STATE;

typedef enum _NET_IF_ACCESS_TYPE {
    NET_IF_ACCESS_LOOPBACK = 1,
    NET_IF_ACCESS_BROADCAST = 2,
    NET_IF_ACCESS_POINT_TO_POINT = 3,
    NET_IF_ACCESS_POINT_TO_MULTI_POINT = 4
} NET_IF_ACCESS_TYPE;

typedef enum _NET_IF_CONNECTION_TYPE {
    NET_IF_CONNECTION_DEDICATED = 1,
    NET_IF_CONNECTION_PASSIVE = 2,
    NET_IF_CONNECTION_DEMAND = 3
} NET_IF_CONNECTION_TYPE;

typedef int32_t NDIS_MEDIUM, NDIS_PHYSICAL_MEDIUM, NET_IF_DIRECTION_TYPE;
#define NdisMediumTunnel 15

#define IF_MAX_STRING_SIZE 256
#define IF_MAX_PHYS_ADDRESS_LENGTH 32
#define NDIS_IF_MAX_STRING_SIZE IF_MAX_STRING_SIZE

/* ---- Structures. */

typedef union _NET_LUID {
    ULONG64 Value;
    struct {
        ULONG64 Reserved : 24;
        ULONG64 NetLuidIndex : 24;
        ULONG64 IfType : 16;
    } Info;
} NET_LUID, *PNET_LUID, IF_LUID;

/* One of the system's own socket addresses: &row.Address can be used as a struct sockaddr *. */
typedef union _SOCKADDR_INET {
    struct sockaddr_in Ipv4;
    struct sockaddr_in6 Ipv6;
    ADDRESS_FAMILY si_family;
} SOCKADDR_INET, *PSOCKADDR_INET;

typedef union _SCOPE_ID {
    struct {
        uint32_t Zone : 28;
        uint32_t Level : 4;
    } u;
    uint32_t Value;
} SCOPE_ID, *PSCOPE_ID;

typedef struct _MIB_UNICASTIPADDRESS_ROW {
    SOCKADDR_INET Address;            /* key */
    NET_LUID InterfaceLuid;           /* key, unless 0 */
    NET_IFINDEX InterfaceIndex;       /* key, if the LUID is 0 */
    NL_PREFIX_ORIGIN PrefixOrigin;
    NL_SUFFIX_ORIGIN SuffixOrigin;
    uint32_t ValidLifetime;           /* seconds; 0xffffffff for ever */
    uint32_t PreferredLifetime;       /* seconds; 0xffffffff for ever */
    uint8_t OnLinkPrefixLength;
    BOOLEAN SkipAsSource;
    NL_DAD_STATE DadState;
    SCOPE_ID ScopeId;
    LARGE_INTEGER CreationTimeStamp;  /* 100 ns since 1601-01-01 UTC */
} MIB_UNICASTIPADDRESS_ROW, *PMIB_UNICASTIPADDRESS_ROW;

typedef struct _MIB_UNICASTIPADDRESS_TABLE {
    uint32_t NumEntries;
    MIB_UNICASTIPADDRESS_ROW Table[1]; /* NumEntries of them */
} MIB_UNICASTIPADDRESS_TABLE, *PMIB_UNICASTIPADDRESS_TABLE;

typedef struct _MIB_IF_ROW2 {
    NET_LUID InterfaceLuid;           /* key, unless 0 */
    NET_IFINDEX InterfaceIndex;       /* key, if the LUID is 0 */
    GUID InterfaceGuid;
    WCHAR Alias[IF_MAX_STRING_SIZE + 1];
    WCHAR Description[IF_MAX_STRING_SIZE + 1];
    uint32_t PhysicalAddressLength;
    uint8_t PhysicalAddress[IF_MAX_PHYS_ADDRESS_LENGTH];
    uint8_t PermanentPhysicalAddress[IF_MAX_PHYS_ADDRESS_LENGTH];
    uint32_t Mtu;
    uint32_t Type;
    TUNNEL_TYPE TunnelType;
    NDIS_MEDIUM MediaType;
    NDIS_PHYSICAL_MEDIUM PhysicalMediumType;
    NET_IF_ACCESS_TYPE AccessType;
    NET_IF_DIRECTION_TYPE DirectionType;
    struct {
        uint8_t HardwareInterface : 1;
        uint8_t FilterInterface : 1;
        uint8_t ConnectorPresent : 1;
        uint8_t NotAuthenticated : 1;
        uint8_t NotMediaConnected : 1;
        uint8_t Paused : 1;
        uint8_t LowPower : 1;
        uint8_t EndPointInterface : 1;
    } InterfaceAndOperStatusFlags;
    IF_OPER_STATUS OperStatus;
    NET_IF_ADMIN_STATUS AdminStatus;
    NET_IF_MEDIA_CONNECT_STATE MediaConnectState;
    GUID NetworkGuid;
    NET_IF_CONNECTION_TYPE ConnectionType;
    ULONG64 TransmitLinkSpeed;
    ULONG64 ReceiveLinkSpeed;
    ULONG64 InOctets;
    ULONG64 InUcastPkts;
    ULONG64 InNUcastPkts;
    ULONG64 InDiscards;
    ULONG64 InErrors;
    ULONG64 InUnknownProtos;
    ULONG64 InUcastOctets;
    ULONG64 InMulticastOctets;
    ULONG64 InBroadcastOctets;
    ULONG64 OutOctets;
    ULONG64 OutUcastPkts;
    ULONG64 OutNUcastPkts;
    ULONG64 OutDiscards;
    ULONG64 OutErrors;
    ULONG64 OutUcastOctets;
    ULONG64 OutMulticastOctets;
    ULONG64 OutBroadcastOctets;
    ULONG64 OutQLen;
} MIB_IF_ROW2, *PMIB_IF_ROW2;

/* ---- The Teredo port. */

/* The UDP port of the Teredo client, in host byte order. 0, 21, 50 or 87. */
NETIOAPI_API GetTeredoPort(USHORT *Port) NETIOAPI_DEPRECATED(FwpmSystemPortsGet0);

typedef VOID(NETIOAPI_API_ *PTEREDO_PORT_CHANGE_CALLBACK)(PVOID CallerContext, USHORT Port,
                                                          MIB_NOTIFICATION_TYPE NotificationType);

/* Calls back with the new port at each change, and with 0 when the client stops. */
NETIOAPI_API NotifyTeredoPortChange(PTEREDO_PORT_CHANGE_CALLBACK Callback, PVOID CallerContext,
                                    BOOLEAN InitialNotification, HANDLE *NotificationHandle)
    NETIOAPI_DEPRECATED(FwpmSystemPortsSubscribe0);

/* Ends a registration of any kind, and waits until its callback has returned. */
NETIOAPI_API CancelMibChangeNotify2(HANDLE NotificationHandle);

/* ---- Unicast addresses. */

typedef VOID(NETIOAPI_API_ *PSTABLE_UNICAST_IPADDRESS_TABLE_CALLBACK)(
    PVOID CallerContext, PMIB_UNICASTIPADDRESS_TABLE AddressTable);

/* The addresses at once (0), or by callback whenever they become stable (997). */
NETIOAPI_API NotifyStableUnicastIpAddressTable(
    ADDRESS_FAMILY Family, PMIB_UNICASTIPADDRESS_TABLE *Table,
    PSTABLE_UNICAST_IPADDRESS_TABLE_CALLBACK CallerCallback, PVOID CallerContext,
    HANDLE *NotificationHandle);

typedef VOID(NETIOAPI_API_ *PUNICAST_IPADDRESS_CHANGE_CALLBACK)(
    PVOID CallerContext, PMIB_UNICASTIPADDRESS_ROW Row, MIB_NOTIFICATION_TYPE NotificationType);

/* Calls back when an address comes (1), goes (2) or changes (0). */
NETIOAPI_API NotifyUnicastIpAddressChange(ADDRESS_FAMILY Family,
                                          PUNICAST_IPADDRESS_CHANGE_CALLBACK Callback,
                                          PVOID CallerContext, BOOLEAN InitialNotification,
                                          HANDLE *NotificationHandle);

/* All addresses; free the table with FreeMibTable. */
NETIOAPI_API GetUnicastIpAddressTable(ADDRESS_FAMILY Family, PMIB_UNICASTIPADDRESS_TABLE *Table);

/* The rest of a row of which Address and InterfaceLuid or InterfaceIndex are given. */
NETIOAPI_API GetUnicastIpAddressEntry(PMIB_UNICASTIPADDRESS_ROW Row);

VOID NETIOAPI_API_ InitializeUnicastIpAddressEntry(PMIB_UNICASTIPADDRESS_ROW Row);

/* Frees a table of this library; NULL is ignored. */
VOID NETIOAPI_API_ FreeMibTable(PVOID Memory);

/* ---- Interfaces. if_nametoindex and if_indextoname are those of the C library. */

NETIOAPI_API GetIfEntry2(PMIB_IF_ROW2 Row);
NETIOAPI_API ConvertInterfaceLuidToIndex(CONST NET_LUID *InterfaceLuid,
                                         PNET_IFINDEX InterfaceIndex);
NETIOAPI_API ConvertInterfaceIndexToLuid(NET_IFINDEX InterfaceIndex, PNET_LUID InterfaceLuid);
NETIOAPI_API ConvertInterfaceLuidToGuid(CONST NET_LUID *InterfaceLuid, GUID *InterfaceGuid);
NETIOAPI_API ConvertInterfaceGuidToLuid(CONST GUID *InterfaceGuid, PNET_LUID InterfaceLuid);
NETIOAPI_API ConvertInterfaceLuidToNameA(CONST NET_LUID *InterfaceLuid, PSTR InterfaceName,
                                         SIZE_T Length);
NETIOAPI_API ConvertInterfaceLuidToNameW(CONST NET_LUID *InterfaceLuid, PWSTR InterfaceName,
                                         SIZE_T Length);
NETIOAPI_API ConvertInterfaceNameToLuidA(CONST CHAR *InterfaceName, NET_LUID *InterfaceLuid);
NETIOAPI_API ConvertInterfaceNameToLuidW(CONST WCHAR *InterfaceName, NET_LUID *InterfaceLuid);
NETIOAPI_API ConvertInterfaceLuidToAlias(CONST NET_LUID *InterfaceLuid, PWSTR InterfaceAlias,
                                         SIZE_T Length);
NETIOAPI_API ConvertInterfaceLuidToAliasA(CONST NET_LUID *InterfaceLuid, PSTR InterfaceAlias,
                                          SIZE_T Length);
NETIOAPI_API ConvertInterfaceAliasToLuid(CONST WCHAR *InterfaceAlias, PNET_LUID InterfaceLuid);
NETIOAPI_API ConvertInterfaceAliasToLuidA(CONST CHAR *InterfaceAlias, PNET_LUID InterfaceLuid);

/* ---- The successor of the port functions (fwpmu.h of Windows 7 and later). */

typedef enum FWPM_SYSTEM_PORT_TYPE_ {
    FWPM_SYSTEM_PORT_RPC_EPMAP = 0,
    FWPM_SYSTEM_PORT_TEREDO = 1,
    FWPM_SYSTEM_PORT_IPHTTPS_IN = 2,
    FWPM_SYSTEM_PORT_IPHTTPS_OUT = 3,
    FWPM_SYSTEM_PORT_TYPE_MAX = 4
} FWPM_SYSTEM_PORT_TYPE;

typedef struct FWPM_SYSTEM_PORTS_BY_TYPE0_ {
    FWPM_SYSTEM_PORT_TYPE type;
    uint32_t numPorts;
    uint16_t *ports; /* host byte order */
} FWPM_SYSTEM_PORTS_BY_TYPE0;

typedef struct FWPM_SYSTEM_PORTS0_ {
    uint32_t numTypes;
    FWPM_SYSTEM_PORTS_BY_TYPE0 *types;
} FWPM_SYSTEM_PORTS0;

typedef VOID(NETIOAPI_API_ *FWPM_SYSTEM_PORTS_CALLBACK0)(void *context,
                                                         const FWPM_SYSTEM_PORTS0 *sysPorts);

/* Free the result with FwpmFreeMemory0. The engine handle is ignored. */
NETIOAPI_API FwpmSystemPortsGet0(HANDLE engineHandle, FWPM_SYSTEM_PORTS0 **sysPorts);
NETIOAPI_API FwpmSystemPortsSubscribe0(HANDLE engineHandle, void *reserved,
                                       FWPM_SYSTEM_PORTS_CALLBACK0 callback, void *context,
                                       HANDLE *sysPortsHandle);
NETIOAPI_API FwpmSystemPortsUnsubscribe0(HANDLE engineHandle, HANDLE sysPortsHandle);
VOID NETIOAPI_API_ FwpmFreeMemory0(void **p);

/* ---- Not on Windows. */

/* What a Win32 code means, in buf, cut to fit and ended by NUL. Returns the whole length. */
uint32_t netio_format_message(uint32_t code, char *buf, size_t len);

/* Which number stands for IPv6 in rows from now on: 10 (the default) or 23. The environment
 * variable NETIO_AF_INET6=23 does the same for programs that cannot call this. */
NETIOAPI_API netio_set_af_inet6(uint16_t value);

/* ---- The driver form: the same functions, with NTSTATUS. */

/* The native twin of a code of this library. */
static inline NTSTATUS netio_ntstatus(uint32_t code)
{
    switch (code) {
    case 0: return STATUS_SUCCESS;
    case 2: return STATUS_OBJECT_NAME_NOT_FOUND;
    case 5: return STATUS_ACCESS_DENIED;
    case 6: return STATUS_INVALID_HANDLE;
    case 8: return STATUS_NO_MEMORY;
    case 21: return STATUS_DEVICE_NOT_READY;
    case 50: return STATUS_NOT_SUPPORTED;
    case 87: return STATUS_INVALID_PARAMETER;
    case 123: return STATUS_OBJECT_NAME_INVALID;
    case 997: return STATUS_PENDING;
    case 1131: return STATUS_POSSIBLE_DEADLOCK;
    case 1168: return STATUS_NOT_FOUND;
    case 1450: return STATUS_INSUFFICIENT_RESOURCES;
    default: return STATUS_UNSUCCESSFUL;
    }
}

#ifdef NETIOAPI_KERNEL_MODE

#define NETIOAPI_DRIVER_(name, parameters, arguments)                                             \
    static inline NTSTATUS netio_driver_##name parameters { return netio_ntstatus(name arguments); }

NETIOAPI_DRIVER_(GetTeredoPort, (USHORT * Port), (Port))
NETIOAPI_DRIVER_(NotifyTeredoPortChange,
                 (PTEREDO_PORT_CHANGE_CALLBACK Callback, PVOID CallerContext,
                  BOOLEAN InitialNotification, HANDLE *NotificationHandle),
                 (Callback, CallerContext, InitialNotification, NotificationHandle))
NETIOAPI_DRIVER_(CancelMibChangeNotify2, (HANDLE NotificationHandle), (NotificationHandle))
NETIOAPI_DRIVER_(NotifyStableUnicastIpAddressTable,
                 (ADDRESS_FAMILY Family, PMIB_UNICASTIPADDRESS_TABLE *Table,
                  PSTABLE_UNICAST_IPADDRESS_TABLE_CALLBACK CallerCallback, PVOID CallerContext,
                  HANDLE *NotificationHandle),
                 (Family, Table, CallerCallback, CallerContext, NotificationHandle))
NETIOAPI_DRIVER_(NotifyUnicastIpAddressChange,
                 (ADDRESS_FAMILY Family, PUNICAST_IPADDRESS_CHANGE_CALLBACK Callback,
                  PVOID CallerContext, BOOLEAN InitialNotification, HANDLE *NotificationHandle),
                 (Family, Callback, CallerContext, InitialNotification, NotificationHandle))
NETIOAPI_DRIVER_(GetUnicastIpAddressTable,
                 (ADDRESS_FAMILY Family, PMIB_UNICASTIPADDRESS_TABLE *Table), (Family, Table))
NETIOAPI_DRIVER_(GetUnicastIpAddressEntry, (PMIB_UNICASTIPADDRESS_ROW Row), (Row))
NETIOAPI_DRIVER_(GetIfEntry2, (PMIB_IF_ROW2 Row), (Row))
NETIOAPI_DRIVER_(ConvertInterfaceLuidToIndex,
                 (CONST NET_LUID *InterfaceLuid, PNET_IFINDEX InterfaceIndex),
                 (InterfaceLuid, InterfaceIndex))
NETIOAPI_DRIVER_(ConvertInterfaceIndexToLuid,
                 (NET_IFINDEX InterfaceIndex, PNET_LUID InterfaceLuid),
                 (InterfaceIndex, InterfaceLuid))
NETIOAPI_DRIVER_(ConvertInterfaceLuidToGuid, (CONST NET_LUID *InterfaceLuid, GUID *InterfaceGuid),
                 (InterfaceLuid, InterfaceGuid))
NETIOAPI_DRIVER_(ConvertInterfaceGuidToLuid,
                 (CONST GUID *InterfaceGuid, PNET_LUID InterfaceLuid),
                 (InterfaceGuid, InterfaceLuid))
NETIOAPI_DRIVER_(ConvertInterfaceLuidToNameA,
                 (CONST NET_LUID *InterfaceLuid, PSTR InterfaceName, SIZE_T Length),
                 (InterfaceLuid, InterfaceName, Length))
NETIOAPI_DRIVER_(ConvertInterfaceLuidToNameW,
                 (CONST NET_LUID *InterfaceLuid, PWSTR InterfaceName, SIZE_T Length),
                 (InterfaceLuid, InterfaceName, Length))
NETIOAPI_DRIVER_(ConvertInterfaceNameToLuidA,
                 (CONST CHAR *InterfaceName, NET_LUID *InterfaceLuid),
                 (InterfaceName, InterfaceLuid))
NETIOAPI_DRIVER_(ConvertInterfaceNameToLuidW,
                 (CONST WCHAR *InterfaceName, NET_LUID *InterfaceLuid),
                 (InterfaceName, InterfaceLuid))
NETIOAPI_DRIVER_(ConvertInterfaceLuidToAlias,
                 (CONST NET_LUID *InterfaceLuid, PWSTR InterfaceAlias, SIZE_T Length),
                 (InterfaceLuid, InterfaceAlias, Length))
NETIOAPI_DRIVER_(ConvertInterfaceLuidToAliasA,
                 (CONST NET_LUID *InterfaceLuid, PSTR InterfaceAlias, SIZE_T Length),
                 (InterfaceLuid, InterfaceAlias, Length))
NETIOAPI_DRIVER_(ConvertInterfaceAliasToLuid,
                 (CONST WCHAR *InterfaceAlias, PNET_LUID InterfaceLuid),
                 (InterfaceAlias, InterfaceLuid))
NETIOAPI_DRIVER_(ConvertInterfaceAliasToLuidA,
                 (CONST CHAR *InterfaceAlias, PNET_LUID InterfaceLuid),
                 (InterfaceAlias, InterfaceLuid))

#define GetTeredoPort netio_driver_GetTeredoPort
#define NotifyTeredoPortChange netio_driver_NotifyTeredoPortChange
#define CancelMibChangeNotify2 netio_driver_CancelMibChangeNotify2
#define NotifyStableUnicastIpAddressTable netio_driver_NotifyStableUnicastIpAddressTable
#define NotifyUnicastIpAddressChange netio_driver_NotifyUnicastIpAddressChange
#define GetUnicastIpAddressTable netio_driver_GetUnicastIpAddressTable
#define GetUnicastIpAddressEntry netio_driver_GetUnicastIpAddressEntry
#define GetIfEntry2 netio_driver_GetIfEntry2
#define ConvertInterfaceLuidToIndex netio_driver_ConvertInterfaceLuidToIndex
#define ConvertInterfaceIndexToLuid netio_driver_ConvertInterfaceIndexToLuid
#define ConvertInterfaceLuidToGuid netio_driver_ConvertInterfaceLuidToGuid
#define ConvertInterfaceGuidToLuid netio_driver_ConvertInterfaceGuidToLuid
#define ConvertInterfaceLuidToNameA netio_driver_ConvertInterfaceLuidToNameA
#define ConvertInterfaceLuidToNameW netio_driver_ConvertInterfaceLuidToNameW
#define ConvertInterfaceNameToLuidA netio_driver_ConvertInterfaceNameToLuidA
#define ConvertInterfaceNameToLuidW netio_driver_ConvertInterfaceNameToLuidW
#define ConvertInterfaceLuidToAlias netio_driver_ConvertInterfaceLuidToAlias
#define ConvertInterfaceLuidToAliasA netio_driver_ConvertInterfaceLuidToAliasA
#define ConvertInterfaceAliasToLuid netio_driver_ConvertInterfaceAliasToLuid
#define ConvertInterfaceAliasToLuidA netio_driver_ConvertInterfaceAliasToLuidA

#endif /* NETIOAPI_KERNEL_MODE */

#ifdef __cplusplus
}
#endif

#endif /* NETIOAPI_H */
