//! Pingora's HTTP engine with our proxy in it, and limits that follow the snapshot.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;

use super::http_proxy::{self, Http};
use super::{FlowControlCounts, PingoraHooks, windows};
use crate::proxy::Proxy;
use crate::proxy::upstream::FREE_TRIES;
use crate::snapshot::Snapshot;

/// Tries of a request that the engine allows: as many as routes may, again after a wait for other endpoints, and those
/// that do not count.
const MAX_TRIES: usize = 20 + FREE_TRIES;

/// What listeners hand their connections to.
pub struct Engine {
    http: Arc<Http>,
    flow_control: Arc<FlowControlCounts>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    options: Options,
}

/// Server options by idle timeout. The engine borrows them for as long as it lives, so that a change appends.
struct Options {
    server: HttpServerOptions,
    next: OnceLock<Box<Options>>,
}

// === impl Engine ===

impl Engine {
    /// Puts a proxy into the engine. `threads` is how many will serve; the pool of idle connections grows with it, up
    /// to `idle`.
    ///
    /// # Errors
    /// There is no loopback address.
    pub fn new(proxy: Proxy, threads: usize, idle: usize) -> io::Result<Self> {
        let snapshot = Arc::clone(proxy.snapshot());
        let mut conf = ServerConf { threads, max_retries: MAX_TRIES, daemon: false, ..ServerConf::default() };
        let of_thread = conf.upstream_keepalive_pool_size.min(idle / threads.max(1));
        conf.upstream_keepalive_pool_size = of_thread.max(1);
        let flow_control = Arc::<FlowControlCounts>::default();
        let http = http_proxy::make(PingoraHooks::new(proxy), &Arc::new(conf), Arc::clone(&flow_control))?;
        let idle = snapshot.load().edge.limits.keep_alive_timeout.0;
        Ok(Self { http, flow_control, snapshot, options: Options::new(idle) })
    }

    /// What is held back because clients do not take it.
    pub fn flow_control(&self) -> &Arc<FlowControlCounts> {
        &self.flow_control
    }
}

#[async_trait]
impl HttpServerApp for Engine {
    // Not an `async fn`: its future is the engine's own, without a box around it.
    fn process_new_http<'s, 'w, 'f>(
        self: &'s Arc<Self>,
        session: ServerSession,
        shutdown: &'w ShutdownWatch,
    ) -> Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'f>>
    where
        's: 'f,
        'w: 'f,
    {
        self.http.process_new_http(session, shutdown)
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        windows::set_client(&mut options, &self.snapshot.load().edge);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(self.options.with_idle(self.snapshot.load().edge.limits.keep_alive_timeout.0))
    }

    async fn http_cleanup(&self) {
        self.http.http_cleanup().await;
    }
}

// === impl Options ===

impl Options {
    fn new(idle: Duration) -> Self {
        let mut server = HttpServerOptions::default();
        server.h2_idle_timeout = Some(idle);
        // The engine asks the stream for the preface of HTTP/2; the front's knows the answer.
        server.h2c = true;
        Self { server, next: OnceLock::new() }
    }

    fn with_idle(&self, idle: Duration) -> &HttpServerOptions {
        let mut node = self;
        while node.server.h2_idle_timeout != Some(idle) {
            node = node.next.get_or_init(|| Box::new(Self::new(idle)));
        }
        &node.server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_follow_the_idle_timeout() {
        let options = Options::new(Duration::from_secs(1));
        for seconds in [1, 2, 3, 2, 1] {
            let idle = Duration::from_secs(seconds);
            assert_eq!(options.with_idle(idle).h2_idle_timeout, Some(idle));
        }
    }
}
