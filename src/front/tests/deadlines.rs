//! Clients that are too slow.

use super::*;
use crate::connection::TimedOut;

const SHORT: Duration = Duration::from_millis(200);

fn short() -> quantity::Duration {
    quantity::Duration(SHORT)
}

/// Sends one byte after another until the other side ends the connection; gives what it said.
async fn drip(mut client: Client, byte: u8) -> String {
    let (mut read, mut write) = client.split();
    let dripping = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while write.write_all(&[byte]).await.is_ok() {
            tick.tick().await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        said = rest(&mut read) => said,
        () = dripping => unreachable!(),
    }
}

#[tokio::test]
async fn a_dripping_head_is_answered_408() {
    let house = House::new(limited(|it| it.header_timeout = short()));
    let mut client = Client::connect(house.plain()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
    let said = drip(client, b'a').await;
    assert!(said.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{said}");
    assert_eq!(house.timeouts(TimedOut::Header), 1);
    house.until(|counts| counts.active == 0).await;
    assert_eq!(house.counts().malformed, 0, "it is counted as late, not as malformed");
    assert_eq!(*house.answers.0.lock().unwrap(), [(408, crate::reason::Reason::HeaderTimeout)]);
}

#[tokio::test]
async fn what_the_engine_refuses_by_itself_is_recorded() {
    use crate::reason::Reason;
    let house = House::new(edge());
    for head in ["nonsense\r\n\r\n", "CONNECT a.test:1 HTTP/1.1\r\nHost: a.test:1\r\n\r\n"] {
        let mut client = Client::connect(house.plain_once()).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        rest(&mut client).await;
    }
    let mut client = Client::connect(house.plain_once()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
    rest(&mut client).await;
    let expected = [(400, Reason::BadRequest), (405, Reason::BadMethod)];
    assert_eq!(*house.answers.0.lock().unwrap(), expected, "the app tells of its own answers");
}

#[tokio::test]
async fn a_silent_connection_is_closed_without_an_answer() {
    let house = House::new(limited(|it| it.header_timeout = short()));
    let mut client = Client::connect(house.plain()).await.unwrap();
    assert_eq!(rest(&mut client).await, "");
    assert_eq!(house.timeouts(TimedOut::Header), 1);
}

#[tokio::test]
async fn an_idle_kept_connection_is_closed() {
    let house = House::new(limited(|it| it.keep_alive_timeout = short()));
    let mut client = Client::connect(house.plain()).await.unwrap();
    ask(&mut client, GET).await;
    assert_eq!(rest(&mut client).await, "");
    assert_eq!(house.timeouts(TimedOut::Idle), 1);
}

#[tokio::test]
async fn the_head_of_a_further_request_has_a_deadline_too() {
    let house = House::new(limited(|it| it.header_timeout = short()));
    let mut client = Client::connect(house.plain()).await.unwrap();
    ask(&mut client, GET).await;
    client.write_all(b"GET / HT").await.unwrap();
    let said = rest(&mut client).await;
    assert!(said.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{said}");
    assert_eq!(house.timeouts(TimedOut::Header), 1);
}

#[tokio::test]
async fn a_dripping_body_is_cut() {
    let house = House::new(limited(|it| it.body_timeout = short()));
    let mut client = Client::connect(house.plain()).await.unwrap();
    client.write_all(b"POST /body HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
    drip(client, b'a').await;
    assert_eq!(house.timeouts(TimedOut::Body), 1);
}

#[tokio::test]
async fn a_body_that_nobody_reads_has_a_deadline_and_is_not_taken_for_a_request() {
    let house = House::new(limited(|it| it.header_timeout = short()));
    let mut client = Client::connect(house.plain()).await.unwrap();
    let said = ask(&mut client, b"POST /keep HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\n1234").await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert_eq!(rest(&mut client).await, "", "no second answer");
    house.until(|counts| counts.active == 0).await;
    let counts = house.counts();
    assert_eq!((house.timeouts(TimedOut::Body), counts.malformed), (1, 0));
}

#[tokio::test]
async fn a_body_in_time_leaves_the_connection_open() {
    let house = House::new(edge());
    let mut client = Client::connect(house.plain()).await.unwrap();
    for path in ["/body", "/keep", "/body"] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\n1234");
        assert!(ask(&mut client, request.as_bytes()).await.starts_with("HTTP/1.1 200"), "{path}");
    }
    assert_eq!(house.counts().accepted, 1);
}

#[tokio::test]
async fn a_request_may_take_its_time_once_it_is_complete() {
    let house = House::new(limited(|it| {
        (it.header_timeout, it.body_timeout, it.keep_alive_timeout) = (short(), short(), short())
    }));
    let mut client = Client::connect(house.plain()).await.unwrap();
    client.write_all(b"GET /wait HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    house.arrived.notified().await;
    tokio::time::sleep(2 * SHORT).await;
    house.release.notify_one();
    assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_response_that_is_not_read_is_cut() {
    let house = House::new(limited(|it| it.send_timeout = short()));
    let mut client = Client::connect(house.plain()).await.unwrap();
    client.write_all(b"GET /big HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    house.until(|counts| counts.timeouts[TimedOut::Write as usize].1 == 1 && counts.active == 0).await;
    assert!(rest(&mut client).await.len() < 64 << 20, "the response must be visibly cut");
}

#[tokio::test]
async fn a_client_hello_that_never_comes_is_cut() {
    let house = House::new(edge());
    let address = house.tls(TlsSettings { handshake_timeout: SHORT, ..TlsSettings::default() });
    let mut silent = Client::connect(address).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    let mut started = Client::connect(address).await.unwrap();
    started.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    assert_eq!(rest(&mut started).await, "");
    let failures = |reason: HandshakeFailure| house.counts().handshake_failures[reason as usize].1;
    assert_eq!(failures(HandshakeFailure::Timeout), 2);
    let gone = Client::connect(address).await.unwrap();
    drop(gone);
    house.until(|counts| counts.handshake_failures[HandshakeFailure::Closed as usize].1 == 1).await;
    assert_eq!(house.counts().handshaking, 0);
}

#[tokio::test]
async fn an_http2_connection_that_never_opens_is_cut() {
    let house = House::new(limited(|it| it.header_timeout = short()));
    let mut client = super::tls::connect_any(house.tls(TlsSettings::default()), &["h2"]).await;
    assert!(!rest(&mut client).await.contains("HTTP/1.1"), "no HTTP/1 answer on HTTP/2");
    house.until(|counts| counts.active == 0).await;
    assert_eq!(house.timeouts(TimedOut::Header), 1);
}
