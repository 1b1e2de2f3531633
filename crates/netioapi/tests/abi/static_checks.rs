//! The header: that compilers like it, and that it agrees with the library.

use std::fs;
use std::path::Path;
use std::process::Command;

use teredo_tests::needs;

use crate::build::{self, WARNINGS};

const FORMS: [&str; 2] = ["-UNETIOAPI_KERNEL_MODE", "-DNETIOAPI_KERNEL_MODE"];

fn header() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/netioapi.h")).unwrap()
}

/// The names that the version script exports.
pub(crate) fn exports() -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("libnetioapi.map");
    let text = fs::read_to_string(script).unwrap();
    let lines = text.lines().map(str::trim).filter_map(|line| line.strip_suffix(';'));
    lines.filter(|name| name.starts_with(char::is_alphabetic)).map(str::to_owned).collect()
}

/// The options for both widths, or for one if this machine cannot do the other.
fn widths() -> &'static [&'static str] {
    let missing = build::compiles("cc", &["-xc", "-m32"], "#include <stdint.h>\n").is_err();
    let reason = missing.then(|| "needs gcc-multilib".to_owned());
    if needs::skip_for(reason) { &["-m64"] } else { &["-m64", "-m32"] }
}

//= API-80: clean as C11 and C++17 with all warnings, for 64 and 32 bits, in both forms
#[test]
fn the_header_is_clean() {
    let include = format!("-I{}", build::dist().join("include").display());
    let text = "#include <netioapi.h>\n#include <netioapi.h>\nint main(void) { return 0; }\n";
    let compilers =
        ["cc", "clang"].into_iter().filter(|cc| build::compiles(cc, &["-xc"], "").is_ok());
    for compiler in compilers {
        for (language, standard) in
            [("-xc", "-std=c11"), ("-xc", "-std=c17"), ("-xc++", "-std=c++17")]
        {
            for (form, width) in
                FORMS.iter().flat_map(|form| widths().iter().map(move |it| (form, it)))
            {
                let mut options = vec![language, standard, form, width, &include];
                options.extend(WARNINGS);
                build::compiles(compiler, &options, text).unwrap();
            }
        }
    }
}

//= API-51: sizes and offsets are those of Windows, by static assertions in C (and in the library)
#[test]
fn the_layouts_are_those_of_windows() {
    let include = format!("-I{}", build::dist().join("include").display());
    let mut text = String::from("#include <netioapi.h>\n#include <assert.h>\n");
    for (structure, size) in [
        ("SOCKADDR_INET", 28),
        ("MIB_UNICASTIPADDRESS_ROW", 80),
        ("MIB_UNICASTIPADDRESS_TABLE", 88),
        ("MIB_IF_ROW2", 1352),
        ("NET_LUID", 8),
        ("SCOPE_ID", 4),
        ("GUID", 16),
        ("BOOLEAN", 1),
        ("WCHAR", 2),
        ("MIB_NOTIFICATION_TYPE", 4),
        ("NETIO_STATUS", 4),
    ] {
        text += &format!("static_assert(sizeof({structure}) == {size}, \"{structure}\");\n");
    }
    for (structure, member, offset) in OFFSETS {
        let is_there = format!("offsetof({structure}, {member}) == {offset}");
        text += &format!("static_assert({is_there}, \"{structure}.{member}\");\n");
    }
    for (name, value) in VALUES {
        text += &format!("static_assert((int)({name}) == {value}, \"{name}\");\n");
    }
    for width in widths() {
        for (language, standard) in [("-xc", "-std=c11"), ("-xc++", "-std=c++17")] {
            let options = [language, standard, width, &include, "-Wno-invalid-offsetof"];
            build::compiles("cc", &options, &text).unwrap();
        }
    }
}

const OFFSETS: [(&str, &str, u32); 37] = [
    ("SOCKADDR_INET", "Ipv6.sin6_addr", 8),
    ("SOCKADDR_INET", "Ipv6.sin6_scope_id", 24),
    ("MIB_UNICASTIPADDRESS_ROW", "Address", 0),
    ("MIB_UNICASTIPADDRESS_ROW", "InterfaceLuid", 32),
    ("MIB_UNICASTIPADDRESS_ROW", "InterfaceIndex", 40),
    ("MIB_UNICASTIPADDRESS_ROW", "PrefixOrigin", 44),
    ("MIB_UNICASTIPADDRESS_ROW", "SuffixOrigin", 48),
    ("MIB_UNICASTIPADDRESS_ROW", "ValidLifetime", 52),
    ("MIB_UNICASTIPADDRESS_ROW", "PreferredLifetime", 56),
    ("MIB_UNICASTIPADDRESS_ROW", "OnLinkPrefixLength", 60),
    ("MIB_UNICASTIPADDRESS_ROW", "SkipAsSource", 61),
    ("MIB_UNICASTIPADDRESS_ROW", "DadState", 64),
    ("MIB_UNICASTIPADDRESS_ROW", "ScopeId", 68),
    ("MIB_UNICASTIPADDRESS_ROW", "CreationTimeStamp", 72),
    ("MIB_UNICASTIPADDRESS_TABLE", "Table", 8),
    ("MIB_IF_ROW2", "InterfaceIndex", 8),
    ("MIB_IF_ROW2", "InterfaceGuid", 12),
    ("MIB_IF_ROW2", "Alias", 28),
    ("MIB_IF_ROW2", "Description", 542),
    ("MIB_IF_ROW2", "PhysicalAddressLength", 1056),
    ("MIB_IF_ROW2", "PhysicalAddress", 1060),
    ("MIB_IF_ROW2", "PermanentPhysicalAddress", 1092),
    ("MIB_IF_ROW2", "Mtu", 1124),
    ("MIB_IF_ROW2", "Type", 1128),
    ("MIB_IF_ROW2", "TunnelType", 1132),
    ("MIB_IF_ROW2", "AccessType", 1144),
    ("MIB_IF_ROW2", "DirectionType", 1148),
    ("MIB_IF_ROW2", "InterfaceAndOperStatusFlags", 1152),
    ("MIB_IF_ROW2", "OperStatus", 1156),
    ("MIB_IF_ROW2", "MediaConnectState", 1164),
    ("MIB_IF_ROW2", "NetworkGuid", 1168),
    ("MIB_IF_ROW2", "ConnectionType", 1184),
    ("MIB_IF_ROW2", "TransmitLinkSpeed", 1192),
    ("MIB_IF_ROW2", "InOctets", 1208),
    ("MIB_IF_ROW2", "InUnknownProtos", 1248),
    ("MIB_IF_ROW2", "OutOctets", 1280),
    ("MIB_IF_ROW2", "OutQLen", 1344),
];

const VALUES: [(&str, i32); 20] = [
    ("MibParameterNotification", 0),
    ("MibInitialNotification", 3),
    ("NlsoRandom", 5),
    ("IpPrefixOriginUnchanged", 16),
    ("NldsPreferred", 4),
    ("TUNNEL_TYPE_TEREDO", 14),
    ("IF_TYPE_TUNNEL", 131),
    ("FWPM_SYSTEM_PORT_TEREDO", 1),
    ("ERROR_FILE_NOT_FOUND", 2),
    ("ERROR_INVALID_HANDLE", 6),
    ("ERROR_NOT_ENOUGH_MEMORY", 8),
    ("ERROR_NOT_READY", 21),
    ("ERROR_NOT_SUPPORTED", 50),
    ("ERROR_INVALID_PARAMETER", 87),
    ("ERROR_INVALID_NAME", 123),
    ("ERROR_IO_PENDING", 997),
    ("ERROR_POSSIBLE_DEADLOCK", 1131),
    ("ERROR_NOT_FOUND", 1168),
    ("ERROR_NO_SYSTEM_RESOURCES", 1450),
    ("MIB_INVALID_TEREDO_PORT_NUMBER", 0),
];

#[test]
fn the_library_exports_what_the_header_declares_with_a_version() {
    let library = build::dist().join("lib/libnetioapi.so.0");
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    let defined = |line: &str| line.split(' ').nth(2).map(str::to_owned);
    let mut exported: Vec<String> = listed.lines().filter_map(defined).collect();
    exported.retain(|name| name != "NETIOAPI_0");
    let expected: Vec<String> =
        exports().iter().map(|name| format!("{name}@@NETIOAPI_0")).collect();
    assert_eq!(exported, expected);
    let header = header();
    for name in exports() {
        assert!(header.contains(&format!("{name}(")), "{name} is not declared");
    }
    for alias in ["iphlpapi.dll.so", "libiphlpapi.dll.so", "libnetioapi.so", "libnetioapi.a"] {
        assert!(build::dist().join("lib").join(alias).exists(), "{alias}");
    }
    let dynamic = Command::new("readelf").arg("-d").arg(&library).output().unwrap();
    let dynamic = String::from_utf8(dynamic.stdout).unwrap();
    assert!(dynamic.contains("NODELETE") && dynamic.contains("[libnetioapi.so.0]"), "{dynamic}");
}

#[test]
fn pkg_config_knows_both_forms() {
    assert!(build::pkg_config("netioapi", &["--libs"]).contains(&"-lnetioapi".to_owned()));
    let flags = build::pkg_config("netio", &["--cflags"]);
    assert!(flags.contains(&"-DNETIOAPI_KERNEL_MODE".to_owned()), "{flags:?}");
}

/// Sources for Windows need no change but an include path: the headers that they expect are there.
#[test]
fn a_source_for_windows_compiles_and_runs() {
    let include = build::dist().join("include/netioapi-windows");
    let source = build::sources().join("for_windows.c");
    for compiler in ["cc", "c++"] {
        let program = build::dist().join(format!("for-windows-{compiler}-{}", std::process::id()));
        let mut cc = Command::new(compiler);
        cc.arg(format!("-I{}", include.display())).arg(&source).arg("-o").arg(&program);
        cc.args(build::pkg_config("netioapi", &["--cflags", "--libs"]));
        cc.arg(format!("-Wl,-rpath,{}", build::dist().join("lib").display()));
        let output = cc.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let output = Command::new(&program).env("TEREDO_RUNTIME_DIR", "/nonexistent").output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(said.contains("GetTeredoPort: 21") && said.contains("type 3"), "{said}");
        assert!(said.contains("loopback: 0, prefix 128"), "{said}");
    }
}
