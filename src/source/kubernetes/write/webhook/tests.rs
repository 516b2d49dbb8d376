use std::sync::Mutex;

use serde_json::json;

use super::*;
use crate::source::kubernetes::testing::Server;

const SECRET: &str = "/api/v1/namespaces/edge/secrets/tidegate-admission";
const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/edge";

/// Makes what is said to be next, and notes what is put in force.
#[derive(Default)]
struct Noted {
    next: Mutex<Option<StoredCertificate>>,
    taken: Mutex<Vec<StoredCertificate>>,
}

impl Maker for Noted {
    fn renew(&self, _: Option<&StoredCertificate>, _: SystemTime) -> Option<StoredCertificate> {
        self.next.lock().unwrap().take()
    }

    fn take(&self, kept: &StoredCertificate) {
        self.taken.lock().unwrap().push(kept.clone());
    }
}

fn made(name: &str) -> StoredCertificate {
    let bytes = name.as_bytes().to_vec();
    StoredCertificate { chain: bytes.clone(), key: bytes.clone(), authorities: bytes }
}

fn keeper(server: &Server, maker: &Arc<Noted>) -> WebhookKeeper {
    let secret = ObjectName::new("edge", "tidegate-admission");
    let config = WebhookConfig { secret, configuration: Some("edge".to_owned()) };
    WebhookKeeper::new(server.client(), config, Leadership::unchallenged(), maker.clone())
}

fn put_configuration(server: &Server) {
    let webhook = json!({ "name": "a.test", "clientConfig": { "service": { "name": "hook", "namespace": "edge" } } });
    let object = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "edge" }, "webhooks": [webhook] });
    server.put(CONFIGURATION, object);
}

#[tokio::test]
async fn an_authority_is_trusted_before_anybody_shows_what_it_signed() {
    let (server, maker) = (Server::start().await, Arc::new(Noted::default()));
    put_configuration(&server);
    let mut keeper = keeper(&server, &maker);
    for (name, method) in [
        ("one", "POST /api/v1/namespaces/edge/secrets"),
        ("two", "PUT /api/v1/namespaces/edge/secrets/tidegate-admission"),
    ] {
        let before = server.writes().len();
        *maker.next.lock().unwrap() = Some(made(name));
        keeper.look().await.unwrap();
        assert_eq!(server.writes()[before..], [format!("PUT {CONFIGURATION}"), method.to_owned()]);
    }
    let writes = server.writes();
    keeper.look().await.unwrap();
    assert_eq!(server.writes(), writes, "what does not differ is not written");
    assert_eq!(*maker.taken.lock().unwrap(), [made("one"), made("two")]);
}

#[tokio::test]
async fn nothing_new_is_stored_or_shown_that_cannot_be_made_trusted() {
    let (server, maker) = (Server::start().await, Arc::new(Noted::default()));
    put_configuration(&server);
    *maker.next.lock().unwrap() = Some(made("one"));
    keeper(&server, &maker).look().await.unwrap();
    let stored = server.object(SECRET);
    *maker.next.lock().unwrap() = Some(made("two"));
    server.fail_writes(&[403]);
    let mut another = keeper(&server, &maker);
    assert!(another.look().await.is_err());
    assert_eq!(server.object(SECRET), stored);
    assert_eq!(*maker.taken.lock().unwrap(), [made("one"), made("one")], "it shows what is stored");
    assert!(another.taken.is_some(), "and does not ask as if there were nothing");
}
