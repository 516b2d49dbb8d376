//! An origin for load tests: answers every request with the same bytes, as cheaply as it can.
//!
//! `origin LISTEN [BODY_BYTES]`. Reads heads only: for requests without body.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().ok_or("usage: origin LISTEN [BODY_BYTES]")?;
    let size: usize = arguments.next().map_or(Ok(1024), |number| number.parse())?;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n");
    let answer: Arc<[u8]> = [head.into_bytes(), vec![b'x'; size]].concat().into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream, answer.clone()));
        }
    })
}

async fn serve(mut stream: TcpStream, answer: Arc<[u8]>) {
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        while let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            buffer.drain(..end + 4);
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
        if !stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
            return;
        }
    }
}
