//! `tidegate run`: serves until it is told to stop.

use std::future::Future;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::{print, report};
use crate::app::{Builder, Running, Signals, settings, summary};
use crate::diagnostic::Diagnostic;
use crate::settings::LogStyle;
use crate::telemetry::lines::Destination;
use crate::telemetry::process_log::{self, Form, ProcessLog};

pub(super) fn run(builder: Builder, conf: Option<&Path>) -> anyhow::Result<ExitCode> {
    let settings = settings(conf).map_err(|found| unusable(&found))?;
    let log = &settings.process.log;
    let form = if log.format == LogStyle::Json { Form::Json } else { Form::Text };
    let destination = Destination::of(&log.path, &settings.folder);
    let log = ProcessLog::install(log.level.as_str(), std::env::var(process_log::ENVIRONMENT).ok(), form, destination)
        .context("the process log cannot be set up")?;
    // Dropped last, also when the start fails.
    let _flush = log.flush_at_end();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.process.worker_threads())
        .thread_name("tidegate")
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let signals = Signals::take().context("signals cannot be watched")?;
        let running = builder.start(settings).await?;
        running.attach_log(log);
        // Whoever waits for a source that never comes can be stopped too.
        tokio::select! {
            () = running.until_stopped(signals) => Ok(()),
            Err(error) = announce(&running) => Err(error),
        }
    })?;
    // Connections that outlived the deadline end here.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// Prints the summary when the first configuration is live, and never ends unless that fails.
async fn announce(running: &Running) -> anyhow::Result<()> {
    running.ready().await;
    let text = summary::text(running);
    // Whoever reads standard output may have stopped, and signals are heeded here.
    let printed = tokio::task::spawn_blocking(move || print(&text)).await;
    printed.unwrap_or(Ok(()))?;
    std::future::pending().await
}

/// The error for a conf file that cannot be used: its diagnostics as text.
pub(super) fn unusable(found: &[Diagnostic]) -> anyhow::Error {
    let text = report::render(found, |file| std::fs::read_to_string(file).ok());
    anyhow::anyhow!("the conf file cannot be used\n{text}")
}

/// Runs one future on a small runtime of its own.
pub(super) fn block_on<F: Future>(future: F) -> anyhow::Result<F::Output> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}
