//! An API server for tests: real HTTP over loopback, with lists in pages and in streams, watches, selectors, 410 and
//! scripted faults.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use futures::Stream;
use http::{Method, Request, Response, StatusCode};
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
    address: SocketAddr,
    /// Ends when it is replaced: the listener and all its connections.
    serving: Mutex<watch::Sender<()>>,
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
    /// Answers to the next calls for these plurals.
    faults: VecDeque<(&'static str, StatusCode)>,
    /// Answers to all calls for these plurals.
    refused: BTreeMap<&'static str, StatusCode>,
    /// Calls for these plurals wait.
    held: BTreeSet<&'static str>,
    /// Whether lists come in streams too.
    streams: bool,
    /// Counts how often all watches were cut.
    cuts: u64,
}

/// Kinds that are written.
const KINDS: [(&str, &str); 5] = [
    ("leases", "Lease"),
    ("ingresses", "Ingress"),
    ("events", "Event"),
    ("secrets", "Secret"),
    ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
];

/// Kinds that may be asked for by name; one whose calls are answered 404 is not there.
const SERVED: [&str; 5] = ["ingresses", "ingressclasses", "services", "endpointslices", "secrets"];

/// What is asked for.
#[derive(Clone)]
struct Call {
    /// Empty: which kinds there are.
    plural: String,
    namespace: Option<String>,
    name: Option<String>,
    /// Whether only metadata is wanted.
    is_partial: bool,
    query: BTreeMap<String, String>,
}

// === impl ApiServer ===

impl ApiServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { state: Mutex::default(), changed: watch::Sender::new(()) });
        let serving = Mutex::new(serve(listener, shared.clone()));
        Self { shared, address, serving }
    }

    /// Is gone: nobody listens, and all connections end.
    pub fn vanish(&self) {
        *self.serving.lock().unwrap() = watch::Sender::new(());
    }

    /// Is there again.
    pub async fn come_back(&self) {
        let listener = loop {
            // Connections that just ended may hold the port for a moment.
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        *self.serving.lock().unwrap() = serve(listener, self.shared.clone());
    }

    /// Lets calls for a plural wait.
    pub fn hold(&self, plural: &'static str) {
        self.change(|state| _ = state.held.insert(plural));
    }

    /// Takes [`ApiServer::hold`] back.
    pub fn release(&self, plural: &'static str) {
        self.change(|state| _ = state.held.remove(plural));
    }

    pub fn config(&self) -> kube::Config {
        kube::Config::new(self.uri().parse().unwrap())
    }

    pub fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Gives lists in streams from now on.
    pub fn stream(&self) {
        self.change(|state| state.streams = true);
    }

    /// Answers calls for a plural with a status from now on.
    pub fn refuse(&self, plural: &'static str, status: StatusCode) {
        self.change(|state| _ = state.refused.insert(plural, status));
    }

    /// Takes [`ApiServer::refuse`] back.
    pub fn allow(&self, plural: &'static str) {
        self.change(|state| _ = state.refused.remove(plural));
    }

    /// Tells watches of an object again as it is; `version` may be an old one.
    pub fn repeat(&self, object: &Value) {
        self.change(|state| {
            let known = state.objects[&key(object)].clone();
            state.version += 1;
            state.history.push((state.version, "MODIFIED", known));
        });
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

    /// The object of a plural and a name, in whatever namespace.
    pub fn object(&self, plural: &str, name: &str) -> Option<Value> {
        let state = self.shared.state.lock().unwrap();
        let found = state.objects.iter().find(|((of, _, named), _)| of == plural && named == name);
        found.map(|(_, object)| object.clone())
    }

    /// All objects of a plural.
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        let state = self.shared.state.lock().unwrap();
        state.objects.iter().filter(|((of, ..), _)| of == plural).map(|(_, object)| object.clone()).collect()
    }

    /// Resolves when something holds of the server.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let wait = async {
            while !holds(self) {
                changed.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
        assert!(waited.is_ok(), "it never held; calls: {:#?}", self.calls());
    }

    /// Cuts all watches.
    pub fn cut(&self) {
        self.change(|state| state.cuts += 1);
    }

    /// Answers the next calls of these plurals with a status, one each.
    pub fn fail(&self, faults: &[(&'static str, StatusCode)]) {
        self.change(|state| state.faults.extend(faults));
    }

    /// Method, path and query of every call, and `metadata` where only that was asked for.
    pub fn calls(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().calls.clone()
    }

    /// Resolves when so many watches of a plural were asked for.
    pub async fn watched(&self, plural: &str, times: usize) {
        let is_watch = |call: &&String| call.contains(&format!("/{plural}?")) && call.contains("watch=true");
        self.until(|server| server.calls().iter().filter(is_watch).count() >= times).await;
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock().unwrap());
        self.shared.changed.send_replace(());
    }
}

/// Serves until the result is dropped.
fn serve(listener: TcpListener, shared: Arc<Shared>) -> watch::Sender<()> {
    let (serving, mut ended) = watch::channel(());
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                Ok((stream, _)) = listener.accept() => stream,
                _ = ended.changed() => return,
            };
            let (shared, mut ended) = (shared.clone(), ended.clone());
            let service = service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(answer(&shared, request).await) }
            });
            tokio::spawn(async move {
                tokio::select! {
                    _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service) => {}
                    _ = ended.changed() => {}
                }
            });
        }
    });
    serving
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let call = Call::new(&request);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut changed = shared.changed.subscribe();
    while shared.state.lock().unwrap().held.contains(&*call.plural) {
        changed.changed().await.unwrap();
    }
    let mut state = shared.state.lock().unwrap();
    let view = if call.is_partial { " metadata" } else { "" };
    state.calls.push(format!("{} {}{view}", parts.method, parts.uri));
    shared.changed.send_replace(());
    if let Some(at) = state.faults.iter().position(|(plural, _)| *plural == call.plural)
        && let Some((_, status)) = state.faults.remove(at)
    {
        return whole(status, &failure(status));
    }
    if let Some(status) = state.refused.get(&*call.plural) {
        return whole(*status, &failure(*status));
    }
    if parts.method != Method::GET {
        let (status, object) = state.write(&parts.method, &call, &serde_json::from_slice(&body).unwrap());
        shared.changed.send_replace(());
        return if status.is_success() { whole(status, &object) } else { whole(status, &failure(status)) };
    }
    if call.plural.is_empty() {
        return whole(StatusCode::OK, &state.kinds());
    }
    if call.name.is_some() {
        let found = state.objects.values().find(|object| call.is_for(object));
        return found.map_or_else(
            || whole(StatusCode::NOT_FOUND, &failure(StatusCode::NOT_FOUND)),
            |object| whole(StatusCode::OK, object),
        );
    }
    if !call.query.contains_key("watch") {
        return whole(StatusCode::OK, &state.list(&call));
    }
    let is_list = call.query.contains_key("sendInitialEvents");
    if is_list && !state.streams {
        return whole(StatusCode::UNPROCESSABLE_ENTITY, &failure(StatusCode::UNPROCESSABLE_ENTITY));
    }
    let told = Told {
        lines: if is_list { state.initial(&call) } else { VecDeque::new() },
        from: if is_list { state.version } else { call.version() },
        changed: shared.changed.subscribe(),
        cuts: state.cuts,
    };
    Response::new(StreamBody::new(tell(shared.clone(), call, told)).boxed_unsync())
}

/// How far a watch has come.
struct Told {
    /// The list that comes first.
    lines: VecDeque<Value>,
    from: u64,
    changed: watch::Receiver<()>,
    cuts: u64,
}

/// The lines of a watch.
fn tell(shared: Arc<Shared>, call: Call, told: Told) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    futures::stream::unfold(Some(told), move |told| {
        let (shared, call) = (shared.clone(), call.clone());
        async move {
            let mut told = told?;
            if let Some(line) = told.lines.pop_front() {
                return Some((frame(&line), Some(told)));
            }
            loop {
                told.changed.borrow_and_update();
                {
                    let state = shared.state.lock().unwrap();
                    if told.from < state.oldest {
                        let line = json!({ "type": "ERROR", "object": failure(StatusCode::GONE) });
                        return Some((frame(&line), None));
                    }
                    if let Some((version, line)) = state.next(told.from, &call) {
                        told.from = version;
                        return Some((frame(&line), Some(told)));
                    }
                    if state.cuts != told.cuts {
                        return None;
                    }
                }
                told.changed.changed().await.ok()?;
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
    let reason = status.canonical_reason().unwrap_or_default().replace(' ', "");
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
        if let Some(Value::Object(texts)) = object.as_object_mut().unwrap().remove("stringData") {
            for (key, text) in texts {
                object["data"][key] = BASE64_STANDARD.encode(text.as_str().unwrap()).into();
            }
        }
        let was = self.objects.insert(key(&object), object.clone());
        let word = if was.is_some() { "MODIFIED" } else { "ADDED" };
        self.history.push((self.version, word, object));
    }

    /// POST, PUT with the version that was read, or a merge patch of the status.
    fn write(&mut self, method: &Method, call: &Call, body: &Value) -> (StatusCode, Value) {
        let mut object = body.clone();
        object["metadata"]["namespace"] = call.namespace.clone().unwrap_or_default().into();
        let kind = KINDS.iter().find(|(plural, _)| *plural == call.plural).unwrap().1;
        object["kind"] = kind.into();
        if method == Method::POST {
            if self.objects.contains_key(&key(&object)) {
                return (StatusCode::CONFLICT, Value::Null);
            }
            self.apply(object.clone());
            return (StatusCode::CREATED, self.objects[&key(&object)].clone());
        }
        let Some(known) = self.objects.values().find(|object| call.is_for(object)).cloned() else {
            return (StatusCode::NOT_FOUND, Value::Null);
        };
        if method == Method::PUT && known["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return (StatusCode::CONFLICT, Value::Null);
        }
        if method == Method::PATCH {
            object = known;
            object["status"] = body["status"].clone();
        }
        self.apply(object.clone());
        (StatusCode::OK, self.objects[&key(&object)].clone())
    }

    fn delete(&mut self, object: &Value) {
        let Some(mut object) = self.objects.remove(&key(object)) else { return };
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.history.push((self.version, "DELETED", object));
    }

    /// The kinds that there are, whatever the group.
    fn kinds(&self) -> Value {
        let is_there = |plural: &&&str| self.refused.get(**plural) != Some(&StatusCode::NOT_FOUND);
        let one =
            |plural: &&str| json!({ "name": plural, "singularName": "", "namespaced": true, "kind": "", "verbs": [] });
        let resources: Vec<Value> = SERVED.iter().filter(is_there).map(one).collect();
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": resources })
    }

    /// The next word of a watch after a version.
    fn next(&self, from: u64, call: &Call) -> Option<(u64, Value)> {
        let (version, word, object) =
            self.history.iter().find(|(version, _, object)| *version > from && call.is_about(object))?;
        // What leaves the selection is told as gone.
        let word = if call.is_selected(object) { word } else { "DELETED" };
        Some((*version, json!({ "type": word, "object": call.view(object) })))
    }

    /// A list as the beginning of a watch.
    fn initial(&self, call: &Call) -> VecDeque<Value> {
        let objects = self.objects.values().filter(|object| call.is_for(object));
        let end = json!({ "type": "BOOKMARK", "object": { "kind": "Bookmark", "apiVersion": "v1", "metadata": {
            "resourceVersion": self.version.to_string(), "annotations": { "k8s.io/initial-events-end": "true" } } } });
        objects.map(|object| json!({ "type": "ADDED", "object": call.view(object) })).chain([end]).collect()
    }

    /// A page: the `continue` token is the number of objects before it.
    fn list(&self, call: &Call) -> Value {
        let number = |key: &str| call.query.get(key).and_then(|text| text.parse::<usize>().ok());
        let (before, limit) = (number("continue").unwrap_or(0), number("limit").unwrap_or(usize::MAX));
        let all: Vec<&Value> = self.objects.values().filter(|object| call.is_for(object)).collect();
        let items: Vec<Value> = all.iter().skip(before).take(limit).map(|object| call.view(object)).collect();
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
    fn new(request: &Request<Incoming>) -> Self {
        let uri = request.uri();
        // After `/api/v1` or `/apis/group/version`.
        let prefix = if uri.path().starts_with("/api/") { 3 } else { 4 };
        let mut segments: VecDeque<&str> = uri.path().split('/').skip(prefix).collect();
        let namespace = (segments.len() > 2 && segments[0] == "namespaces").then(|| segments[1].to_owned());
        if namespace.is_some() {
            segments.drain(..2);
        }
        let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let accept = request.headers().get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
        Self {
            plural: segments.front().copied().unwrap_or_default().to_owned(),
            namespace,
            name: segments.get(1).map(|&name| name.to_owned()),
            is_partial: accept.contains("PartialObjectMetadata"),
            query: pairs.map(|(key, value)| (key.to_owned(), value.replace("%3D", "="))).collect(),
        }
    }

    /// The version that a watch begins after.
    fn version(&self) -> u64 {
        self.query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    fn is_for(&self, object: &Value) -> bool {
        self.is_about(object) && self.is_selected(object)
    }

    fn is_about(&self, object: &Value) -> bool {
        let in_namespace = |namespace: &String| text(object, "/metadata/namespace") == *namespace;
        let has_name = |name: &String| text(object, "/metadata/name") == *name;
        plural(object) == self.plural
            && self.namespace.as_ref().is_none_or(in_namespace)
            && self.name.as_ref().is_none_or(has_name)
    }

    /// Whether it has the one label that is asked for, if one is.
    fn is_selected(&self, object: &Value) -> bool {
        let Some((label, value)) = self.query.get("labelSelector").and_then(|text| text.split_once('=')) else {
            return true;
        };
        object["metadata"]["labels"][label] == *value
    }

    /// The object as it is told to whoever calls.
    fn view(&self, object: &Value) -> Value {
        if !self.is_partial {
            return object.clone();
        }
        json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
    }
}
