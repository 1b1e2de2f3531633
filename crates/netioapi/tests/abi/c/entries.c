/*
 * GetUnicastIpAddressEntry, GetIfEntry2 and the conversions, in both forms of the header: the
 * codes are compared by what the form at hand calls them. Runs where there are lo, eth0, a tunnel
 * "teredo" that the daemon names, and another tunnel, "other".
 */
#include <netioapi.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef NETIOAPI_KERNEL_MODE
#define CODE(win32) netio_ntstatus(win32)
#else
#define CODE(win32) ((NETIO_STATUS)(win32))
#endif

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);                                 \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void entry_errors(void)
{
    MIB_UNICASTIPADDRESS_ROW row;
    unsigned eth0 = if_nametoindex("eth0");
    CHECK(GetUnicastIpAddressEntry(NULL) == CODE(87));
    memset(&row, 0, sizeof row);
    CHECK(GetUnicastIpAddressEntry(&row) == CODE(87));
    row.InterfaceIndex = eth0;
    CHECK(GetUnicastIpAddressEntry(&row) == CODE(87));
    row.Address.si_family = AF_INET;
    row.Address.Ipv4.sin_addr.s_addr = htonl(0xc0000201);
    row.InterfaceIndex = 0;
    CHECK(GetUnicastIpAddressEntry(&row) == CODE(2));
    row.InterfaceIndex = 0xfffffe;
    CHECK(GetUnicastIpAddressEntry(&row) == CODE(2));
    row.InterfaceIndex = if_nametoindex("lo");
    CHECK(GetUnicastIpAddressEntry(&row) == CODE(1168));
    row.InterfaceIndex = eth0;
    CHECK(GetUnicastIpAddressEntry(&row) == CODE(0));
    CHECK(row.OnLinkPrefixLength == 24 && row.PrefixOrigin == IpPrefixOriginManual);
}

static void entries_are_rows(void)
{
    PMIB_UNICASTIPADDRESS_TABLE table;
    int link_local = 0, teredo = 0;
    CHECK(GetUnicastIpAddressTable(AF_UNSPEC, &table) == CODE(0));
    for (uint32_t i = 0; i < table->NumEntries; i++) {
        const MIB_UNICASTIPADDRESS_ROW *row = &table->Table[i];
        MIB_UNICASTIPADDRESS_ROW by_luid, by_index;
        InitializeUnicastIpAddressEntry(&by_luid);
        by_luid.Address = row->Address;
        by_luid.InterfaceLuid = row->InterfaceLuid;
        by_index = by_luid;
        by_luid.InterfaceIndex = 0xfffffe; /* the LUID wins */
        by_index.InterfaceLuid.Value = 0;
        by_index.InterfaceIndex = row->InterfaceIndex;
        CHECK(GetUnicastIpAddressEntry(&by_luid) == CODE(0));
        CHECK(GetUnicastIpAddressEntry(&by_index) == CODE(0));
        CHECK(memcmp(&by_luid, row, sizeof *row) == 0);
        CHECK(memcmp(&by_index, row, sizeof *row) == 0);
        CHECK(row->CreationTimeStamp.QuadPart > 116444736000000000 && row->SkipAsSource == FALSE);
        CHECK(row->InterfaceLuid.Info.NetLuidIndex == row->InterfaceIndex);
        if (row->Address.si_family == AF_INET6) {
            CHECK(row->ScopeId.Value == row->Address.Ipv6.sin6_scope_id);
            if (IN6_IS_ADDR_LINKLOCAL(&row->Address.Ipv6.sin6_addr)) {
                CHECK(row->ScopeId.Value == row->InterfaceIndex);
                link_local++;
            }
        }
        if (row->InterfaceIndex == if_nametoindex("teredo")) {
            CHECK(row->PrefixOrigin == IpPrefixOriginRouterAdvertisement);
            CHECK(row->SuffixOrigin == IpSuffixOriginLinkLayerAddress);
            CHECK(row->OnLinkPrefixLength == 32 && row->DadState == IpDadStatePreferred);
            CHECK(row->InterfaceLuid.Info.IfType == IF_TYPE_TUNNEL);
            teredo++;
        }
    }
    CHECK(link_local >= 1 && teredo == 1);
    FreeMibTable(table);
}

static void numbers_of_ipv6(void)
{
    PMIB_UNICASTIPADDRESS_TABLE table;
    CHECK(netio_set_af_inet6(7) == 87);
    CHECK(netio_set_af_inet6(NETIO_AF_INET6_WINDOWS) == 0);
    CHECK(GetUnicastIpAddressTable(23, &table) == CODE(0));
    CHECK(table->Table[0].Address.si_family == 23);
    CHECK(GetUnicastIpAddressEntry(&table->Table[0]) == CODE(0));
    FreeMibTable(table);
    CHECK(netio_set_af_inet6(AF_INET6) == 0);
    CHECK(GetUnicastIpAddressTable(23, &table) == CODE(0));
    CHECK(table->Table[0].Address.si_family == AF_INET6);
    FreeMibTable(table);
}

static void initialized_row(void)
{
    MIB_UNICASTIPADDRESS_ROW row, zero;
    memset(&row, 0xcc, sizeof row);
    memset(&zero, 0, sizeof zero);
    InitializeUnicastIpAddressEntry(&row);
    CHECK(row.PrefixOrigin == 16 && row.SuffixOrigin == 16 && row.OnLinkPrefixLength == 255);
    CHECK(row.ValidLifetime == 0xffffffff && row.PreferredLifetime == 0xffffffff);
    zero.PrefixOrigin = IpPrefixOriginUnchanged;
    zero.SuffixOrigin = IpSuffixOriginUnchanged;
    zero.OnLinkPrefixLength = 255;
    zero.ValidLifetime = zero.PreferredLifetime = 0xffffffff;
    CHECK(memcmp(&row, &zero, sizeof row) == 0);
    FreeMibTable(NULL);
}

static void interfaces(void)
{
    static MIB_IF_ROW2 row;
    CHECK(GetIfEntry2(NULL) == CODE(87));
    CHECK(GetIfEntry2(&row) == CODE(87));
    row.InterfaceIndex = 0xfffffe;
    CHECK(GetIfEntry2(&row) == CODE(2));
    row.InterfaceIndex = if_nametoindex("teredo");
    CHECK(GetIfEntry2(&row) == CODE(0));
    CHECK(row.Type == IF_TYPE_TUNNEL && row.TunnelType == TUNNEL_TYPE_TEREDO && row.Mtu == 1280);
    CHECK(memcmp(row.Alias, u"teredo", sizeof u"teredo") == 0);
    CHECK(row.PhysicalAddressLength == 8 && row.PhysicalAddress[7] == 0xe0);
    CHECK(row.MediaType == NdisMediumTunnel && row.AdminStatus == NET_IF_ADMIN_STATUS_UP);
    row.InterfaceIndex = if_nametoindex("lo"); /* the LUID wins */
    CHECK(GetIfEntry2(&row) == CODE(0) && row.InterfaceIndex == if_nametoindex("teredo"));
    memset(&row, 0xcc, sizeof row);
    row.InterfaceLuid.Value = 0;
    row.InterfaceIndex = if_nametoindex("other");
    CHECK(GetIfEntry2(&row) == CODE(0) && row.TunnelType == TUNNEL_TYPE_OTHER);
    CHECK(row.MediaConnectState == MediaConnectStateDisconnected);
    memset(&row, 0, sizeof row);
    row.InterfaceIndex = if_nametoindex("lo");
    CHECK(GetIfEntry2(&row) == CODE(0) && row.Type == IF_TYPE_SOFTWARE_LOOPBACK);
    CHECK(row.OperStatus == IfOperStatusUp && row.AccessType == NET_IF_ACCESS_LOOPBACK);
}

static void conversions(void)
{
    NET_LUID luid, other, unknown;
    NET_IFINDEX index = 7, teredo = if_nametoindex("teredo");
    GUID guid, none = {0, 0, 0, {0}};
    WCHAR wide[64], expected[64];
    char name[64], text[64];
    unknown.Value = 0x0083fffffe000000;
    luid.Value = 7;
    CHECK(ConvertInterfaceIndexToLuid(0, &luid) == CODE(2) && luid.Value == 0);
    luid.Value = 7;
    CHECK(ConvertInterfaceIndexToLuid((NET_IFINDEX)-1, &luid) == CODE(2) && luid.Value == 0);
    CHECK(ConvertInterfaceIndexToLuid(teredo, NULL) == CODE(87));
    CHECK(ConvertInterfaceIndexToLuid(teredo, &luid) == CODE(0));
    CHECK(luid.Info.IfType == 131 && luid.Info.NetLuidIndex == teredo && luid.Info.Reserved == 0);
    CHECK(ConvertInterfaceLuidToIndex(&luid, &index) == CODE(0) && index == teredo);
    CHECK(ConvertInterfaceLuidToIndex(&unknown, &index) == CODE(2) && index == 0);
    CHECK(ConvertInterfaceLuidToIndex(NULL, &index) == CODE(87));
    CHECK(ConvertInterfaceLuidToIndex(&luid, NULL) == CODE(87));

    CHECK(ConvertInterfaceLuidToGuid(&luid, &guid) == CODE(0));
    CHECK(ConvertInterfaceGuidToLuid(&guid, &other) == CODE(0) && other.Value == luid.Value);
    CHECK(ConvertInterfaceLuidToGuid(&unknown, &guid) == CODE(2));
    CHECK(memcmp(&guid, &none, sizeof guid) == 0);
    CHECK(ConvertInterfaceLuidToGuid(NULL, &guid) == CODE(87));
    CHECK(ConvertInterfaceGuidToLuid(&none, &other) == CODE(2) && other.Value == 0);

    snprintf(text, sizeof text, "tunnel_%u", teredo);
    for (size_t i = 0; i <= strlen(text); i++)
        expected[i] = (WCHAR)text[i];
    CHECK(ConvertInterfaceLuidToNameA(&luid, name, sizeof name) == CODE(0));
    CHECK(strcmp(name, text) == 0);
    CHECK(ConvertInterfaceLuidToNameA(&luid, name, strlen(text) + 1) == CODE(0));
    CHECK(ConvertInterfaceLuidToNameA(&luid, name, strlen(text)) == CODE(8));
    CHECK(ConvertInterfaceLuidToNameA(&luid, NULL, 0) == CODE(8));
    CHECK(ConvertInterfaceLuidToNameA(NULL, name, sizeof name) == CODE(87));
    CHECK(ConvertInterfaceLuidToNameW(&luid, wide, 64) == CODE(0));
    CHECK(memcmp(wide, expected, 2 * strlen(text) + 2) == 0);
    CHECK(ConvertInterfaceLuidToNameW(&luid, NULL, 64) == CODE(87));
    CHECK(ConvertInterfaceLuidToNameW(&luid, wide, 0) == CODE(8));

    CHECK(ConvertInterfaceNameToLuidA(text, &other) == CODE(0) && other.Value == luid.Value);
    CHECK(ConvertInterfaceNameToLuidW(expected, &other) == CODE(0) && other.Value == luid.Value);
    CHECK(ConvertInterfaceNameToLuidA("teredo", &other) == CODE(0) && other.Value == luid.Value);
    CHECK(ConvertInterfaceNameToLuidA(NULL, &other) == CODE(123) && other.Value == luid.Value);
    CHECK(ConvertInterfaceNameToLuidW(NULL, &other) == CODE(123) && other.Value == 0);
    CHECK(ConvertInterfaceNameToLuidA(text, NULL) == CODE(87));
    CHECK(ConvertInterfaceNameToLuidA("ethernet_9999", &other) == CODE(123) && other.Value == 0);

    CHECK(ConvertInterfaceLuidToAlias(&luid, wide, 64) == CODE(0));
    CHECK(memcmp(wide, u"teredo", sizeof u"teredo") == 0);
    CHECK(ConvertInterfaceLuidToAliasA(&luid, name, 7) == CODE(0) && strcmp(name, "teredo") == 0);
    CHECK(ConvertInterfaceLuidToAliasA(&luid, name, 6) == CODE(8));
    CHECK(ConvertInterfaceLuidToAlias(&unknown, wide, 64) == CODE(2));
    CHECK(ConvertInterfaceLuidToAlias(&luid, NULL, 64) == CODE(87));
    CHECK(ConvertInterfaceAliasToLuid(u"teredo", &other) == CODE(0) && other.Value == luid.Value);
    CHECK(ConvertInterfaceAliasToLuidA("lo", &other) == CODE(0) && other.Info.IfType == 24);
    CHECK(ConvertInterfaceAliasToLuidA("nowhere", &other) == CODE(2) && other.Value == 0);
    CHECK(ConvertInterfaceAliasToLuid(NULL, &other) == CODE(87));
}

static void null_arguments(void)
{
    PMIB_UNICASTIPADDRESS_TABLE table = NULL;
    HANDLE handle = &table;
    CHECK(GetUnicastIpAddressTable(AF_INET, NULL) == CODE(87));
    CHECK(NotifyUnicastIpAddressChange(AF_INET, NULL, NULL, TRUE, &handle) == CODE(87));
    CHECK(handle == NULL);
    CHECK(NotifyStableUnicastIpAddressTable(AF_INET, &table, NULL, NULL, &handle) == CODE(87));
    InitializeUnicastIpAddressEntry(NULL);
}

static void stable_callback(PVOID context, PMIB_UNICASTIPADDRESS_TABLE table)
{
    (void)context;
    FreeMibTable(table);
}

static void change_callback(PVOID context, PMIB_UNICASTIPADDRESS_ROW row, MIB_NOTIFICATION_TYPE type)
{
    (void)context;
    (void)row;
    (void)type;
}

static void more_null_arguments(void)
{
    PMIB_UNICASTIPADDRESS_TABLE table = NULL;
    HANDLE handle = &table;
    CHECK(NotifyStableUnicastIpAddressTable(0, NULL, stable_callback, NULL, &handle) == CODE(87));
    CHECK(handle == NULL);
    CHECK(NotifyStableUnicastIpAddressTable(0, &table, stable_callback, NULL, NULL) == CODE(87));
    CHECK(NotifyUnicastIpAddressChange(0, change_callback, NULL, TRUE, NULL) == CODE(87));
}

static void messages(void)
{
    char text[64], cut[8];
    uint32_t len = netio_format_message(21, text, sizeof text);
    CHECK(len == strlen(text) && strcmp(text, "Teredo is not running on this host.") == 0);
    CHECK(netio_format_message(21, NULL, 0) == len);
    CHECK(netio_format_message(21, cut, sizeof cut) == len && strcmp(cut, "Teredo ") == 0);
    netio_format_message(4711, text, sizeof text);
    CHECK(strcmp(text, "Error 4711.") == 0);
}

#ifdef NETIOAPI_KERNEL_MODE
static void driver_form(void)
{
    USHORT port;
    HANDLE handle;
    NTSTATUS status = GetTeredoPort(&port);
    CHECK(status == STATUS_SUCCESS && NT_SUCCESS(status) && NETIO_SUCCESS(status) && port == 5000);
    CHECK(GetTeredoPort(NULL) == STATUS_INVALID_PARAMETER);
    setenv("TEREDO_RUNTIME_DIR", "/nonexistent", 1);
    CHECK(!NT_SUCCESS(ERROR_NOT_READY) && !NT_SUCCESS(ERROR_INVALID_HANDLE));
    CHECK(NT_SUCCESS(ERROR_IO_PENDING) && ERROR_IO_PENDING == STATUS_PENDING);
    CHECK(ERROR_NOT_READY == netio_ntstatus(21) && STATUS_NOT_SUPPORTED == netio_ntstatus(50));
    status = NotifyTeredoPortChange(NULL, NULL, TRUE, &handle);
    CHECK(status == STATUS_INVALID_PARAMETER && handle == NULL);
    CHECK(CancelMibChangeNotify2(NULL) == STATUS_INVALID_PARAMETER);
}
#endif

int main(void)
{
    entry_errors();
    entries_are_rows();
    numbers_of_ipv6();
    initialized_row();
    interfaces();
    conversions();
    null_arguments();
    more_null_arguments();
    messages();
#ifdef NETIOAPI_KERNEL_MODE
    driver_form();
#endif
    puts("all is well");
    return 0;
}
