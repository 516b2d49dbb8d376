//! An API server for tests: real HTTP over loopback, with lists in pages, watches, 410 and scripted faults.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use futures::Stream;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The server; it ends with the runtime of the test.
pub struct ApiServer {
    shared: Arc<Shared>,
    uri: http::Uri,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    version: u64,
    /// Watches that begin before this version are answered 410.
    oldest: u64,
    /// By plural, namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    history: Vec<(u64, &'static str, Value)>,
    calls: Vec<String>,
    /// Answers to the next calls whose path ends so.
    faults: VecDeque<(&'static str, StatusCode)>,
    /// Counts how often all watches were cut.
    cuts: u64,
}

/// What is asked for.
#[derive(Clone)]
struct Call {
    plural: String,
    namespace: Option<String>,
    query: BTreeMap<String, String>,
}

// === impl ApiServer ===

impl ApiServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let shared = Arc::new(Shared { state: Mutex::default(), changed: watch::Sender::new(()) });
        let served = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = served.clone();
                let service = service_fn(move |request| {
                    let answer = answer(&shared, &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { shared, uri }
    }

    pub fn client(&self) -> kube::Client {
        kube::Client::try_from(kube::Config::new(self.uri.clone())).unwrap()
    }

    /// Adds or changes an object; watches are told.
    pub fn apply(&self, object: Value) {
        self.change(|state| state.apply(object));
    }

    /// Removes an object; watches are told.
    pub fn delete(&self, object: &Value) {
        self.change(|state| state.delete(object));
    }

    /// Removes an object, which no watch is told: history is lost, and all watches are cut.
    pub fn delete_unseen(&self, object: &Value) {
        self.change(|state| {
            state.delete(object);
            state.history.clear();
            state.oldest = state.version;
            state.cuts += 1;
        });
    }

    /// Cuts all watches.
    pub fn cut(&self) {
        self.change(|state| state.cuts += 1);
    }

    /// Answers the next calls of these plurals with a status, one each.
    pub fn fail(&self, faults: &[(&'static str, StatusCode)]) {
        self.change(|state| state.faults.extend(faults));
    }

    /// Method, path and query of every call.
    pub fn calls(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().calls.clone()
    }

    /// Resolves when so many watches of a plural were asked for.
    pub async fn watched(&self, plural: &str, times: usize) {
        let mut changed = self.shared.changed.subscribe();
        let is_watch = |call: &&String| call.contains(&format!("/{plural}?")) && call.contains("watch=true");
        while self.calls().iter().filter(is_watch).count() < times {
            changed.changed().await.unwrap();
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock().unwrap());
        self.shared.changed.send_replace(());
    }
}

fn answer(shared: &Arc<Shared>, request: &Request<Incoming>) -> Response<Body> {
    let call = Call::new(request.uri());
    let mut state = shared.state.lock().unwrap();
    state.calls.push(format!("{} {}", request.method(), request.uri()));
    shared.changed.send_replace(());
    if let Some(at) = state.faults.iter().position(|(plural, _)| *plural == call.plural)
        && let Some((_, status)) = state.faults.remove(at)
    {
        return whole(status, &failure(status));
    }
    if !call.query.contains_key("watch") {
        return whole(StatusCode::OK, &state.list(&call));
    }
    let cuts = state.cuts;
    let body = StreamBody::new(told(shared.clone(), call, cuts));
    Response::new(body.boxed_unsync())
}

/// The lines of a watch.
fn told(shared: Arc<Shared>, call: Call, cuts: u64) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let from: u64 = call.query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default();
    let changed = shared.changed.subscribe();
    futures::stream::unfold(Some((from, changed)), move |position| {
        let (shared, call) = (shared.clone(), call.clone());
        async move {
            let (from, mut changed) = position?;
            loop {
                changed.borrow_and_update();
                {
                    let state = shared.state.lock().unwrap();
                    if from < state.oldest {
                        let line = json!({ "type": "ERROR", "object": failure(StatusCode::GONE) });
                        return Some((frame(&line), None));
                    }
                    if let Some((version, line)) = state.next(from, &call) {
                        return Some((frame(&line), Some((version, changed.clone()))));
                    }
                    if state.cuts != cuts {
                        return None;
                    }
                }
                changed.changed().await.ok()?;
            }
        }
    })
}

fn frame(line: &Value) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(format!("{line}\n").into()))
}

fn whole(status: StatusCode, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(status).header("content-type", "application/json").body(body).unwrap()
}

fn failure(status: StatusCode) -> Value {
    let reason = status.canonical_reason().unwrap_or_default();
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": status.as_u16() })
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn plural(object: &Value) -> String {
    let kind = text(object, "/kind").to_lowercase();
    let ending = if kind.ends_with('s') { "es" } else { "s" };
    kind + ending
}

// === impl State ===

impl State {
    fn apply(&mut self, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let was = self.objects.insert(key(&object), object.clone());
        let word = if was.is_some() { "MODIFIED" } else { "ADDED" };
        self.history.push((self.version, word, object));
    }

    fn delete(&mut self, object: &Value) {
        let Some(mut object) = self.objects.remove(&key(object)) else { return };
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.history.push((self.version, "DELETED", object));
    }

    /// The next word of a watch after a version.
    fn next(&self, from: u64, call: &Call) -> Option<(u64, Value)> {
        let (version, word, object) =
            self.history.iter().find(|(version, _, object)| *version > from && call.is_for(object))?;
        Some((*version, json!({ "type": word, "object": object })))
    }

    /// A page: the `continue` token is the number of objects before it.
    fn list(&self, call: &Call) -> Value {
        let number = |key: &str| call.query.get(key).and_then(|text| text.parse::<usize>().ok());
        let (before, limit) = (number("continue").unwrap_or(0), number("limit").unwrap_or(usize::MAX));
        let all: Vec<&Value> = self.objects.values().filter(|object| call.is_for(object)).collect();
        let items: Vec<&Value> = all.iter().skip(before).take(limit).copied().collect();
        let end = before + items.len();
        let next = if end < all.len() { end.to_string() } else { String::new() };
        let metadata = json!({ "resourceVersion": self.version.to_string(), "continue": next });
        json!({ "kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items })
    }
}

fn key(object: &Value) -> (String, String, String) {
    (plural(object), text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

// === impl Call ===

impl Call {
    fn new(uri: &http::Uri) -> Self {
        let segments: Vec<&str> = uri.path().split('/').collect();
        let namespace = segments.iter().position(|&it| it == "namespaces").and_then(|at| segments.get(at + 1));
        let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        Self {
            plural: (*segments.last().unwrap()).to_owned(),
            namespace: namespace.map(|&it| it.to_owned()),
            query: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        }
    }

    fn is_for(&self, object: &Value) -> bool {
        let in_namespace = |namespace: &String| text(object, "/metadata/namespace") == *namespace;
        plural(object) == self.plural && self.namespace.as_ref().is_none_or(in_namespace)
    }
}
