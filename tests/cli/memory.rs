//! What clients cost that do nothing: a bound that grows only on purpose. `benches/connections.py` tells more.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use super::support::{Serving, folder, until};

const CONNECTIONS: usize = 800;
/// A build without optimisation included.
const MOST_KIB: usize = 20;

const CONF: &str = "listeners: [ { name: http, address: \"127.0.0.1:0\", protocol: http } ]
telemetry: \"off\"
admin: \"off\"
accessLog: \"off\"
threads: 2
routes: [ { respond: { body: ok } } ]
";

fn silent(address: &str) -> TcpStream {
    TcpStream::connect(address).unwrap()
}

/// A connection that is kept after a request.
fn kept(address: &str) -> TcpStream {
    let mut stream = silent(address);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    let (mut read, mut room) = (Vec::new(), [0; 512]);
    while !read.ends_with(b"ok") {
        let count = stream.read(&mut room).unwrap();
        assert_ne!(count, 0, "closed");
        read.extend_from_slice(&room[..count]);
    }
    stream
}

#[test]
fn connections_that_wait_cost_little() {
    let _raised = rlimit::increase_nofile_limit(8192);
    type Open = fn(&str) -> TcpStream;
    let kinds: [(Open, bool); 2] = [(silent, false), (kept, true)];
    for (open, comes_back) in kinds {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tidegate.yaml"), CONF).unwrap();
        let serving = Serving::start(folder.path(), "tidegate.yaml");
        let address = serving.listener("http");
        // What comes once only, and stays.
        (0..50).for_each(|_| drop(open(&address)));
        let before = resident(serving.id());
        let connections: Vec<_> = (0..CONNECTIONS).map(|_| open(&address)).collect();
        // The last one was accepted when it is answered; they are accepted in order.
        drop(kept(&address));
        let each = resident(serving.id()).saturating_sub(before) / CONNECTIONS;
        assert!(each < MOST_KIB, "{each} KiB each");
        // And what they took comes back, though the threads that took it have nothing to do. One look at that is enough:
        // it takes seconds.
        let most = resident(serving.id());
        drop(connections);
        if comes_back {
            until("most of it is given back", || resident(serving.id()) < before + (most - before) / 4);
        }
    }
}

const TLS_CONF: &str = "listeners: [ { name: https, address: \"127.0.0.1:0\", protocol: https, tls: { certificateFile: crt.pem, keyFile: key.pem } } ]
telemetry: \"off\"
admin: \"off\"
accessLog: \"off\"
threads: 2
routes: [ { respond: { body: ok } } ]
";

/// The whole program has nothing to do afterwards, not even to tell its metrics.
#[test]
fn what_a_burst_of_handshakes_took_comes_back_while_nothing_happens() {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let key = made.signing_key.serialize_pem();
    let folder = folder(&[("tidegate.yaml", TLS_CONF), ("crt.pem", &made.cert.pem()), ("key.pem", &key)]);
    let serving = Serving::start(folder.path(), "tidegate.yaml");
    let address = serving.listener("https");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let encrypted = || {
        let (mut socket, name) = (silent(&address), "a.test".try_into().unwrap());
        let mut session = rustls::ClientConnection::new(config.clone(), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut socket).unwrap();
        }
        (socket, session)
    };
    (0..50).for_each(|_| drop(encrypted()));
    let before = resident(serving.id());
    let connections: Vec<_> = (0..400).map(|_| encrypted()).collect();
    let most = resident(serving.id());
    drop(connections);
    until("most of it is given back", || resident(serving.id()) < before + (most - before) / 4);
}

/// KiB.
fn resident(id: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
