//! What the conf file says about the process itself.
//!
//! Every type here is part of the public conf schema; doc comments become its manual.

mod switch;

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::quantity::Duration;
pub(crate) use switch::Switch;

/// The part of the conf file about the process: listeners, sources, logs and shutdown.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Process {
    /// Worker threads. 0: one per core. A change needs a restart.
    pub threads: usize,
    /// Listener of `/metrics`, `/healthz` and `/readyz`, or `off`. Default 0.0.0.0:10254. A change needs a restart.
    pub telemetry: Switch<TelemetrySpec>,
    /// Listener of the read-only admin API, or `off`. Default 127.0.0.1:10255. A change needs a restart.
    pub admin: Switch<AddressSpec>,
    /// The validating admission webhook. Default: none. A change needs a restart.
    pub admission: Option<AdmissionSpec>,
    /// The access log, or `off`.
    pub access_log: Switch<AccessLogSpec>,
    /// Sources of Kubernetes objects.
    pub sources: SourcesSpec,
    /// Graceful shutdown.
    pub shutdown: ShutdownSpec,
    /// The process log.
    pub log: LogSpec,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AddressSpec {
    /// `IP:port`; port 0 lets the system choose.
    #[schemars(with = "String")]
    pub address: SocketAddr,
}

/// The telemetry listener: metrics, health and readiness.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TelemetrySpec {
    /// `IP:port`; port 0 lets the system choose.
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// How long a task of the control plane may take for one piece of work before `/healthz` answers 503 with its name.
    /// Default 60s.
    #[serde(default = "stuck_after")]
    pub stuck_after: Duration,
}

/// The validating admission webhook: `POST /validate` over HTTPS. See docs/admission.md.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AdmissionSpec {
    /// `IP:port`; port 0 lets the system choose.
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// PEM file of its certificate chain, renewed by others, such as cert-manager; checked for changes every 10 s.
    #[serde(default)]
    pub certificate_file: Option<String>,
    /// PEM file of the private key.
    #[serde(default)]
    pub key_file: Option<String>,
    /// PEM file of the certificate authorities (CA) of client certificates, such as the API server's; clients without
    /// such a certificate are refused in the TLS handshake. Checked for changes every 10 s; a file that cannot be used
    /// leaves the old ones in force. Default: no client certificate is required.
    #[serde(default)]
    pub client_ca_file: Option<String>,
    /// Without files: the Service `namespace/name` that the API server calls. A self-signed certificate for it is
    /// issued, stored in `secret` for all replicas and renewed. Needs `sources.kubernetes`.
    #[serde(default)]
    pub service: Option<String>,
    /// Name of the Secret of that certificate, in the Service's namespace. Default `tidegate-admission`.
    #[serde(default = "admission_secret")]
    pub secret: String,
    /// Name of the ValidatingWebhookConfiguration whose `caBundle` the leader fills in.
    #[serde(default)]
    pub webhook_configuration: Option<String>,
}

/// The access log.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct AccessLogSpec {
    /// `stdout`, `stderr` or a file. Default `stdout`.
    pub path: String,
    /// Format of a line. Default `json`.
    pub format: LogFormat,
}

/// Format of an access log line: `json`, `combined` or `{ nginx: "$remote_addr …" }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// The combined format of Apache and nginx.
    Combined,
    /// The value of an nginx `log_format`.
    Nginx(String),
}

/// Sources of Kubernetes objects.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct SourcesSpec {
    /// Kubernetes objects in files. Adding or removing a source needs a restart.
    pub files: Option<FilesSpec>,
    /// Kubernetes objects of an API server. A change needs a restart.
    pub kubernetes: Option<KubernetesSpec>,
}

/// Kubernetes objects in files.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FilesSpec {
    /// Files and folders, read with their subfolders: `*.yaml`, `*.yml`, `*.json`. When one is removed, so are its objects.
    pub paths: Vec<String>,
    /// Whether files are watched for changes. If not, they are read at start, when the conf changes and on SIGHUP. Default true.
    #[serde(default = "yes")]
    pub watch: bool,
}

/// Kubernetes objects of an API server: Ingresses, IngressClasses, Services, EndpointSlices, and the Secrets that
/// routes refer to.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct KubernetesSpec {
    /// A kubeconfig file. Default: the Pod's ServiceAccount in a cluster, else `$KUBECONFIG`, else `~/.kube/config`.
    pub kubeconfig: Option<String>,
    /// A context of the kubeconfig. Default: its current one.
    pub context: Option<String>,
    /// Namespaces whose objects are read. Default: all.
    pub namespaces: Vec<String>,
    /// Only namespaces with these labels are read, written as for `kubectl -l`: `team=a,stage in (live,test)`. Not
    /// together with `namespaces`.
    pub namespace_selector: Option<String>,
    /// Namespaces whose Secrets may be read, where the account may not read those of all. Default: those whose
    /// objects are read.
    pub secret_namespaces: Vec<String>,
    /// Leader election: which of several replicas writes to the cluster (status and events). `off`: this process always
    /// does.
    pub leader_election: Switch<LeaderElectionSpec>,
    /// Whether findings about objects are written as events on them. Default true.
    pub events: bool,
    /// A file for the last good state, which is served when the process starts while the API server is unreachable, and
    /// reported as stale. Default: none.
    pub cache: Option<CacheSpec>,
}

/// A file for the last good state of a cluster, readable by its owner only.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CacheSpec {
    /// The file; its folder must exist. It is written at most every 10 s.
    pub path: String,
    /// Whether Secrets are stored in it: private keys and password hashes. Without them, hosts have the default
    /// certificate and routes with passwords are closed until the API server is back. Default false.
    #[serde(default)]
    pub secrets: bool,
}

/// A `coordination.k8s.io/v1` Lease, whose holder writes. Traffic never depends on it.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct LeaderElectionSpec {
    /// The Lease: `name`, of the Pod's own namespace, or `namespace/name`. Default `tidegate-leader`.
    pub lease: String,
    /// Lease duration: how long a Lease that is not renewed keeps other replicas from leading; at least 12s. Default 15s.
    pub duration: Duration,
}

/// Graceful shutdown.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ShutdownSpec {
    /// How long it keeps serving after `/readyz` fails. Default 0s.
    pub delay: Duration,
    /// Drain timeout: how long active requests and connections may take after that. Default 30s.
    pub timeout: Duration,
}

/// The process log.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct LogSpec {
    /// `stderr`, `stdout` or a file, which is reopened on SIGHUP. Lines that are not written in time are dropped and
    /// counted. Default `stderr`. A change needs a restart.
    pub path: String,
    /// Minimum level. Default `info`.
    pub level: LogLevel,
    /// Format of a line. Default `text`. A change needs a restart.
    pub format: LogStyle,
}

/// Log level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Somebody must act.
    Error,
    /// Degraded, or an object is refused.
    Warn,
    /// Start, stop and changes of the configuration.
    #[default]
    Info,
    /// Single decisions.
    Debug,
    /// Everything.
    Trace,
}

/// Format of a line of the process log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogStyle {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

// === impl Process ===

impl Default for Process {
    fn default() -> Self {
        let everywhere = |port| SocketAddr::from(([0, 0, 0, 0], port));
        Self {
            threads: 0,
            telemetry: Switch::On(TelemetrySpec { address: everywhere(10254), stuck_after: stuck_after() }),
            admin: Switch::On(AddressSpec { address: SocketAddr::from(([127, 0, 0, 1], 10255)) }),
            admission: None,
            access_log: Switch::On(AccessLogSpec::default()),
            sources: SourcesSpec::default(),
            shutdown: ShutdownSpec::default(),
            log: LogSpec::default(),
        }
    }
}

impl Process {
    /// Worker threads, resolved: one a core for 0.
    pub fn worker_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        }
    }

    /// Names what differs in `new` and cannot change while the process runs.
    pub fn restart_needed(&self, new: &Process) -> Vec<Diagnostic> {
        let changed = [
            ("threads", self.threads != new.threads),
            ("telemetry", self.telemetry != new.telemetry),
            ("admin", self.admin != new.admin),
            ("admission", self.admission != new.admission),
            ("sources.files", self.sources.files.is_some() != new.sources.files.is_some()),
            ("sources.kubernetes", self.sources.kubernetes != new.sources.kubernetes),
            ("log.path", self.log.path != new.log.path),
            ("log.format", self.log.format != new.log.format),
        ];
        let fields = changed.into_iter().filter(|(_, is_changed)| *is_changed).map(|(field, _)| field);
        fields.map(needs_restart).collect()
    }

    /// Takes back from `old` what needs a restart, so that the next change is compared with what is in force.
    pub fn keep_restart_needed(&mut self, old: Process) {
        if self.sources.files.is_some() != old.sources.files.is_some() {
            self.sources.files = old.sources.files;
        }
        self.sources.kubernetes = old.sources.kubernetes;
        self.threads = old.threads;
        (self.telemetry, self.admin, self.admission) = (old.telemetry, old.admin, old.admission);
        (self.log.path, self.log.format) = (old.log.path, old.log.format);
    }
}

/// The word for a change that takes no effect yet.
pub(crate) fn needs_restart(field: &str) -> Diagnostic {
    let origin = Origin::new("Conf", "", "", None);
    let message = format!("the change of `{field}` needs a restart; the old value stays in force");
    Diagnostic::warning(Code::NeedsRestart, &origin.at(field), message).hint("restart tidegate when it suits")
}

// === impl defaults ===

impl Default for AccessLogSpec {
    fn default() -> Self {
        Self { path: "stdout".to_owned(), format: LogFormat::default() }
    }
}

impl Default for LogSpec {
    fn default() -> Self {
        Self { path: "stderr".to_owned(), level: LogLevel::default(), format: LogStyle::default() }
    }
}

impl Default for KubernetesSpec {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            namespaces: Vec::new(),
            namespace_selector: None,
            secret_namespaces: Vec::new(),
            leader_election: Switch::On(LeaderElectionSpec::default()),
            events: true,
            cache: None,
        }
    }
}

impl Default for LeaderElectionSpec {
    fn default() -> Self {
        Self { lease: "tidegate-leader".to_owned(), duration: Duration(std::time::Duration::from_secs(15)) }
    }
}

impl Default for ShutdownSpec {
    fn default() -> Self {
        Self { delay: Duration(std::time::Duration::ZERO), timeout: Duration(std::time::Duration::from_secs(30)) }
    }
}

impl LogLevel {
    /// As `tracing` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

fn stuck_after() -> Duration {
    Duration(std::time::Duration::from_secs(60))
}

fn admission_secret() -> String {
    "tidegate-admission".to_owned()
}

fn yes() -> bool {
    true
}
