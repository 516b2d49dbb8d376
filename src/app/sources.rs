//! Starts the sources and lets them follow changes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::sync::mpsc;

use super::cluster::{Cluster, variable};
use super::echo;
use super::live::Live;
use super::own::{self, Own};
use crate::diagnostic::Diagnostic;
use crate::resources::conf::{Conf, EndpointSpec};
use crate::resources::{Batch, Event, Object};
use crate::settings::{self, Settings};
use crate::source::conf::ConfFile;
use crate::source::files::{Files, Wanted};
use crate::source::kubernetes::write::Writing;
use crate::source::{Reload, Watching, conf, files, kubernetes};
use crate::telemetry::vitals::Vitals;

/// Name under which the process's own findings stand among those of sources.
const PROCESS: &str = "process";
/// Environment variable with the zone of the node.
const ZONE: &str = "TIDEGATE_ZONE";
/// Stands for the address of a built-in upstream when nobody serves it.
pub(super) const NOT_STARTED: &str = "127.0.0.1:1";

/// Sources that run; dropping them ends them.
pub(super) struct Sources {
    names: Vec<&'static str>,
    watching: Vec<Watching>,
    cluster: Option<Cluster>,
    writing: Option<Writing>,
    // Keeps the control plane alive where nothing is watched.
    _sender: mpsc::Sender<Batch>,
}

/// Fills in what only the running process knows: where it listens, and built-in upstreams.
struct Builtins {
    /// Where the process listens.
    own: Own,
    /// Built-in upstreams that run, by name.
    addresses: BTreeMap<String, String>,
}

/// The conf file; what it does not say of the place that this runs in, the environment may.
fn conf_file(path: &Path) -> ConfFile {
    ConfFile::new(path).in_zone(variable(ZONE))
}

/// Reads every source once, for a look at the input.
pub(super) fn read_once(settings: &Settings) -> Vec<Batch> {
    let mut conf_file = conf_file(&settings.file);
    let conf = match conf_file.load() {
        Ok((_, batch)) => with_builtins(batch, |_| NOT_STARTED.to_owned()),
        // The built-in demo is no file; a file that broke since it was read is told about.
        Err(_) => with_builtins(first_batch(settings), |_| NOT_STARTED.to_owned()),
    };
    let mut batches = vec![own::tell(conf, &own::wanted(&settings.process))];
    if let Some(spec) = &settings.process.sources.files {
        let mut batch = Files::new(&spec.paths, &settings.folder).load();
        batch.is_complete = true;
        batches.push(batch);
    }
    batches
}

/// Starts every source; each delivers everything it has first. `own`: where the process listens.
///
/// # Errors
/// A thread or a built-in upstream that cannot be started.
pub(super) async fn start(
    settings: Settings,
    live: Arc<Live>,
    sender: mpsc::Sender<Batch>,
    own: Own,
    vitals: &Vitals,
) -> anyhow::Result<Sources> {
    let mut sources = Sources {
        names: vec![conf::NAME],
        watching: Vec::new(),
        cluster: None,
        writing: None,
        _sender: sender.clone(),
    };
    if let Some(spec) = &settings.process.sources.kubernetes {
        sources.names.push(kubernetes::NAME);
        sources.cluster = Some(Cluster::follow(spec, &settings, sender.clone(), vitals).await?);
    }
    let mut builtins = Builtins { own, addresses: BTreeMap::new() };
    let mut follow = Follow::default();
    // Files first: routes of the conf may name their Services.
    if let Some(spec) = &settings.process.sources.files {
        sources.names.push(files::NAME);
        let source = Files::new(&spec.paths, &settings.folder);
        let mut source = source.with_pulse(vitals.pulse("files-source"));
        let wanted = source.wanted();
        wanted.set(&spec.paths, spec.watch);
        let (source, batch) = tokio::task::spawn_blocking(move || {
            let batch = source.load();
            (source, batch)
        })
        .await?;
        sender.send(batch).await.context("the control plane has ended")?;
        let watching = source.watch(sender.clone())?;
        follow.files = Some((wanted, watching.reload_handle()));
        sources.watching.push(watching);
    }
    let mut conf_file = conf_file(&settings.file).with_pulse(vitals.pulse("conf-source"));
    match conf_file.load() {
        Ok((_, batch)) => {
            sender.send(builtins.fill(batch.clone()).await?).await.context("the control plane has ended")?;
            let relay = builtins.relay(sender.clone(), batch);
            sources.watching.push(conf_file.watch(relay, move |settings| {
                report(&sender, live.apply(&settings));
                follow.apply(&settings);
            })?);
        }
        // The built-in demo is no file.
        Err(_) => {
            sender.send(builtins.fill(first_batch(&settings)).await?).await.context("the control plane has ended")?
        }
    }
    Ok(sources)
}

// === impl Sources ===

impl Sources {
    /// Names of the sources, for people.
    pub(super) fn to_text(&self) -> String {
        self.names.join(", ")
    }

    /// Names of the sources, as the control plane awaits them.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.names.clone()
    }

    /// The Kubernetes source, when there is one.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Keeps what is written to the cluster going until [`Sources::stop_writing`].
    pub(super) fn keep(&mut self, writing: Writing) {
        self.writing = Some(writing);
    }

    /// Ends writing to the cluster and gives the Lease back.
    pub(super) async fn stop_writing(&self) {
        if let Some(writing) = &self.writing {
            writing.stop().await;
        }
    }

    /// Makes every source look again at once.
    pub(super) fn reload(&self) {
        self.watching.iter().for_each(Watching::reload);
    }
}

/// Running sources that settings are applied to.
#[derive(Default)]
struct Follow {
    files: Option<(Wanted, Reload)>,
}

impl Follow {
    fn apply(&self, settings: &Settings) {
        if let (Some((wanted, reload)), Some(spec)) = (&self.files, &settings.process.sources.files) {
            wanted.set(&spec.paths, spec.watch);
            reload.reload();
        }
    }
}

/// Tells the control plane what the process has to say about its settings.
fn report(sender: &mpsc::Sender<Batch>, diagnostics: Vec<Diagnostic>) {
    // Nobody listens any more: the process is about to end.
    let _ = sender.blocking_send(findings(PROCESS, diagnostics));
}

/// What a part of the process has to say, in place of what it said before.
pub(super) fn findings(source: &'static str, diagnostics: Vec<Diagnostic>) -> Batch {
    Batch { source, diagnostics, ..complete(Vec::new()) }
}

/// The conf of settings that came from no file.
fn first_batch(settings: &Settings) -> Batch {
    let place = settings::origin(&settings.file).place.clone();
    let events = vec![Event::Apply(Object::conf(settings.conf.clone(), place))];
    complete(events)
}

/// A batch of the conf that has nothing to say.
fn complete(events: Vec<Event>) -> Batch {
    let noticed = Instant::now();
    Batch { source: conf::NAME, events, diagnostics: Vec::new(), noticed, is_complete: true, answered: 0 }
}

// === impl Builtins ===

impl Builtins {
    /// Starts the built-in upstreams that a conf names and gives it their addresses, and those of the process.
    async fn fill(&mut self, batch: Batch) -> anyhow::Result<Batch> {
        for name in batch.events.iter().flat_map(builtin_names) {
            if let Entry::Vacant(entry) = self.addresses.entry(name) {
                let address = echo::start(entry.key()).await.context("the built-in echo upstream cannot be started")?;
                entry.insert(address.to_string());
            }
        }
        let address = |name: &str| self.addresses.get(name).cloned().unwrap_or_else(|| NOT_STARTED.to_owned());
        Ok(own::tell(with_builtins(batch, address), &self.own.sockets()))
    }

    /// Stands between the conf source and the control plane, so that later confs get their addresses too, and the last
    /// one, which begins as `conf`, hears of sockets that come and go.
    fn relay(mut self, sender: mpsc::Sender<Batch>, mut conf: Batch) -> mpsc::Sender<Batch> {
        let (relay, mut batches) = mpsc::channel::<Batch>(1);
        tokio::spawn(async move {
            loop {
                let batch = tokio::select! {
                    batch = batches.recv() => match batch {
                        Some(batch) => batch,
                        None => return,
                    },
                    () = self.own.changed() => Batch { noticed: Instant::now(), ..conf.clone() },
                };
                // A batch without a conf has findings only.
                conf.diagnostics.clone_from(&batch.diagnostics);
                if !batch.events.is_empty() {
                    conf.events.clone_from(&batch.events);
                }
                let filled = match self.fill(batch).await {
                    Ok(filled) => filled,
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "conf change not applied");
                        continue;
                    }
                };
                if sender.send(filled).await.is_err() {
                    return;
                }
            }
        });
        relay
    }
}

/// Names of the upstreams that a conf wants built in.
fn builtin_names(event: &Event) -> Vec<String> {
    let Event::Apply(Object::Conf(conf)) = event else { return Vec::new() };
    let builtin = conf.object.upstreams.iter().filter(|(_, spec)| spec.builtin.is_some());
    builtin.map(|(name, _)| name.clone()).collect()
}

/// Gives built-in upstreams the addresses where they are served.
fn with_builtins(mut batch: Batch, address: impl Fn(&str) -> String) -> Batch {
    for event in &mut batch.events {
        let names = builtin_names(event);
        let Event::Apply(Object::Conf(sourced)) = event else { continue };
        let conf: &mut Conf = Arc::make_mut(&mut sourced.object);
        for name in names {
            if let Some(spec) = conf.upstreams.get_mut(&name) {
                spec.endpoints.push(EndpointSpec { address: address(&name), weight: 1 });
            }
        }
    }
    batch
}
