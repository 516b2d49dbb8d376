//! Connections for requests that ask for an upgrade.
//!
//! The engine takes the end of the (empty) request body for the end of the tunnel when the upstream's 101 is read
//! before it: a race that a near upstream wins now and then. On these connections the first read after a write
//! lets everything else go first once, so that the end of the body is always seen before the 101.

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
struct PatientSocket {
    stream: TcpStream,
    lets_others_first: bool,
}

#[async_trait]
impl L4Connect for Patient {
    async fn connect(&self, address: &PeerAddr) -> Result<Stream> {
        let PeerAddr::Inet(address) = address else {
            return Error::e_explain(ErrorType::ConnectError, "not an internet address");
        };
        let stream = connect(*address).await.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => ErrorType::ConnectNoRoute,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, "connecting for an upgrade", error)
        })?;
        let socket = PatientSocket { stream, lets_others_first: false };
        Ok(VirtualSocketStream::new(Box::new(socket)).into())
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

// === impl PatientSocket ===

impl VirtualSocket for PatientSocket {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.stream.set_nodelay(true),
            // Read timeouts bound how long a dead peer is waited for.
            _ => Ok(()),
        }
    }
}

impl AsyncRead for PatientSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.lets_others_first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PatientSocket {
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
