//! Asking other servers: what authenticates, keys, pages.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use crate::BoxFuture;

/// A client of HTTP, see [`crate::BuildContext::http`]: connections are kept and shared, and every call has a deadline
/// and a bound on what it takes in. For [`crate::Plugin::wait`] and its like.
///
/// The URL is `http://HOST[:PORT]/PATH`, `https://…` with a certificate that the system's authorities vouch for, or
/// `upstream://NAME/PATH`, an upstream of the conf with its endpoints, balance and TLS.
#[derive(Clone)]
pub struct HttpClient {
    caller: Arc<dyn Caller>,
    limits: CallLimits,
    under_way: Arc<AtomicU32>,
}

/// Bounds of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallLimits {
    /// From the call to the last byte of the response, resolving and connecting included. Default 5s; at most 60s.
    pub timeout: Duration,
    /// Bytes of the response's body. Default 1 MiB; at most 64 MiB.
    pub max_response: usize,
    /// Calls of the instance that may be under way. Default 64; at most 1024.
    pub max_calls: u32,
}

/// Why a call has no response. What guards something must then refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The URL is none of those that can be asked.
    #[error("the URL is none of http, https or upstream with a host")]
    Url,
    /// The conf has no such upstream, or it is unusable.
    #[error("there is no such upstream")]
    NoUpstream,
    /// The upstream has no endpoint that is ready.
    #[error("no endpoint is ready")]
    NoEndpoint,
    /// The name has no address, or none that may be asked.
    #[error("the name has no address that may be asked")]
    NoAddress,
    /// Nobody took the connection, or TLS with it could not be made.
    #[error("no connection")]
    NoConnection,
    /// The connection broke before the response was whole, or what came is no HTTP.
    #[error("no whole response")]
    Broken,
    /// It took too long.
    #[error("no response in time")]
    Timeout,
    /// The response is larger than it may be.
    #[error("the response is too large")]
    TooLarge,
    /// So many calls of the instance are under way already.
    #[error("too many calls at once")]
    TooMany,
    /// There is nothing to call with, as in a test that gives nothing.
    #[error("there is no client")]
    NoClient,
}

/// Makes calls; implemented by the proxy, and by [`crate::testing::client`].
pub trait Caller: Send + Sync {
    /// Makes one, within these limits.
    fn call(
        &self,
        request: Request<Bytes>,
        limits: CallLimits,
    ) -> BoxFuture<'static, Result<Response<Bytes>, CallError>>;
}

/// A call's place among those that are under way.
struct Seat(Arc<AtomicU32>);

/// Calls nobody.
struct Nobody;

// === impl HttpClient ===

impl HttpClient {
    /// A client that calls by this.
    pub fn new(caller: Arc<dyn Caller>) -> Self {
        Self { caller, limits: CallLimits::default(), under_way: Arc::default() }
    }

    /// The same with another time for a call, at most 60s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout.min(Duration::from_secs(60));
        self
    }

    /// The same with another bound on a response's body, at most 64 MiB.
    #[must_use]
    pub fn with_max_response(mut self, bytes: usize) -> Self {
        self.limits.max_response = bytes.min(64 << 20);
        self
    }

    /// The same with another bound on the calls that are under way, at most 1024.
    #[must_use]
    pub fn with_max_calls(mut self, calls: u32) -> Self {
        self.limits.max_calls = calls.min(1024);
        self
    }

    /// Its limits.
    pub fn limits(&self) -> CallLimits {
        self.limits
    }

    /// Makes a call. One that nobody awaits any more is broken off.
    ///
    /// # Errors
    /// There is no whole response; any status is one.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, CallError> {
        let Some(_seat) = Seat::take(&self.under_way, self.limits.max_calls) else { return Err(CallError::TooMany) };
        self.caller.call(request, self.limits).await
    }

    /// Gets what is there.
    ///
    /// # Errors
    /// As of [`HttpClient::send`].
    pub async fn get(&self, url: &str) -> Result<Response<Bytes>, CallError> {
        self.send(Request::get(url).body(Bytes::new()).map_err(|_| CallError::Url)?).await
    }
}

impl Default for HttpClient {
    /// One that calls nobody.
    fn default() -> Self {
        Self::new(Arc::new(Nobody))
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), max_response: 1 << 20, max_calls: 64 }
    }
}

// === impl Seat, Nobody ===

impl Seat {
    fn take(under_way: &Arc<AtomicU32>, max: u32) -> Option<Self> {
        let add = |count: u32| (count < max).then_some(count + 1);
        under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Self(Arc::clone(under_way)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Caller for Nobody {
    fn call(&self, _: Request<Bytes>, _: CallLimits) -> BoxFuture<'static, Result<Response<Bytes>, CallError>> {
        Box::pin(std::future::ready(Err(CallError::NoClient)))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::testing::{block_on, client};

    struct Forever;

    impl Caller for Forever {
        fn call(&self, _: Request<Bytes>, _: CallLimits) -> BoxFuture<'static, Result<Response<Bytes>, CallError>> {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn calls_that_are_under_way_have_a_bound_and_those_left_count_no_more() {
        let client = HttpClient::new(Arc::new(Forever)).with_max_calls(1);
        let mut task = Context::from_waker(Waker::noop());
        {
            let mut first = pin!(client.get("http://a/"));
            assert!(first.as_mut().poll(&mut task).is_pending());
            assert_eq!(block_on(Box::pin(client.get("http://a/"))).unwrap_err(), CallError::TooMany);
        }
        assert!(pin!(client.get("http://a/")).poll(&mut task).is_pending());
    }

    #[test]
    fn a_test_answers_and_nobody_answers_without_one() {
        let client = client(|request| {
            Response::builder().status(418).body(Bytes::from(request.uri().path().to_owned())).unwrap()
        });
        let response = block_on(Box::pin(client.get("http://a/b"))).unwrap();
        assert_eq!((response.status().as_u16(), &response.body()[..]), (418, &b"/b"[..]));
        assert_eq!(block_on(Box::pin(HttpClient::default().get("http://a/"))).unwrap_err(), CallError::NoClient);
    }

    #[test]
    fn limits_have_limits() {
        let client = HttpClient::default().with_timeout(Duration::MAX).with_max_response(usize::MAX);
        let limits = client.with_max_calls(u32::MAX).limits();
        assert_eq!((limits.timeout.as_secs(), limits.max_response, limits.max_calls), (60, 64 << 20, 1024));
    }
}
