//! The buffered stream over a real socket: it reads and writes what a stream without tricks would.

use std::time::Duration;

use pingora::protocols::l4::stream::Stream as TcpStream;
use proptest::prelude::*;
use tokio::net::{TcpListener, TcpStream as Client};

use super::*;

async fn pair() -> (Client, BufferedStream<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (client, BufferedStream::new(TcpStream::from(stream)))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_read_is_what_was_sent(sent in prop::collection::vec(any::<u8>(), 0..200_000), rooms in prop::collection::vec(1_usize..70_000, 1..20), back in any::<prop::sample::Index>()) {
        runtime().block_on(async {
            let (mut client, mut stream) = pair().await;
            let expected = sent.clone();
            let sends = async move {
                client.write_all(&sent).await.unwrap();
                drop(client);
            };
            let reads = async {
                let (mut read, back) = (Vec::new(), back.index(rooms.len()));
                for (turn, room) in rooms.iter().cycle().enumerate() {
                    let mut piece = vec![0; *room];
                    let count = stream.read(&mut piece).await.unwrap();
                    piece.truncate(count);
                    if count == 0 {
                        break;
                    }
                    match turn == back {
                        true => stream.put_back(piece),
                        false => read.extend_from_slice(&piece),
                    }
                }
                read
            };
            let ((), read) = tokio::join!(sends, reads);
            assert_eq!(read, expected);
        });
    }

    #[test]
    fn what_is_written_arrives_in_order(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4_000), 0..40), flushes in any::<bool>()) {
        runtime().block_on(async {
            let (mut client, mut stream) = pair().await;
            let expected = pieces.concat();
            let writes = async move {
                for piece in &pieces {
                    stream.write_all(piece).await.unwrap();
                    if flushes {
                        stream.flush().await.unwrap();
                    }
                }
                // What is gathered goes when the stream does.
                drop(stream);
            };
            let mut read = Vec::new();
            let ((), ended) = tokio::join!(writes, client.read_to_end(&mut read));
            ended.unwrap();
            assert_eq!(read, expected);
        });
    }
}

#[tokio::test]
async fn it_holds_nothing_until_the_client_sends_or_is_sent_something() {
    let (mut client, mut stream) = pair().await;
    let waits = tokio::time::timeout(Duration::from_millis(10), stream.has_bytes()).await;
    assert!(waits.is_err() && stream.read.is_empty() && stream.write.capacity() == 0);
    client.write_all(b"x").await.unwrap();
    assert!(stream.has_bytes().await.unwrap());
    let mut room = [0; 8];
    assert_eq!(stream.read(&mut room).await.unwrap(), 1);
    assert_eq!(format!("{:?}", stream.read), "PooledBuffer { waiting: 0, .. }");
    drop(client);
    assert!(!stream.has_bytes().await.unwrap());
}

#[tokio::test]
async fn small_writes_go_together() {
    let (client, mut stream) = pair().await;
    stream.write_all(b"head ").await.unwrap();
    stream.write_all(b"body").await.unwrap();
    let mut room = [0; 16];
    assert!(client.try_read(&mut room).is_err(), "nothing goes before the flush");
    stream.flush().await.unwrap();
    client.readable().await.unwrap();
    assert_eq!(client.try_read(&mut room).unwrap(), 9);
}
