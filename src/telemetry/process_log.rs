//! The process's own log: levels and form.
//!
//! Lines go through a bounded queue to a thread of the log's own, as those of the access log do: whoever stops reading
//! them stops nothing else.
//! What Pingora says through the `log` crate arrives here too; below warnings it is left out unless asked for.

use std::fmt;
use std::io;
use std::sync::Arc;

use tracing::Subscriber;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::lines::{Destination, Log, Writer};
use super::panics;

/// Name of the environment variable whose directives go before the configured level.
pub const ENVIRONMENT: &str = "TIDEGATE_LOG";

/// Form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The running log; its level may be changed.
#[derive(Clone)]
pub struct ProcessLog {
    writer: Option<Arc<Writer>>,
    filter: reload::Handle<EnvFilter, Registry>,
    overrides: Option<String>,
}

/// Writes what is queued when it is dropped, for two seconds at most.
#[derive(Debug)]
#[must_use = "it waits for the end"]
pub struct Flush(Option<Arc<Writer>>);

/// Queues what is written to it: a whole line each time.
#[derive(Clone)]
struct Queue(Arc<Writer>);

/// Error of the process log's settings.
#[derive(Debug, thiserror::Error)]
pub enum ProcessLogError {
    /// Not a level and not directives.
    #[error("log level: `{directives}` is not understood (try `info`, or `info,tidegate::source=debug`)")]
    Level {
        /// What was given.
        directives: String,
        /// Why not.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Its file cannot be opened, or there is no thread for it.
    #[error("process log: cannot be opened")]
    Open(#[source] io::Error),
    /// Another log was installed before.
    #[error("process log: another one is installed")]
    Installed(#[source] tracing_subscriber::util::TryInitError),
    /// The log has ended.
    #[error("process log: the level cannot be changed")]
    Gone(#[source] reload::Error),
}

/// Lines that may wait to be written.
const QUEUE_LINES: usize = 8192;

/// Pingora tells of each connection that ends early; those that matter are in the access log.
const QUIET: &str = "pingora=warn";

/// Prints answers of the API server that it cannot read, Secrets among them, whole. The error reaches us anyway.
const QUOTING: &str = "kube_client::client";

// === impl ProcessLog ===

impl ProcessLog {
    /// Installs the log for the whole process.
    ///
    /// `level` is a level or a list of `target=level`. `overrides`, the value of [`ENVIRONMENT`], replaces it and
    /// stays in force when the level is changed. What Pingora tells is bounded by the level at installation.
    /// Panics are told there from now on, in place of standard error.
    ///
    /// # Errors
    /// When directives are not understood, the destination cannot be opened, or a log was installed before.
    pub fn install(
        level: &str,
        overrides: Option<String>,
        form: Form,
        destination: Destination,
    ) -> Result<Self, ProcessLogError> {
        let writer = Writer::open(Log::Process, destination, QUEUE_LINES).map_err(ProcessLogError::Open)?;
        let writer = Arc::new(writer);
        let queue = Queue(Arc::clone(&writer));
        let (subscriber, log) = Self::build(level, overrides, form, move || queue.clone())?;
        subscriber.try_init().map_err(ProcessLogError::Installed)?;
        panics::tell_in_log();
        Ok(Self { writer: Some(writer), ..log })
    }

    /// Opens a file again by its path, after log rotation.
    pub fn reopen(&self) {
        if let Some(writer) = &self.writer {
            writer.reopen();
        }
    }

    /// Has what is queued at the end written. What is told after that is lost.
    pub fn flush_at_end(&self) -> Flush {
        Flush(self.writer.clone())
    }

    /// Changes the level, unless the environment has said which.
    ///
    /// # Errors
    /// When directives are not understood.
    pub fn set_level(&self, level: &str) -> Result<(), ProcessLogError> {
        let filter = filter(level, self.overrides.as_deref())?;
        self.filter.reload(filter).map_err(ProcessLogError::Gone)
    }

    fn build<W>(
        level: &str,
        overrides: Option<String>,
        form: Form,
        writer: W,
    ) -> Result<(impl Subscriber + Send + Sync + use<W>, Self), ProcessLogError>
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let (filter, handle) = reload::Layer::new(filter(level, overrides.as_deref())?);
        let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
        let lines = match form {
            Form::Text => layer.boxed(),
            Form::Json => layer.json().flatten_event(true).boxed(),
        };
        let lines = lines.with_filter(filter_fn(|line| line.target() != QUOTING));
        let subscriber = tracing_subscriber::registry().with(filter).with(lines);
        Ok((subscriber, Self { writer: None, filter: handle, overrides }))
    }
}

impl fmt::Debug for ProcessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessLog").finish_non_exhaustive()
    }
}

// === impl Flush, Queue ===

impl Drop for Flush {
    fn drop(&mut self) {
        if let Some(writer) = &self.0 {
            writer.close();
        }
    }
}

impl io::Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.send(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Later directives for the same target win, so that [`QUIET`] may be overruled.
fn filter(level: &str, overrides: Option<&str>) -> Result<EnvFilter, ProcessLogError> {
    let wanted = overrides.filter(|text| !text.trim().is_empty()).unwrap_or(level);
    let error = |source| ProcessLogError::Level { directives: wanted.to_owned(), source };
    EnvFilter::builder().parse(format!("{QUIET},{wanted}")).map_err(error)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(level: &str, overrides: Option<&str>, form: Form, tell: impl FnOnce(&ProcessLog)) -> String {
        let lines = Lines::default();
        let to = lines.clone();
        let (subscriber, log) =
            ProcessLog::build(level, overrides.map(str::to_owned), form, move || to.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || tell(&log));
        lines.text()
    }

    #[test]
    fn the_level_holds_and_pingora_is_quiet() {
        let text = told("info", None, Form::Text, |_| {
            tracing::info!(routes = 3, "snapshot published");
            tracing::debug!("not told");
            tracing::info!(target: "pingora_proxy", "not told");
            tracing::warn!(target: "pingora_core::listeners", "a warning");
        });
        assert!(text.contains("snapshot published routes=3") && text.contains("a warning"), "{text}");
        assert!(!text.contains("not told"), "{text}");
    }

    #[test]
    fn the_environment_goes_before_the_level_and_stays() {
        let text = told("error", Some("warn,pingora=debug"), Form::Text, |log| {
            tracing::debug!(target: "pingora_proxy", "first");
            log.set_level("error").unwrap();
            tracing::warn!("second");
        });
        assert!(text.contains("first") && text.contains("second"), "{text}");
    }

    #[test]
    fn the_level_may_be_changed() {
        let text = told("warn", Some(" "), Form::Text, |log| {
            tracing::info!("before");
            log.set_level("debug").unwrap();
            tracing::debug!("after");
        });
        assert!(!text.contains("before") && text.contains("after"), "{text}");
    }

    #[test]
    fn what_prints_answers_of_the_api_server_is_never_told() {
        for form in [Form::Text, Form::Json] {
            let text = told("trace", Some("kube_client=trace"), form, |_| {
                tracing::warn!(target: "kube_client::client", "hunter2");
                tracing::debug!(target: "kube_client::client::builder", "requesting");
            });
            assert!(!text.contains("hunter2") && text.contains("requesting"), "{text}");
        }
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = told("info", None, Form::Json, |_| tracing::warn!(object = "Ingress/a/b", "a\nb"));
        let value: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(
            (&value["level"], &value["object"], &value["message"]),
            (&"WARN".into(), &"Ingress/a/b".into(), &"a\nb".into())
        );
    }

    #[test]
    fn refuses_what_is_no_level() {
        let error = filter("tidegate=loud", None).unwrap_err();
        assert!(error.to_string().contains("`tidegate=loud` is not understood"), "{error}");
    }
}
