//! A program whose output nobody reads, and one that has few descriptors.

use std::io::{PipeReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, folder, get, put, until};

/// A process that is always reaped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A pipe that is full, and whose reader reads nothing.
fn full_pipe() -> (PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    // Pipes hold 64 KiB; a write of more waits, on its own thread, until the pipe is gone.
    let mut filling = writer.try_clone().unwrap();
    writer.write_all(&[b'x'; 60 * 1024]).unwrap();
    std::thread::spawn(move || {
        let _ = filling.write_all(&[b'x'; 64 * 1024]);
    });
    (reader, writer)
}

/// Free ports, which are still free a moment later with near certainty.
fn ports() -> [u16; 2] {
    [(); 2]
        .map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .map(|socket| socket.local_addr().unwrap().port())
}

fn conf(ports: [u16; 2], host: &str) -> String {
    format!(
        "listeners: [ {{ name: http, address: \"127.0.0.1:{}\", protocol: http }} ]\ntelemetry: {{ address: \"127.0.0.1:{}\" }}\nadmin: off\naccessLog: {{ path: stdout }}\nlog: {{ level: info }}\nroutes: [{{ hosts: [{host}], paths: [{{ prefix: / }}], respond: {{ status: 200, body: hello }} }}]\n",
        ports[0], ports[1]
    )
}

fn is_served(port: u16, host: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.starts_with("HTTP/1.1 200"))
}

#[test]
fn output_that_nobody_reads_stops_neither_requests_nor_the_configuration() {
    let ports = ports();
    let it = folder(&[("t.yaml", &conf(ports, "h0.test"))]);
    let (_unread, writer) = full_pipe();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["run", "--conf", "t.yaml"]).current_dir(it.path()).stdin(Stdio::null());
    command.env("TIDEGATE_LOG", "debug");
    let (out, err) = (writer.try_clone().unwrap(), writer);
    let mut process = Running(command.stdout(out).stderr(err).spawn().unwrap());
    // The command keeps the pipe's ends, which would keep it open.
    drop(command);
    until("as expected", || is_served(ports[0], "h0.test"));
    for nth in 1..4 {
        put(it.path(), "t.yaml", &conf(ports, &format!("h{nth}.test")));
        until("as expected", || is_served(ports[0], &format!("h{nth}.test")));
    }
    let telemetry = format!("127.0.0.1:{}", ports[1]);
    assert_eq!(get(&telemetry, "t", "/healthz").0, 200);
    assert!(get(&telemetry, "t", "/metrics").1.contains("tidegate_process_log_queue_length"));
    // It stops when it is told to, within the time that logs have to be written.
    let began = Instant::now();
    Command::new("kill").args(["-TERM", &process.0.id().to_string()]).status().unwrap();
    until("as expected", || process.0.try_wait().unwrap().is_some());
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn lines_of_the_end_are_written_and_a_file_may_be_named() {
    let ports = ports();
    let text = conf(ports, "h0.test").replace("log: { level: info }", "log: { level: info, path: process.log }");
    let it = folder(&[("t.yaml", &text)]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["run", "--conf", "t.yaml"]).current_dir(it.path()).stdin(Stdio::null());
    command.env_remove("TIDEGATE_LOG").stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Running(command.spawn().unwrap());
    until("as expected", || is_served(ports[0], "h0.test"));
    Command::new("kill").args(["-TERM", &process.0.id().to_string()]).status().unwrap();
    until("as expected", || process.0.try_wait().unwrap().is_some());
    let log = std::fs::read_to_string(it.path().join("process.log")).unwrap();
    assert!(log.contains("configuration live") && log.lines().last().unwrap().contains("stopped"), "{log}");
}

#[test]
fn a_process_out_of_descriptors_answers_probes_and_says_what_it_cannot_keep() {
    let ports = ports();
    let text = conf(ports, "h0.test") + "defaults: { limits: { connections: 5000, headerTimeout: 60s } }\n";
    let it = folder(&[("t.yaml", &text)]);
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_tidegate");
    command.args(["-c", &format!("ulimit -Sn 64; ulimit -Hn 128; exec {program} run --conf t.yaml")]);
    command.current_dir(it.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _process = Running(command.spawn().unwrap());
    until("as expected", || is_served(ports[0], "h0.test"));
    let telemetry = format!("127.0.0.1:{}", ports[1]);
    let metrics = get(&telemetry, "t", "/metrics").1;
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {metrics}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(value("process_max_fds"), 128.0, "the soft limit is raised to the hard one");
    assert_eq!(value("tidegate_capacity_configured{resource=\"connections\"}"), 5000.0);
    assert!(value("tidegate_capacity{resource=\"connections\"}") < 64.0);
    assert!(value("tidegate_config_diagnostics{severity=\"warning\"}") >= 1.0, "{metrics}");
    // Clients and scrapers that say nothing, more than there are descriptors.
    let held: Vec<TcpStream> =
        (0..300).filter_map(|nth| TcpStream::connect(("127.0.0.1", ports[nth % 2])).ok()).collect();
    assert!(held.len() > 200, "{}", held.len());
    let cpu = |name: &str| -> f64 {
        let text = get(&telemetry, "t", "/metrics").1;
        text.lines().find(|line| line.starts_with(name)).unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    };
    let before = cpu("process_cpu_seconds_total");
    for _ in 0..10 {
        assert_eq!(get(&telemetry, "t", "/healthz").0, 200);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(cpu("process_cpu_seconds_total") - before < 5.0, "accepting does not spin");
    drop(held);
    until("as expected", || is_served(ports[0], "h0.test"));
}
