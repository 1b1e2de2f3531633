//! Inputs to start from: a few of each thing that can happen, so that a mutation has something to
//! work on.

use std::time::Duration;

use teredo_control::varlink::{INTERFACE, Request, encode};
use teredo_control::{SettingName, Settings, Snapshot, Status, Type};
use teredo_sys::page::OwnedPage;
use teredo_wire::pcap::{LinkType, file_header, record_header};

use crate::input::Input;
use crate::packets::{Damage, Shape, nonce_only};
use crate::world;

/// Datagrams of every shape, in a capture as well.
pub(crate) fn wire() -> Vec<Vec<u8>> {
    let damage = Damage::decode(&mut Input::new(&[0b1010_0000, 8, 1, 4, 1, 2, 3, 4, 4, 0]));
    let shapes = (0..12).map(|kind| Shape::decode(&mut Input::new(&[kind, 0x12, 2])));
    let mut seeds = Vec::new();
    for shape in shapes {
        let packet = shape.packet(world::client(), world::peer());
        let mut datagram = nonce_only([3; 8]);
        datagram.extend(damage.datagram(packet.clone(), world::CLIENT));
        seeds.push([&[0], &datagram[..]].concat());
        let frame = ipv4_udp(&packet);
        let link = LinkType::RAW.0.to_be_bytes();
        seeds.push([&[2], &link[..], &frame].concat());
        let header = record_header(Duration::from_secs(1), frame.len() as u32);
        let file = [&file_header(LinkType::RAW)[..], &header, &frame].concat();
        seeds.push([&[3], &file[..]].concat());
    }
    seeds
}

/// Single transitions of every kind, and one long sequence of them.
pub(crate) fn role() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut all = vec![0];
    for kind in 0..12 {
        // In from a peer, out to it, and back what was sent.
        let steps = [0x30, 0x20, kind, 0x12, 2, 0, 2, 0x03, kind, 0x12, 2, 0, 6, 4, 0];
        seeds.push([&[0], &steps[..]].concat());
        all.extend(steps);
    }
    all.extend([5, 0x20, 0x10, 7]);
    seeds.push(all);
    seeds
}

/// The same once the client is in service.
pub(crate) fn client() -> Vec<Vec<u8>> {
    let qualified = [0, 6, 4, 0, 6, 4, 0, 6];
    let steps = role();
    steps.iter().map(|steps| [&qualified[..], &steps[1..]].concat()).collect()
}

/// Granted, refused, asked for again.
pub(crate) fn portmap() -> Vec<Vec<u8>> {
    vec![
        vec![1, 0x9c, 0x40, 1],
        // Silence until NAT-PMP is tried, then an address and a port.
        vec![3, 0x70, 0x80, 1, 0, 1, 1, 1, 0x9c, 0x40, 1, 3, 0xc0, 0xff],
        vec![1, 0x9c, 0x40, 1, 0x84, 1, 0x9c, 0x41, 2, 0x14, 12, 0x2c, 9, 1, 0, 4],
        vec![9, 0x9c, 0x40, 1, 3, 2, 0, 12, 2, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
    ]
}

/// Every request that there is, and replies.
pub(crate) fn control() -> Vec<Vec<u8>> {
    let settings = Settings {
        kind: Some(Type::Client),
        server_name: Some("teredo.example.net".to_owned()),
        reset: vec![SettingName::ClientPort],
        ..Settings::default()
    };
    let requests = [
        Request::GetInfo,
        Request::GetInterfaceDescription { interface: INTERFACE.to_owned() },
        Request::GetStatus { subscribe: true },
        Request::Wake,
        Request::SetState(settings),
    ];
    let mut messages: Vec<_> = requests.iter().map(Request::encode).collect();
    let status = Status { snapshot: Snapshot::default(), generation: 1, port_changes: 0 };
    let status = encode(&status);
    messages.push([b"{\"parameters\":", &status[..status.len() - 1], b"}\0"].concat());
    messages.push(b"{\"error\":\"org.teredo.Client.SetFailed\",\"parameters\":{}}\0".to_vec());
    messages.push(messages.concat());
    messages.iter().map(|message| [&[0x3f], &message[..]].concat()).collect()
}

/// A page as it is made.
pub(crate) fn page() -> Vec<Vec<u8>> {
    let mut content = [0; 40];
    let read = OwnedPage::create().map(|page| {
        page.publish(1 << 32 | 3 << 16 | 4096);
        rustix::io::pread(&page, &mut content[..], 0)
    });
    assert!(matches!(read, Ok(Ok(40))), "no page: {read:?}");
    [0, 1, 0xef, 0xff].map(|seals| [&[0, seals], &content[..]].concat()).into()
}

/// A file, settings and a policy.
pub(crate) fn configuration() -> Vec<Vec<u8>> {
    let client = "[client]\nserver = \"192.0.2.1\"\nrefresh-interval = 30\nallow = [\"tcp/22\", \
                  \"udp/6881-6889@2001:db8::/32\"]\ntype = \"enterpriseclient\"\nport = 40000\n";
    let server = "[server]\naddress = \"192.0.2.1\"\nsecondary = \"none\"\n[relay]\n";
    let settings = "{\"server_name\":\"a.example\",\"client_port\":7,\"reset\":[\"type\"]}";
    let policy = "[client]\ndefault-qualified = true\ntype = \"disabled\"\n";
    [client.to_owned(), server.to_owned(), format!("{client}\x0c{settings}\x0c{policy}")]
        .map(String::into_bytes)
        .into()
}

/// A table with a set, as `nft` shows it, and what it says when it fails.
pub(crate) fn nft() -> Vec<Vec<u8>> {
    let set = r#"{"set": {"family": "inet", "name": "ports", "table": "teredo",
        "type": "inet_service", "handle": 1, "flags": ["timeout"],
        "elem": [{"elem": {"val": 124, "timeout": 10, "expires": 9}}, 33, "192.0.2.1"]}}"#;
    let list = format!("{{\"nftables\": [{{\"metainfo\": {{}}}}, {set}]}}");
    let errors = ["Error: No such file or directory\n", "netlink: Operation not permitted", ""];
    std::iter::once(list.as_str()).chain(errors).map(|text| text.as_bytes().to_vec()).collect()
}

/// Files of clients, and a key.
pub(crate) fn keys() -> Vec<Vec<u8>> {
    let key = "30313233343536373839616263646566";
    let clients = format!("# office\n\nlaptop hmac-sha1 {key}\nphone hmac-md5 {key} renew\n");
    let twice = format!("a hmac-sha256 {key}\na hmac-sha1 {key}\n");
    [clients, twice, format!("# key\n{key}\n"), "laptop".to_owned()].map(String::into_bytes).into()
}

/// A datagram from the server to the client.
fn ipv4_udp(payload: &[u8]) -> Vec<u8> {
    let len = (28 + payload.len()) as u16;
    let mut bytes = vec![0x45, 0];
    bytes.extend(len.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    bytes.extend(world::SERVER.octets());
    bytes.extend(world::CLIENT.ip().octets());
    bytes.extend([3544, world::CLIENT.port(), len - 20, 0].into_iter().flat_map(u16::to_be_bytes));
    bytes.extend(payload);
    bytes
}
