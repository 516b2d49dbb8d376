//! Noticing that a client has gone while something else is waited for.

use std::future::pending;

use pingora_proxy::Session;

use crate::connection::ConnectionInfo;

/// Resolves when the client has closed its connection or reset its stream. On HTTP/1 a client that has closed its own
/// side only is taken for gone too, as while its request is forwarded: nothing tells one from the other.
pub(super) async fn of(session: &mut Session, connection: Option<&ConnectionInfo>) {
    if let Some(closed) = session.watch_h2_stream_close() {
        let _ = closed.await;
        return;
    }
    // Without the front nobody keeps the bytes that come before the end.
    let Some(connection) = connection else { return pending().await };
    let _watched = connection.watch();
    // Reading gives the end only, so that whatever it gives is the end.
    let _ = session.read_body_or_idle(true).await;
}
