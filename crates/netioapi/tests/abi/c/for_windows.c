// Written as one writes for Windows; nothing here knows of Linux.
#include <winsock2.h>
#include <ws2ipdef.h>
#include <ws2tcpip.h>
#include <mstcpip.h>
#include <iphlpapi.h>
#include <netioapi.h>
#include <windows.h>
#include <stdio.h>

#pragma comment(lib, "iphlpapi.lib")
#pragma comment(lib, "ws2_32.lib")

VOID NETIOAPI_API_ PortChanged(_In_ PVOID CallerContext, _In_ USHORT Port,
                               _In_ MIB_NOTIFICATION_TYPE NotificationType)
{
    UNREFERENCED_PARAMETER(CallerContext);
    printf("port %hu, type %d\n", Port, (int)NotificationType);
}

EXTERN_C_START
DWORD WINAPI LoopbackRow(PMIB_UNICASTIPADDRESS_ROW Row);
EXTERN_C_END

EXTERN_C DWORD WINAPI LoopbackRow(PMIB_UNICASTIPADDRESS_ROW Row)
{
    IN6_ADDR Loopback = {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}};

    InitializeUnicastIpAddressEntry(Row);
    Row->Address.si_family = AF_INET6;
    INETADDR_SET_ADDRESS((PSOCKADDR)&Row->Address, (PUCHAR)&Loopback);
    Row->InterfaceIndex = 1;
    if (INETADDR_ADDRESS((PSOCKADDR)&Row->Address)[15] != 1) {
        return ERROR_INVALID_PARAMETER;
    }
    return GetUnicastIpAddressEntry(Row);
}

VOID CALLBACK AddressChanged(_In_opt_ PVOID CallerContext, _In_opt_ PMIB_UNICASTIPADDRESS_ROW Row,
                             _In_ MIB_NOTIFICATION_TYPE NotificationType)
{
    UNREFERENCED_PARAMETER(CallerContext);
    if (Row != NULL) {
        printf("interface %u, type %d\n", (UINT)Row->InterfaceIndex, (int)NotificationType);
    }
}

int __cdecl main(void)
{
    USHORT Port = MIB_INVALID_TEREDO_PORT_NUMBER;
    HANDLE PortHandle = NULL, AddressHandle = NULL;
    PMIB_UNICASTIPADDRESS_TABLE Table = NULL;
    MIB_UNICASTIPADDRESS_ROW Row;
    DWORD Status;
    ULONG i;

    Status = GetTeredoPort(&Port);
    printf("GetTeredoPort: %u\n", (UINT)Status);

    Status = LoopbackRow(&Row);
    printf("loopback: %u, prefix %u\n", (UINT)Status, (UINT)Row.OnLinkPrefixLength);

    Status = NotifyTeredoPortChange(PortChanged, NULL, TRUE, &PortHandle);
    if (Status != ERROR_SUCCESS) {
        return 1;
    }
    Status = NotifyUnicastIpAddressChange(AF_UNSPEC, AddressChanged, NULL, FALSE, &AddressHandle);
    if (Status != NO_ERROR) {
        return 2;
    }
    Sleep(10);
    Status = GetUnicastIpAddressTable(AF_UNSPEC, &Table);
    if (Status == NO_ERROR) {
        for (i = 0; i < Table->NumEntries; i++) {
            LONGLONG Created = Table->Table[i].CreationTimeStamp.QuadPart;
            printf("%llu: %lld\n", (unsigned long long)Table->Table[i].InterfaceLuid.Value, (long long)Created);
        }
        FreeMibTable(Table);
    }
    if (CancelMibChangeNotify2(AddressHandle) != NO_ERROR ||
        CancelMibChangeNotify2(PortHandle) != NO_ERROR) {
        return 3;
    }
    return 0;
}
