use std::io::Write;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_plugin::{RouteFacts, TlsFacts};

use super::*;
use crate::reason::Reason;
use crate::telemetry::record::Attempt;
use crate::telemetry::record::testing::record;

fn line(format: Format, record: &RequestRecord<'_>) -> String {
    let mut line = Vec::new();
    Layout::of(format).write(&mut line, record);
    String::from_utf8(line).unwrap()
}

fn nginx(format: &str, record: &RequestRecord<'_>) -> String {
    line(Format::Nginx(NginxFormat::parse(format).unwrap()), record)
}

fn route() -> RouteFacts {
    RouteFacts::new("Ingress", "shop", "web").service("api").path("/a")
}

fn attempts() -> [Attempt; 2] {
    let millis = |ms| Some(Duration::from_millis(ms));
    let good = Attempt {
        address: "10.1.0.2:80".parse().unwrap(),
        connect: None,
        header: millis(9),
        response: millis(11),
        is_reused: true,
        outcome: Reason::Upstream,
    };
    let failed = Attempt {
        address: "10.1.0.1:80".parse().unwrap(),
        connect: None,
        header: None,
        response: None,
        is_reused: false,
        outcome: Reason::ConnectTimeout,
    };
    [failed, good]
}

#[test]
fn json_has_open_telemetry_names() {
    let (route, attempts) = (route(), attempts());
    let tls = TlsFacts::new(Some("shop.example".into()), "TLSv1.3", "AES");
    let full = RequestRecord {
        route: Some(&route),
        attempts: &attempts,
        tls: Some(&tls),
        protocol: "HTTP/2.0",
        user_agent: Some(b"curl/8"),
        referer: Some(b"http://r/"),
        upstream: Some("shop-api-80"),
        error: Some("first endpoint: timed out"),
        identity: Some("alice"),
        ..record()
    };
    let expected = json!({
        "time": "2026-11-21T05:30:42.123Z", "request_id": "0123456789abcdef",
        "http.request.method": "GET", "url.scheme": "http", "server.address": "shop.example",
        "url.path": "/a", "url.query": "b=c", "http.request.size": 120,
        "user_agent.original": "curl/8", "http.request.header.referer": ["http://r/"], "user.name": "alice",
        "http.response.status_code": 200, "http.response.size": 345, "duration": 0.012_345, "reason": "upstream",
        "namespace": "shop", "route.kind": "Ingress", "route.name": "web", "http.route": "/a", "service": "api",
        "upstream": "shop-api-80", "listener": "http",
        "client.address": "192.0.2.1", "network.peer.address": "10.0.0.9", "network.peer.port": 4711,
        "network.protocol.version": "2",
        "tls.protocol.version": "1.3", "tls.cipher": "AES", "tls.client.server_name": "shop.example",
        "attempts": [
            { "address": "10.1.0.1:80", "reused": false, "outcome": "connect_timeout" },
            { "address": "10.1.0.2:80", "header": 0.009, "response": 0.011, "reused": true, "outcome": "upstream" },
        ],
        "error": "first endpoint: timed out",
    });
    assert_eq!(serde_json::from_str::<Value>(&line(Format::Json, &full)).unwrap(), expected);
    let bare: Value = serde_json::from_str(&line(Format::Json, &record())).unwrap();
    assert_eq!(bare["network.protocol.version"], "1.1");
    assert!(
        bare.get("attempts").is_none() && bare.get("route.name").is_none() && bare.get("tls.cipher").is_none(),
        "{bare}"
    );
}

/// Log injection: whatever one byte a client sends, there is one line, and it is one JSON object.
#[test]
fn each_byte_anywhere_gives_one_valid_json_line() {
    for byte in 0..=255_u8 {
        let raw = [b'a', byte, b'z'];
        let text: String = raw.iter().map(|&byte| char::from(byte)).collect();
        let hostile = RequestRecord {
            host: &text,
            path: &text,
            query: Some(&text),
            method: &text,
            request_id: &text,
            user_agent: Some(&raw),
            referer: Some(&raw),
            error: Some(&text),
            identity: Some(&text),
            ..record()
        };
        let json = line(Format::Json, &hostile);
        assert!(!json.bytes().any(|byte| byte < b' ' || byte == 0x7f), "{json:?}");
        let value: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{byte}: {error}: {json}"));
        for name in ["server.address", "url.path", "url.query", "user_agent.original", "http.request.method"] {
            assert_eq!(value[name], text, "{name} of byte {byte}");
        }
        let combined = line(Format::Combined, &hostile);
        assert!(combined.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{combined:?}");
        assert_eq!(combined.matches('"').count(), 6, "{combined}");
    }
}

#[test]
fn client_fields_are_capped() {
    let long = "x".repeat(100_000);
    let hostile =
        RequestRecord { host: &long, path: &long, query: Some(&long), user_agent: Some(long.as_bytes()), ..record() };
    let value: Value = serde_json::from_str(&line(Format::Json, &hostile)).unwrap();
    for name in ["server.address", "url.path", "url.query", "user_agent.original"] {
        assert_eq!(value[name].as_str().unwrap().chars().count(), escape::MAX_FIELD_BYTES + 1, "{name}");
    }
}

#[test]
fn combined_is_as_nginx_writes_it() {
    let named = RequestRecord { user_agent: Some(b"curl \"8\""), identity: Some("alice"), ..record() };
    assert_eq!(
        line(Format::Combined, &named),
        r#"192.0.2.1 - alice [21/Nov/2026:05:30:42 +0000] "GET /a?b=c HTTP/1.1" 200 345 "-" "curl \x228\x22""#
    );
}

#[test]
fn the_default_format_of_ingress_nginx_is_understood() {
    let format = concat!(
        r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "#,
        r#""$http_user_agent" $request_length $request_time [$proxy_upstream_name] "#,
        r#"[$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length $upstream_response_time "#,
        "$upstream_status $req_id\n"
    );
    let (route, attempts) = (route(), attempts());
    let full = RequestRecord { route: Some(&route), attempts: &attempts, upstream: Some("shop-api-80"), ..record() };
    assert_eq!(
        nginx(format, &full),
        concat!(
            r#"192.0.2.1 - - [21/Nov/2026:05:30:42 +0000] "GET /a?b=c HTTP/1.1" 200 345 "-" "-" 120 0.012 "#,
            r#"[shop-api-80] [] 10.1.0.1:80, 10.1.0.2:80 0, 345 -, 0.011 504, 200 0123456789abcdef"#
        )
    );
    assert_eq!(nginx("$upstream_addr|$upstream_status|$ssl_protocol|$args", &record()), "-|-|-|b=c");
    assert_eq!(nginx("${namespace}x$ingress_name-$service_name", &full), "shopxweb-api");
    assert_eq!(
        nginx("$time_iso8601 $msec $upstream_connect_time", &full),
        "2026-11-21T05:30:42+00:00 1795239042.135 -, 0.000"
    );
}

#[test]
fn every_variable_can_be_written_and_others_are_refused() {
    let unknown = |name: &str| FormatError::UnknownVariable { name: name.to_owned() };
    assert_eq!(NginxFormat::parse("$remote_addr $http_cookie").unwrap_err(), unknown("http_cookie"));
    assert_eq!(NginxFormat::parse("${http_authorization}").unwrap_err(), unknown("http_authorization"));
    assert_eq!(NginxFormat::parse("${host").unwrap_err(), FormatError::Unclosed);
    assert_eq!(NginxFormat::parse("costs 5$").unwrap_err(), FormatError::Unnamed);
    let message = unknown("x").to_string();
    assert!(message.starts_with("log format: unknown variable `$x` (known: args, "), "{message}");
    assert_ne!(line(Format::Combined, &record()), "", "the combined format compiles");
}

#[test]
fn formats_and_destinations_read_as_users_write_them() {
    assert!(matches!("json".parse(), Ok(Format::Json)));
    assert!(matches!("combined".parse(), Ok(Format::Combined)));
    assert!(matches!("$host x".parse(), Ok(Format::Nginx(_))));
    assert!(matches!("$nothing".parse::<Format>(), Err(FormatError::UnknownVariable { .. })));
    let error = "jsno".parse::<Format>().unwrap_err();
    assert_eq!(error.to_string(), "log format: `jsno` is not one (try `json`, `combined`, or text with `$variables`)");
    assert_eq!(
        ["stdout", "stderr", "a/b"].map(|text| Destination::of(text, std::path::Path::new(""))),
        [Destination::Stdout, Destination::Stderr, Destination::File("a/b".into())]
    );
}

/// A sink which is closed until it is opened, and keeps what was written.
#[derive(Clone, Default)]
struct Gate(Arc<GateState>);

#[derive(Default)]
struct GateState {
    content: Mutex<(bool, Vec<u8>)>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        self.0.content.lock().unwrap().0 = true;
        self.0.opened.notify_all();
    }

    fn lines(&self) -> usize {
        self.0.content.lock().unwrap().1.iter().filter(|byte| **byte == b'\n').count()
    }
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.opened.wait_while(self.0.content.lock().unwrap(), |state| !state.0).unwrap();
        state.1.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lost lines are counted for the whole process; tests that lose lines take turns.
static LOSING: Mutex<()> = Mutex::new(());

#[test]
fn a_queue_of_long_lines_is_bounded_in_bytes() {
    let _turn = LOSING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let gate = Gate::default();
    let log = AccessLog::to(Format::Json, gate.clone(), 1_000_000).unwrap();
    let long = "x".repeat(3000);
    let hostile = RequestRecord { host: &long, path: &long, query: Some(&long), method: &long, ..record() };
    (0..5000).for_each(|_| log.record(&hostile));
    let queued = log.queued();
    // Each line has more than 8 KiB, and 16 MiB may wait.
    assert!((1000..2100).contains(&queued), "{queued}");
    gate.open();
    drop(log);
    assert!((queued..queued + 16).contains(&gate.lines()), "{} of {queued}", gate.lines());
}

#[test]
fn a_full_queue_drops_and_counts_and_never_blocks() {
    let _turn = LOSING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let gate = Gate::default();
    let log = AccessLog::to(Format::Json, gate.clone(), 8).unwrap();
    let before = Log::Access.dropped_total();
    // The sink takes nothing: would a line block, this loop would not end.
    for _ in 0..10_000 {
        log.record(&record());
    }
    let dropped = Log::Access.dropped_total() - before;
    // The thread itself may hold a batch of 64 KiB besides the queue.
    assert!((9_000..10_000).contains(&dropped), "{dropped}");
    assert!(log.queued() <= 8, "{}", log.queued());
    gate.open();
    drop(log);
    assert_eq!(gate.lines() as u64 + dropped, 10_000, "what was not dropped is written");
}

#[test]
fn dropping_the_log_writes_what_is_queued() {
    let gate = Gate::default();
    gate.open();
    let log = AccessLog::to(Format::Combined, gate.clone(), 4096).unwrap();
    (0..1000).for_each(|_| log.record(&record()));
    drop(log);
    assert_eq!(gate.lines(), 1000);
}

#[test]
fn a_file_is_appended_to_and_opened_again_after_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    std::fs::write(&path, "before\n").unwrap();
    let log = AccessLog::open(Format::Combined, Destination::File(path.clone())).unwrap();
    log.record(&record());
    std::fs::rename(&path, &moved).unwrap();
    log.reopen();
    while !path.exists() {
        std::thread::yield_now();
    }
    log.record(&record());
    drop(log);
    assert_eq!(std::fs::read_to_string(&moved).unwrap().lines().count(), 2, "the old file has the line before");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    let absent = Destination::File(folder.path().join("no/such/folder"));
    assert!(AccessLog::open(Format::Json, absent).is_err());
}
