use serde_json::json;

use super::process::{AddressSpec, CacheSpec, FilesSpec, LeaderElectionSpec, LogLevel, LogSpec, SourcesSpec, Switch};
use super::*;
use crate::listener::{Alpn, ListenerProtocol, TlsVersion};
use crate::resources::conf::{ListenerSpec, TlsSpec};

fn parse(text: &str) -> Result<Settings, Vec<Diagnostic>> {
    Settings::parse(text, Path::new("conf/a.yaml"))
}

/// Field, message, hint, line and column of every fault.
fn faults(text: &str) -> Vec<(String, String, String, u32, u32)> {
    let tell = |it: Diagnostic| {
        let position = it.position.unwrap();
        (it.origin.field.to_string(), it.message, it.hint.unwrap_or_default(), position.line, position.column)
    };
    parse(text).unwrap_err().into_iter().map(tell).collect()
}

fn fault(field: &str, message: &str, hint: &str, line: u32, column: u32) -> (String, String, String, u32, u32) {
    (field.to_owned(), message.to_owned(), hint.to_owned(), line, column)
}

#[test]
fn an_empty_file_gives_the_defaults() {
    for text in ["", "# nothing\n", "{}"] {
        let settings = parse(text).unwrap();
        assert_eq!((settings.process, settings.conf), (Process::default(), Conf::default()), "{text:?}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one field after the other")]
fn every_section_is_read() {
    let settings = parse(
        "threads: 2
listeners:
  - { name: web, address: '127.0.0.1:0', protocol: https, tls: { certificateFile: a.crt, keyFile: a.key, alpn: [http/1.1], minVersion: '1.3' } }
telemetry: off
admin: { address: '[::1]:1' }
admission: { address: '[::1]:2', service: a/b, webhookConfiguration: c }
accessLog: { path: stderr, format: { nginx: '$remote_addr' } }
sources:
  files: { paths: [manifests], watch: false }
  kubernetes: { kubeconfig: kube.yaml, context: test, namespaces: [a, b], secretNamespaces: [c], leaderElection: { lease: a/b, duration: 20s }, events: false, cache: { path: state, secrets: true } }
shutdown: { delay: 5s, timeout: 1m }
log: { level: debug, format: json }
trustedProxies: [10.0.0.0/8]
defaults: { attempts: 2 }
",
    )
    .unwrap();
    let expected = Process {
        threads: 2,
        telemetry: Switch::Off,
        admin: Switch::On(AddressSpec { address: "[::1]:1".parse().unwrap() }),
        admission: Some(AdmissionSpec {
            address: "[::1]:2".parse().unwrap(),
            certificate_file: None,
            key_file: None,
            client_ca_file: None,
            service: Some("a/b".into()),
            secret: "tidegate-admission".into(),
            webhook_configuration: Some("c".into()),
        }),
        access_log: Switch::On(AccessLogSpec {
            path: "stderr".into(),
            format: LogFormat::Nginx("$remote_addr".into()),
        }),
        sources: SourcesSpec {
            files: Some(FilesSpec { paths: vec!["manifests".into()], watch: false }),
            kubernetes: Some(KubernetesSpec {
                kubeconfig: Some("kube.yaml".into()),
                context: Some("test".into()),
                namespaces: vec!["a".into(), "b".into()],
                namespace_selector: None,
                secret_namespaces: vec!["c".into()],
                leader_election: Switch::On(LeaderElectionSpec {
                    lease: "a/b".into(),
                    duration: "20s".parse().unwrap(),
                }),
                events: false,
                cache: Some(CacheSpec { path: "state".into(), secrets: true }),
            }),
        },
        shutdown: ShutdownSpec { delay: "5s".parse().unwrap(), timeout: "1m".parse().unwrap() },
        log: LogSpec { path: "stderr".into(), level: LogLevel::Debug, format: LogStyle::Json },
    };
    assert_eq!(settings.process, expected);
    let listener = ListenerSpec {
        name: "web".into(),
        address: "127.0.0.1:0".parse().unwrap(),
        protocol: ListenerProtocol::Https,
        tls: Some(TlsSpec {
            certificate_file: Some("a.crt".into()),
            key_file: Some("a.key".into()),
            alpn: Some(vec![Alpn::Http11]),
            min_version: TlsVersion::Tls13,
            pem: None,
        }),
    };
    assert_eq!(settings.conf.listeners, [listener]);
    assert_eq!((settings.conf.defaults.attempts, settings.conf.trusted_proxies.len()), (Some(2), 1));
}

#[test]
fn the_shape_that_the_benches_write_is_read() {
    let conf = json!({
        "threads": 1, "admin": "off", "telemetry": {"address": "127.0.0.1:9000"},
        "listeners": [{"name": "l", "address": "127.0.0.1:8000", "protocol": "https",
                       "tls": {"certificateFile": "/a.crt", "keyFile": "/a.key", "alpn": ["h2", "http/1.1"]}}],
        "accessLog": {"path": "/dev/null", "format": "json"},
        "sources": {"files": {"paths": ["/x/manifests"], "watch": true}},
        "upstreams": {"b0": {"endpoints": [{"address": "127.0.0.1:9001"}]}},
        "routes": [{"paths": [{"prefix": "/a"}], "backends": [{"upstream": "b0"}], "plugins": [
            {"type": "headers", "request": {"set": {"X-Added": "bench"}, "remove": ["X-Drop"]}},
            {"type": "rate-limit", "rate": "100/s", "burst": 100, "key": "clientIp"}]}],
    });
    let settings = parse(&conf.to_string()).unwrap();
    assert_eq!((settings.conf.routes[0].plugins.len(), settings.conf.routes[0].backends[0].weight), (2, 1));
}

#[test]
fn relative_file_names_start_from_the_folder_of_the_conf() {
    let settings = parse("").unwrap();
    assert_eq!(settings.resolve("tls.crt"), Path::new("conf/tls.crt"));
    assert_eq!(settings.resolve("/etc/tls.crt"), Path::new("/etc/tls.crt"));
    assert_eq!(Settings::parse("", Path::new("a.yaml")).unwrap().resolve("b"), Path::new("./b"));
}

#[test]
fn unknown_fields_are_told_at_every_depth_with_the_nearest_name() {
    assert_eq!(
        faults("acceslog: off\nthreads: 1\nlistener: []\n"),
        [
            fault("acceslog", "unknown field `acceslog`", "did you mean `accessLog`?", 1, 1),
            fault("listener", "unknown field `listener`", "did you mean `listeners`?", 3, 1),
        ]
    );
    assert_eq!(
        faults("shutdown:\n  timout: 3s\nroutes:\n  - paths: []\n    backend: []\n"),
        [
            fault("shutdown.timout", "unknown field `timout`", "did you mean `timeout`?", 2, 3),
            fault("routes[0].backend", "unknown field `backend`", "did you mean `backends`?", 5, 5),
        ]
    );
    assert_eq!(
        faults("admin: { adress: '127.0.0.1:1' }\n"),
        [fault("admin.adress", "unknown field `adress`", "known here: `address`", 1, 10)].map(|mut it| {
            it.2 = "did you mean `address`?".to_owned();
            it
        })
    );
}

#[test]
fn a_field_of_another_section_is_told_with_its_place() {
    let hints = |text: &str| -> Vec<String> { faults(text).into_iter().map(|fault| fault.2).collect() };
    for (text, place) in [
        ("ingress: { zone: a }\n", "`zone` at the top level"),
        ("ingress: { defaultBackend: a/b:80 }\n", "`defaults.backend`"),
        ("ingress: { defaultCertificate: a/b }\n", "`defaults.certificate`"),
        ("ingress: { allowExternalName: true }\n", "`defaults.allowExternalName`"),
        ("allowAddresses: []\n", "`defaults.allowAddresses`"),
        ("defaults: { trustedProxies: [] }\n", "`trustedProxies` at the top level"),
        ("routes: [ { minVersion: '1.3' } ]\n", "`listeners[].tls.minVersion`"),
        ("serverName: a\n", "`upstreams.NAME.tls.serverName`"),
        ("timeouts: { connect: 1s }\n", "`defaults.timeouts` or `routes[].timeouts`"),
    ] {
        assert_eq!(hints(text), [format!("did you mean {place}?")], "{text}");
    }
    // A name near by comes first; one that is everywhere, or nowhere, says nothing.
    assert_eq!(hints("ingress: { profil: native }\n"), ["did you mean `profile`?"]);
    assert!(hints("shutdown: { name: a }\n")[0].starts_with("known here: "));
    assert!(hints("shutdown: { nonsense: a }\n")[0].starts_with("known here: "));
    assert!(hints("nonsense: a\n")[0].starts_with("sections are "));
}

#[test]
fn each_section_tells_its_own_fault() {
    let told = faults("threads: many\nshutdown: { delay: soon }\ndefaults: { attempts: no }\n");
    let places: Vec<_> = told.iter().map(|it| (it.0.as_str(), it.3, it.4)).collect();
    assert_eq!(places, [("threads", 1, 10), ("shutdown.delay", 2, 20), ("defaults.attempts", 3, 23)]);
    assert!(told[1].1.contains("`soon` is not a duration"), "{told:?}");
}

#[test]
fn addresses_that_are_none_are_told_with_an_example() {
    let told = faults("telemetry: { address: localhost }\n");
    let hint = "write it as IP:port, such as `127.0.0.1:8080`";
    assert_eq!(told, [fault("telemetry.address", "invalid socket address syntax", hint, 1, 23)]);
}

#[test]
fn what_cannot_be_is_told() {
    let told = faults(
        "listeners:
  - { name: a, address: '127.0.0.1:80', protocol: http, tls: {} }
  - { name: a, address: '127.0.0.1:80', protocol: https, tls: { keyFile: k, alpn: [] } }
  - { name: '', address: '127.0.0.1:0', protocol: https, tls: { certificateFile: c } }
admin: { address: '127.0.0.1:80' }
accessLog: { path: '' }
sources: { files: { paths: [''] } }
upstreams: { u: { tls: { ca: x, caFile: y } } }
",
    );
    let told: Vec<_> = told.iter().map(|it| (it.0.as_str(), it.1.as_str(), it.3)).collect();
    assert_eq!(
        told,
        [
            ("listeners[1].name", "`listeners[0]` has the name `a` already", 3),
            ("listeners[2].name", "the name is empty", 4),
            ("listeners[1].address", "`listeners[0].address` is 127.0.0.1:80 already", 3),
            ("admin.address", "`listeners[0].address` is 127.0.0.1:80 already", 5),
            ("listeners[0].tls", "`tls` is for listeners with `protocol: https`", 2),
            ("listeners[1].tls.keyFile", "`keyFile` is given without `certificateFile`", 3),
            ("listeners[1].tls.alpn", "`alpn` is empty", 3),
            ("listeners[2].tls.certificateFile", "`certificateFile` is given without `keyFile`", 4),
            ("sources.files.paths[0]", "the path is empty", 7),
            ("accessLog.path", "the path is empty", 6),
            ("upstreams.u.tls.caFile", "both `ca` and `caFile` are given", 8),
        ]
    );
}

#[test]
fn a_conf_is_one_mapping() {
    assert_eq!(faults("- a\n")[0].1, "a conf file is a mapping of sections");
    assert_eq!(faults("threads: 1\n---\nthreads: 2\n")[0].1, "a conf file has one document, this is a second one");
    assert_eq!(parse("threads: [\n").unwrap_err()[0].code.as_str(), "InvalidYaml");
    assert_eq!(Settings::load(Path::new("/nowhere/a.yaml")).unwrap_err()[0].code.as_str(), "FileUnreadable");
}

#[test]
fn what_cannot_change_live_is_named() {
    let old = parse("").unwrap().process;
    let fields = |text: &str| -> Vec<String> {
        let new = parse(text).unwrap().process;
        old.restart_needed(&new).iter().map(|it| it.origin.field.to_string()).collect()
    };
    let live = "listeners: [{ name: a, address: '127.0.0.1:1', protocol: https, tls: { minVersion: '1.3' } }]\n";
    assert_eq!(fields(&format!("{live}shutdown: {{ delay: 1s }}\naccessLog: off\nlog: {{ level: debug }}\n")), [""; 0]);
    let all = "threads: 3\nadmin: off\ntelemetry: off\nsources: { files: { paths: [a] }, kubernetes: {} }\nlog: { format: json }\n";
    let sources = ["sources.files", "sources.kubernetes"];
    assert_eq!(fields(all), [&["threads", "telemetry", "admin"], &sources[..], &["log.format"]].concat());
}

#[test]
fn what_needs_a_restart_is_compared_with_what_is_in_force() {
    let old = parse("threads: 1\n").unwrap().process;
    let asked = parse("threads: 2\nlog: { level: warn, format: json }\nsources: { files: { paths: [a] } }\n").unwrap();
    let mut now = asked.process.clone();
    now.keep_restart_needed(old);
    assert_eq!((now.threads, now.log.level, now.sources.files.is_none()), (1, LogLevel::Warn, true));
    assert_eq!(now.restart_needed(&asked.process).len(), 3, "the next look says so again");
}

#[test]
fn the_schema_file_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/schema.json");
    let expected = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "conf/schema.json is old: run UPDATE_GOLDEN=1 cargo test schema");
}

#[test]
fn the_schema_knows_every_section() {
    let schema = schema();
    for key in ["threads", "listeners", "accessLog", "sources", "routes", "upstreams", "trustedProxies"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    assert_eq!(schema["additionalProperties"], json!(false));
    assert!(schema["$defs"]["RouteSpec"].is_object());
}

#[test]
fn the_demo_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/tidegate.yaml");
    let settings = Settings::load(&path).unwrap();
    assert!(settings.conf.upstreams.values().all(|upstream| upstream.builtin.is_some()));
    assert!(settings.conf.routes.len() >= 5);
}

/// A name that fits nothing would leave open what somebody wants closed.
#[test]
fn names_of_identity_headers_are_names() {
    let list = "defaults:\n  identityHeaders:\n    ";
    for (text, field, message) in [
        ("add: [X Y]", "add[0]", "`X Y` is not the name of a field"),
        ("add: [X-A, '']", "add[1]", "`` is not the name of a field"),
        ("add: [X-*-User]", "add[0]", "`X-*-User` is not the name of a field"),
        ("add: ['*']", "add[0]", "`*` is not the name of a field"),
        ("add: ['x-*']", "add[0]", "`x-*` stands for too many names"),
        ("add: [Host]", "add[0]", "`Host` stands for fields without which no request can be read"),
        ("add: ['Content-*']", "add[0]", "`Content-*` stands for fields without which no request can be read"),
        ("add: [CDN-Loop]", "add[0]", "`CDN-Loop` stands for fields without which no request can be read"),
        ("pass: [X_User]", "pass[0]", "`X_User` has a `_`, and such names never pass"),
    ] {
        let found = faults(&format!("{list}{text}\n"));
        let expected = (format!("defaults.identityHeaders.{field}"), message.to_owned());
        assert_eq!(found.iter().map(|it| (it.0.clone(), it.1.clone())).collect::<Vec<_>>(), [expected], "{text}");
    }
    assert!(parse(&format!("{list}add: [X-Corp-User, X-Team-*, X_Old]\n    pass: [X-User, x-sso-*]\n")).is_ok());
}
