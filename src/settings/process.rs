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

/// What the conf file says about the process itself.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Process {
    /// Worker threads. 0: one a core. A change needs a restart.
    pub threads: usize,
    /// Where `/metrics`, `/healthz` and `/readyz` are served, or `off`. Default 0.0.0.0:10254. A change needs a restart.
    pub telemetry: Switch<TelemetrySpec>,
    /// Where the read-only API is served, or `off`. Default 127.0.0.1:10255. A change needs a restart.
    pub admin: Switch<AddressSpec>,
    /// The validating admission webhook; without: none. A change needs a restart.
    pub admission: Option<AdmissionSpec>,
    /// The access log, or `off`.
    pub access_log: Switch<AccessLogSpec>,
    /// Where objects come from.
    pub sources: SourcesSpec,
    /// How the process stops.
    pub shutdown: ShutdownSpec,
    /// The process's own log.
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

/// Where the process tells how it is.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TelemetrySpec {
    /// `IP:port`; port 0 lets the system choose.
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// After how long at one piece of work a task of the control plane is stuck, so that `/healthz` answers 503 with
    /// its name. Default 60s.
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
    /// PEM chain that it is served with, which somebody else renews; looked at every 10 s.
    #[serde(default)]
    pub certificate_file: Option<String>,
    /// PEM key of it.
    #[serde(default)]
    pub key_file: Option<String>,
    /// PEM authorities of the API server's client certificate; who has none of theirs is refused in the handshake.
    /// Looked at every 10 s; what cannot be used leaves the old ones. Default: whoever reaches it may ask.
    #[serde(default)]
    pub client_ca_file: Option<String>,
    /// Without files: the Service `namespace/name` that the API server calls. A certificate for it is made, kept in
    /// `secret` for all replicas and renewed. Needs `sources.kubernetes`.
    #[serde(default)]
    pub service: Option<String>,
    /// The Secret of that certificate, in the Service's namespace. Default `tidegate-admission`.
    #[serde(default = "admission_secret")]
    pub secret: String,
    /// The ValidatingWebhookConfiguration that the leader writes the certificate's authority into.
    #[serde(default)]
    pub webhook_configuration: Option<String>,
}

/// The access log.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct AccessLogSpec {
    /// `stdout`, `stderr` or a file. Default `stdout`.
    pub path: String,
    /// Form of a line. Default `json`.
    pub format: LogFormat,
}

/// Form of an access log line: `json`, `combined` or `{ nginx: "$remote_addr …" }`.
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

/// Where objects come from.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct SourcesSpec {
    /// Kubernetes objects in files. Adding or leaving out a source needs a restart.
    pub files: Option<FilesSpec>,
    /// Kubernetes objects of an API server. A change needs a restart.
    pub kubernetes: Option<KubernetesSpec>,
}

/// Kubernetes objects in files.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FilesSpec {
    /// Files and folders, read with their subfolders: `*.yaml`, `*.yml`, `*.json`. When one is left out, its objects go.
    pub paths: Vec<String>,
    /// Whether changes are followed. If not, files are read at start, when the conf changes and on SIGHUP. Default true.
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
    /// Which of several replicas writes to the cluster (status and events), or `off`: this process always does.
    pub leader_election: Switch<LeaderElectionSpec>,
    /// Whether events tell on the objects what there is to say about them. Default true.
    pub events: bool,
    /// A file for the last good state, from which a process serves that starts while the API server is away. What is
    /// served so is told as stale. Default: none.
    pub cache: Option<CacheSpec>,
}

/// A file for the last good state of a cluster, readable by its owner only.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CacheSpec {
    /// The file; its folder must be there. It is written at most every 10 s.
    pub path: String,
    /// Whether Secrets are kept in it: private keys and hashes of passwords. Without them, hosts have the default
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
    /// How long a Lease that nobody renews keeps others away; at least 12s. Default 15s.
    pub duration: Duration,
}

/// How the process stops.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ShutdownSpec {
    /// How long it keeps serving after it stopped being ready. Default 0s.
    pub delay: Duration,
    /// How long open requests may take after that. Default 30s.
    pub timeout: Duration,
}

/// The process's own log.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct LogSpec {
    /// `stderr`, `stdout` or a file, opened again on SIGHUP. Lines that whoever reads it does not take in time are
    /// dropped and counted. Default `stderr`. A change needs a restart.
    pub path: String,
    /// The least that is told. Default `info`.
    pub level: LogLevel,
    /// Form of a line. Default `text`. A change needs a restart.
    pub format: LogStyle,
}

/// How much is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// An operator must act.
    Error,
    /// Degraded, or an object is refused.
    Warn,
    /// Rare events of life and configuration.
    #[default]
    Info,
    /// Decisions.
    Debug,
    /// Everything.
    Trace,
}

/// Form of a line of the process's own log.
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
