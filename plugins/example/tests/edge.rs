//! The built proxy with the plugin in it, over a real socket.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

const CONF: &str = r#"
listeners: [ { name: http, address: "127.0.0.1:0", protocol: http } ]
telemetry: "off"
admin: "off"
accessLog: "off"
routes:
  - { hosts: [closed.test], respond: { body: hello }, plugins: [ { type: maintenance, allow: [10.0.0.0/8], message: closed } ] }
  - { hosts: [open.test], respond: { body: hello }, plugins: [ { type: maintenance, allow: [127.0.0.0/8] } ] }
"#;

struct Edge {
    process: Child,
    address: String,
}

impl Edge {
    fn start(folder: &std::path::Path) -> Self {
        let file = folder.join("edge.yaml");
        std::fs::write(&file, CONF).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge"));
        command.args(["run", "--conf"]).arg(&file).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // The summary that is printed when it is ready names its sockets.
        let address = loop {
            let line = lines.next().expect("the summary names the listener").unwrap();
            if let Some((_, rest)) = line.split_once("http://") {
                break rest.split_whitespace().next().unwrap().trim_end_matches('/').to_owned();
            }
        };
        Self { process, address }
    }

    fn get(&self, host: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_plugin_closes_one_route_and_marks_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let edge = Edge::start(folder.path());
    let closed = edge.get("closed.test");
    assert!(closed.starts_with("HTTP/1.1 503") && closed.ends_with("closed"), "{closed}");
    let open = edge.get("open.test").to_lowercase();
    assert!(
        open.starts_with("http/1.1 200") && open.contains("x-maintenance: on") && open.ends_with("hello"),
        "{open}"
    );
}

#[test]
fn the_command_line_knows_the_plugin() {
    let out = Command::new(env!("CARGO_BIN_EXE_edge")).args(["schema", "maintenance"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success() && text.contains("Networks in CIDR form"), "{text}");
}
