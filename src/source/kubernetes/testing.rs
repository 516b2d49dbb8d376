//! An API server for unit tests: objects by path over HTTP on loopback, with resourceVersions, and every call noted.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

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
    state: Arc<Mutex<State>>,
    /// Counts calls.
    calls: Arc<watch::Sender<usize>>,
    address: std::net::SocketAddr,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    log: Vec<String>,
    /// Answers with this status to so many of the next writes.
    failures: Vec<u16>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { state: Arc::default(), calls: Arc::new(watch::Sender::new(0)), address };
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
        let url = format!("http://{}", self.address).parse().unwrap();
        kube::Client::try_from(kube::Config::new(url)).unwrap()
    }

    /// Puts an object there.
    pub(super) fn put(&self, path: &str, object: Value) {
        self.state.lock().unwrap().store(path, object);
    }

    pub(super) fn object(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    pub(super) fn objects_under(&self, path: &str) -> Vec<Value> {
        self.state.lock().unwrap().under(path)
    }

    /// Makes the next writes fail.
    pub(super) fn fail_writes(&self, statuses: &[u16]) {
        self.state.lock().unwrap().failures = statuses.to_vec();
    }

    /// `METHOD path` of every write so far.
    pub(super) fn writes(&self) -> Vec<String> {
        let is_write = |call: &&String| !call.starts_with("GET");
        self.state.lock().unwrap().log.iter().filter(is_write).cloned().collect()
    }

    /// Resolves when what is asked of the server holds; it is asked after each call.
    pub(super) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let mut calls = self.calls.subscribe();
        let held = async {
            while !holds(self) {
                calls.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(20), held).await;
        assert!(waited.is_ok(), "it never held; calls: {:?}", self.state.lock().unwrap().log);
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let (status, answer) = self.state.lock().unwrap().answer(&parts.method, parts.uri.path(), body);
        self.calls.send_modify(|calls| *calls += 1);
        let answer = match status {
            200 => answer,
            code => {
                let reason = match code {
                    404 => "NotFound",
                    409 => "Conflict",
                    429 => "TooManyRequests",
                    _ => "InternalError",
                };
                json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "as asked", "reason": reason, "code": code })
            }
        };
        let mut response = Response::new(Full::from(answer.to_string()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response.headers_mut().insert("content-type", "application/json".parse().unwrap());
        response
    }
}

impl State {
    fn answer(&mut self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        self.log.push(format!("{method} {path}"));
        if method != Method::GET && !self.failures.is_empty() {
            return (self.failures.remove(0), Value::Null);
        }
        let object_path = path.trim_end_matches("/status");
        match (method.as_str(), self.objects.get(object_path).cloned()) {
            ("GET", Some(object)) => (200, object),
            ("GET", None) => {
                let items = self.under(path);
                // A path of an even depth names an object, of an odd one a list.
                let depth = path.trim_start_matches("/apis/").trim_start_matches("/api/").split('/').count();
                let is_list = !items.is_empty() || path.starts_with("/api/") == depth.is_multiple_of(2);
                let list = json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": items });
                if is_list { (200, list) } else { (404, Value::Null) }
            }
            ("POST", None) => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                if self.objects.contains_key(&path) { (409, Value::Null) } else { (200, self.store(&path, body)) }
            }
            ("PUT", Some(old)) => match old["metadata"]["resourceVersion"] == body["metadata"]["resourceVersion"] {
                true => (200, self.store(path, body)),
                false => (409, Value::Null),
            },
            ("PATCH", Some(mut object)) => {
                object["status"] = body["status"].clone();
                (200, self.store(object_path, object))
            }
            _ => (404, Value::Null),
        }
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
