//! The interface description and the types say the same.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use teredo_control::varlink::{
    Call, CallError, DESCRIPTION, INTERFACE, Info, Reply, Request, SERVICE_DESCRIPTION,
    SERVICE_INTERFACE,
};
use teredo_control::{
    AllowedRule, AllowedRules, Helper, HelperState, Nat, Network, Origin, Role, RuleChange,
    Sandbox, ServerAddress, SettingName, Settings, Snapshot, State, Status, Type,
};

/// A type as it is written in a description.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Name(String),
    Optional(Box<Self>),
    Array(Box<Self>),
    Struct(Vec<(String, Self)>),
    Enum(Vec<String>),
}

/// A description, read.
#[derive(Default)]
struct Interface {
    name: String,
    types: BTreeMap<String, Kind>,
    methods: BTreeMap<String, (Kind, Kind)>,
    errors: BTreeMap<String, Kind>,
}

impl Interface {
    fn read(text: &str) -> Self {
        let mut spaced = String::new();
        for line in text.lines() {
            for letter in line.split('#').next().unwrap_or("").chars() {
                if "():,?[]".contains(letter) {
                    spaced += &format!(" {letter} ");
                } else {
                    spaced.push(letter);
                }
            }
            spaced.push('\n');
        }
        let mut words = spaced.split_whitespace().peekable();
        let mut found = Self::default();
        while let Some(keyword) = words.next() {
            let name = words.next().unwrap().to_owned();
            match keyword {
                "interface" => found.name = name,
                "type" => drop(found.types.insert(name, kind(&mut words))),
                "error" => drop(found.errors.insert(name, kind(&mut words))),
                "method" => {
                    let input = kind(&mut words);
                    assert_eq!(words.next(), Some("->"));
                    found.methods.insert(name, (input, kind(&mut words)));
                }
                other => panic!("{other} is no keyword"),
            }
        }
        found
    }

    /// Fails unless `value` is of this kind, with all its fields.
    fn check(&self, value: &Value, kind: &Kind, path: &str) {
        match kind {
            Kind::Name(name) => match (name.as_str(), value) {
                ("string", Value::String(_)) | ("bool", Value::Bool(_)) => {}
                ("int", Value::Number(number)) => assert!(number.is_i64(), "{path}: {number}"),
                (name, value) => {
                    let Some(kind) = self.types.get(name) else {
                        panic!("{path}: {value}, {name}")
                    };
                    self.check(value, kind, path);
                }
            },
            Kind::Optional(_) if value.is_null() => {}
            Kind::Optional(kind) => self.check(value, kind, path),
            Kind::Array(kind) => {
                for item in value.as_array().unwrap() {
                    self.check(item, kind, path);
                }
            }
            Kind::Enum(words) => {
                assert!(words.contains(&value.as_str().unwrap().to_owned()), "{path}: {value}");
            }
            Kind::Struct(fields) => {
                let object = value.as_object().unwrap();
                let described: BTreeSet<&String> = fields.iter().map(|(name, _)| name).collect();
                let there: BTreeSet<&String> = object.keys().collect();
                assert_eq!(described, there, "{path}");
                for (name, kind) in fields {
                    self.check(&object[name], kind, &format!("{path}.{name}"));
                }
            }
        }
    }
}

fn kind<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Kind {
    match words.next().unwrap() {
        "?" => Kind::Optional(Box::new(kind(words))),
        "[" => {
            assert_eq!(words.next(), Some("]"));
            Kind::Array(Box::new(kind(words)))
        }
        "(" => {
            let (mut fields, mut names) = (Vec::new(), Vec::new());
            loop {
                match words.next().unwrap() {
                    ")" => break,
                    "," => {}
                    name => match words.next_if_eq(&":") {
                        Some(_) => fields.push((name.to_owned(), kind(words))),
                        None => names.push(name.to_owned()),
                    },
                }
            }
            assert!(fields.is_empty() || names.is_empty());
            if names.is_empty() { Kind::Struct(fields) } else { Kind::Enum(names) }
        }
        name => Kind::Name(name.to_owned()),
    }
}

/// With everything in it that can be.
fn full() -> Snapshot {
    Snapshot {
        kind: Type::Client,
        server_name: Some("teredo.example".to_owned()),
        refresh_interval_s: u32::MAX,
        client_port: "34567".parse().ok(),
        from_policy: vec![SettingName::Type, SettingName::ServerName],
        state: State::Qualified,
        probing: Some(ServerAddress::Primary),
        reason: Some("no-answer".to_owned()),
        error_code: Some(u32::MAX),
        role: Some(Role::Client),
        network: Some(Network::Unmanaged),
        nat: Some(Nat::EndpointIndependent),
        upnp: Some(false),
        port_preserving: Some(true),
        local_mapping: "192.168.1.2:51234".parse().ok(),
        external_mapping: "203.0.113.101:40000".parse().ok(),
        address: "2001:0:cb00:710a:0:63bf:34ff:8e9a".parse().ok(),
        interface_name: Some("teredo".to_owned()),
        interface_index: "7".parse().ok(),
        port: "51234".parse().ok(),
        key_renewal: Some(true),
        determined_interval_s: Some(u32::MAX),
        helper: Some(Helper {
            endpoint: "203.0.113.30:3545".parse().unwrap(),
            state: HelperState::Refused,
            refusal: Some("full".to_owned()),
        }),
        without: Some("hairpin,deferred-open".to_owned()),
        sandbox: Some(Sandbox {
            capabilities: vec!["net_admin".to_owned()],
            no_new_privileges: true,
            landlock: true,
            seccomp: false,
        }),
    }
}

#[test]
fn a_status_is_what_the_description_says() {
    let interface = Interface::read(DESCRIPTION);
    assert_eq!(interface.name, INTERFACE);
    let (input, output) = &interface.methods["GetStatus"];
    assert_eq!(*input, Kind::Struct(Vec::new()));
    for snapshot in [full(), Snapshot::default()] {
        let status = Status { snapshot, generation: 1, port_changes: 0 };
        let value = json!(status);
        interface.check(&value, output, "status");
        assert_eq!(serde_json::from_value::<Status>(value).unwrap(), status);
    }
    // Nothing but what may be missing is missing from the description's own optional fields.
    let Kind::Struct(fields) = &interface.types["Status"] else { panic!() };
    let empty = json!(Snapshot::default());
    for (name, kind) in fields {
        let optional = matches!(kind, Kind::Optional(_));
        assert_eq!(empty[name].is_null(), optional, "{name}");
    }
}

#[test]
fn enumerations_have_the_words_of_the_description() {
    let interface = Interface::read(DESCRIPTION);
    let words = |name: &str| {
        let Kind::Enum(words) = &interface.types[name] else { panic!("{name}") };
        words.clone()
    };
    let ours = |values: Value| serde_json::from_value::<Vec<String>>(values).unwrap();
    assert_eq!(words("Type"), ours(json!(Type::ALL)));
    assert_eq!(words("Type"), Type::ALL.map(Type::name));
    let states = [State::Offline, State::Dormant, State::Probe, State::Qualified];
    assert_eq!(words("State"), ours(json!(states)));
    assert_eq!(words("State"), states.map(State::name));
    let addresses = [ServerAddress::Primary, ServerAddress::Secondary];
    assert_eq!(words("ServerAddress"), ours(json!(addresses)));
    assert_eq!(words("Role"), ours(json!([Role::Client, Role::HostSpecificRelay])));
    assert_eq!(words("Network"), ours(json!([Network::Managed, Network::Unmanaged])));
    let helped = [
        HelperState::Idle,
        HelperState::Asking,
        HelperState::Registered,
        HelperState::Refused,
        HelperState::Silent,
    ];
    assert_eq!(words("HelperState"), ours(json!(helped)));
    let (input, _) = &interface.methods["SetState"];
    let Kind::Struct(fields) = input else { panic!() };
    let names = [
        SettingName::Type,
        SettingName::ServerName,
        SettingName::RefreshInterval,
        SettingName::ClientPort,
    ];
    assert_eq!(words("SettingName"), ours(json!(names)));
    let settings: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(settings[..4], words("SettingName"), "a setting is named as its parameter");
    // A comment, because Varlink's words have no hyphens.
    let nats = [
        Nat::Unknown,
        Nat::None,
        Nat::EndpointIndependent,
        Nat::PortSymmetric,
        Nat::AddressSymmetric,
    ];
    for word in ours(json!(nats)) {
        assert!(DESCRIPTION.contains(&format!("{word:?}")), "{word}");
    }
    assert_eq!(serde_json::from_value::<Nat>(json!("quantum")).unwrap(), Nat::Unknown);
}

#[test]
fn settings_are_what_the_description_says() {
    let interface = Interface::read(DESCRIPTION);
    let (input, output) = &interface.methods["SetState"];
    assert_eq!(*output, Kind::Struct(Vec::new()));
    let settings = Settings {
        kind: Some(Type::EnterpriseClient),
        server_name: Some("teredo.example".to_owned()),
        refresh_interval_s: Some(60),
        client_port: "34567".parse().ok(),
        reset: vec![SettingName::Type],
    };
    interface.check(&json!(settings), input, "settings");
    let empty: Settings = serde_json::from_value(json!({ "type": null, "reset": null })).unwrap();
    assert_eq!(empty, Settings::default());
    assert_eq!(json!(empty), json!({}));
}

#[test]
fn rules_are_what_the_description_says() {
    let interface = Interface::read(DESCRIPTION);
    let (input, output) = &interface.methods["ListRules"];
    assert_eq!(*input, Kind::Struct(Vec::new()));
    let bare = AllowedRule {
        rule: "echo".to_owned(),
        origin: Origin::CommandLine,
        file: None,
        ports: None,
    };
    let full = AllowedRule {
        rule: "unit:sshd.service".to_owned(),
        origin: Origin::File,
        file: Some("/etc/teredo/teredo.toml".to_owned()),
        ports: Some(vec!["tcp/22".to_owned()]),
    };
    let rules = AllowedRules { rules: vec![bare, full], left_off: 0 };
    interface.check(&json!(rules), output, "rules");
    assert_eq!(serde_json::from_value::<AllowedRules>(json!(rules)).unwrap(), rules);
    let Kind::Enum(words) = &interface.types["Origin"] else { panic!() };
    assert_eq!(json!(words), json!([Origin::CommandLine, Origin::File, Origin::RunTime]));
    for (method, change) in [
        ("AddRule", RuleChange::Add("echo".to_owned())),
        ("RemoveRule", RuleChange::Remove("echo".to_owned())),
    ] {
        let (input, output) = &interface.methods[method];
        let message = Request::ChangeRules(change).encode();
        let call = Call::parse(message.strip_suffix(&[0]).unwrap()).unwrap();
        interface.check(&json!(call.parameters), input, method);
        interface.check(&json!({ "kept": true }), output, method);
        for wrong in [json!({}), json!({ "rule": 7 }), json!({ "rule": "x".repeat(321) })] {
            let call = json!({ "method": call.method, "parameters": wrong });
            let call = Call::parse(call.to_string().as_bytes()).unwrap();
            assert_eq!(call.request(), Err(CallError::InvalidParameter("rule".to_owned())));
        }
    }
}

#[test]
fn every_method_and_error_is_described_and_known() {
    let (ours, service) = (Interface::read(DESCRIPTION), Interface::read(SERVICE_DESCRIPTION));
    assert_eq!(service.name, SERVICE_INTERFACE);
    for interface in [&ours, &service] {
        for method in interface.methods.keys() {
            let method = format!("{}.{method}", interface.name);
            let call = json!({ "method": method, "parameters": { "interface": INTERFACE } });
            let call = Call::parse(call.to_string().as_bytes()).unwrap();
            let known = !matches!(
                call.request(),
                Err(CallError::MethodNotFound(_) | CallError::InterfaceNotFound(_))
            );
            assert!(known, "{method}");
        }
        for (name, kind) in &interface.errors {
            let Kind::Struct(fields) = kind else { panic!("{name}") };
            let parameters: serde_json::Map<_, _> =
                fields.iter().map(|(name, _)| (name.clone(), json!("x"))).collect();
            let message = json!({
                "error": format!("{}.{name}", interface.name), "parameters": parameters,
            });
            let reply = Reply::parse(message.to_string().as_bytes()).unwrap();
            let error = reply.result::<Value>().unwrap_err();
            assert_eq!(error.name(), format!("{}.{name}", interface.name));
            let ours = !matches!(name.as_str(), "MethodNotImplemented" | "ExpectedMore");
            if ours {
                interface.check(&error.parameters(), kind, name);
            }
        }
    }
    let info = Info {
        vendor: String::new(),
        product: String::new(),
        version: String::new(),
        url: String::new(),
        interfaces: vec![String::new()],
    };
    service.check(&json!(info), &service.methods["GetInfo"].1, "GetInfo");
}

#[test]
fn requests_are_read_as_they_were_written() {
    let interface = INTERFACE.to_owned();
    let settings = Settings { kind: Some(Type::Disabled), ..Settings::default() };
    for request in [
        Request::GetInfo,
        Request::GetInterfaceDescription { interface },
        Request::GetStatus { subscribe: false },
        Request::GetStatus { subscribe: true },
        Request::Wake,
        Request::SetState(settings),
        Request::SetState(Settings::default()),
        Request::ListRules,
        Request::ChangeRules(RuleChange::Add("tcp/22".to_owned())),
        Request::ChangeRules(RuleChange::Remove("tcp/22".to_owned())),
    ] {
        let message = request.encode();
        let call = Call::parse(message.strip_suffix(&[0]).unwrap()).unwrap();
        assert_eq!(call.request().as_ref(), Ok(&request));
    }
}

#[test]
fn wrong_parameters_are_named() {
    let set = |parameters: Value| {
        let call = json!({ "method": "org.teredo.Client.SetState", "parameters": parameters });
        match Call::parse(call.to_string().as_bytes()).unwrap().request() {
            Err(CallError::InvalidParameter(name)) => name,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(set(json!({ "type": "disable" })), "type");
    assert_eq!(set(json!({ "type": 4 })), "type");
    assert_eq!(set(json!({ "server_name": "" })), "server_name");
    assert_eq!(set(json!({ "server_name": "x".repeat(254) })), "server_name");
    assert_eq!(set(json!({ "refresh_interval_s": 0 })), "refresh_interval_s");
    assert_eq!(set(json!({ "refresh_interval_s": -1 })), "refresh_interval_s");
    assert_eq!(set(json!({ "refresh_interval_s": 1.5 })), "refresh_interval_s");
    assert_eq!(set(json!({ "client_port": 0 })), "client_port");
    assert_eq!(set(json!({ "client_port": 65_536 })), "client_port");
    assert_eq!(set(json!({ "reset": ["everything"] })), "reset");
    assert_eq!(set(json!({ "reset": ["type"], "type": "client" })), "reset");
    assert_eq!(set(json!({ "typ": "client" })), "typ", "misspelt, it would seem done");
}
