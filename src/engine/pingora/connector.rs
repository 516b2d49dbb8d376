//! Connections to HTTP/1 endpoints for clients of HTTP/2, with flow control in each.
//!
//! The engine makes and keeps its connections itself, and asks a connector of ours only for protocols of its own
//! (`custom`). One that answers with a stream, and no session, gets HTTP/1 on it, kept and used again like every other.
//! So these endpoints are said to speak such a protocol. Clients of HTTP/1 have connections of the engine's own: theirs
//! is one answer at a time, and flow control would cost each request.

use std::any::Any;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::http::custom::{Connection, Connector};
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::CustomALPN;
use pingora::protocols::{ALPN, Digest, GetProxyDigest, Peek, Shutdown, Stream};
use pingora::upstreams::peer::{HttpPeer, Peer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::flow_control::{FlowControl, FlowControlCounts};
use crate::connection::delegate;

/// Makes connections.
pub(super) struct UpstreamConnector {
    transport: TransportConnector,
    counts: Arc<FlowControlCounts>,
}

/// A stream to an endpoint.
#[derive(Debug)]
struct UpstreamStream {
    inner: Stream,
    flow: Arc<FlowControl>,
    digest: Arc<ProxyDigest>,
}

/// Keeps these connections apart from the engine's own.
const GROUP: u64 = 1 << 61;

/// Has the connection made with flow control. The protocol that is named is never sent.
pub(super) fn set(peer: &mut HttpPeer) {
    static NAME: LazyLock<CustomALPN> = LazyLock::new(|| CustomALPN::new(b"flow-control".to_vec()));
    peer.options.alpn = ALPN::Custom(NAME.clone());
    peer.group_key |= GROUP;
}

/// What holds back the connection that a digest belongs to.
pub(super) fn flow_control(digest: &Digest) -> Option<&Arc<FlowControl>> {
    digest.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
}

// === impl UpstreamConnector ===

impl UpstreamConnector {
    pub(super) fn new(options: ConnectorOptions, counts: Arc<FlowControlCounts>) -> Self {
        Self { transport: TransportConnector::new(Some(options)), counts }
    }

    async fn connect(&self, peer: &HttpPeer) -> pingora::Result<Stream> {
        let mut peer = peer.clone();
        peer.options.alpn = ALPN::H1;
        let inner = self.transport.new_stream(&peer).await?;
        let flow = FlowControl::new(Arc::clone(&self.counts));
        let user_data: Box<dyn Any + Send + Sync> = Box::new(Arc::clone(&flow));
        let response = Box::new(ResponseHeader::build(200, Some(0))?);
        let digest = Arc::new(ProxyDigest::new(response, Some(user_data)));
        Ok(Box::new(UpstreamStream { inner, flow, digest }))
    }
}

#[async_trait]
impl Connector for UpstreamConnector {
    type Session = ();

    async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> pingora::Result<(Connection<()>, bool)> {
        let stream = match (peer as &dyn Any).downcast_ref::<HttpPeer>() {
            Some(peer) => self.connect(peer).await?,
            None => self.transport.new_stream(peer).await?,
        };
        Ok((Connection::Stream(stream), false))
    }

    // Not an `async fn`: it is asked for each request, and a future of no size takes no memory.
    fn reused_http_session<'s, 'p, 'f, P>(&'s self, _: &'p P) -> Pin<Box<dyn Future<Output = Option<()>> + Send + 'f>>
    where
        P: Peer + Send + Sync + 'static + 'f,
        's: 'f,
        'p: 'f,
    {
        super::ready::none()
    }

    async fn release_http_session<P: Peer + Send + Sync + 'static>(&self, (): (), _: &P, _: Option<Duration>) {}
}

// === impl UpstreamStream ===

impl AsyncRead for UpstreamStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (room, before) = (buf.remaining(), buf.filled().len());
        let allowed = ready!(self.flow.poll_allowance(room, cx));
        match allowed < room {
            true => ready!(Pin::new(&mut (&mut self.inner).take(allowed as u64)).poll_read(cx, buf))?,
            false => ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?,
        }
        self.flow.read(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for UpstreamStream {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

#[async_trait]
impl Peek for UpstreamStream {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buf).await
    }
}

delegate!([] UpstreamStream);

impl GetProxyDigest for UpstreamStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digest))
    }
}
