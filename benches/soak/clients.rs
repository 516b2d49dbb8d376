//! Kinds of clients, how many of each, and what came of what they asked.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

use crate::proxy::Proxy;
use crate::{Failure, aborts, orderly};

/// Clients of each kind at a time.
const EACH: usize = 4;

/// Between two rounds of a client: the soak is about time, not about speed, and clients that leave must not be all there is.
const PAUSE: Duration = Duration::from_millis(50);

/// After this a round counts as hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of the rounds of one kind.
#[derive(Debug, Default)]
struct Seen {
    rounds: u64,
    failed: u64,
    first_failure: Option<String>,
}

/// Runs every kind of client for that long.
pub(crate) async fn run(plain: SocketAddr, tls: SocketAddr, time: Duration) -> Result<serde_json::Value, Failure> {
    let proxy = Rc::new(Proxy { plain, tls });
    let until = Instant::now() + time;
    let seen = LocalSet::new().run_until(all(&proxy, until)).await;
    let rows = seen.into_iter().map(|(kind, seen)| {
        let row = serde_json::json!({
            "rounds": seen.rounds, "failed": seen.failed, "firstFailure": seen.first_failure,
        });
        (kind.to_owned(), row)
    });
    Ok(serde_json::Value::Object(rows.collect()))
}

async fn all(proxy: &Rc<Proxy>, until: Instant) -> BTreeMap<&'static str, Seen> {
    let mut running = Vec::new();
    for _ in 0..EACH {
        running.push(repeat("h1", proxy, until, orderly::kept));
        running.push(repeat("h1-tls", proxy, until, orderly::over_tls));
        running.push(repeat("h2", proxy, until, orderly::multiplexed));
        running.push(repeat("tunnel", proxy, until, orderly::tunnel));
        running.push(repeat("refused", proxy, until, orderly::refused));
        running.push(repeat("broken-upstream", proxy, until, orderly::broken));
        running.push(repeat("leaves-download", proxy, until, aborts::download));
        running.push(repeat("leaves-upload", proxy, until, aborts::upload));
        running.push(repeat("leaves-wait", proxy, until, aborts::wait));
        running.push(repeat("leaves-tunnel", proxy, until, aborts::tunnel));
        running.push(repeat("cancels-h2", proxy, until, aborts::streams));
        running.push(repeat("noise", proxy, until, aborts::noise));
    }
    let mut all: BTreeMap<&'static str, Seen> = BTreeMap::new();
    for client in running {
        let (kind, seen) = client.await.unwrap_or_else(|error| ("panicked", Seen::failure(error.to_string())));
        let sum = all.entry(kind).or_default();
        sum.rounds += seen.rounds;
        sum.failed += seen.failed;
        sum.first_failure = sum.first_failure.take().or(seen.first_failure);
    }
    all
}

/// One client: rounds of its kind until the time is over.
fn repeat<F>(
    kind: &'static str,
    proxy: &Rc<Proxy>,
    until: Instant,
    round: impl Fn(Rc<Proxy>) -> F + 'static,
) -> tokio::task::JoinHandle<(&'static str, Seen)>
where
    F: Future<Output = Result<(), Failure>>,
{
    let proxy = proxy.clone();
    tokio::task::spawn_local(async move {
        let mut seen = Seen::default();
        while Instant::now() < until {
            seen.rounds += 1;
            let outcome =
                timeout(PATIENCE, round(proxy.clone())).await.unwrap_or_else(|_| Err("no end in 30 s".into()));
            if let Err(error) = outcome {
                seen.failed += 1;
                seen.first_failure.get_or_insert_with(|| error.to_string());
            }
            sleep(PAUSE).await;
        }
        (kind, seen)
    })
}

// === impl Seen ===

impl Seen {
    fn failure(error: String) -> Self {
        Self { rounds: 1, failed: 1, first_failure: Some(error) }
    }
}
