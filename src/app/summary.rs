//! What is printed when the proxy is ready: for people, before the log begins.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::Running;
use super::counts::{self, counted};
use crate::diagnostic::{Diagnostic, Severity};
use crate::host::HostPattern;
use crate::snapshot::Snapshot;
use crate::snapshot::route::{Action, HttpsRedirect, Route};

/// Commands that are shown.
const MAX_TO_TRY: usize = 3;

/// The start-up summary of a proxy that is ready.
pub(crate) fn text(running: &Running) -> String {
    let snapshot = running.snapshot();
    let conf = running.conf();
    let mut text = format!("tidegate {} is ready: {}\n", env!("CARGO_PKG_VERSION"), counts::of_snapshot(&snapshot));
    let mut line = |label: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {label:<9}  {value}");
    };
    line("conf", &conf.display().to_string());
    for (scheme, address) in running.addresses() {
        line("listening", &format!("{scheme}://{address}"));
    }
    for (label, address) in [("telemetry", running.telemetry()), ("admin", running.admin())] {
        if let Some(address) = address {
            line(label, &format!("http://{}", reachable(address)));
        }
    }
    line("sources", &running.source_names());
    line("findings", &findings(&running.diagnostics(), &conf));
    to_try(&running.addresses(), &snapshot).iter().for_each(|command| line("try", command));
    text
}

fn findings(found: &[Diagnostic], conf: &Path) -> String {
    let count = |severity| found.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let total = format!("{}, {}", counted(errors, "error"), counted(warnings, "warning"));
    match errors + warnings {
        0 => total,
        _ => format!("{total}; `tidegate check --conf {}` shows them", quoted(&conf.display().to_string())),
    }
}

/// Commands that show something: one a host, of routes that forward before others; https where http only redirects.
fn to_try(addresses: &[(String, SocketAddr)], snapshot: &Snapshot) -> Vec<String> {
    let mut entries: Vec<((bool, usize), &HostPattern, &str, &Route)> = Vec::new();
    for (pattern, routes) in snapshot.common.router.hosts() {
        let plain = routes.entries().iter().filter(|entry| entry.kind() != "regex" && entry.conditions().is_empty());
        let fallback = routes.fallback().map(|route| ("/", &**route));
        let shown = plain.map(|entry| (entry.path(), &**entry.route())).chain(fallback);
        let shown = shown.filter(|(_, route)| !matches!(route.action, Action::Refuse(_)));
        entries.extend(shown.enumerate().map(|(index, (path, route))| {
            let order = (!matches!(route.action, Action::Forward(_)), index);
            (order, pattern, path, route)
        }));
    }
    entries.sort_by_key(|(order, ..)| *order);
    let commands = entries.into_iter().enumerate().filter_map(|(index, (_, pattern, path, route))| {
        // The second command shows the other scheme, if there is one.
        let wanted = if route.https_redirect == HttpsRedirect::Always || index == 1 { "https" } else { "http" };
        let listener = addresses.iter().find(|(scheme, _)| scheme == wanted).or_else(|| addresses.first())?;
        Some(command(listener, pattern, path))
    });
    commands.take(MAX_TO_TRY).collect()
}

/// A command that reaches a path of a host at a listener, whatever names resolve to.
fn command((scheme, address): &(String, SocketAddr), pattern: &HostPattern, path: &str) -> String {
    let address = reachable(*address);
    let host = match pattern.to_string() {
        any if any == "*" => None,
        wildcard if wildcard.starts_with('*') => Some(format!("any{}", wildcard.trim_start_matches('*'))),
        name => Some(name),
    };
    match host {
        None if scheme == "https" => format!("curl -ik {}", quoted(&format!("https://{address}{path}"))),
        None => format!("curl -i {}", quoted(&format!("{scheme}://{address}{path}"))),
        // Over TLS the name must be in the handshake too, or the wrong certificate is shown.
        Some(host) if scheme == "https" => {
            let (ip, port) = (address.ip(), address.port());
            let ip = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            format!("curl -ik --resolve {host}:{port}:{ip} {}", quoted(&format!("https://{host}:{port}{path}")))
        }
        Some(host) => format!("curl -i -H 'Host: {host}' {}", quoted(&format!("{scheme}://{address}{path}"))),
    }
}

/// Where a listener on all addresses is reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())),
        _ => address,
    }
}

/// As a shell reads it in one piece.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~/:%+,@".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(scheme: &str, address: &str, host: &str, path: &str) -> String {
        command(&(scheme.to_owned(), address.parse().unwrap()), &HostPattern::parse(host).unwrap(), path)
    }

    #[test]
    fn commands_work_as_they_are_printed() {
        assert_eq!(shown("http", "0.0.0.0:8080", "", "/a"), "curl -i http://127.0.0.1:8080/a");
        assert_eq!(shown("https", "127.0.0.1:8443", "", "/"), "curl -ik https://127.0.0.1:8443/");
        assert_eq!(
            shown("http", "127.0.0.1:80", "*.a.test", "/"),
            "curl -i -H 'Host: any.a.test' http://127.0.0.1:80/"
        );
        assert_eq!(
            shown("https", "[::]:8443", "a.test", "/x"),
            "curl -ik --resolve a.test:8443:[::1] https://a.test:8443/x"
        );
        assert_eq!(shown("http", "127.0.0.1:80", "", "/it's"), r"curl -i 'http://127.0.0.1:80/it'\''s'");
    }
}
