//! What the tests share: folders with a conf, commands that are awaited, and processes that are always reaped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Sockets on ports that the system chooses.
pub const FREE_PORTS: &str = "listeners:
  - { name: http, address: \"127.0.0.1:0\", protocol: http }
  - { name: https, address: \"127.0.0.1:0\", protocol: https }
telemetry: { address: \"127.0.0.1:0\" }
admin: { address: \"127.0.0.1:0\" }
accessLog: off
";

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder with files of these names and texts.
pub fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// The program, told nothing by the environment, in a folder.
pub fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    command.env_remove("TIDEGATE_CONF").env_remove("TIDEGATE_LOG").env_remove("TIDEGATE_ZONE");
    command
}

/// What a command printed and how it exited.
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs a command to its end.
pub fn run(folder: &Path, args: &[&str]) -> Done {
    finish(program(folder, args))
}

/// Runs a command to its end; kills it when that takes too long.
pub fn finish(mut command: Command) -> Done {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (out, err) = (read_all(child.stdout.take().unwrap()), read_all(child.stderr.take().unwrap()));
    let status = wait(&mut child);
    let text = |from: Receiver<Vec<u8>>| String::from_utf8(from.recv_timeout(PATIENCE).unwrap()).unwrap();
    Done { code: status.code(), out: text(out), err: text(err) }
}

fn read_all(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// Waits until a process has ended.
pub fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the process did not end");
        }
        std::thread::sleep(POLL);
    }
}

// === impl Done ===

impl Done {
    /// The output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    /// Fails unless the exit code is this one.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    /// Fails unless the output has all of these.
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.out.contains(part), "no `{part}` in:\n{}{}", self.out, self.err);
        }
        self
    }
}

/// The program serving.
pub struct Serving {
    child: Child,
    /// The start-up summary, line by line.
    pub summary: Vec<String>,
    log: Receiver<Vec<u8>>,
}

impl Serving {
    /// Starts `tidegate --conf FILE` and waits until it is ready.
    pub fn start(folder: &Path, conf: &str) -> Self {
        Self::ready(program(folder, &["run", "--conf", conf]))
    }

    /// Starts a command that serves, and waits until it is ready.
    pub fn ready(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = read_all(child.stderr.take().unwrap());
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            while out.read_line(&mut line).is_ok_and(|length| length > 0) {
                let _ = sender.send(line.trim_end().to_owned());
                line.clear();
            }
        });
        let mut serving = Self { child, summary: Vec::new(), log };
        // The findings stand in the summary's last lines; the commands to try follow in the same write.
        while !serving.summary.iter().any(|line| line.starts_with("  findings")) {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => serving.summary.push(line),
                Err(_) => {
                    let log = serving.kill();
                    panic!("not ready: {:?}\n{log}", serving.summary)
                }
            }
        }
        while let Ok(line) = lines.recv_timeout(Duration::from_millis(300)) {
            serving.summary.push(line);
        }
        serving
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The values of a label of the summary.
    pub fn told(&self, label: &str) -> Vec<&str> {
        let lines = self.summary.iter().filter_map(|line| line.trim_start().strip_prefix(label));
        lines.filter(|rest| rest.starts_with(' ')).map(str::trim).collect()
    }

    /// Host and port of the listener of a scheme.
    pub fn listener(&self, scheme: &str) -> String {
        let all = self.told("listening");
        let found = all.iter().find_map(|url| url.strip_prefix(&format!("{scheme}://")));
        found.unwrap_or_else(|| panic!("no {scheme} listener in {all:?}")).to_owned()
    }

    /// The address of the admin API.
    pub fn admin(&self) -> String {
        self.told("admin")[0].to_owned()
    }

    /// Sends a signal such as `TERM` to this process.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Stops it as an operator does; gives the exit code and the log.
    pub fn stop(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        let status = wait(&mut self.child);
        (status.code(), self.log_text())
    }

    fn kill(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log_text()
    }

    fn log_text(&self) -> String {
        String::from_utf8_lossy(&self.log.recv_timeout(PATIENCE).unwrap_or_default()).into_owned()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends GET to a plain listener; gives the status and the whole answer.
pub fn get(address: &str, host: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status in {text:?}")), text)
}

/// Asks until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never happened that {what}");
        std::thread::sleep(POLL);
    }
}

/// Replaces a file by rename, as editors do.
pub fn put(folder: &Path, name: &str, text: &str) {
    let new: PathBuf = folder.join(".new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, folder.join(name)).unwrap();
}
