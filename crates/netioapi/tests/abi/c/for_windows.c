// Written as one writes for Windows; nothing here knows of Linux.
#include <winsock2.h>
#include <ws2ipdef.h>
#include <ws2tcpip.h>
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
    DWORD Status;
    ULONG i;

    Status = GetTeredoPort(&Port);
    printf("GetTeredoPort: %u\n", (UINT)Status);

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
