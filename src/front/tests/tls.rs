//! Certificates, versions and application protocols.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::client::TlsStream;

use super::*;
use crate::listener::{Alpn, TlsVersion};

/// Believes every certificate; the tests look at what was presented.
#[derive(Debug)]
struct Believe;

impl ServerCertVerifier for Believe {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

pub(super) fn client_config(versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believe))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(super) async fn connect(
    address: SocketAddr,
    server_name: &str,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<Client>> {
    let name = ServerName::try_from(server_name.to_owned()).unwrap();
    tokio_rustls::TlsConnector::from(config).connect(name, Client::connect(address).await?).await
}

pub(super) async fn connect_any(address: SocketAddr, alpn: &[&str]) -> TlsStream<Client> {
    connect(address, "a.test", client_config(&[&TLS13, &TLS12], alpn)).await.unwrap()
}

pub(super) async fn presented(address: SocketAddr, server_name: &str) -> CertificateDer<'static> {
    let stream = connect(address, server_name, client_config(&[&TLS13, &TLS12], &[])).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn leaf(served: &ServedCertificate) -> CertificateDer<'static> {
    served.key.cert[0].clone()
}

#[tokio::test]
async fn the_certificate_is_the_one_of_the_server_name() {
    let (a, b, default) = (certificate("a.test"), certificate("*.b.test"), certificate("default.test"));
    let house = House::with(snapshot(edge(), &[("a.test", &a), ("*.b.test", &b)], default.clone()));
    let address = house.tls(TlsSettings::default());
    assert_eq!(presented(address, "a.test").await, leaf(&a));
    assert_eq!(presented(address, "A.Test").await, leaf(&a));
    assert_eq!(presented(address, "x.b.test").await, leaf(&b));
    assert_eq!(presented(address, "unknown.test").await, leaf(&default));
    assert_eq!(presented(address, "127.0.0.1").await, leaf(&default), "no server name at all");
}

#[tokio::test]
async fn the_default_of_the_listener_beats_that_of_the_snapshot() {
    let (a, own) = (certificate("a.test"), certificate("own.test"));
    let house = House::with(snapshot(edge(), &[("a.test", &a)], certificate("default.test")));
    let listener = spec(ListenerProtocol::Https, TlsSettings::default());
    let address = house.put(&Listener { certificate: Some(own.clone()), ..listener }).unwrap();
    assert_eq!(presented(address, "a.test").await, leaf(&a));
    assert_eq!(presented(address, "unknown.test").await, leaf(&own));
}

#[tokio::test]
async fn a_new_certificate_is_for_new_handshakes_and_harms_no_open_connection() {
    let (old, new) = (certificate("a.test"), certificate("a.test"));
    let house = House::with(snapshot(edge(), &[("a.test", &old)], certificate("default.test")));
    let address = house.tls(TlsSettings::default());
    let mut open = connect_any(address, &["http/1.1"]).await;
    ask(&mut open, GET).await;
    house.snapshot.store(Arc::new(snapshot(edge(), &[("a.test", &new)], certificate("default.test"))));
    assert_eq!(presented(address, "a.test").await, leaf(&new));
    assert!(ask(&mut open, GET).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_proxy_sees_the_facts_of_the_handshake() {
    let house = House::new(edge());
    let address = house.tls(TlsSettings::default());
    let mut client = connect(address, "a.test", client_config(&[&TLS12], &[])).await.unwrap();
    let answer = ask(&mut client, GET).await;
    assert!(
        answer.contains(r#"https Http1 Some(TlsFacts { server_name: Some("a.test"), version: "TLSv1.2""#),
        "{answer}"
    );
    assert!(answer.contains("TLS_ECDHE_ECDSA_WITH_AES"), "{answer}");
}

#[tokio::test]
async fn a_listener_for_tls_1_3_only_refuses_older_clients() {
    let house = House::new(edge());
    let address = house.tls(TlsSettings { min_version: TlsVersion::Tls13, ..TlsSettings::default() });
    assert!(connect(address, "a.test", client_config(&[&TLS12], &[])).await.is_err());
    house.until(|counts| counts.handshake_failures[HandshakeFailure::Refused as usize].1 == 1).await;
    let mut client = connect(address, "a.test", client_config(&[&TLS13], &[])).await.unwrap();
    assert!(ask(&mut client, GET).await.contains("TLSv1.3"));
}

#[tokio::test]
async fn http2_is_spoken_when_both_sides_offer_it() {
    let house = House::new(edge());
    let client = connect_any(house.tls(TlsSettings::default()), &["h2", "http/1.1"]).await;
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut send, connection) = h2::client::handshake(client).await.unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..3 {
        let request = http::Request::get("https://a.test/").body(()).unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let said = body.data().await.unwrap().unwrap();
        assert!(said.starts_with(b"https Http2"), "{said:?}");
    }
    house.listeners.drain().await;
    connection.await.unwrap().unwrap();
    house.listeners.drain_state().idle().await;
}

#[tokio::test]
async fn http2_is_not_offered_where_it_is_off() {
    let house = House::new(edge());
    let address = house.tls(TlsSettings { alpn: [Alpn::Http11].into(), ..TlsSettings::default() });
    let client = connect_any(address, &["h2", "http/1.1"]).await;
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn the_order_of_the_listener_chooses_among_what_both_sides_offer() {
    let house = House::new(edge());
    let address = house.tls(TlsSettings { alpn: [Alpn::Http11, Alpn::H2].into(), ..TlsSettings::default() });
    let client = connect_any(address, &["h2", "http/1.1"]).await;
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn a_session_is_resumed() {
    let house = House::new(edge());
    let address = house.tls(TlsSettings::default());
    for version in [&TLS12, &TLS13] {
        let config = client_config(&[version], &[]);
        for kind in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
            let mut client = connect(address, "a.test", config.clone()).await.unwrap();
            ask(&mut client, GET).await;
            assert_eq!(client.get_ref().1.handshake_kind(), Some(kind), "{version:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_tls_is_refused_and_counted() {
    let house = House::new(edge());
    let mut client = Client::connect(house.tls(TlsSettings::default())).await.unwrap();
    client.write_all(GET).await.unwrap();
    rest(&mut client).await;
    house.until(|counts| counts.handshake_failures[HandshakeFailure::NotTls as usize].1 == 1).await;
    assert_eq!(*house.answers.1.lock().unwrap(), ["https not_tls"], "it is told who it was");
}

#[tokio::test]
async fn a_client_hello_without_end_is_refused() {
    let house = House::new(edge());
    let address = house.tls(TlsSettings::default());
    // One says that it is 16 MiB large, the other comes in records of one byte each.
    let claimed = vec![0x16, 0x03, 0x01, 0x00, 0x04, 0x01, 0xff, 0xff, 0xff];
    let mut shredded = vec![0x16, 0x03, 0x01, 0x00, 0x04, 0x01, 0x00, 0xff, 0xfe];
    shredded.extend([0x16, 0x03, 0x01, 0x00, 0x01, 0x00].repeat(12_000));
    for (hello, refused) in [(claimed, 1), (shredded, 2)] {
        let mut client = Client::connect(address).await.unwrap();
        // The other side may well close before all of it is sent.
        let _ = client.write_all(&hello).await;
        rest(&mut client).await;
        house.until(|counts| counts.handshaking == 0 && counts.accepted == refused).await;
        assert_eq!(house.counts().handshake_failures[HandshakeFailure::TooLarge as usize].1, refused);
    }
}
