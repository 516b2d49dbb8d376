//! The graceful stop.

use super::*;

async fn in_flight(house: &House, address: SocketAddr) -> Client {
    let mut client = Client::connect(address).await.unwrap();
    client.write_all(b"GET /wait HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    house.arrived.notified().await;
    client
}

#[tokio::test]
async fn idle_connections_close_at_once_and_requests_are_finished() {
    let house = House::new(edge());
    let address = house.plain();
    let mut idle = Client::connect(address).await.unwrap();
    ask(&mut idle, GET).await;
    let mut busy = in_flight(&house, address).await;
    house.listeners.drain().await;
    assert_eq!(rest(&mut idle).await, "");
    assert!(Client::connect(address).await.is_err(), "nobody accepts any more");
    house.until(|counts| counts.active == 1).await;
    assert_eq!(house.listeners.drain_state().open(), 1, "the request is still served");
    house.release.notify_one();
    assert!(answer(&mut busy).await.starts_with("HTTP/1.1 200"));
    assert_eq!(rest(&mut busy).await, "", "the connection is not kept");
    house.listeners.drain_state().idle().await;
    let late = house.put(&spec(ListenerProtocol::Http, TlsSettings::default())).unwrap_err();
    assert!(matches!(late, ListenError::Stopping { .. }), "{late}");
}

#[tokio::test]
async fn what_is_left_after_the_deadline_is_cut() {
    let house = House::new(edge());
    let mut busy = in_flight(&house, house.plain()).await;
    house.listeners.drain().await;
    house.listeners.drain_state().cut();
    house.listeners.drain_state().idle().await;
    assert_eq!(rest(&mut busy).await, "");
}

#[tokio::test]
async fn a_handshake_does_not_hold_up_the_stop() {
    let house = House::new(edge());
    let mut client = Client::connect(house.tls(TlsSettings::default())).await.unwrap();
    house.until(|counts| counts.handshaking == 1).await;
    house.listeners.drain().await;
    house.listeners.drain_state().idle().await;
    assert_eq!(rest(&mut client).await, "");
}

#[tokio::test]
async fn a_kept_http2_connection_is_told_to_go() {
    let house = House::new(edge());
    let client = tls::connect_any(house.tls(TlsSettings::default()), &["h2"]).await;
    let (send, connection) = h2::client::handshake(client).await.unwrap();
    let connection = tokio::spawn(connection);
    house.until(|counts| counts.active == 1).await;
    house.listeners.drain().await;
    connection.await.unwrap().unwrap();
    house.listeners.drain_state().idle().await;
    drop(send);
}
