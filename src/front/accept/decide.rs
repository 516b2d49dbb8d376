//! What is done with a connection, once it is known what its client opens with.

use super::Hello;
use crate::front::tls::TlsListener;

/// What is known of the client's first bytes.
pub(super) enum Opening<'l> {
    /// Nothing: in clear they are the request's own, and the guard tells by them which HTTP it is.
    Unread,
    /// A ClientHello, on a listener that speaks TLS.
    Hello(&'l TlsListener, Hello),
}

/// What is done.
///
/// To pass TLS on by its server name, or to carry bytes of anything, is a further variant: it is decided here, and the
/// compiler asks for its step in [`super::Front`].
pub(super) enum Course<'l> {
    /// It is HTTP in clear.
    Plain,
    /// It is HTTP over TLS, which ends here.
    Terminate(&'l TlsListener, Hello),
}

/// Decides.
pub(super) fn decide(opening: Opening<'_>) -> Course<'_> {
    match opening {
        Opening::Unread => Course::Plain,
        Opening::Hello(tls, hello) => Course::Terminate(tls, hello),
    }
}
