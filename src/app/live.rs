//! Settings of the process that change while it runs: access log, log level, certificates of listeners, shutdown.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context;
use tracing::info;

use super::shared::Shared;
use crate::code::Code;
use crate::compile::load_certificate;
use crate::diagnostic::Diagnostic;
use crate::explain::ListenerFacts;
use crate::front::{ListenerSpec, TlsPolicy};
use crate::listener::ListenerProtocol;
use crate::origin::Origin;
use crate::resources::conf::StatusSpec;
use crate::settings::{self, AccessLogSpec, LogFormat, Process, Settings, ShutdownSpec, TlsSpec};
use crate::snapshot::certificates::ServedCertificate;
use crate::telemetry::AccessLog;
use crate::telemetry::access_log::{Destination, Format, NginxFormat};
use crate::telemetry::process_log::ProcessLog;

/// The settings in force, and where their changes go.
pub(super) struct Live {
    shared: Arc<Shared>,
    process: Mutex<Process>,
    file: PathBuf,
    folder: PathBuf,
    log: OnceLock<ProcessLog>,
    /// What was in force at start, and is until the end.
    status: Option<StatusSpec>,
}

// === impl Live ===

impl Live {
    /// Puts the settings of the start in force.
    ///
    /// # Errors
    /// A certificate that cannot be used, or an access log that cannot be opened.
    pub(super) fn new(settings: &Settings, shared: Arc<Shared>) -> anyhow::Result<Self> {
        let process = settings.process.clone();
        let folder = settings.folder.clone();
        for (listener, facts) in process.listeners.iter().zip(&shared.listeners) {
            let certificate = listener.tls.as_ref().map_or(Ok(None), |tls| certificate(tls, &folder));
            let certificate = certificate.with_context(|| format!("listener `{}`", listener.name))?;
            facts.certificate.store(certificate.map(|(certificate, _)| certificate));
        }
        shared.telemetry.set_access_log(process.access_log.on().map(|spec| access_log(spec, &folder)).transpose()?);
        let (file, status) = (settings.file.clone(), settings.conf.ingress.status.clone());
        Ok(Self { shared, process: Mutex::new(process), file, folder, log: OnceLock::new(), status })
    }

    /// Puts new settings in force as far as that can be done, and says what cannot.
    pub(super) fn apply(&self, settings: &Settings) -> Vec<Diagnostic> {
        let new = &settings.process;
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = process.restart_needed(new);
        if settings.conf.ingress.status != self.status && new.sources.kubernetes.is_some() {
            found.push(settings::needs_restart("ingress.status"));
        }
        for diagnostic in &mut found {
            let field = diagnostic.origin.field.clone();
            diagnostic.origin = settings::origin(&settings.file).at(field);
        }
        if process.access_log != new.access_log {
            match new.access_log.on().map(|spec| access_log(spec, &self.folder)).transpose() {
                Ok(log) => self.shared.telemetry.set_access_log(log),
                Err(error) => found.push(refused(settings, "accessLog", &error)),
            }
        }
        if let Some(log) = self.log.get()
            && process.log.level != new.log.level
            && let Err(error) = log.set_level(new.log.level.as_str())
        {
            found.push(refused(settings, "log.level", &error.into()));
        }
        found.extend(load_certificates(settings, &self.shared.listeners));
        let old = std::mem::replace(&mut *process, new.clone());
        process.keep_restart_needed(old);
        info!("settings applied");
        found
    }

    /// The conf file, as it was given.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// How the process stops.
    pub(super) fn shutdown(&self) -> ShutdownSpec {
        self.process().shutdown.clone()
    }

    /// Lets changes set the level of the process's log.
    pub(super) fn attach_log(&self, log: ProcessLog) {
        // The first one stays: there is one log.
        let _ = self.log.set(log);
    }

    /// Opens the file of the process's log again.
    pub(super) fn reopen_log(&self) {
        if let Some(log) = self.log.get() {
            log.reopen();
        }
    }

    /// Names of the listeners, and `http` or `https`.
    pub(super) fn listeners(&self) -> Vec<(String, String)> {
        let scheme = |protocol| match protocol {
            ListenerProtocol::Https => "https",
            _ => "http",
        };
        self.process().listeners.iter().map(|it| (it.name.clone(), scheme(it.protocol).to_owned())).collect()
    }

    /// A listener as the front wants it.
    pub(super) fn listener(&self, spec: &settings::ListenerSpec) -> ListenerSpec {
        let tls = spec.tls.clone().unwrap_or_default();
        let facts = self.shared.listeners.iter().find(|facts| facts.name == spec.name);
        ListenerSpec {
            name: spec.name.as_str().into(),
            address: spec.address,
            protocol: spec.protocol,
            tls: TlsPolicy {
                alpn: tls.protocols().into(),
                min_version: tls.min_version,
                certificate: facts.map(|facts| facts.certificate.clone()).unwrap_or_default(),
                ..TlsPolicy::default()
            },
        }
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `explain` says of a listener; its certificate is not loaded yet.
pub(super) fn facts(spec: &settings::ListenerSpec) -> ListenerFacts {
    ListenerFacts {
        name: spec.name.clone(),
        address: spec.address,
        is_https: spec.protocol == ListenerProtocol::Https,
        certificate: Arc::default(),
    }
}

/// Reads the certificates that listeners name by files; one that cannot be used leaves the old one in force.
pub(super) fn load_certificates(settings: &Settings, listeners: &[ListenerFacts]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (index, listener) in settings.process.listeners.iter().enumerate() {
        let Some(facts) = listeners.iter().find(|facts| facts.name == listener.name) else { continue };
        match listener.tls.as_ref().map_or(Ok(None), |tls| certificate(tls, &settings.folder)) {
            Ok(None) => facts.certificate.store(None),
            Ok(Some((certificate, told))) => {
                facts.certificate.store(Some(certificate));
                found.extend(told);
            }
            Err(error) => found.push(unusable(settings, index, &error)),
        }
    }
    found
}

fn unusable(settings: &Settings, index: usize, error: &anyhow::Error) -> Diagnostic {
    let origin = settings::origin(&settings.file).at(format!("listeners[{index}].tls.certificateFile"));
    Diagnostic::error(Code::InvalidCertificate, &origin, format!("{error:#}"))
        .hint("tidegate does not start with it; a running one keeps the certificate that it has")
}

fn refused(settings: &Settings, field: &str, error: &anyhow::Error) -> Diagnostic {
    let origin = settings::origin(&settings.file).at(field);
    Diagnostic::error(Code::NotApplied, &origin, format!("{error:#}; the old value stays in force"))
}

/// A listener's certificate that was loaded, with findings about it.
type Loaded = (Arc<ServedCertificate>, Vec<Diagnostic>);

/// The certificate that a listener names by files.
fn certificate(tls: &TlsSpec, folder: &Path) -> anyhow::Result<Option<Loaded>> {
    let (Some(chain), Some(key)) = (&tls.certificate_file, &tls.key_file) else { return Ok(None) };
    let read = |file: &str| {
        let file = folder.join(file);
        std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let origin = Origin::new("File", "", chain, None);
    let loaded = load_certificate(chain, &origin, &read(chain)?, &read(key)?);
    loaded.map(Some).map_err(|message| anyhow::anyhow!("certificate {chain}: {message}"))
}

fn access_log(spec: &AccessLogSpec, folder: &Path) -> anyhow::Result<AccessLog> {
    let format = match &spec.format {
        LogFormat::Json => Format::Json,
        LogFormat::Combined => Format::Combined,
        LogFormat::Nginx(text) => Format::Nginx(NginxFormat::parse(text)?),
    };
    let destination = Destination::of(&spec.path, folder);
    AccessLog::open(format, destination).with_context(|| format!("cannot open the access log {}", spec.path))
}
