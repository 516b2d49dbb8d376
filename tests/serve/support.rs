//! What the tests share: echo servers, raw clients, folders of manifests, and a running proxy.

#[path = "support/frames.rs"]
pub mod frames;
#[path = "support/tls.rs"]
pub mod tls;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::bench::telemetry::Destination;
use tidegate::bench::telemetry::{Form, ProcessLog, process_log};
use tidegate::{Running, Settings, Tidegate};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub use tls::{presented, tls};

/// How long a test waits for what must happen; long, because nothing here is about speed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A proxy over a folder of its own.
pub struct Proxy {
    pub folder: TempDir,
    pub running: Running,
}

impl Proxy {
    /// Starts a proxy whose conf has plain and TLS listeners on free ports, besides `conf`.
    pub async fn start(conf: &str, manifests: &[(&str, String)]) -> Self {
        Self::start_with(Tidegate::builder().plugins(tidegate_plugins::ALL), conf, manifests).await
    }

    /// The same with plugins of the test's own.
    pub async fn start_with(builder: tidegate::Builder, conf: &str, manifests: &[(&str, String)]) -> Self {
        // TIDEGATE_LOG=debug,pingora=trace shows what a failing test does.
        if let Ok(filter) = std::env::var(process_log::ENVIRONMENT) {
            let _ = ProcessLog::install("info", Some(filter), Form::Text, Destination::Stderr);
        }
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("manifests")).unwrap();
        for (name, text) in manifests {
            std::fs::write(folder.path().join("manifests").join(name), text).unwrap();
        }
        let base = "listeners:\n  - { name: http, address: \"127.0.0.1:0\", protocol: http }\n  - { name: https, address: \"127.0.0.1:0\", protocol: https }\ntelemetry: { address: \"127.0.0.1:0\" }\nadmin: { address: \"127.0.0.1:0\" }\naccessLog: { path: access.log, format: json }\nsources: { files: { paths: [manifests], watch: true } }\n";
        let base = base.lines().filter(|line| !overrides(conf, line)).collect::<Vec<_>>();
        let base = drop_orphans(base);
        let file = folder.path().join("tidegate.yaml");
        std::fs::write(&file, format!("{base}{conf}")).unwrap();
        let settings = Settings::load(&file).unwrap_or_else(|diagnostics| panic!("conf: {diagnostics:#?}"));
        let running = builder.start(settings).await.unwrap();
        tokio::time::timeout(PATIENCE, running.ready()).await.expect("the proxy gets ready");
        Self { folder, running }
    }

    pub fn http(&self) -> SocketAddr {
        self.running.listener("http").unwrap()
    }

    pub fn https(&self) -> SocketAddr {
        self.running.listener("https").unwrap()
    }

    /// Replaces a manifest by rename, as editors and `kubectl cp` do.
    pub fn put(&self, name: &str, text: &str) {
        put(self.folder.path(), name, text);
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join("manifests").join(name)).unwrap();
    }

    /// Waits until a GET is answered in a way that fits.
    pub async fn until(&self, host: &str, path: &str, fits: impl Fn(&Response) -> bool) -> Response {
        let wait = async {
            loop {
                let response = get(self.http(), host, path).await;
                if fits(&response) {
                    return response;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{host}{path} never fitted"))
    }

    /// Every line of the access log so far that fits; waits for at least one.
    pub async fn log_line(&self, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let file = self.folder.path().join("access.log");
        let wait = async {
            loop {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                let found = text.lines().filter_map(|line| serde_json::from_str(line).ok()).find(|line| fits(line));
                if let Some(line) = found {
                    return line;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("a log line that fits")
    }
}

pub fn put(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!(".{name}.new"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, folder.join("manifests").join(name)).unwrap();
}

/// Whether `conf` has the top-level key of this line.
fn overrides(conf: &str, line: &str) -> bool {
    let Some((key, _)) = line.split_once(':') else { return false };
    !line.starts_with(' ') && conf.lines().any(|other| other.starts_with(&format!("{key}:")))
}

/// Drops list items whose key was dropped.
fn drop_orphans(lines: Vec<&str>) -> String {
    let mut kept = String::new();
    for line in lines {
        if line.starts_with(' ') && kept.is_empty() {
            continue;
        }
        let _ = writeln!(kept, "{line}");
    }
    kept
}

// === manifests ===

/// An Ingress of class `tidegate` with one host and Prefix paths to Services on port 80.
pub fn ingress(name: &str, host: &str, paths: &[(&str, &str)]) -> String {
    let mut text = format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{ name: {name}, namespace: default }}\nspec:\n  ingressClassName: tidegate\n  rules:\n  - host: \"{host}\"\n    http:\n      paths:\n"
    );
    for (path, service) in paths {
        let _ = writeln!(
            text,
            "      - {{ path: {path}, pathType: Prefix, backend: {{ service: {{ name: {service}, port: {{ number: 80 }} }} }} }}"
        );
    }
    text
}

/// A Service with port 80 and one EndpointSlice with these endpoints.
pub fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    let mut text = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: default }}\nspec: {{ ports: [ {{ name: http, port: 80 }} ] }}\n"
    );
    for (index, endpoint) in endpoints.iter().enumerate() {
        let _ = write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata: {{ name: {name}-{index}, namespace: default, labels: {{ kubernetes.io/service-name: {name} }} }}\nports: [ {{ name: http, port: {} }} ]\nendpoints: [ {{ addresses: [ \"{}\" ], conditions: {{ ready: true }} }} ]\n",
            endpoint.port(),
            endpoint.ip()
        );
    }
    text
}

/// A `kubernetes.io/tls` Secret with a self-signed certificate for these names; also its DER.
pub fn tls_secret(name: &str, hosts: &[&str]) -> (String, Vec<u8>) {
    let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let indent = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let text = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: {name}, namespace: default }}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indent(&made.cert.pem()),
        indent(&made.signing_key.serialize_pem())
    );
    (text, made.cert.der().to_vec())
}

// === echo ===

/// An HTTP/1.1 server that answers with what it was asked; ends with the test's runtime.
pub struct Echo {
    pub address: SocketAddr,
    pub requests: Arc<std::sync::atomic::AtomicUsize>,
}

impl Echo {
    /// Starts one that calls itself `name`.
    pub async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (name, counter) = (name.to_owned(), requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (name, counter) = (name.clone(), counter.clone());
                tokio::spawn(async move { echo_connection(stream, &name, &counter).await });
            }
        });
        Self { address, requests }
    }
}

/// Serves one connection: JSON of the request; `?status=`, `?size=`; WebSocket upgrades echo bytes.
async fn echo_connection(mut stream: TcpStream, name: &str, counter: &std::sync::atomic::AtomicUsize) {
    let mut buffer = Vec::new();
    while let Some(request) = read_message(&mut stream, &mut buffer, true).await {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut words = request.first_line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if request.header("upgrade").is_some() {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&buffer).await;
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            return;
        }
        let parameter = |key: &str| {
            let query = target.split_once('?')?.1;
            query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
        };
        let status = parameter("status").unwrap_or_else(|| "200".to_owned());
        let body = match parameter("size").and_then(|size| size.parse().ok()) {
            Some(size) => "x".repeat(size),
            None => serde_json::json!({
                "server": name, "method": method, "target": target,
                "headers": request.headers, "body": String::from_utf8_lossy(&request.body),
            })
            .to_string(),
        };
        let head = format!(
            "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {}\r\nX-Echo: {name}\r\nKeep-Alive: timeout=5\r\n\r\n",
            body.len()
        );
        let body = if method == "HEAD" { "" } else { &body };
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A TCP server that treats each connection with `behave`.
pub async fn raw_server<F, Fut>(behave: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behave(stream));
        }
    });
    address
}

/// An address where nobody listens.
pub async fn dead_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

// === messages ===

/// An HTTP/1.1 message as it came.
#[derive(Debug, Default, Clone)]
pub struct Response {
    pub first_line: String,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body ended as its framing promised.
    pub is_whole: bool,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Which echo server answered.
    pub fn server(&self) -> String {
        self.header("x-echo").unwrap_or_default().to_owned()
    }

    /// A header as the echo server saw it.
    pub fn seen(&self, name: &str) -> Option<String> {
        let headers: Vec<(String, String)> = serde_json::from_value(self.json()["headers"].clone()).unwrap();
        headers.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Reads one message; `None` when the connection ends before a head is whole.
pub async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    is_request: bool,
) -> Option<Response> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let first_line = lines.next().unwrap_or_default().to_owned();
    let headers =
        lines.filter_map(|line| line.split_once(':')).map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect();
    let status = first_line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_default();
    let mut message = Response { first_line, status, headers, body: Vec::new(), is_whole: true };
    if !is_request && ((100..200).contains(&status) || status == 204 || status == 304) {
        return Some(message);
    }
    message.is_whole = read_body(stream, buffer, &mut message, is_request).await;
    Some(message)
}

async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    message: &mut Response,
    is_request: bool,
) -> bool {
    if message.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return read_chunks(stream, buffer, message).await;
    }
    match message.header("content-length").and_then(|value| value.parse::<usize>().ok()) {
        Some(length) => {
            let is_whole = fill(stream, buffer, length).await;
            message.body = buffer.drain(..length.min(buffer.len())).collect();
            is_whole
        }
        None if is_request => true,
        None => {
            while stream.read_buf(buffer).await.is_ok_and(|n| n > 0) {}
            message.body = std::mem::take(buffer);
            true
        }
    }
}

async fn read_chunks(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, message: &mut Response) -> bool {
    loop {
        let line = loop {
            if let Some(at) = buffer.windows(2).position(|window| window == b"\r\n") {
                break String::from_utf8_lossy(&buffer[..at]).into_owned();
            }
            if !stream.read_buf(buffer).await.is_ok_and(|n| n > 0) {
                return false;
            }
        };
        buffer.drain(..line.len() + 2);
        let Ok(length) = usize::from_str_radix(line.trim(), 16) else { return false };
        if !fill(stream, buffer, length + 2).await {
            return false;
        }
        message.body.extend(buffer.drain(..length));
        buffer.drain(..2);
        if length == 0 {
            return true;
        }
    }
}

async fn fill(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, length: usize) -> bool {
    while buffer.len() < length {
        if !stream.read_buf(buffer).await.is_ok_and(|n| n > 0) {
            return false;
        }
    }
    true
}

// === clients ===

/// Fields that ask for a WebSocket.
pub const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A kept client connection.
pub struct Connection<S = TcpStream> {
    pub stream: S,
    pub buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Sends bytes and reads one response; `None` when the connection was closed instead.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Option<Response> {
        self.stream.write_all(bytes.as_ref()).await.ok()?;
        self.read().await
    }

    pub async fn read(&mut self) -> Option<Response> {
        tokio::time::timeout(PATIENCE, read_message(&mut self.stream, &mut self.buffer, false))
            .await
            .expect("an answer")
    }

    pub async fn get(&mut self, host: &str, path: &str) -> Option<Response> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
    }
}

/// One GET on a connection of its own.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> Response {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
}

/// One raw request on a connection of its own.
pub async fn request(address: SocketAddr, bytes: &str) -> Response {
    Connection::open(address).await.send(bytes).await.unwrap_or_default()
}

/// Metrics in the text format, by series.
pub async fn metrics(proxy: &Proxy) -> BTreeMap<String, f64> {
    let response = get(proxy.running.telemetry().unwrap(), "localhost", "/metrics").await;
    response
        .text()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?)))
        .collect()
}

/// Waits until a metric has that value.
pub async fn until_metric(proxy: &Proxy, series: &str, value: f64) {
    let asking = async { while metrics(proxy).await.get(series) != Some(&value) {} };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{series} was never {value}"));
}
