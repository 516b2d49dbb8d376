//! Listeners of the conf that start, change and stop while others serve.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::support::*;

const HELLO: &str = "routes: [ { respond: { body: hello } } ]\n";
const HTTP: &str = "  - { name: http, address: \"127.0.0.1:0\", protocol: http }\n";

impl Proxy {
    /// Replaces the conf's listeners.
    fn listen(&self, listeners: &str) {
        let file = self.folder.path().join("tidegate.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let (before, rest) = text.split_once("listeners:\n").unwrap();
        let rest: Vec<&str> = rest.lines().skip_while(|line| line.starts_with(' ')).collect();
        let new = self.folder.path().join("new.yaml");
        std::fs::write(&new, format!("{before}listeners:\n{listeners}{}\n", rest.join("\n"))).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    async fn until_listener(&self, name: &str, fits: impl Fn(Option<SocketAddr>) -> bool) -> Option<SocketAddr> {
        let wait = async {
            while !fits(self.running.listener(name)) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{name} never fitted"));
        self.running.listener(name)
    }

    async fn until_told(&self, code: &str) {
        let wait = async {
            while !self.codes().contains(code) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{code} is never told"));
    }

    fn codes(&self) -> BTreeSet<String> {
        self.running.diagnostics().iter().map(|it| it.code.as_str().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_come_and_go_with_the_conf_and_those_that_stay_lose_no_connection() {
    let proxy = Proxy::start(&format!("listeners:\n{HTTP}{HELLO}"), &[]).await;
    let address = proxy.http();
    let mut kept = Connection::open(address).await;
    assert_eq!(kept.get("a.test", "/").await.unwrap().text(), "hello");

    let extra = "  - { name: extra, address: \"127.0.0.1:0\", protocol: http1 }\n";
    proxy.listen(&format!("{HTTP}{extra}"));
    let new = proxy.until_listener("extra", |it| it.is_some()).await.unwrap();
    assert_eq!(get(new, "a.test", "/").await.text(), "hello", "the same is served");
    until_metric(&proxy, "tidegate_listener_up{listener=\"extra\"}", 1.0).await;
    let mut on_extra = Connection::open(new).await;
    assert_eq!(on_extra.get("a.test", "/").await.unwrap().text(), "hello");

    proxy.listen(HTTP);
    proxy.until_listener("extra", |it| it.is_none()).await;
    assert!(tokio::net::TcpStream::connect(new).await.is_err(), "nobody accepts there any more");
    assert!(on_extra.get("a.test", "/").await.is_none(), "an idle connection is closed");
    assert_eq!(proxy.http(), address);
    assert_eq!(kept.get("a.test", "/").await.unwrap().text(), "hello");
    assert!(!proxy.codes().contains("NeedsRestart"), "{:?}", proxy.codes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tls_is_spoken_on_them_changes_with_the_conf() {
    let https = |tls: &str| format!("{HTTP}  - {{ name: https, address: \"127.0.0.1:0\", protocol: https{tls} }}\n");
    let proxy = Proxy::start(&format!("listeners:\n{}{HELLO}", https("")), &[]).await;
    let address = proxy.https();
    let mut kept = tls(address, "a.test", &["h2"]).await.unwrap();
    assert_eq!(kept.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let agreed = async || {
        let stream = tls(address, "a.test", &["h2", "http/1.1"]).await.unwrap();
        stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
    };
    proxy.listen(&https(", tls: { alpn: [http/1.1] }"));
    let wait = async {
        while agreed().await.as_deref() != Some(b"http/1.1") {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("another protocol is agreed on");
    assert_eq!(proxy.https(), address, "on the same socket");
    let (mut send, connection) = h2::client::handshake(&mut kept).await.unwrap();
    let asks = async {
        let request = http::Request::get("https://a.test/").body(()).unwrap();
        send.send_request(request, true).unwrap().0.await.unwrap().status()
    };
    tokio::select! {
        status = asks => assert_eq!(status, 200, "an open connection goes on as it was agreed"),
        ended = connection => panic!("it ended: {ended:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_when_its_files_change() {
    let make = || rcgen::generate_simple_self_signed(vec!["own.test".to_owned()]).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let [crt, key] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name));
    let write = |made: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        std::fs::write(&crt, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    };
    let until = async |proxy: &Proxy, wanted: &[u8]| {
        let wait = async {
            while presented(proxy.https(), "own.test").await != wanted {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it is presented");
    };
    let first = make();
    write(&first);
    let https = format!(
        "  - {{ name: https, address: \"127.0.0.1:0\", protocol: https, tls: {{ certificateFile: {crt:?}, keyFile: {key:?} }} }}\n"
    );
    let proxy = Proxy::start(&format!("listeners:\n{HTTP}{https}{HELLO}"), &[]).await;
    until(&proxy, first.cert.der()).await;
    let second = make();
    write(&second);
    until(&proxy, second.cert.der()).await;
    // A key of another certificate: the last good pair stays, and somebody says so.
    std::fs::write(&key, first.signing_key.serialize_pem()).unwrap();
    proxy.until_told("InvalidCertificate").await;
    assert_eq!(presented(proxy.https(), "own.test").await, second.cert.der().to_vec());
    std::fs::remove_file(&crt).unwrap();
    proxy.listen(&format!("{HTTP}{https}"));
    assert_eq!(presented(proxy.https(), "own.test").await, second.cert.der().to_vec());
    write(&first);
    until(&proxy, first.cert.der()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_a_finding_and_is_taken_as_soon_as_it_is_free() {
    let proxy = Proxy::start(&format!("listeners:\n{HTTP}{HELLO}"), &[]).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let wanted = taken.local_addr().unwrap();
    proxy.listen(&format!("{HTTP}  - {{ name: extra, address: \"{wanted}\", protocol: http }}\n"));
    until_metric(&proxy, "tidegate_listener_up{listener=\"extra\"}", 0.0).await;
    let failed = "tidegate_listener_bind_failures_total{listener=\"extra\",reason=\"in_use\"}";
    let tried_again = async {
        while metrics(&proxy).await.get(failed).is_none_or(|count| *count < 2.0) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried_again).await.expect("it is tried again");
    let told = proxy.running.diagnostics();
    let finding = told.iter().find(|it| it.code.as_str() == "ListenerNotBound").expect("a finding");
    assert!(finding.message.contains(&wanted.to_string()) && finding.origin.field.contains("listeners[1]"));
    assert_eq!(get(proxy.http(), "a.test", "/").await.text(), "hello", "others serve");
    drop(taken);
    assert_eq!(proxy.until_listener("extra", |it| it.is_some()).await, Some(wanted));
    assert_eq!(get(wanted, "a.test", "/").await.text(), "hello");
    until_metric(&proxy, "tidegate_listener_up{listener=\"extra\"}", 1.0).await;
    let wait = async {
        while proxy.codes().contains("ListenerNotBound") {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("there is nothing more to say");
}

/// A name leads to a listener that came later, and whose port the system chose.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_may_not_lead_to_those_that_came_later_either() {
    let allowed = "defaults: { allowExternalName: true, allowAddresses: [127.0.0.0/8] }\n";
    let proxy = Proxy::start(&format!("listeners:\n{HTTP}{HELLO}{allowed}"), &[]).await;
    proxy.listen(&format!("{HTTP}  - {{ name: extra, address: \"127.0.0.1:0\", protocol: http }}\n"));
    let port = proxy.until_listener("extra", |it| it.is_some()).await.unwrap().port();
    let route = ingress("e", "e.test", &[("/", "ext")]).replace("number: 80", &format!("number: {port}"));
    let name = "---\napiVersion: v1\nkind: Service\nmetadata: { name: ext, namespace: default }\nspec: { type: ExternalName, externalName: localhost }\n";
    proxy.put("e.yaml", &(route + name));
    proxy.until("e.test", "/", |response| response.status == 503).await;
    proxy.until_told("AddressRefused").await;
}

#[cfg(feature = "slow-tests")]
mod slow_tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thousand_start_and_stop_by_the_conf_and_nobody_notices() {
        let proxy = Proxy::start(&format!("listeners:\n{HTTP}{HELLO}"), &[]).await;
        let (address, stop) = (proxy.http(), Arc::new(AtomicBool::new(false)));
        let clients = [(); 4].map(|()| tokio::spawn(keep_asking(address, stop.clone())));
        for round in 0..40 {
            let name = |index| format!("extra-{round}-{index}");
            let extra: String = (0..25)
                .map(|index| format!("  - {{ name: {}, address: \"127.0.0.1:0\", protocol: http }}\n", name(index)))
                .collect();
            proxy.listen(&format!("{HTTP}{extra}"));
            let new = proxy.until_listener(&name(24), |it| it.is_some()).await.unwrap();
            assert_eq!(get(new, "a.test", "/").await.text(), "hello");
            proxy.listen(HTTP);
            proxy.until_listener(&name(24), |it| it.is_none()).await;
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            assert!(client.await.unwrap() > 0);
        }
    }

    async fn keep_asking(address: SocketAddr, stop: Arc<AtomicBool>) -> usize {
        let (mut connection, mut asked) = (Connection::open(address).await, 0);
        while !stop.load(Ordering::Relaxed) {
            assert_eq!(connection.get("a.test", "/").await.expect("an answer").text(), "hello");
            asked += 1;
        }
        asked
    }
}
