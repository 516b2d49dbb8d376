//! Keeps the admission webhook's certificate in a Secret, the same for every replica, and its authority in the
//! ValidatingWebhookConfiguration. Everybody reads, only the leader writes, and only what differs.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ApiResource, DynamicObject, ObjectMeta};
use kube::core::GroupVersionKind;
use kube::{Client, Error};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::call::{params, within};
use super::leader::Leadership;
use crate::resources::ObjectName;

/// Names of the Secret and the webhook configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebhookConfig {
    /// The Secret of the certificate.
    pub secret: ObjectName,
    /// Name of the ValidatingWebhookConfiguration; `None`: somebody else writes the authority into it.
    pub configuration: Option<String>,
}

/// Certificate of the webhook as it is stored: PEM texts.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoredCertificate {
    /// `tls.crt`.
    pub chain: Vec<u8>,
    /// `tls.key`.
    pub key: Vec<u8>,
    /// `ca.crt`.
    pub authorities: Vec<u8>,
}

/// Issues and uses certificates of the webhook.
pub(crate) trait Maker: Send + Sync + 'static {
    /// A new one when there is none, or when it is time for that; `None`: the old one is good.
    fn renew(&self, old: Option<&StoredCertificate>, now: SystemTime) -> Option<StoredCertificate>;

    /// Puts it in force.
    fn take(&self, kept: &StoredCertificate);
}

/// Keeps the certificate; see [`WebhookKeeper::run`].
pub(crate) struct WebhookKeeper {
    secrets: Api<Secret>,
    configurations: Api<DynamicObject>,
    config: WebhookConfig,
    leadership: Leadership,
    maker: Arc<dyn Maker>,
    taken: Option<StoredCertificate>,
}

/// How often is looked: when all is well, after a failure, and when there is nothing yet.
const INTERVAL: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);
const SHORT_INTERVAL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(4);

// === impl WebhookKeeper ===

impl WebhookKeeper {
    /// Prepares to keep.
    pub(crate) fn new(client: Client, config: WebhookConfig, leadership: Leadership, maker: Arc<dyn Maker>) -> Self {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration");
        let resource = ApiResource::from_gvk_with_plural(&kind, "validatingwebhookconfigurations");
        let secrets = Api::namespaced(client.clone(), &config.secret.namespace);
        let configurations = Api::all_with(client, &resource);
        Self { secrets, configurations, config, leadership, maker, taken: None }
    }

    /// Keeps until `stop` turns true or its sender is gone.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut told = None;
        loop {
            let failure = self.look().await.err();
            // A failure that stays is told once.
            if let Some(error) = failure.as_ref().filter(|_| told != failure) {
                warn!(error, secret = %self.config.secret, "webhook certificate not stored");
            }
            let pause = match (&failure, &self.taken) {
                (Some(_), _) => RETRY,
                (None, Some(_)) => INTERVAL,
                (None, None) => SHORT_INTERVAL,
            };
            told = failure;
            let (is_held, leadership) = (self.leadership.is_held(), self.leadership.clone());
            tokio::select! {
                () = sleep(pause) => {}
                () = leadership.gained(), if !is_held => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn look(&mut self) -> Result<(), String> {
        let secret = within(PATIENCE, self.secrets.get_opt(&self.config.secret.name)).await?;
        let kept = secret.as_ref().and_then(kept);
        if let Some(kept) = &kept {
            self.take(kept);
        }
        if !self.leadership.is_held() {
            return Ok(());
        }
        let new = self.maker.renew(kept.as_ref(), SystemTime::now());
        // Trust comes first: it has the authority before, too, and nobody may show what is not trusted yet.
        if let (Some(name), Some(next)) = (&self.config.configuration, new.as_ref().or(kept.as_ref())) {
            within(PATIENCE, self.trust(name, &next.authorities)).await?;
        }
        if let Some(new) = new {
            within(PATIENCE, self.write(secret, &new)).await?;
            info!(secret = %self.config.secret, "webhook certificate generated");
            self.take(&new);
        }
        Ok(())
    }

    fn take(&mut self, kept: &StoredCertificate) {
        if self.taken.as_ref() != Some(kept) {
            self.maker.take(kept);
            self.taken = Some(kept.clone());
        }
    }

    /// Of two that write at once, one gets 409 and looks again.
    async fn write(&self, old: Option<Secret>, new: &StoredCertificate) -> Result<(), Error> {
        let is_new = old.is_none();
        let name = Some(self.config.secret.name.to_string());
        let mut secret = old
            .unwrap_or_else(|| Secret { metadata: ObjectMeta { name, ..ObjectMeta::default() }, ..Secret::default() });
        let data = [("tls.crt", &new.chain), ("tls.key", &new.key), ("ca.crt", &new.authorities)];
        secret.type_ = Some("kubernetes.io/tls".to_owned());
        secret.data = Some(data.map(|(key, text)| (key.to_owned(), ByteString(text.clone()))).into());
        if is_new {
            self.secrets.create(&params(), &secret).await.map(drop)
        } else {
            self.secrets.replace(&self.config.secret.name, &params(), &secret).await.map(drop)
        }
    }

    /// Writes the authorities into the configuration's webhooks where they differ.
    async fn trust(&self, name: &str, authorities: &[u8]) -> Result<(), Error> {
        let Some(mut configuration) = self.configurations.get_opt(name).await? else { return Ok(()) };
        let bundle = serde_json::to_value(ByteString(authorities.to_vec())).unwrap_or_default();
        let before = configuration.data.clone();
        let webhooks = configuration.data.get_mut("webhooks").and_then(Value::as_array_mut);
        let clients =
            webhooks.into_iter().flatten().filter_map(|webhook| webhook.get_mut("clientConfig")?.as_object_mut());
        // One that calls a URL is not ours.
        for client in clients.filter(|client| client.contains_key("service")) {
            client.insert("caBundle".to_owned(), bundle.clone());
        }
        if configuration.data == before {
            return Ok(());
        }
        self.configurations.replace(name, &params(), &configuration).await?;
        info!(configuration = name, "webhook CA bundle updated");
        Ok(())
    }
}

fn kept(secret: &Secret) -> Option<StoredCertificate> {
    let text = |key: &str| Some(secret.data.as_ref()?.get(key)?.0.clone());
    Some(StoredCertificate { chain: text("tls.crt")?, key: text("tls.key")?, authorities: text("ca.crt")? })
}

/// Keys are shown nowhere.
impl std::fmt::Debug for StoredCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}
