/* Does what no program may: looks at the row of a callback after the callback has returned. */
#include <netioapi.h>

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static _Atomic(PMIB_UNICASTIPADDRESS_ROW) kept;

static void on_change(PVOID context, PMIB_UNICASTIPADDRESS_ROW row, MIB_NOTIFICATION_TYPE type)
{
    (void)context;
    (void)type;
    kept = row;
}

int main(void)
{
    HANDLE handle;
    if (NotifyUnicastIpAddressChange(AF_INET, on_change, NULL, FALSE, &handle) != NO_ERROR)
        return 2;
    puts("registered");
    fflush(stdout);
    for (int i = 0; i < 1000 && kept == NULL; i++)
        usleep(10000);
    CancelMibChangeNotify2(handle);
    return kept == NULL ? 3 : kept->InterfaceIndex == 0;
}
