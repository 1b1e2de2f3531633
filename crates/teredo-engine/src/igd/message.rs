//! What is said to an Internet Gateway Device and what it says: search, description, actions.
//!
//! Of XML only the text between two known tags is looked at: the documents are small, their shape
//! is fixed, and nothing in them is believed that would lead away from the gateway.

use std::net::{Ipv4Addr, SocketAddrV4};

/// The search for a gateway (UPnP Device Architecture 1.0, section 1.2.2).
pub(super) const SEARCH: &str = "M-SEARCH * HTTP/1.1\r\n\
    HOST: 239.255.255.250:1900\r\n\
    MAN: \"ssdp:discover\"\r\n\
    MX: 1\r\n\
    ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n";

/// Where a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) host: SocketAddrV4,
    pub(super) path: String,
}

impl Url {
    /// A URL with an IPv4 address; names have no business here.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = strip_prefix_ignoring_case(text.trim(), "http://")?;
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let host = match host.parse() {
            Ok(host) => host,
            Err(_) => SocketAddrV4::new(host.parse().ok()?, 80),
        };
        is_sound(path).then(|| Self { host, path: path.to_owned() })
    }

    /// What `reference`, found in this document, stands for; it must be on the same host.
    fn join(&self, reference: &str) -> Option<Self> {
        let reference = reference.trim().replace("&amp;", "&");
        let joined = match Self::parse(&reference) {
            Some(url) => url,
            None if reference.contains("://") => return None,
            None if reference.starts_with('/') => Self { host: self.host, path: reference },
            None => {
                let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                Self { host: self.host, path: format!("{folder}/{reference}") }
            }
        };
        (joined.host.ip() == self.host.ip() && is_sound(&joined.path)).then_some(joined)
    }
}

/// Where the description of the device is, by its answer to a search.
pub(super) fn location(answer: &[u8]) -> Option<Url> {
    let answer = str::from_utf8(answer).ok()?;
    let mut lines = answer.lines();
    lines.next().filter(|status| status.starts_with("HTTP/1.") && status.contains(" 200"))?;
    lines.find_map(|line| strip_prefix_ignoring_case(line, "location:")).and_then(Url::parse)
}

/// The service of a gateway that maps ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) kind: &'static str,
    pub(super) control: Url,
}

impl Service {
    /// The best one in a description that was found at `at`.
    pub(super) fn find(description: &str, at: &Url) -> Option<Self> {
        let base = text_of(description, "URLBase").and_then(|base| at.join(base));
        let base = base.as_ref().unwrap_or(at);
        KINDS.iter().find_map(|&kind| {
            let mut services = description.split("<service>").skip(1);
            let service = services.find(|it| text_of(it, "serviceType") == Some(kind))?;
            let control = base.join(text_of(service, "controlURL")?)?;
            Some(Self { kind, control })
        })
    }

    /// The body of an action with these arguments.
    pub(super) fn envelope(&self, action: &str, arguments: &[(&str, String)]) -> String {
        let arguments: String =
            arguments.iter().map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
        format!(
            "<?xml version=\"1.0\"?>\r\n\
             <s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
             <u:{action} xmlns:u=\"{}\">{arguments}</u:{action}></s:Body></s:Envelope>\r\n",
            self.kind
        )
    }
}

/// The arguments of AddPortMapping as RFC 6081 section 5.3.3 has them: the same port on both sides,
/// for everyone, for ever.
pub(super) fn add_port_mapping(client: Ipv4Addr, port: u16) -> [(&'static str, String); 8] {
    [
        ("NewRemoteHost", String::new()),
        ("NewExternalPort", port.to_string()),
        ("NewProtocol", "UDP".to_owned()),
        ("NewInternalPort", port.to_string()),
        ("NewInternalClient", client.to_string()),
        ("NewEnabled", "1".to_owned()),
        ("NewPortMappingDescription", "TEREDO".to_owned()),
        ("NewLeaseDuration", "0".to_owned()),
    ]
}

/// The arguments of DeletePortMapping (RFC 6081 section 5.3.5).
pub(super) fn delete_port_mapping(port: u16) -> [(&'static str, String); 3] {
    [
        ("NewRemoteHost", String::new()),
        ("NewExternalPort", port.to_string()),
        ("NewProtocol", "UDP".to_owned()),
    ]
}

/// The external address in the answer to GetExternalIPAddress.
pub(super) fn external_address(answer: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = text_of(answer, "NewExternalIPAddress")?.trim().parse().ok()?;
    (!address.is_unspecified()).then_some(address)
}

/// The number of the error in a fault.
pub(super) fn error_code(answer: &str) -> Option<u16> {
    text_of(answer, "errorCode")?.trim().parse().ok()
}

/// The text between `<tag>` and `</tag>`, the first one.
fn text_of<'a>(document: &'a str, tag: &str) -> Option<&'a str> {
    let mut rest = document;
    loop {
        let (_, after) = rest.split_once(&format!("<{tag}"))?;
        let (attributes, after) = after.split_once('>')?;
        // Another tag may begin with the same letters.
        if attributes.is_empty() || attributes.starts_with(' ') {
            return after.split_once(&format!("</{tag}>")).map(|(text, _)| text);
        }
        rest = after;
    }
}

/// Whether a path can stand in a request line.
fn is_sound(path: &str) -> bool {
    path.len() <= PATH_LEN_MAX && path.bytes().all(|byte| byte.is_ascii_graphic())
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The services that map ports, the best first.
const KINDS: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/// No device has a longer one.
const PATH_LEN_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nEXT:\r\n\
        Location: http://192.168.1.1:5000/rootDesc.xml\r\nST: x\r\n\r\n";
    const DESCRIPTION: &str = "<?xml version=\"1.0\"?><root xmlns=\"x\"><device><serviceList>\
        <service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>\
        <controlURL>/ctl/L3F</controlURL></service>\
        <service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
        <serviceId>a</serviceId><controlURL>/ctl/IPConn?a=1&amp;b=2</controlURL>\
        <eventSubURL>/evt</eventSubURL></service></serviceList></device></root>";

    fn root() -> Url {
        location(ANSWER.as_bytes()).unwrap()
    }

    #[test]
    fn the_way_to_the_service() {
        assert_eq!(root().host, "192.168.1.1:5000".parse().unwrap());
        let service = Service::find(DESCRIPTION, &root()).unwrap();
        assert_eq!(service.kind, KINDS[1]);
        assert_eq!(service.control.path, "/ctl/IPConn?a=1&b=2");
        let based = DESCRIPTION.replace("<device>", "<URLBase>http://192.168.1.1:80</URLBase>");
        let service = Service::find(&based, &root()).unwrap();
        assert_eq!(service.control.host.port(), 80);
        let relative = DESCRIPTION.replace("/ctl/IPConn?a=1&amp;b=2", "ctl");
        assert_eq!(Service::find(&relative, &root()).unwrap().control.path, "/ctl");
    }

    #[test]
    fn nothing_leads_away_from_the_gateway() {
        for elsewhere in
            ["http://192.168.1.9/ctl", "https://192.168.1.1/", "http://gateway/", "\r\n\r\nX"]
        {
            let text = DESCRIPTION.replace("/ctl/IPConn?a=1&amp;b=2", elsewhere);
            let found = Service::find(&text, &root());
            assert!(found.is_none_or(|it| it.control.host.ip() == root().host.ip()), "{elsewhere}");
        }
        assert_eq!(Url::parse("http://router.example/"), None);
        assert_eq!(Url::parse("http://192.168.1.1/a b"), None);
        assert_eq!(Url::parse("ftp://192.168.1.1/"), None);
    }

    #[test]
    fn documents_cut_short_or_damaged_are_no_surprise() {
        for len in 0..DESCRIPTION.len() {
            let _ = Service::find(&DESCRIPTION[..len], &root());
            let _ = Service::find(&DESCRIPTION[len..], &root());
        }
        for len in 0..ANSWER.len() {
            let _ = location(&ANSWER.as_bytes()[..len]);
        }
        assert_eq!(
            location(b"HTTP/1.1 404 Not Found\r\nLocation: http://192.168.1.1/\r\n\r\n"),
            None
        );
        assert_eq!(location(&[0xff; 64]), None);
    }

    //= X-UPNP-02: AddPortMapping with the parameters of RFC 6081
    #[test]
    fn the_mapping_is_the_one_of_the_rfc() {
        let service = Service::find(DESCRIPTION, &root()).unwrap();
        let arguments = add_port_mapping(Ipv4Addr::new(192, 168, 1, 2), 3545);
        let body = service.envelope("AddPortMapping", &arguments);
        let expected = "<NewRemoteHost></NewRemoteHost><NewExternalPort>3545</NewExternalPort>\
            <NewProtocol>UDP</NewProtocol><NewInternalPort>3545</NewInternalPort>\
            <NewInternalClient>192.168.1.2</NewInternalClient><NewEnabled>1</NewEnabled>\
            <NewPortMappingDescription>TEREDO</NewPortMappingDescription>\
            <NewLeaseDuration>0</NewLeaseDuration></u:AddPortMapping>";
        assert!(body.contains(expected), "{body}");
        assert!(body.contains("<u:AddPortMapping xmlns:u=\"urn:schemas-upnp-org:service:WANIP"));
    }

    #[test]
    fn answers_and_faults() {
        let answer = "<x:NewExternalIPAddress>9.9.9.9</x:NewExternalIPAddress>\
            <NewExternalIPAddress>203.0.113.1</NewExternalIPAddress>";
        assert_eq!(external_address(answer), Some(Ipv4Addr::new(203, 0, 113, 1)));
        assert_eq!(external_address("<NewExternalIPAddress>0.0.0.0</NewExternalIPAddress>"), None);
        assert_eq!(error_code("<errorCode>718</errorCode>"), Some(718));
        assert_eq!(error_code("<errorCodes>1</errorCodes>"), None);
    }
}
