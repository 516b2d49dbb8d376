use serde_json::{Value, json};

use super::super::{ROUTES, Support, read_ingress};
use super::*;
use crate::resources::{Kind, Object};

const FOREIGN: &str = "nginx.ingress.kubernetes.io";

fn read_under(foreign: &str, annotations: &[(String, &str)]) -> Reading {
    let annotations: serde_json::Map<String, Value> =
        annotations.iter().map(|(key, value)| (key.clone(), (*value).into())).collect();
    let value = json!({"metadata": {"name": "web", "namespace": "ns", "annotations": annotations}});
    let Object::Ingress(ingress) = Object::from_json(Kind::Ingress, value).unwrap() else { unreachable!() };
    read_ingress(&ingress.object.annotations, foreign, &ingress.origin())
}

fn read(annotations: &[(String, &str)]) -> Reading {
    read_under(FOREIGN, annotations)
}

fn title(name: &str) -> String {
    let upper = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    name.split('-').map(upper).collect::<Vec<_>>().join("-")
}

/// A value by which it asks.
fn asking(protection: &Protection) -> Option<&'static str> {
    match protection.asks {
        Asks::Never => None,
        Asks::AccessRule => Some("deny all;"),
        Asks::UnlessEverybody => Some("10.0.0.0/8"),
        Asks::Always | Asks::Unless(_) | Asks::UnlessBlank => Some("on"),
    }
}

#[test]
fn what_asks_for_protection_closes_under_each_prefix_in_any_case_with_a_finding() {
    for protection in PROTECTIONS {
        for prefix in [PREFIX, FOREIGN, "TideGate.IO", "edge.example"] {
            for name in [protection.name.to_owned(), title(protection.name), protection.name.to_ascii_uppercase()] {
                let key = format!("{prefix}/{name}");
                let foreign = if prefix == "edge.example" { prefix } else { FOREIGN };
                let reading = read_under(foreign, &[(key.clone(), asking(protection).unwrap_or("on"))]);
                assert_eq!(reading.is_broken, protection.asks != Asks::Never, "{key}");
                assert_eq!(reading.diagnostics.len(), 1, "{key}: {:?}", reading.diagnostics);
                assert_eq!(reading.diagnostics[0].code, "UnsupportedSecurityAnnotation");
            }
        }
    }
}

#[test]
fn what_asks_for_nothing_closes_nothing() {
    let values = PROTECTIONS.iter().flat_map(|each| match each.asks {
        Asks::Unless(none) => none.iter().map(|value| (each.name, *value)).collect(),
        Asks::UnlessEverybody => vec![(each.name, "0.0.0.0/0,::/0"), (each.name, " ::/0, 10.0.0.0/8 ,0.0.0.0/0")],
        Asks::UnlessBlank => vec![(each.name, " \n")],
        Asks::AccessRule => vec![(each.name, "more_set_headers \"X-Y: z\";"), (each.name, "# deny all;")],
        Asks::Always | Asks::Never => Vec::new(),
    });
    for (name, value) in values.chain([("affinity", "cookie"), ("example.com/auth-url", "http://x/")]) {
        for prefix in [PREFIX, FOREIGN] {
            let key = if name.contains('/') { name.to_owned() } else { format!("{prefix}/{name}") };
            assert!(!read(&[(key.clone(), value)]).is_broken, "{key}: {value}");
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
        assert!(read(&[(format!("{FOREIGN}/{name}"), value)]).is_broken, "{name}: {value}");
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
        assert!(reading.is_broken, "{name}");
        assert_eq!(reading.diagnostics[0].code, "UnknownAnnotation", "{name}");
        assert!(!read(&[(format!("{FOREIGN}/{name}"), value)]).is_broken, "{name} meant nothing to ingress-nginx");
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
        assert!(!read(&[(format!("{PREFIX}/{name}"), value)]).is_broken, "{name}");
    }
}

#[test]
fn of_many_unknown_names_few_are_looked_at_and_the_rest_closes() {
    let many: Vec<(String, &str)> = (0..200).map(|number| (format!("{PREFIX}/colour-{number}"), "x")).collect();
    let reading = read(&many);
    assert!(reading.is_broken && reading.diagnostics.len() == MAX_UNKNOWN + 1);
    assert!(!read(&many[..MAX_UNKNOWN]).is_broken);
    let foreign: Vec<(String, &str)> = (0..200).map(|number| (format!("{FOREIGN}/colour-{number}"), "x")).collect();
    assert!(!read(&foreign).is_broken);
}

#[test]
fn an_annotation_of_tidegates_own_that_protects_closes_where_it_is_not_read() {
    assert!(read(&[(format!("{FOREIGN}/plugins"), "staff")]).is_broken);
    assert!(!read(&[(format!("{FOREIGN}/report-live"), "true")]).is_broken);
}

#[test]
fn two_spellings_that_differ_close_where_they_protect() {
    let both = |name: &str, one, other| {
        read(&[(format!("{PREFIX}/{name}"), one), (format!("{PREFIX}/{}", title(name)), other)])
    };
    assert!(both("plugins", "a", "b").is_broken);
    assert!(!both("plugins", "a", "a").is_broken);
    let reading = both("proxy-read-timeout", "5", "6");
    assert!(!reading.is_broken && reading.diagnostics.len() == 1);
    assert_eq!(reading.waits[0].1.as_secs(), 5, "the documented spelling counts");
}

#[test]
fn every_name_stands_in_one_table_once() {
    let ours = ANNOTATIONS.iter().flat_map(|each| std::iter::once(&each.name).chain(each.aliases));
    let all: Vec<&str> = ours.copied().chain(PROTECTIONS.iter().map(|each| each.name)).collect();
    let unique: std::collections::BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(unique.len(), all.len());
    assert!(all.iter().all(|name| *name == name.to_ascii_lowercase()));
}

#[test]
fn what_protects_is_read_under_the_own_prefix() {
    let scope = Scope { prefix: PREFIX, is_read: |_| true, what: ROUTES };
    assert!(ANNOTATIONS.iter().filter(|each| each.protects).all(|each| scope.reads(each.name)));
    assert!(ANNOTATIONS.iter().any(|each| each.protects && each.support == Support::Own));
}
