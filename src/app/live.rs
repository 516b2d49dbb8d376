//! Settings of the process that change while it runs: access log, log level, shutdown.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context;
use tracing::info;

use super::shared::Shared;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::resources::conf::StatusSpec;
use crate::settings::{self, AccessLogSpec, LogFormat, Process, Settings, ShutdownSpec};
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
    /// An access log that cannot be opened.
    pub(super) fn new(settings: &Settings, shared: Arc<Shared>) -> anyhow::Result<Self> {
        let process = settings.process.clone();
        let folder = settings.folder.clone();
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

    fn process(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(settings: &Settings, field: &str, error: &anyhow::Error) -> Diagnostic {
    let origin = settings::origin(&settings.file).at(field);
    Diagnostic::error(Code::NotApplied, &origin, format!("{error:#}; the old value stays in force"))
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
