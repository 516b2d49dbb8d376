//! Connections to HTTP/1 endpoints, with a valve in each.
//!
//! The engine makes and keeps its connections itself, and asks a connector of ours only for protocols of its own
//! (`custom`). One that answers with a stream, and no session, gets HTTP/1 on it, kept and used again like every other.
//! So endpoints of HTTP/1 are said to speak such a protocol.

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
use pingora::protocols::tls::{CustomALPN, SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora::upstreams::peer::{HttpPeer, Peer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::valve::{Valve, ValveCounts};

/// Makes connections.
pub(super) struct Pipes {
    transport: TransportConnector,
    counts: Arc<ValveCounts>,
}

/// A stream to an endpoint.
#[derive(Debug)]
struct Pipe {
    inner: Stream,
    valve: Arc<Valve>,
    digest: Arc<ProxyDigest>,
}

/// What endpoints of HTTP/1 are said to speak. It is never sent.
pub(super) fn alpn() -> ALPN {
    static NAME: LazyLock<CustomALPN> = LazyLock::new(|| CustomALPN::new(b"valve".to_vec()));
    ALPN::Custom(NAME.clone())
}

/// The valve of the connection that a digest belongs to.
pub(super) fn valve(digest: &Digest) -> Option<&Arc<Valve>> {
    digest.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
}

// === impl Pipes ===

impl Pipes {
    pub(super) fn new(options: ConnectorOptions, counts: Arc<ValveCounts>) -> Self {
        Self { transport: TransportConnector::new(Some(options)), counts }
    }

    async fn connect(&self, peer: &HttpPeer) -> pingora::Result<Stream> {
        let mut peer = peer.clone();
        peer.options.alpn = ALPN::H1;
        let inner = self.transport.new_stream(&peer).await?;
        let valve = Valve::new(Arc::clone(&self.counts));
        let user_data: Box<dyn Any + Send + Sync> = Box::new(Arc::clone(&valve));
        let response = Box::new(ResponseHeader::build(200, Some(0))?);
        let digest = Arc::new(ProxyDigest::new(response, Some(user_data)));
        Ok(Box::new(Pipe { inner, valve, digest }))
    }
}

#[async_trait]
impl Connector for Pipes {
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

// === impl Pipe ===

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (room, before) = (buf.remaining(), buf.filled().len());
        let allowed = ready!(self.valve.poll_allowance(room, cx));
        match allowed < room {
            true => ready!(Pin::new(&mut (&mut self.inner).take(allowed as u64)).poll_read(cx, buf))?,
            false => ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?,
        }
        self.valve.read(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
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
impl Shutdown for Pipe {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

#[async_trait]
impl Peek for Pipe {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buf).await
    }
}

impl UniqueID for Pipe {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Pipe {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Pipe {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for Pipe {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl GetSocketDigest for Pipe {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }

    fn set_socket_digest(&mut self, socket_digest: SocketDigest) {
        self.inner.set_socket_digest(socket_digest);
    }
}
