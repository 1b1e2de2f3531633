//! Whether the host is on a managed network.
//!
//! Windows asks whether a domain controller is near. Here the sign is that the network's resolver
//! searches a domain that this host has joined, or one that is configured. Nobody is asked for it,
//! so that nobody can keep the client waiting, or off, with a forged answer to a question.

use std::fs;
use std::path::Path;

use teredo_control::Network;

use super::Args;

/// The kind of network that the host is on.
pub(super) fn network(args: &Args) -> Network {
    if is_managed(&args.managed_domain, &args.resolv_conf) {
        Network::Managed
    } else {
        Network::Unmanaged
    }
}

/// Whether the search domains of `resolv_conf` are, or lie in, one of `configured` or a domain that
/// this host has joined.
pub(super) fn is_managed(configured: &[String], resolv_conf: &Path) -> bool {
    let Ok(resolver) = fs::read_to_string(resolv_conf) else { return false };
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (sssd, samba) = (read(SSSD), read(SAMBA));
    let joined = joined_by_sssd(&sssd).chain(joined_by_samba(&samba));
    let domains: Vec<_> = configured.iter().cloned().chain(joined).collect();
    search_domains(&resolver).any(|searched| domains.iter().any(|it| lies_in(searched, it)))
}

/// The domains that a resolver's configuration searches.
fn search_domains(resolver: &str) -> impl Iterator<Item = &str> {
    // The last line counts (resolv.conf(5)).
    let line = resolver.lines().rev().find_map(|line| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("search" | "domain")).then_some(words)
    });
    line.into_iter().flatten()
}

fn lies_in(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.trim_matches('.'), domain.trim_matches('.'));
    let Some(at) = name.len().checked_sub(domain.len()) else { return false };
    let Some((below, end)) = name.split_at_checked(at) else { return false };
    !domain.is_empty()
        && end.eq_ignore_ascii_case(domain)
        && (below.is_empty() || below.ends_with('.'))
}

/// The Active Directory domains in an `sssd.conf`.
fn joined_by_sssd(text: &str) -> impl Iterator<Item = String> {
    let sections = sections(text).into_iter();
    sections.filter_map(|(name, settings)| {
        let domain = name.strip_prefix("domain/")?;
        (value(&settings, "id_provider") == Some("ad"))
            .then(|| value(&settings, "ad_domain").unwrap_or(domain).to_owned())
    })
}

/// The Active Directory domain in an `smb.conf`.
fn joined_by_samba(text: &str) -> impl Iterator<Item = String> {
    let sections = sections(text).into_iter();
    sections.filter_map(|(name, settings)| {
        let is_member = name.eq_ignore_ascii_case("global")
            && value(&settings, "security").is_some_and(|it| it.eq_ignore_ascii_case("ads"));
        value(&settings, "realm").filter(|_| is_member).map(str::to_owned)
    })
}

type Setting<'a> = (&'a str, &'a str);

/// The sections of such a file with their settings.
fn sections(text: &str) -> Vec<(&str, Vec<Setting<'_>>)> {
    let mut sections = vec![("", Vec::new())];
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            sections.push((name, Vec::new()));
        } else if let (Some((key, value)), Some(last)) = (line.split_once('='), sections.last_mut())
        {
            last.1.push((key.trim(), value.trim()));
        }
    }
    sections
}

fn value<'a>(settings: &[Setting<'a>], key: &str) -> Option<&'a str> {
    settings.iter().find(|(it, _)| it.eq_ignore_ascii_case(key)).map(|(_, value)| *value)
}

/// Readable for root only, as the daemon is when it starts.
const SSSD: &str = "/etc/sssd/sssd.conf";
const SAMBA: &str = "/etc/samba/smb.conf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_search_line_counts() {
        let text = "# search no.example\nsearch a.example b.example\nnameserver 192.0.2.1\n";
        assert!(search_domains(text).eq(["a.example", "b.example"]));
        assert!(search_domains("search a.example\ndomain corp.example\n").eq(["corp.example"]));
        assert!(search_domains("nameserver 192.0.2.1\n").eq([""; 0]));
    }

    #[test]
    fn a_name_lies_in_a_domain_by_whole_labels() {
        assert!(lies_in("corp.example", "corp.example"));
        assert!(lies_in("berlin.Corp.Example.", "corp.example"));
        assert!(!lies_in("evilcorp.example", "corp.example"));
        assert!(!lies_in("example", "corp.example"));
        assert!(!lies_in("corp.example", ""));
        assert!(!lies_in("\u{e9}x", "x.y"), "not between the bytes of a letter");
    }

    #[test]
    fn domains_that_were_joined_are_found() {
        let sssd = "[sssd]\ndomains = corp.example\n[domain/corp.example]\nid_provider = ad\n\
                    [domain/other]\nid_provider = ldap\n[domain/x]\nad_domain=y.example\n\
                    id_provider=ad\n";
        assert!(joined_by_sssd(sssd).eq(["corp.example", "y.example"]));
        let samba = "[global]\n  # a member\n  security = ADS\n  realm = CORP.EXAMPLE\n";
        assert!(joined_by_samba(samba).eq(["CORP.EXAMPLE"]));
        assert!(joined_by_samba("[global]\nrealm = CORP.EXAMPLE\nsecurity = user\n").eq([""; 0]));
    }
}
