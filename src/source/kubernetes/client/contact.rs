//! Stands between every call and the API server: paces watches, bounds waits, notes whether the server answers.
//!
//! A watch that ends well is opened again at once by whoever watches, and a server (or a proxy before it) that ends
//! every watch early would be asked without end. So watches that lived shortly are opened again later and later.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Request, Response};
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tower::{BoxError, Layer, Service};

/// A watch that lives so long needs no pause before the next one.
const LONG_LIVED: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the head of an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Contact with the API server: reachable or not, and since when. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Contact(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Milliseconds since 1970 of the last good answer; 0: none.
    heard: AtomicU64,
    is_lost: watch::Sender<bool>,
    /// By path.
    watches: Mutex<BTreeMap<String, Opened>>,
}

#[derive(Clone, Copy, Debug)]
struct Opened {
    at: Instant,
    pause: Duration,
}

/// Makes a client's calls known to a [`Contact`].
pub(super) struct ContactLayer(pub(super) Contact);

/// See [`ContactLayer`].
pub(super) struct Contacting<S> {
    inner: S,
    contact: Contact,
}

// === impl Contact ===

impl Default for Contact {
    fn default() -> Self {
        let is_lost = watch::Sender::new(false);
        Self(Arc::new(Inner { heard: AtomicU64::new(0), is_lost, watches: Mutex::default() }))
    }
}

impl Contact {
    /// Seconds since 1970 of the last good answer; 0: there was none.
    pub fn heard(&self) -> f64 {
        Duration::from_millis(self.0.heard.load(Ordering::Relaxed)).as_secs_f64()
    }

    /// Whether the last call got no answer, or one that says that the server is ill.
    pub fn is_lost(&self) -> bool {
        *self.0.is_lost.borrow()
    }

    /// Tells each change of [`Contact::is_lost`].
    pub(in crate::source::kubernetes) fn changes(&self) -> watch::Receiver<bool> {
        self.0.is_lost.subscribe()
    }

    /// Notes that the server spoke.
    pub(in crate::source::kubernetes) fn note_heard(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.0.heard.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.set_lost(false);
    }

    fn set_lost(&self, is_lost: bool) {
        self.0.is_lost.send_if_modified(|was| std::mem::replace(was, is_lost) != is_lost);
    }

    /// How long to wait before a watch of this path is opened.
    fn pause(&self, path: &str, now: Instant) -> Duration {
        let mut watches = self.0.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = watches.get_mut(path) else {
            watches.insert(path.to_owned(), Opened { at: now, pause: Duration::ZERO });
            return Duration::ZERO;
        };
        // One early end is no news; the second in a row is.
        let lived = now.saturating_duration_since(last.at);
        let (before, after) = match (lived < LONG_LIVED, last.pause) {
            (false, _) => (Duration::ZERO, Duration::ZERO),
            (true, Duration::ZERO) => (Duration::ZERO, FIRST_PAUSE),
            (true, pause) => (pause, (pause * 2).min(LONGEST_PAUSE)),
        };
        // A quarter is chance, so that replicas do not come back together.
        let before = before.mul_f64(0.75 + 0.25 * fastrand::f64());
        *last = Opened { at: now + before, pause: after };
        before
    }
}

// === impl ContactLayer, Contacting ===

impl<S> Layer<S> for ContactLayer {
    type Service = Contacting<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Contacting { inner, contact: self.0.clone() }
    }
}

impl<S, B> Service<Request<Body>> for Contacting<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let uri = request.uri();
        let is_watch = uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        let pause = if is_watch { self.contact.pause(uri.path(), Instant::now()) } else { Duration::ZERO };
        let contact = self.contact.clone();
        // Nothing is sent before it is polled.
        let answer = self.inner.call(request);
        Box::pin(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            let answer: Result<_, BoxError> = match timeout(PATIENCE, answer).await {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) => Err(format!("no response within {} s", PATIENCE.as_secs()).into()),
            };
            match &answer {
                // The server is there, whatever it thinks of the call.
                Ok(answer) if !answer.status().is_server_error() => contact.note_heard(),
                Ok(_) | Err(_) => contact.set_lost(true),
            }
            answer
        })
    }
}
