//! Connections for requests that ask for an upgrade.
//!
//! The engine takes the end of the (empty) request body for the end of the tunnel when the upstream's 101 is read
//! before it: a race that a near upstream wins now and then. On these connections the first read after a write
//! lets everything else go first once, so that the end of the body is always seen before the 101.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Keeps these connections apart in the pool.
const GROUP: u64 = 1 << 63;

static CONNECTOR: LazyLock<Arc<Patient>> = LazyLock::new(|| Arc::new(Patient));

/// Lets a peer be reached by a connection that reads patiently.
pub(super) fn set(peer: &mut HttpPeer) {
    peer.group_key |= GROUP;
    peer.options.custom_l4 = Some(CONNECTOR.clone());
}

/// Makes such connections.
#[derive(Debug)]
struct Patient;

/// A connection whose first read after a write waits for its next turn.
#[derive(Debug)]
struct PatientSocket<S> {
    stream: S,
    lets_others_first: bool,
}

#[async_trait]
impl L4Connect for Patient {
    async fn connect(&self, address: &PeerAddr) -> Result<Stream> {
        let PeerAddr::Inet(address) = address else {
            return Error::e_explain(ErrorType::ConnectError, "not an internet address");
        };
        connect(*address).await.map(stream)
    }
}

/// Connects; the kind of the error is the engine's.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let connected = TcpStream::connect(address).await.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    connected.map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => ErrorType::ConnectNoRoute,
            _ => ErrorType::ConnectError,
        };
        Error::because(kind, "connecting", error)
    })
}

/// What reads patiently, as the engine takes it.
pub(super) fn stream<S: AsyncRead + AsyncWrite + Debug + Unpin + Send + Sync + 'static>(stream: S) -> Stream {
    VirtualSocketStream::new(Box::new(PatientSocket { stream, lets_others_first: false })).into()
}

// === impl PatientSocket ===

impl<S: AsyncRead + AsyncWrite + Debug + Unpin + Send + Sync> VirtualSocket for PatientSocket<S> {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        // No delay is set already; read timeouts bound how long a dead peer is waited for.
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PatientSocket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.lets_others_first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PatientSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.lets_others_first = true;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
