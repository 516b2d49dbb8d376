//! Listeners that start, change and stop while others serve.

use super::tls::{client_config, connect, presented};
use super::*;
use crate::listener::{Alpn, TlsVersion};

const PATIENCE: Duration = Duration::from_secs(60);

fn plain(name: &str, address: SocketAddr) -> Arc<Listener> {
    let listener = spec(ListenerProtocol::Http, TlsSettings::default());
    Arc::new(Listener { id: name.into(), address, ..listener })
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl House {
    /// Nothing is refused, and the address of the first.
    async fn want(&self, wanted: &[Arc<Listener>]) -> Option<SocketAddr> {
        self.publish(wanted);
        let failed = self.listeners.reconcile(wanted, PATIENCE).await;
        assert!(failed.is_empty(), "{failed:?}");
        self.address(&wanted.first()?.id)
    }
}

#[tokio::test]
async fn those_that_stay_lose_no_connection_and_those_that_go_are_drained() {
    let house = House::new(edge());
    let (stays, goes) = (plain("stays", anywhere()), plain("goes", anywhere()));
    let kept = house.want(&[stays.clone(), goes.clone()]).await.unwrap();
    let gone = house.address(&goes.id).unwrap();
    let mut open = Client::connect(kept).await.unwrap();
    let mut idle = Client::connect(gone).await.unwrap();
    let mut busy = Client::connect(gone).await.unwrap();
    for client in [&mut open, &mut idle] {
        assert!(ask(client, GET).await.starts_with("HTTP/1.1 200"));
    }
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    house.arrived.notified().await;

    assert_eq!(house.want(std::slice::from_ref(&stays)).await, Some(kept));
    assert!(Client::connect(gone).await.is_err(), "nobody accepts there any more");
    assert_eq!(rest(&mut idle).await, "");
    assert!(ask(&mut open, GET).await.starts_with("HTTP/1.1 200"), "the same connection");
    house.release.notify_one();
    assert!(answer(&mut busy).await.starts_with("HTTP/1.1 200"), "its request is served to the end");
    assert_eq!(rest(&mut busy).await, "");
    assert_eq!(house.listeners.drain_state().open(), 1);
}

#[tokio::test]
async fn what_does_not_end_on_a_listener_that_is_gone_is_cut() {
    let house = House::new(edge());
    let address = house.want(&[plain("goes", anywhere())]).await.unwrap();
    let mut busy = Client::connect(address).await.unwrap();
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    house.arrived.notified().await;
    assert!(house.listeners.reconcile(&[], Duration::ZERO).await.is_empty());
    assert_eq!(rest(&mut busy).await, "");
    house.listeners.drain_state().idle().await;
}

#[tokio::test]
async fn tls_and_protocol_change_with_the_next_connection_on_the_same_socket() {
    let house = House::new(edge());
    let (one, two) = (certificate("one.test"), certificate("two.test"));
    let https = spec(ListenerProtocol::Https, TlsSettings::default());
    let with = |certificate: &Arc<ServedCertificate>, tls: TlsSettings| {
        [Arc::new(Listener { certificate: Some(certificate.clone()), tls: Arc::new(tls), ..https.clone() })]
    };
    let address = house.want(&with(&one, TlsSettings::default())).await.unwrap();
    let config = client_config(&[&rustls::version::TLS12], &["http/1.1"]);
    let mut open = connect(address, "a.test", config.clone()).await.unwrap();
    ask(&mut open, GET).await;

    assert_eq!(house.want(&with(&two, TlsSettings::default())).await, Some(address));
    assert_eq!(presented(address, "a.test").await, two.key.cert[0]);
    let mut again = connect(address, "a.test", config.clone()).await.unwrap();
    ask(&mut again, GET).await;
    assert_eq!(again.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed), "sessions outlive it");

    let strict = TlsSettings { min_version: TlsVersion::Tls13, alpn: [Alpn::Http11].into(), ..TlsSettings::default() };
    assert_eq!(house.want(&with(&two, strict)).await, Some(address));
    assert!(connect(address, "a.test", config).await.is_err(), "TLS 1.2 is refused, resumed or not");
    assert!(ask(&mut open, GET).await.starts_with("HTTP/1.1 200"));

    let clear = Arc::new(Listener { protocol: ListenerProtocol::Http, ..https });
    assert_eq!(house.want(&[clear]).await, Some(address));
    let mut client = Client::connect(address).await.unwrap();
    assert!(ask(&mut client, GET).await.ends_with("https Http1 None"));
    assert!(ask(&mut open, GET).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn two_may_exchange_their_addresses() {
    let house = House::new(edge());
    let first = house.want(&[plain("a", anywhere()), plain("b", anywhere())]).await.unwrap();
    let second = house.address(&"b".into()).unwrap();
    // The addresses are free and known; now they are asked for.
    house.want(&[plain("a", first), plain("b", second)]).await;
    assert_eq!(house.want(&[plain("a", second), plain("b", first)]).await, Some(second));
    for (address, name) in [(first, "b"), (second, "a")] {
        let mut client = Client::connect(address).await.unwrap();
        assert!(ask(&mut client, GET).await.ends_with(&format!("{name} Http1 None")));
    }
    let counts = house.listeners.metrics().snapshot();
    assert_eq!(counts.iter().map(|it| it.is_up).collect::<Vec<_>>(), [Some(true); 2]);
}

#[tokio::test]
async fn an_address_in_use_is_told_and_taken_as_soon_as_it_is_free_and_the_old_one_serves_until_then() {
    let house = House::new(edge());
    let taken = std::net::TcpListener::bind(anywhere()).unwrap();
    let wanted = [plain("a", taken.local_addr().unwrap())];
    let old = house.want(&[plain("a", anywhere())]).await.unwrap();
    for _ in 0..2 {
        let failed = house.listeners.reconcile(&wanted, PATIENCE).await;
        assert!(matches!(&*failed, [ListenError::Bind { .. }]), "{failed:?}");
        assert!(ask(&mut Client::connect(old).await.unwrap(), GET).await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(house.counts().bind_faults[0].1, 2, "in use, twice");
    let new = taken.local_addr().unwrap();
    drop(taken);
    assert_eq!(house.want(&wanted).await, Some(new));
    assert!(ask(&mut Client::connect(new).await.unwrap(), GET).await.starts_with("HTTP/1.1 200"));
    assert!(Client::connect(old).await.is_err());
}

/// A thousand starts and stops, with clients on a listener that stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_listeners_start_and_stop_and_nobody_notices() {
    let house = House::new(edge());
    let stays = plain("stays", anywhere());
    let address = house.want(std::slice::from_ref(&stays)).await.unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let clients = [true, true, false].map(|is_kept| tokio::spawn(keep_asking(address, is_kept, stop.clone())));
    let mut asked = 0;
    for round in 0..125 {
        let names = (0..8).map(|index| plain(&format!("{round}-{index}"), anywhere()));
        let wanted: Vec<_> = [stays.clone()].into_iter().chain(names).collect();
        assert_eq!(house.want(&wanted).await, Some(address));
        let new = house.address(&wanted[1 + round % 8].id).unwrap();
        assert!(ask(&mut Client::connect(new).await.unwrap(), GET).await.starts_with("HTTP/1.1 200"));
        assert_eq!(house.want(std::slice::from_ref(&stays)).await, Some(address));
        assert!(Client::connect(new).await.is_err());
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        asked += client.await.unwrap();
    }
    assert!(asked >= 100, "{asked} requests");
    house.listeners.drain_state().idle().await;
    assert!(house.listeners.metrics().snapshot().len() < 80, "what is gone is forgotten");
}

async fn keep_asking(address: SocketAddr, is_kept: bool, stop: Arc<std::sync::atomic::AtomicBool>) -> usize {
    let mut client = Client::connect(address).await.unwrap();
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) || asked < 50 {
        assert!(ask(&mut client, GET).await.starts_with("HTTP/1.1 200"));
        asked += 1;
        if !is_kept {
            client = Client::connect(address).await.unwrap();
        }
    }
    asked
}
