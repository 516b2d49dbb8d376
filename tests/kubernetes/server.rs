//! An API server for tests: real HTTP over loopback, with lists in pages and in streams, watches, selectors, 410 and
//! scripted faults.

#[path = "server/call.rs"]
mod call;
#[path = "server/store.rs"]
mod store;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::Stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::call::Call;
use self::store::{State, key};

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
