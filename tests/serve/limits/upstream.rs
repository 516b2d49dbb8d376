//! An upstream that behaves as it is asked to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::raw_server;

/// How an upstream behaves, which is told by the path.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// Answers at once.
    Answers,
    /// Reads, and says nothing.
    Silent,
    /// Reads the head only.
    Deaf,
    /// Sends a head byte by byte, without end.
    Drips,
    /// Sends interim answers without end.
    Interim,
    /// Sends an answer without end.
    Floods,
}

pub struct Upstream {
    pub address: SocketAddr,
    /// Connections that are open.
    pub open: Arc<AtomicUsize>,
    /// Those of them that have a request which is not answered well.
    pub held: Arc<AtomicUsize>,
}

pub async fn upstream() -> Upstream {
    let (open, held) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let counts = (open.clone(), held.clone());
    let address = raw_server(move |stream| {
        let (open, held) = counts.clone();
        async move {
            open.fetch_add(1, Ordering::SeqCst);
            serve(stream, &held).await;
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    Upstream { address, open, held }
}

/// Waits until a count is zero.
pub async fn until_none(count: &AtomicUsize) {
    while count.load(Ordering::SeqCst) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn serve(mut stream: TcpStream, held: &AtomicUsize) {
    let mut buffer = Vec::new();
    loop {
        let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            if !stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
                return;
            }
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..at]).into_owned();
        buffer.drain(..at + 4);
        let manner = match head.split(' ').nth(1).unwrap_or_default() {
            path if path.starts_with("/silent") => Manner::Silent,
            path if path.starts_with("/deaf") => Manner::Deaf,
            path if path.starts_with("/drips") => Manner::Drips,
            path if path.starts_with("/interim") => Manner::Interim,
            path if path.starts_with("/floods") => Manner::Floods,
            _ => Manner::Answers,
        };
        if manner == Manner::Answers {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            continue;
        }
        held.fetch_add(usize::from(manner != Manner::Deaf), Ordering::SeqCst);
        behave(&mut stream, manner, head.to_lowercase().contains("upgrade")).await;
        held.fetch_sub(1, Ordering::SeqCst);
        return;
    }
}

/// Behaves in that manner until the proxy lets go.
async fn behave(stream: &mut TcpStream, manner: Manner, is_tunnel: bool) {
    if is_tunnel {
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let _ = stream.write_all(switch).await;
    }
    let (begin, piece, pause): (&[u8], &[u8], u64) = match manner {
        Manner::Drips => (b"HTTP/1.1 200 OK\r\nX: ", b"y", 10),
        Manner::Interim => (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 40),
        Manner::Floods if is_tunnel => (b"", &[b'x'; 64 << 10], 0),
        Manner::Floods => (b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 64 << 10], 0),
        // Behind bytes that nobody reads no end is seen.
        Manner::Deaf => return std::future::pending().await,
        Manner::Answers | Manner::Silent => (b"", b"", 1000),
    };
    let (mut read, mut write) = stream.split();
    let mut room = [0; 4096];
    let reading = async { while read.read(&mut room).await.is_ok_and(|count| count > 0) {} };
    let writing = async {
        let _ = write.write_all(begin).await;
        while write.write_all(piece).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    };
    tokio::select! { () = reading => {}, () = writing => {} }
}
