//! From one request of a connection to the next.
//!
//! What the engine makes for a request it makes before the request is there. So the stream is handed over when the
//! client has sent something, and a connection that waits holds little.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, Waker};

use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::{IO, Shutdown};
use tokio::sync::watch;

use super::drain::Drain;
use super::guarded::Guarded;
use super::retire;
use crate::connection::Protocol;

/// Learns of the stop, once for all waits of a connection.
struct Stop<'d, F> {
    drain: &'d Drain,
    begun: Pin<&'d mut F>,
    /// Whom the stop wakes.
    waker: Option<Waker>,
}

/// Serves a connection to its end.
pub(super) async fn connection<A, S>(app: &Arc<A>, drain: &Drain, stream: Box<Guarded<S>>)
where
    A: HttpServerApp + Send + Sync + 'static,
    S: IO + 'static,
{
    let begun = pin!(drain.begun());
    let mut stop = Stop { drain, begun, waker: None };
    let Some(stream) = stop.unless_begun(stream).await else { return };
    match stream.info().protocol() {
        Protocol::Http1 => Box::pin(requests::<A, S, _>(app, stream, stop)).await,
        Protocol::Http2 => streams(app, drain, stream).await,
    }
}

/// Serves the requests of an HTTP/2 connection, as many as it may carry.
async fn streams<A, S>(app: &Arc<A>, drain: &Drain, stream: Box<Guarded<S>>)
where
    A: HttpServerApp + Send + Sync + 'static,
    S: IO + 'static,
{
    let (info, waits) = (stream.info().clone(), *stream.waits());
    let Some(streams) = info.streams() else {
        drop(app.process_new(stream, &drain.watch()).await);
        return;
    };
    let tell = watch::Sender::new(false);
    let told = tell.subscribe();
    tokio::select! {
        _ended = app.process_new(stream, &told) => {}
        () = retire::retire(streams, drain.watch(), &tell, (waits.idle, waits.h2_streams)) => {}
    }
}

/// As the engine itself does it, but for the wait.
async fn requests<A, S, F>(app: &Arc<A>, stream: Box<Guarded<S>>, mut stop: Stop<'_, F>)
where
    A: HttpServerApp + Send + Sync + 'static,
    S: IO + 'static,
    F: Future<Output = ()>,
{
    let shutdown = stop.drain.watch();
    let mut session = ServerSession::new_http1(stream);
    // 60 s: the front's guard holds the limits; the app sets what it wants.
    session.set_keepalive((!*shutdown.borrow()).then_some(60));
    session.set_keepalive_reuses_remaining(app.server_options().and_then(|options| options.keepalive_request_limit));
    while let Some(reused) = app.process_new_http(session, &shutdown).await {
        let (mut stream, settings) = reused.consume();
        if stream.as_any().is::<Guarded<S>>() {
            let Ok(guarded) = stream.into_any().downcast::<Guarded<S>>() else { return };
            let Some(ready) = stop.unless_begun(guarded).await else { return };
            stream = ready;
        }
        session = ServerSession::new_http1(stream);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
    }
}

// === impl Stop ===

impl<F: Future<Output = ()>> Stop<'_, F> {
    /// Gives the stream back when its client has sent something; closes it when the client has had its time, has closed
    /// it, or everything stops.
    async fn unless_begun<S: IO + 'static>(&mut self, mut stream: Box<Guarded<S>>) -> Option<Box<Guarded<S>>> {
        let first = std::future::poll_fn(|cx| {
            if let Poll::Ready(first) = stream.poll_first(cx) {
                return Poll::Ready(Some(first));
            }
            if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                self.waker = Some(cx.waker().clone());
                return self.begun.as_mut().poll(cx).map(|()| None);
            }
            if self.drain.has_begun() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await;
        match first {
            Some(Ok(true)) => Some(stream),
            Some(Ok(false)) | None => None,
            Some(Err(_)) => {
                stream.shutdown().await;
                None
            }
        }
    }
}
