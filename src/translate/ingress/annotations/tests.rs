//! What is read of annotations, and what of those that are not read closes.

use serde_json::{Value, json};

use super::row::{Annotation, Support};
use super::security::Security;
use super::table::ANNOTATIONS;
use super::unkept::MAX_UNKNOWN;
use super::*;
use crate::code::Code;
use crate::policy::Policy;
use crate::resources::{Kind, Object};

const FOREIGN: &str = "nginx.ingress.kubernetes.io";

fn read_under(foreign: &str, annotations: &[(String, &str)]) -> Asked {
    let annotations: serde_json::Map<String, Value> =
        annotations.iter().map(|(key, value)| (key.clone(), (*value).into())).collect();
    let value = json!({"metadata": {"name": "web", "namespace": "ns", "annotations": annotations}});
    let Object::Ingress(ingress) = Object::from_json(Kind::Ingress, value).unwrap() else { unreachable!() };
    read_ingress(&ingress.object.annotations, foreign, &ingress.origin())
}

fn read(annotations: &[(String, &str)]) -> Asked {
    read_under(FOREIGN, annotations)
}

fn title(name: &str) -> String {
    let upper = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    name.split('-').map(upper).collect::<Vec<_>>().join("-")
}

/// A value by which it asks.
fn asking(row: &Annotation) -> Option<&'static str> {
    match row.security {
        Security::No => None,
        Security::AccessRule => Some("deny all;"),
        Security::UnlessEverybody => Some("10.0.0.0/8"),
        Security::Always | Security::Unless(_) | Security::UnlessBlank => Some("on"),
    }
}

fn unread() -> impl Iterator<Item = &'static Annotation> {
    ANNOTATIONS.iter().filter(|row| row.support == Support::Unread)
}

#[test]
fn what_asks_for_protection_closes_under_each_prefix_in_any_case_with_a_finding() {
    for protection in unread() {
        for prefix in [PREFIX, FOREIGN, "TideGate.IO", "edge.example"] {
            for name in [protection.name.to_owned(), title(protection.name), protection.name.to_ascii_uppercase()] {
                let key = format!("{prefix}/{name}");
                let foreign = if prefix == "edge.example" { prefix } else { FOREIGN };
                let reading = read_under(foreign, &[(key.clone(), asking(protection).unwrap_or("on"))]);
                assert_eq!(reading.is_closed(), protection.security != Security::No, "{key}");
                assert_eq!(reading.diagnostics.len(), 1, "{key}: {:?}", reading.diagnostics);
                assert_eq!(reading.diagnostics[0].code, Code::UnsupportedSecurityAnnotation);
            }
        }
    }
}

#[test]
fn what_asks_for_nothing_closes_nothing() {
    let values = unread().flat_map(|each| match each.security {
        Security::Unless(none) => none.iter().map(|value| (each.name, *value)).collect(),
        Security::UnlessEverybody => vec![(each.name, "0.0.0.0/0,::/0"), (each.name, " ::/0, 10.0.0.0/8 ,0.0.0.0/0")],
        Security::UnlessBlank => vec![(each.name, " \n")],
        Security::AccessRule => vec![(each.name, "more_set_headers \"X-Y: z\";"), (each.name, "# deny all;")],
        Security::Always | Security::No => Vec::new(),
    });
    for (name, value) in values.chain([("affinity", "cookie"), ("example.com/auth-url", "http://x/")]) {
        for prefix in [PREFIX, FOREIGN] {
            let key = if name.contains('/') { name.to_owned() } else { format!("{prefix}/{name}") };
            assert!(!read(&[(key.clone(), value)]).is_closed(), "{key}: {value}");
        }
    }
}

#[test]
fn a_value_that_is_not_understood_asks() {
    for (name, value) in [
        ("proxy-ssl-verify", ""),
        ("proxy-ssl-verify", "yes"),
        ("auth-tls-verify-client", "of"),
        ("enable-modsecurity", "falsch"),
        ("whitelist-source-range", "0.0.0.0/0"),
        ("whitelist-source-range", ""),
        ("denylist-source-range", ""),
        ("auth-url", ""),
    ] {
        assert!(read(&[(format!("{FOREIGN}/{name}"), value)]).is_closed(), "{name}: {value}");
    }
}

#[test]
fn unknown_names_that_resemble_one_which_closes_close_under_the_own_prefix() {
    let near = ["auth-typ", "auth-types", "auth-secrets", "plugin", "plugns", "whitelist-source-ranges", "auth-ulr"];
    let far = ["denylist-source-rang", "basic-auth", "auth", "auth_type", "authtype", "jwt", "ip-allowlist", "plug"];
    let more = ["auth-url-internal", "oidc.issuer", "mtls", "proxy-ssl-verfy", "configuration-snipet", "auth-foo"];
    for name in near.iter().chain(&far).chain(&more) {
        let value = if name.contains("snip") { "deny all;" } else { "x" };
        let reading = read(&[(format!("{PREFIX}/{name}"), value)]);
        assert!(reading.is_closed(), "{name}");
        assert_eq!(reading.diagnostics[0].code, Code::UnknownAnnotation, "{name}");
        assert!(!read(&[(format!("{FOREIGN}/{name}"), value)]).is_closed(), "{name} meant nothing to ingress-nginx");
    }
}

#[test]
fn other_unknown_names_close_nothing() {
    for (name, value) in [
        ("colour", "red"),
        ("proxy", "x"),
        ("ssl-redirct", "true"),
        ("limit-rp", "5"),
        ("enable-cors", "true"),
        ("cors-allow-origin", "*"),
        ("enable-access-log", "true"),
        ("location", "eu"),
        ("owner", "staff"),
        ("proxy-ssl-verfy", "off"),
        ("configuration-snipet", "set $a 1;"),
    ] {
        assert!(!read(&[(format!("{PREFIX}/{name}"), value)]).is_closed(), "{name}");
    }
}

#[test]
fn of_many_unknown_names_few_are_looked_at_and_the_rest_closes() {
    let many: Vec<(String, &str)> = (0..200).map(|number| (format!("{PREFIX}/colour-{number}"), "x")).collect();
    let reading = read(&many);
    assert!(reading.is_closed() && reading.diagnostics.len() == MAX_UNKNOWN + 1);
    assert!(!read(&many[..MAX_UNKNOWN]).is_closed());
    let foreign: Vec<(String, &str)> = (0..200).map(|number| (format!("{FOREIGN}/colour-{number}"), "x")).collect();
    assert!(!read(&foreign).is_closed());
}

#[test]
fn an_annotation_of_tidegates_own_that_protects_closes_where_it_is_not_read() {
    assert!(read(&[(format!("{FOREIGN}/plugins"), "staff")]).is_closed());
    assert!(!read(&[(format!("{FOREIGN}/report-live"), "true")]).is_closed());
}

#[test]
fn two_spellings_that_differ_close_where_they_protect() {
    let both = |name: &str, one, other| {
        read(&[(format!("{PREFIX}/{name}"), one), (format!("{PREFIX}/{}", title(name)), other)])
    };
    assert!(both("plugins", "a", "b").is_closed());
    assert!(!both("plugins", "a", "a").is_closed());
    let reading = both("proxy-read-timeout", "5", "6");
    assert!(!reading.is_closed() && reading.diagnostics.len() == 1);
    let policy = reading.policy.over(&std::sync::Arc::new(Policy::default()));
    assert_eq!(policy.timeouts.read.as_secs(), 5, "the documented spelling counts");
}

#[test]
fn every_name_stands_in_the_table_once_in_lower_case() {
    let all: Vec<&str> =
        ANNOTATIONS.iter().flat_map(|row| std::iter::once(&row.name).chain(row.aliases)).copied().collect();
    let unique: std::collections::BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(unique.len(), all.len());
    assert!(all.iter().all(|name| *name == name.to_ascii_lowercase()));
}

#[test]
fn every_name_is_found_in_any_case() {
    for row in ANNOTATIONS {
        for name in std::iter::once(&row.name).chain(row.aliases) {
            for name in [(*name).to_owned(), title(name), name.to_ascii_uppercase()] {
                assert_eq!(Lookup::of_all().find(&name, Dialect::Own).unwrap().row.name, row.name, "{name}");
            }
        }
        assert!(row.aliases.iter().all(|alias| Lookup::of_all().find(alias, Dialect::Nginx).is_none()));
    }
    assert!(
        ["", "auth", "zzz", "auth-secret-typ"].iter().all(|name| Lookup::of_all().find(name, Dialect::Own).is_none())
    );
}

/// What is read on Services is read on Ingresses too, and nothing is both read and not supported.
#[test]
fn the_columns_of_a_row_agree() {
    for row in ANNOTATIONS {
        assert!(!row.on_service || row.support != Support::Unread, "{}", row.name);
        assert!(row.support == Support::Unread || !row.grammar.is_empty(), "{}", row.name);
        assert!(Holder::Ingress.reads(row, Dialect::Own) == (row.support != Support::Unread), "{}", row.name);
    }
    assert!(ANNOTATIONS.iter().any(|row| row.security != Security::No && row.support == Support::Own));
}

#[test]
fn tidegates_own_wins_over_a_foreign_one_and_a_name_over_its_other_names() {
    let body = |keys: &[&str]| {
        let annotations: Vec<(String, &str)> =
            keys.iter().zip(["1k", "2k"]).map(|(key, value)| ((*key).to_owned(), value)).collect();
        let asked = read(&annotations);
        assert!(asked.diagnostics.is_empty(), "{:?}", asked.diagnostics);
        asked.policy.over(&std::sync::Arc::new(Policy::default())).limits.body_bytes
    };
    let (own, foreign) = ("tidegate.io/proxy-body-size", "nginx.ingress.kubernetes.io/proxy-body-size");
    assert_eq!(body(&[own, foreign]), Some(1024));
    assert_eq!(body(&[foreign, own]), Some(2048));
    assert_eq!(body(&["tidegate.io/max-body", foreign]), Some(1024));
    assert_eq!(body(&["tidegate.io/max-body", own]), Some(2048));
}
