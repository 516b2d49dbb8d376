//! An API server for unit tests: objects by path over HTTP on loopback, with resourceVersions, and every call noted.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub(super) struct Server {
    state: Arc<Mutex<ServerState>>,
    /// Counts calls, and what was changed by hand.
    changes: Arc<watch::Sender<usize>>,
    address: std::net::SocketAddr,
}

#[derive(Default)]
struct ServerState {
    objects: BTreeMap<String, Value>,
    version: u64,
    log: Vec<String>,
    /// Answers with these statuses to the next writes.
    failures: Vec<u16>,
    /// Clients whose calls get nowhere.
    cut_off: BTreeSet<String>,
    /// Whether writes wait.
    is_stalled: bool,
}

/// Tells clients apart.
const CLIENT: &str = "x-test-client";
/// How long a test waits for anything.
const DEADLINE: Duration = Duration::from_secs(10);

/// Waits for what a test expects to come; panics and says so when it does not.
pub(super) async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, coming).await.unwrap_or_else(|_| panic!("it never came: {what}"))
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { state: Arc::default(), changes: Arc::new(watch::Sender::new(0)), address };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = accepting.clone();
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        server
    }

    pub(super) fn client(&self) -> kube::Client {
        self.client_of("somebody")
    }

    /// A client that can be cut off by its name.
    pub(super) fn client_of(&self, name: &str) -> kube::Client {
        let mut config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        config.headers.push((CLIENT.parse().unwrap(), name.parse().unwrap()));
        // What is tried again, and when, is ours to say here.
        config.default_retry = false;
        kube::Client::try_from(config).unwrap()
    }

    /// Puts an object there.
    pub(super) fn put(&self, path: &str, object: Value) {
        self.change(|state| drop(state.store(path, object)));
    }

    pub(super) fn remove(&self, path: &str) {
        self.change(|state| drop(state.objects.remove(path)));
    }

    pub(super) fn object(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    pub(super) fn objects_under(&self, path: &str) -> Vec<Value> {
        self.state.lock().unwrap().under(path)
    }

    /// Makes the next writes fail.
    pub(super) fn fail_writes(&self, statuses: &[u16]) {
        self.change(|state| state.failures = statuses.to_vec());
    }

    /// Lets writes wait, or no longer. What waits is noted as a call already.
    pub(super) fn stall_writes(&self, is_stalled: bool) {
        self.change(|state| state.is_stalled = is_stalled);
    }

    /// Lets no call of a client arrive any more.
    pub(super) fn cut_off(&self, client: &str) {
        self.change(|state| state.cut_off.extend([client.to_owned()]));
    }

    /// `METHOD path` of every call so far.
    pub(super) fn calls(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }

    /// `METHOD path` of every write so far.
    pub(super) fn writes(&self) -> Vec<String> {
        self.calls().into_iter().filter(|call| !call.starts_with("GET")).collect()
    }

    /// Resolves when what is asked of the server holds; it is asked after each call.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let mut changes = self.changes.subscribe();
        let held = async {
            while !holds(self) {
                changes.changed().await.unwrap();
            }
        };
        let is_late = tokio::time::timeout(DEADLINE, held).await.is_err();
        assert!(!is_late, "it never held: {what}; calls so far: {:#?}", self.calls());
    }

    fn change(&self, change: impl FnOnce(&mut ServerState)) {
        change(&mut self.state.lock().unwrap());
        self.changes.send_modify(|changes| *changes += 1);
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let client = parts.headers.get(CLIENT).map_or("", |name| name.to_str().unwrap()).to_owned();
        self.open(|state| !state.cut_off.contains(&client)).await;
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        self.change(|state| state.log.push(format!("{} {}", parts.method, parts.uri.path())));
        if parts.method != Method::GET {
            self.open(|state| !state.is_stalled).await;
        }
        let (status, answer) = self.state.lock().unwrap().answer(&parts.method, parts.uri.path(), body);
        self.changes.send_modify(|changes| *changes += 1);
        let answer = if status == 200 { answer } else { failure(status) };
        let mut response = Response::new(Full::from(answer.to_string()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response.headers_mut().insert("content-type", "application/json".parse().unwrap());
        response
    }

    /// Resolves when calls may pass.
    async fn open(&self, is_open: impl Fn(&ServerState) -> bool) {
        let mut changes = self.changes.subscribe();
        while !is_open(&self.state.lock().unwrap()) {
            changes.changed().await.unwrap();
        }
    }
}

impl ServerState {
    fn answer(&mut self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        if method != Method::GET && !self.failures.is_empty() {
            let status = self.failures.remove(0);
            if status > 0 {
                return (status, Value::Null);
            }
        }
        let object_path = path.trim_end_matches("/status");
        match (method.as_str(), self.objects.get(object_path).cloned()) {
            ("GET", Some(object)) => (200, object),
            ("GET", None) => self.list(path),
            ("POST", None) => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                if self.objects.contains_key(&path) { (409, Value::Null) } else { (200, self.store(&path, body)) }
            }
            ("PUT", Some(old)) if is_same_version(&old, &body) => (200, self.store(path, body)),
            ("PATCH", Some(mut object)) if body["metadata"].is_null() || is_same_version(&object, &body) => {
                object["status"] = body["status"].clone();
                (200, self.store(object_path, object))
            }
            ("PUT" | "PATCH", Some(_)) => (409, Value::Null),
            _ => (404, Value::Null),
        }
    }

    fn list(&self, path: &str) -> (u16, Value) {
        let items = self.under(path);
        // A path of an even depth names an object, of an odd one a list; under /api it is the other way round.
        let depth = path.trim_start_matches("/apis/").trim_start_matches("/api/").split('/').count();
        if items.is_empty() && path.starts_with("/api/") != depth.is_multiple_of(2) {
            return (404, Value::Null);
        }
        let metadata = json!({ "resourceVersion": "1" });
        (200, json!({ "kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items }))
    }

    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    /// Objects of a list, of one namespace or of all.
    fn under(&self, path: &str) -> Vec<Value> {
        let kind = path.rsplit('/').next().unwrap_or_default();
        let group = path.trim_end_matches(kind);
        let is_in = |object: &str| object.starts_with(group) && object.rsplit('/').nth(1) == Some(kind);
        self.objects.iter().filter(|(path, _)| is_in(path)).map(|(_, object)| object.clone()).collect()
    }
}

fn is_same_version(old: &Value, new: &Value) -> bool {
    old["metadata"]["resourceVersion"] == new["metadata"]["resourceVersion"]
}

/// As a real server says it: clients go by the reason.
fn failure(code: u16) -> Value {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "message": "as asked", "reason": reason, "code": code,
    })
}
