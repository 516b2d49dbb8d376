//! Accepts connections of a server that must answer when descriptors are used up.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// A listener with a descriptor in reserve.
#[derive(Debug)]
pub(crate) struct Door {
    listener: TcpListener,
    /// Given up when there are no others, so that one more connection can be accepted.
    spare: Option<File>,
}

/// Result of an accept.
pub(crate) enum Arrival {
    /// Somebody is there.
    Stream(TcpStream, SocketAddr),
    /// Nobody can be let in before somebody leaves.
    Full,
    /// Nobody, this time.
    Nobody,
}

/// After a failed accept: it would fail again at once.
const PAUSE: Duration = Duration::from_millis(50);

// === impl Door ===

impl Door {
    /// Takes over a listener that is bound.
    ///
    /// # Errors
    /// Outside of a runtime that has sockets.
    pub(crate) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener: TcpListener::from_std(listener)?, spare: spare() })
    }

    /// Waits for the next one. Nothing is lost when the future is dropped.
    pub(crate) async fn accept(&mut self) -> Arrival {
        let mut accepted = self.listener.accept().await;
        if accepted.as_ref().is_err_and(is_out_of_descriptors) && self.spare.take().is_some() {
            accepted = self.listener.accept().await;
        }
        match accepted {
            Ok((stream, peer)) => {
                self.spare = self.spare.take().or_else(spare);
                Arrival::Stream(stream, peer)
            }
            Err(error) => {
                tracing::debug!(%error, "connection not accepted");
                let is_full = is_out_of_descriptors(&error);
                sleep(PAUSE).await;
                if is_full { Arrival::Full } else { Arrival::Nobody }
            }
        }
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// EMFILE and ENFILE: too many of the process, and of the system. The numbers are the same on all architectures.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}
