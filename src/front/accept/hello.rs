//! The ClientHello, read before anything is decided: what is served may depend on the server name.
//!
//! Nothing is taken away: its bytes are read again by whoever shakes hands.
//! Source: RFC 8446 section 4.1.2, RFC 6066 section 3.

use std::sync::Arc;
use std::time::Duration;

use rustls::InvalidMessage;
use rustls::server::{AcceptedAlert, Acceptor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::{HandshakeFailure, Plain};
use crate::front::tls::canonical_server_name;

/// Bytes within which a ClientHello must be complete.
const MAX_HELLO_BYTES: usize = 64 * 1024;

/// What a client opens TLS with.
pub(super) struct Hello {
    /// In the form in which certificates are looked up.
    pub(super) server_name: Option<Arc<str>>,
    /// When the whole handshake must be done.
    pub(super) deadline: Instant,
}

/// Reads it. Takes hardly any memory before the client begins.
pub(super) async fn read(stream: &mut Plain, handshake_timeout: Duration) -> Result<Hello, HandshakeFailure> {
    let deadline = Instant::now() + handshake_timeout;
    match timeout_at(deadline, stream.has_bytes()).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false) | Err(_)) => return Err(HandshakeFailure::Closed),
        Err(_) => return Err(HandshakeFailure::Timeout),
    }
    let whole = Box::pin(timeout_at(deadline, read_whole(stream)));
    let (server_name, bytes) = whole.await.unwrap_or(Err(HandshakeFailure::Timeout))?;
    stream.put_back(bytes);
    Ok(Hello { server_name, deadline })
}

/// The server name, and all that was read.
async fn read_whole(stream: &mut Plain) -> Result<(Option<Arc<str>>, Vec<u8>), HandshakeFailure> {
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
                    return Ok((server_name, bytes));
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
