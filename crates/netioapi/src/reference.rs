//! The pages of the reference, whose Rust examples are compiled and run as tests of documentation.

#[doc = include_str!("../../../docs/src/api/cancelmibchangenotify2.md")]
struct CancelMibChangeNotify2;

#[doc = include_str!("../../../docs/src/api/convertinterfacealiastoluid.md")]
struct ConvertInterfaceAliasToLuid;

#[doc = include_str!("../../../docs/src/api/convertinterfacealiastoluida.md")]
struct ConvertInterfaceAliasToLuidA;

#[doc = include_str!("../../../docs/src/api/convertinterfaceguidtoluid.md")]
struct ConvertInterfaceGuidToLuid;

#[doc = include_str!("../../../docs/src/api/convertinterfaceindextoluid.md")]
struct ConvertInterfaceIndexToLuid;

#[doc = include_str!("../../../docs/src/api/convertinterfaceluidtoalias.md")]
struct ConvertInterfaceLuidToAlias;

#[doc = include_str!("../../../docs/src/api/convertinterfaceluidtoaliasa.md")]
struct ConvertInterfaceLuidToAliasA;

#[doc = include_str!("../../../docs/src/api/convertinterfaceluidtoguid.md")]
struct ConvertInterfaceLuidToGuid;

#[doc = include_str!("../../../docs/src/api/convertinterfaceluidtoindex.md")]
struct ConvertInterfaceLuidToIndex;

#[doc = include_str!("../../../docs/src/api/convertinterfaceluidtonamea.md")]
struct ConvertInterfaceLuidToNameA;

#[doc = include_str!("../../../docs/src/api/convertinterfaceluidtonamew.md")]
struct ConvertInterfaceLuidToNameW;

#[doc = include_str!("../../../docs/src/api/convertinterfacenametoluida.md")]
struct ConvertInterfaceNameToLuidA;

#[doc = include_str!("../../../docs/src/api/convertinterfacenametoluidw.md")]
struct ConvertInterfaceNameToLuidW;

#[doc = include_str!("../../../docs/src/api/freemibtable.md")]
struct FreeMibTable;

#[doc = include_str!("../../../docs/src/api/fwpmfreememory0.md")]
struct FwpmFreeMemory0;

#[doc = include_str!("../../../docs/src/api/fwpmsystemportsget0.md")]
struct FwpmSystemPortsGet0;

#[doc = include_str!("../../../docs/src/api/fwpmsystemportssubscribe0.md")]
struct FwpmSystemPortsSubscribe0;

#[doc = include_str!("../../../docs/src/api/fwpmsystemportsunsubscribe0.md")]
struct FwpmSystemPortsUnsubscribe0;

#[doc = include_str!("../../../docs/src/api/getifentry2.md")]
struct GetIfEntry2;

#[doc = include_str!("../../../docs/src/api/getteredoport.md")]
struct GetTeredoPort;

#[doc = include_str!("../../../docs/src/api/getunicastipaddressentry.md")]
struct GetUnicastIpAddressEntry;

#[doc = include_str!("../../../docs/src/api/getunicastipaddresstable.md")]
struct GetUnicastIpAddressTable;

#[doc = include_str!("../../../docs/src/api/initializeunicastipaddressentry.md")]
struct InitializeUnicastIpAddressEntry;

#[doc = include_str!("../../../docs/src/api/notifystableunicastipaddresstable.md")]
struct NotifyStableUnicastIpAddressTable;

#[doc = include_str!("../../../docs/src/api/notifyteredoportchange.md")]
struct NotifyTeredoPortChange;

#[doc = include_str!("../../../docs/src/api/notifyunicastipaddresschange.md")]
struct NotifyUnicastIpAddressChange;

#[doc = include_str!("../../../docs/src/api/netio_format_message.md")]
struct NetioFormatMessage;

#[doc = include_str!("../../../docs/src/api/netio_set_af_inet6.md")]
struct NetioSetAfInet6;
