//! From a stream whose ClientHello was read to an encrypted one.

use std::sync::Arc;

use pingora::protocols::Ssl;
use pingora::protocols::tls::TlsStream;
use tidegate_plugin::TlsFacts;
use tokio::time::timeout_at;

use super::{HandshakeFailure, Hello, Plain};
use crate::front::tls::TlsListener;

/// A stream that is encrypted.
pub(super) type Encrypted = TlsStream<Plain>;

/// Shakes hands, with what the listener has for this server name.
pub(super) async fn shake(
    stream: Plain,
    tls: &TlsListener,
    hello: Hello,
) -> Result<(Box<Encrypted>, TlsFacts), HandshakeFailure> {
    let acceptor = tls.choose(hello.server_name.as_deref());
    let shaken = timeout_at(hello.deadline, Box::pin(acceptor.tls_handshake(stream))).await;
    match shaken.map_err(|_| HandshakeFailure::Timeout)? {
        Ok(stream) => {
            let facts = facts(&stream, hello.server_name);
            Ok((Box::new(stream), facts))
        }
        Err(error) => {
            tracing::debug!(%error, "TLS handshake refused");
            Err(HandshakeFailure::Refused)
        }
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
