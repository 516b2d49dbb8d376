//! From an accepted stream to an encrypted one: reads the ClientHello, chooses the configuration, shakes hands.
//!
//! The ClientHello is read before anything is decided, because what is served may depend on the server name.
//! Source: RFC 8446 section 4.1.2, RFC 6066 section 3.

use std::sync::Arc;

use pingora::protocols::Ssl;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::tls::TlsStream;
use rustls::InvalidMessage;
use rustls::server::{AcceptedAlert, Acceptor};
use tidegate_plugin::TlsFacts;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::buffered::BufferedStream;
use super::tls::{TlsListener, canonical_server_name};

/// Bytes within which a ClientHello must be complete.
const MAX_HELLO_BYTES: usize = 64 * 1024;

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeFailure {
    /// It was not complete in time.
    Timeout,
    /// The client closed the connection before its ClientHello was complete.
    Closed,
    /// What came is no ClientHello.
    NotTls,
    /// The ClientHello is larger than 64 KiB.
    TooLarge,
    /// Client and listener do not agree, or the client refused the certificate.
    Refused,
}

/// What a client opens with.
struct Hello {
    server_name: Option<Arc<str>>,
    /// All that was read of the stream so far.
    bytes: Vec<u8>,
}

// === impl HandshakeFailure ===

impl HandshakeFailure {
    /// Every reason, in declared order.
    pub(crate) const ALL: [Self; 5] = [Self::Timeout, Self::Closed, Self::NotTls, Self::TooLarge, Self::Refused];

    /// The reason as it stands in logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
        }
    }
}

/// An accepted stream, and it encrypted.
type Plain = BufferedStream<TcpStream>;
type Encrypted = TlsStream<Plain>;

/// Encrypts an accepted stream. Takes at most the listener's handshake timeout, and hardly any memory before the client
/// begins.
pub(super) async fn handshake(
    mut stream: Plain,
    listener: &TlsListener,
) -> Result<(Box<Encrypted>, TlsFacts), HandshakeFailure> {
    let deadline = Instant::now() + listener.handshake_timeout;
    match timeout_at(deadline, stream.has_bytes()).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false) | Err(_)) => return Err(HandshakeFailure::Closed),
        Err(_) => return Err(HandshakeFailure::Timeout),
    }
    Box::pin(shake(stream, listener, deadline)).await
}

async fn shake(
    stream: Plain,
    listener: &TlsListener,
    deadline: Instant,
) -> Result<(Box<Encrypted>, TlsFacts), HandshakeFailure> {
    let steps = async {
        let mut stream = stream;
        let hello = read_hello(&mut stream).await?;
        stream.put_back(hello.bytes);
        let acceptor = listener.choose(hello.server_name.as_deref());
        let stream = acceptor.tls_handshake(stream).await.map_err(|error| {
            tracing::debug!(%error, "TLS handshake refused");
            HandshakeFailure::Refused
        })?;
        let facts = facts(&stream, hello.server_name);
        Ok((Box::new(stream), facts))
    };
    timeout_at(deadline, steps).await.unwrap_or(Err(HandshakeFailure::Timeout))
}

async fn read_hello(stream: &mut Plain) -> Result<Hello, HandshakeFailure> {
    let mut acceptor = Acceptor::default();
    let mut bytes = Vec::with_capacity(2048);
    while bytes.len() < MAX_HELLO_BYTES {
        let known = bytes.len();
        match stream.read_buf(&mut bytes).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(HandshakeFailure::Closed),
        }
        let mut new = bytes.get(known..).unwrap_or_default();
        while !new.is_empty() {
            // It fails for one reason: its buffer is full and no message is complete.
            acceptor.read_tls(&mut new).map_err(|_full| HandshakeFailure::TooLarge)?;
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    let server_name = hello.server_name().map(|name| canonical_server_name(name).into());
                    return Ok(Hello { server_name, bytes });
                }
                Ok(None) => {}
                Err((error, alert)) => {
                    send_alert(stream, alert).await;
                    return Err(failure(&error));
                }
            }
        }
    }
    Err(HandshakeFailure::TooLarge)
}

/// Tells the client what is wrong with its ClientHello, if it still listens.
async fn send_alert(stream: &mut Plain, mut alert: AcceptedAlert) {
    let mut answer = Vec::new();
    if alert.write_all(&mut answer).is_ok() && stream.write_all(&answer).await.is_ok() {
        let _best_effort = stream.flush().await;
    }
}

fn failure(error: &rustls::Error) -> HandshakeFailure {
    match error {
        rustls::Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => HandshakeFailure::TooLarge,
        rustls::Error::InvalidMessage(_) => HandshakeFailure::NotTls,
        _ => HandshakeFailure::Refused,
    }
}

fn facts(stream: &Encrypted, server_name: Option<Arc<str>>) -> TlsFacts {
    let agreed = stream.get_ssl();
    let version = match agreed.and_then(|tls| tls.version()) {
        // rustls says TLSv1_3 where everybody else, OpenSSL first, says TLSv1.3.
        Some("TLSv1_3") => "TLSv1.3",
        Some("TLSv1_2") => "TLSv1.2",
        other => other.unwrap_or_default(),
    };
    TlsFacts::new(server_name, version, agreed.and_then(|tls| tls.current_cipher_name()).unwrap_or_default())
}
