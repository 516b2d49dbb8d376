//! Connects to a cluster: follows its objects, and writes status and events when that is this process's turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kube::Client;
use tokio::sync::{mpsc, watch};

use super::webhook::{OwnMaker, Webhook};
use crate::resources::conf::{NodeAddressSpec, StatusSpec};
use crate::resources::{Batch, ObjectName, Resources};
use crate::settings::{AdmissionSpec, KubernetesSpec, Settings};
use crate::source::kubernetes::cache::{Cache, CacheWriter, Remembered};
use crate::source::kubernetes::client::{Access, Contact};
use crate::source::kubernetes::webhook::{WebhookConfig, WebhookKeeper};
use crate::source::kubernetes::write::{Outlet, WriteConfig, Writing};
use crate::source::kubernetes::{
    Address, AddressSource, Demand, Election, Kubernetes, Leadership, NodeAddress, Reads, Replicas, Running, Scope,
    StatusConfig, Timing,
};
use crate::telemetry::vitals::Vitals;

/// Name of this process's own Pod.
const POD_NAME: &str = "POD_NAME";
/// Its namespace.
const POD_NAMESPACE: &str = "POD_NAMESPACE";

/// Status writes a second at most; an API server has others to serve.
const STATUS_WRITES_PER_SECOND: u32 = 20;
/// How often the state of the cluster is written.
const CACHE_INTERVAL: Duration = Duration::from_secs(10);
/// How often addresses are looked up again.
const STATUS_REFRESH: Duration = Duration::from_secs(60);

/// A cluster that is followed.
pub(super) struct Cluster {
    pub(super) demand: Demand,
    pub(super) contact: Contact,
    writer: Client,
    _running: Running,
}

/// Has the state of a cluster written now and then.
pub(crate) struct Keeper {
    writer: CacheWriter,
    is_new: bool,
    written: Option<Instant>,
}

// === impl Keeper ===

impl Keeper {
    /// Takes in whether something changed, and has the state written when it is time.
    pub(super) fn take(&mut self, resources: &Resources, is_changed: bool) {
        self.is_new |= is_changed;
        // The source wakes us after the interval; it need not be exact.
        let is_time = self.written.is_none_or(|written| written.elapsed() * 2 >= CACHE_INTERVAL);
        if self.is_new && is_time && self.writer.put(resources.clone()) {
            (self.is_new, self.written) = (false, Some(Instant::now()));
        }
    }
}

// === impl Cluster ===

impl Cluster {
    /// Starts to follow it.
    ///
    /// # Errors
    /// There is no access to one. A server that does not answer is no error: it is tried again.
    pub(super) async fn follow(
        spec: &KubernetesSpec,
        settings: &Settings,
        sender: mpsc::Sender<Batch>,
        vitals: &Vitals,
    ) -> anyhow::Result<Self> {
        let kubeconfig = spec.kubeconfig.as_ref().map(|file| settings.folder.join(file));
        let access = Access { kubeconfig, context: spec.context.clone() };
        let (client, contact) = access.client().await.context("sources.kubernetes")?;
        let writer = access.writer().await.context("sources.kubernetes")?;
        let scope = match (&spec.namespace_selector, &*spec.namespaces) {
            (Some(labels), _) => Scope::Selector(labels.clone()),
            (None, []) => Scope::All,
            (None, names) => Scope::Namespaces(names.to_vec()),
        };
        let cache = cache(spec, settings);
        let tick = cache.as_ref().map(|_| CACHE_INTERVAL);
        let reads = Reads { scope, secrets: spec.secret_namespaces.clone(), tick, ..Reads::default() };
        let mut source = Kubernetes::new(client, contact.clone(), &reads);
        if let Some(remembered) = remembered(cache).await {
            source = source.remembering(&remembered);
            sender.send(source.first_batch(remembered)).await.context("the control plane has ended")?;
        }
        let demand = source.demand();
        Ok(Self { demand, contact, writer, _running: source.watch(sender, vitals.pulse("kubernetes")) })
    }

    /// Whoever keeps the state of the cluster, if it is to be kept.
    ///
    /// # Errors
    /// There is no thread.
    pub(super) fn keeper(spec: &KubernetesSpec, settings: &Settings) -> anyhow::Result<Option<Keeper>> {
        let writer = cache(spec, settings).map(Cache::writer).transpose().context("sources.kubernetes.cache")?;
        Ok(writer.map(|writer| Keeper { writer, is_new: false, written: None }))
    }

    /// Starts to write to it; `None`: there is nothing to write.
    ///
    /// # Errors
    /// What is to be written cannot be known here.
    pub(super) fn write(
        &self,
        spec: &KubernetesSpec,
        status: Option<&StatusSpec>,
        keeps_webhook: bool,
    ) -> anyhow::Result<Option<(Writing, Outlet)>> {
        if status.is_none() && !spec.events && !keeps_webhook {
            return Ok(None);
        }
        let election = spec.leader_election.on().map(|it| Election {
            namespace: self.lease_namespace(&it.lease),
            name: it.lease.rsplit('/').next().unwrap_or_default().to_owned(),
            timing: Timing::new(it.duration.0),
        });
        let status = status.map(|status| status_config(status, spec)).transpose().context("ingress.status")?;
        let config = WriteConfig { election, identity: identity(), status, events: spec.events };
        Ok(Some(Writing::start(self.writer.clone(), config)))
    }

    /// Keeps the certificate of the webhook, when it is of our own making.
    pub(super) fn keep_webhook(
        &self,
        spec: &AdmissionSpec,
        webhook: &Webhook,
        leadership: Leadership,
        stop: watch::Receiver<bool>,
    ) {
        let Some((namespace, service)) = spec.service.as_ref().and_then(|service| service.split_once('/')) else {
            return;
        };
        let names = ["", ".cluster.local"].map(|end| format!("{service}.{namespace}.svc{end}")).to_vec();
        let maker = Arc::new(OwnMaker { names, current: webhook.current.clone() });
        let secret = ObjectName::new(namespace, &spec.secret);
        let config = WebhookConfig { secret, configuration: spec.webhook_configuration.clone() };
        tokio::spawn(WebhookKeeper::new(self.writer.clone(), config, leadership, maker).run(stop));
    }

    fn lease_namespace(&self, lease: &str) -> String {
        let own = || variable(POD_NAMESPACE).unwrap_or_else(|| self.writer.default_namespace().to_owned());
        lease.split_once('/').map_or_else(own, |(namespace, _)| namespace.to_owned())
    }
}

fn cache(spec: &KubernetesSpec, settings: &Settings) -> Option<Cache> {
    let cache = spec.cache.as_ref()?;
    Some(Cache { path: settings.folder.join(&cache.path), keeps_secrets: cache.secrets })
}

/// What the file has; a file that cannot be read keeps nobody from starting.
async fn remembered(cache: Option<Cache>) -> Option<Remembered> {
    let cache = cache?;
    let read = tokio::task::spawn_blocking(move || (cache.read(), cache)).await;
    match read {
        Ok((Ok(remembered), _)) => remembered,
        Ok((Err(error), cache)) => {
            tracing::warn!(file = %cache.path.display(), %error, "cache of the cluster state not read");
            None
        }
        Err(_) => None,
    }
}

fn status_config(status: &StatusSpec, spec: &KubernetesSpec) -> anyhow::Result<StatusConfig> {
    let pods = variable(POD_NAME).zip(variable(POD_NAMESPACE)).map(|(own, namespace)| Replicas { namespace, own });
    if pods.is_none() && (status.clear_on_stop || status.node_addresses.is_some()) {
        bail!("the environment variables {POD_NAME} and {POD_NAMESPACE} are needed");
    }
    let from = match (&status.publish_service, status.node_addresses) {
        (Some(service), _) => {
            let (namespace, name) = service.split_once('/').context("publishService: write `namespace/name`")?;
            AddressSource::Service(ObjectName::new(namespace, name))
        }
        (None, Some(NodeAddressSpec::External)) => AddressSource::Nodes(NodeAddress::External),
        (None, Some(NodeAddressSpec::Internal)) => AddressSource::Nodes(NodeAddress::Internal),
        (None, None) => AddressSource::Given(status.addresses.iter().filter_map(|it| Address::parse(it)).collect()),
    };
    Ok(StatusConfig {
        from,
        pods,
        namespaces: spec.namespaces.clone(),
        clear_on_stop: status.clear_on_stop,
        writes_per_second: STATUS_WRITES_PER_SECOND,
        refresh: STATUS_REFRESH,
    })
}

/// Unique to this process.
fn identity() -> String {
    let host = variable(POD_NAME).or_else(|| variable("HOSTNAME")).unwrap_or_else(|| "tidegate".to_owned());
    format!("{host}_{:016x}", fastrand::u64(..))
}

pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
