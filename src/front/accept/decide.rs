//! What is done with a connection: by its listener alone, and where that speaks TLS, by what the client opens with.
//!
//! What is not done yet is no variant. To carry bytes of anything is a further [`Start`], to pass TLS on by its server
//! name a further [`Course`]: the compiler asks for their steps in [`super::Front`].

use super::{Hello, Now};
use crate::front::tls::TlsListener;

/// What a connection begins with.
pub(super) enum Start<'l> {
    /// HTTP in clear. Nothing is read before: the first bytes are the request's own, and the guard tells by them which
    /// HTTP it is.
    Plain,
    /// A ClientHello.
    Hello(&'l TlsListener),
}

/// What is done with TLS.
pub(super) enum Course<'l> {
    /// It ends here, and what is in it is HTTP.
    Terminate(&'l TlsListener, Hello),
}

/// Decides by the listener.
pub(super) fn start(listener: &Now) -> Start<'_> {
    match &listener.tls {
        None => Start::Plain,
        Some(tls) => Start::Hello(tls),
    }
}

/// Decides by the ClientHello.
pub(super) fn course(tls: &TlsListener, hello: Hello) -> Course<'_> {
    Course::Terminate(tls, hello)
}
