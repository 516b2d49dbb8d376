//! The end of HTTP/2 connections that have carried as many requests as they may.
//!
//! The engine says GOAWAY on the signal of a drain, and then waits for the client without a limit.

use std::time::Duration;

use pingora::server::ShutdownWatch;
use tokio::sync::watch;

use crate::connection::Streams;

/// Resolves when a connection is to be closed: some time after its client was told to come again on another one, once
/// nothing is under way, or when it goes on as if nothing had been said.
pub(super) async fn retire(
    streams: &Streams,
    mut drain: ShutdownWatch,
    tell: &watch::Sender<bool>,
    (idle, max_beyond): (Duration, u32),
) {
    tokio::select! {
        _ = drain.wait_for(|has_begun| *has_begun) => {}
        () = streams.spent() => {}
    }
    tell.send_replace(true);
    loop {
        tokio::time::sleep(idle).await;
        if streams.open() == 0 || streams.beyond() > max_beyond {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::connection::{ConnectionInfo, Protocol};
    use crate::listener::Serves;

    const IDLE: Duration = Duration::from_secs(5);

    fn connection(limit: u32) -> ConnectionInfo {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 80));
        let now = std::time::Instant::now();
        ConnectionInfo::new("https".into(), Serves::Common, address, now, None, Protocol::Http2)
            .with_max_requests(limit)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_told_at_its_last_request_and_closed_when_that_is_done() {
        let info = connection(2);
        let streams = info.streams().unwrap();
        let (tell, (_keep, drain)) = (watch::Sender::new(false), watch::channel(false));
        let told = tell.subscribe();
        let start = Instant::now();
        let requests = async {
            info.head_arrived();
            info.request_done();
            tokio::time::sleep(IDLE * 3).await;
            assert!(!*told.borrow());
            info.head_arrived();
            tokio::time::sleep(IDLE * 2 + IDLE / 2).await;
            assert!(*told.borrow());
            info.request_done();
        };
        tokio::join!(retire(streams, drain, &tell, (IDLE, 100)), requests);
        assert_eq!(start.elapsed(), IDLE * 6);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_listen_is_not_waited_for() {
        let info = connection(1);
        let (tell, (_keep, drain)) = (watch::Sender::new(false), watch::channel(false));
        for _ in 0..4 {
            info.head_arrived();
        }
        let start = Instant::now();
        retire(info.streams().unwrap(), drain, &tell, (IDLE, 2)).await;
        assert_eq!(start.elapsed(), IDLE);
    }
}
