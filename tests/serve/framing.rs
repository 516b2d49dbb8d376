//! Messages in every framing over reused connections of every protocol pair: each answer belongs to its request, and
//! no byte is read behind a message, on either side.
//!
//! Random plans, sent by strict clients to a strict upstream that keeps what it saw. `TIDEGATE_SEED` repeats a run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fastrand::Rng;
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::Tidegate;
use tidegate_plugin::{BodyChunk, BodyFlow, BuildContext, BuildError, Define, Plugin, Shared, Stage, plugin};

use crate::support::*;

#[path = "framing/h1.rs"]
mod h1;
#[path = "framing/h2.rs"]
mod h2;
#[path = "framing/once.rs"]
mod once;
#[path = "framing/upstream.rs"]
mod upstream;

/// Connections of each kind of client to each upstream.
const CONNECTIONS: usize = 4;
/// Rounds of requests on each.
const ROUNDS: usize = 5;

/// What one request and its answer look like.
#[derive(Clone)]
struct Plan {
    id: usize,
    method: &'static str,
    body: Vec<u8>,
    /// Whether the body is sent in chunks (HTTP/1) or without its length told (HTTP/2).
    is_open: bool,
    has_trailers: bool,
    /// Whether the client goes in the middle of its body.
    leaves: bool,
    /// Whether the client ends the connection.
    closes: bool,
    /// Whether it asks for 100 before it sends its body.
    expects: bool,
    /// Whether it asks for a WebSocket, does not get one, and has talked on.
    upgrades: bool,
    answer: Answer,
}

/// What the upstream says.
#[derive(Clone)]
struct Answer {
    status: u16,
    framing: Framing,
    body: Vec<u8>,
    has_trailers: bool,
    /// Whether it is given before the body is read.
    is_early: bool,
    /// Informational answers before it.
    interim: usize,
    closes: bool,
    /// Whether more comes behind it that nobody asked for.
    has_extra: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    Length,
    Chunks,
    Close,
}

/// What both ends know.
#[derive(Default)]
struct Book {
    plans: Mutex<Vec<Plan>>,
    /// Bodies that came whole, by the request's number.
    seen: Mutex<BTreeMap<usize, Vec<u8>>>,
    faults: Mutex<Vec<String>>,
}

// === impl Book ===

impl Book {
    /// Writes down a new plan, numbered.
    fn add(&self, mut plan: Plan) -> Plan {
        let mut plans = self.plans.lock().unwrap();
        plan.id = plans.len();
        plan.answer.body = said(plan.id, plan.answer.body.len());
        plans.push(plan.clone());
        plan
    }

    fn plan(&self, target: &str) -> Option<Plan> {
        let id: usize = target.strip_prefix('/')?.parse().ok()?;
        self.plans.lock().unwrap().get(id).cloned()
    }

    fn fault(&self, text: impl Into<String>) {
        self.faults.lock().unwrap().push(text.into());
    }

    /// Compares an answer with its plan.
    fn check(&self, plan: &Plan, status: u16, id: Option<&str>, body: &[u8]) {
        let body_is_right = body == plan.expected(Hop::Down);
        if status != plan.answer.status || id != Some(&plan.id.to_string()) || !body_is_right {
            let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            self.fault(format!("{plan:?}\n  got {status} of {id:?}, {} bytes, {start:?}", body.len()));
        }
        if plan.answer.is_early || plan.leaves {
            return;
        }
        match self.seen.lock().unwrap().get(&plan.id) {
            Some(body) if *body == plan.expected(Hop::Up) => {}
            other => {
                let seen = other.map(Vec::len);
                self.fault(format!("{plan:?}\n  the upstream saw {seen:?} bytes, not {}", plan.body.len()));
            }
        }
    }
}

/// A direction of a body.
enum Hop {
    Up,
    Down,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = |is: bool, word: &'static str| if is { word } else { "" };
        let Answer { status, framing, .. } = self.answer;
        let (up, down) = (self.body.len(), self.answer.body.len());
        write!(f, "{} {} {up}", self.id, self.method)?;
        write!(f, "{}{}", told(self.is_open, " open"), told(self.has_trailers, " trailers"))?;
        write!(f, "{}{}", told(self.leaves, " leaves"), told(self.closes, " closes"))?;
        write!(f, "{}{}", told(self.expects, " expects"), told(self.upgrades, " upgrades"))?;
        write!(f, " -> {status} {framing:?} {down} after {}", self.answer.interim)?;
        write!(f, "{}{}", told(self.answer.has_trailers, " trailers"), told(self.answer.is_early, " early"))?;
        write!(f, "{}{}", told(self.answer.closes, " closes"), told(self.answer.has_extra, " extra"))
    }
}

// === impl Plan ===

impl Plan {
    /// Whether its answer has no body whatever its head says.
    fn is_bodiless(&self) -> bool {
        self.method == "HEAD" || matches!(self.answer.status, 204 | 304)
    }

    /// What must arrive. Both ends say `-` only where the plugin takes it away.
    fn expected(&self, hop: Hop) -> &[u8] {
        match hop {
            Hop::Up => &self.body,
            Hop::Down if self.is_bodiless() => &[],
            Hop::Down => &self.answer.body,
        }
    }
}

/// A body that tells whose it is.
fn said(id: usize, length: usize) -> Vec<u8> {
    let word = format!("{id};");
    word.bytes().cycle().take(length).collect()
}

fn length(rng: &mut Rng) -> usize {
    match rng.u8(..10) {
        0..3 => 0,
        3..8 => rng.usize(1..300),
        8 => rng.usize(1000..9000),
        _ => rng.usize(60_000..140_000),
    }
}

fn plan(rng: &mut Rng, upstream: &Upstream) -> Plan {
    let method = *rng.choice(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "POST"]).unwrap_or(&"GET");
    let body = if matches!(method, "GET" | "HEAD") && rng.u8(..8) > 0 { 0 } else { length(rng) };
    let leaves = body > 2 && rng.u8(..12) == 0;
    let upgrades = method == "GET" && body == 0 && rng.u8(..8) == 0;
    let framing = *rng.choice(&[Framing::Length, Framing::Length, Framing::Chunks, Framing::Close]).unwrap();
    let status = *rng.choice(&[200, 200, 200, 201, 404, 500, 204, 304]).unwrap();
    let is_plain = upstream.is_h1() && !upgrades;
    let is_early = !upgrades && rng.u8(..6) == 0;
    // An answer that ends with the connection would wait for the body, and the body for the answer.
    let may_expect = upstream.is_h1() && !(is_early && framing == Framing::Close);
    let answer_length = length(rng);
    Plan {
        id: 0,
        method,
        body: said(rng.usize(..1000), body),
        is_open: rng.bool(),
        has_trailers: rng.u8(..5) == 0,
        leaves,
        closes: rng.u8(..10) == 0,
        expects: may_expect && body > 0 && !leaves && rng.u8(..6) == 0,
        upgrades,
        answer: Answer {
            status,
            framing,
            body: vec![0; answer_length],
            has_trailers: rng.u8(..5) == 0,
            is_early,
            interim: if is_plain && rng.u8(..6) == 0 { rng.usize(1..4) } else { 0 },
            closes: rng.u8(..8) == 0,
            // Where it comes with the answer, so that it is there when the connection is looked at.
            has_extra: is_plain && framing != Framing::Close && answer_length < 1000 && rng.u8(..8) == 0,
        },
    }
}

/// One of the upstreams, and how it is spoken to.
#[derive(Clone)]
struct Upstream {
    protocol: &'static str,
    has_plugin: bool,
}

// === impl Upstream ===

impl Upstream {
    fn is_h1(&self) -> bool {
        self.protocol.starts_with("http")
    }

    fn host(&self) -> String {
        format!("{}{}.test", self.protocol, if self.has_plugin { "-plugin" } else { "" })
    }
}

/// Takes every `-` away, so that whole pieces vanish.
struct NoDashes;

#[derive(Deserialize, JsonSchema)]
struct NoConfig {}

impl Define for NoDashes {
    const NAME: &'static str = "no-dashes";
    const STAGE: Stage = Stage::Transform;
    type Config = NoConfig;

    fn build(_: NoConfig, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

#[plugin]
impl Plugin for NoDashes {
    fn on_request_body(&self, chunk: &mut BodyChunk<'_>, _: &mut Shared) -> BodyFlow {
        without_dashes(chunk)
    }

    fn on_response_body(&self, chunk: &mut BodyChunk<'_>, _: &mut Shared) -> BodyFlow {
        without_dashes(chunk)
    }
}

fn without_dashes(chunk: &mut BodyChunk<'_>) -> BodyFlow {
    let Some(bytes) = chunk.bytes.take() else { return BodyFlow::Continue };
    let kept: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'-').collect();
    // None and an empty piece must mean the same to whoever asks.
    *chunk.bytes = (!kept.is_empty() || bytes.len() % 2 == 0).then(|| Bytes::from(kept));
    BodyFlow::Continue
}

/// The size of a piece of a body: few pieces or many, but not thousands, which either side may take for an attack.
fn piece(length: usize, rng: &mut Rng) -> usize {
    let least = length / 30 + 1;
    rng.usize(least..=length.max(least))
}

/// With the plugin, dashes anywhere in a body change nothing.
fn dashed(body: &[u8], has_plugin: bool, rng: &mut Rng) -> Vec<u8> {
    let mut dashed = Vec::with_capacity(body.len());
    for byte in body {
        if has_plugin && rng.u8(..20) == 0 {
            dashed.extend(std::iter::repeat_n(b'-', rng.usize(1..40)));
        }
        dashed.push(*byte);
    }
    dashed
}

async fn start(book: &Arc<Book>) -> (Proxy, Vec<Upstream>) {
    let mut upstreams = Vec::new();
    let (mut conf, mut routes) = ("upstreams:\n".to_owned(), "routes:\n".to_owned());
    for protocol in ["http", "https", "h2c", "h2"] {
        for has_plugin in [false, true] {
            let address = upstream::start(protocol, has_plugin, book.clone()).await;
            let upstream = Upstream { protocol, has_plugin };
            let name = upstream.host().replace(".test", "");
            let plugins = if has_plugin { ", plugins: [ { type: no-dashes } ]" } else { "" };
            let tls = if matches!(protocol, "https" | "h2") { ", tls: { verify: false }" } else { "" };
            conf +=
                &format!("  {name}: {{ endpoints: [ {{ address: \"{address}\" }} ], protocol: {protocol}{tls} }}\n");
            routes += &format!("  - {{ hosts: [{name}.test], backends: [ {{ upstream: {name} }} ]{plugins} }}\n");
            upstreams.push(upstream);
        }
    }
    let conf = conf + &routes;
    (Proxy::start_with(Tidegate::builder().plugin::<NoDashes>(), &conf, &[]).await, upstreams)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_answer_belongs_to_its_request_and_no_byte_is_left_behind() {
    let seed =
        std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("TIDEGATE_SEED={seed}");
    let book = Arc::new(Book::default());
    let (proxy, upstreams) = start(&book).await;
    let mut rng = Rng::with_seed(seed);
    // More at once would wait for one another longer than a closing connection waits for its client.
    let turns = Arc::new(tokio::sync::Semaphore::new(12));
    let mut clients = tokio::task::JoinSet::new();
    for upstream in &upstreams {
        for _ in 0..CONNECTIONS {
            for kind in ["h1", "h1 over TLS", "h2"] {
                let (upstream, book, rng, turns) = (upstream.clone(), book.clone(), rng.fork(), turns.clone());
                let address = if kind == "h1" { proxy.http() } else { proxy.https() };
                clients.spawn(async move {
                    let _turn = turns.acquire().await.unwrap();
                    let served = match kind {
                        "h2" => tokio::time::timeout(PATIENCE, h2::client(address, &upstream, &book, rng)).await,
                        _ => tokio::time::timeout(PATIENCE, h1::client(address, kind, &upstream, &book, rng)).await,
                    };
                    if served.is_err() {
                        book.fault(format!("a client over {kind} to {} never ended", upstream.host()));
                    }
                });
            }
        }
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let faults = book.faults.lock().unwrap();
    let count = book.plans.lock().unwrap().len();
    assert!(faults.is_empty(), "TIDEGATE_SEED={seed}: {} of {count}:\n{:#}", faults.len(), faults.join("\n"));
}
