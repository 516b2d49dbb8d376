//! Kubernetes objects in files and folders.
//!
//! Takes `sources.files.paths`, gives batches of typed objects: first everything, then what changes. A file that
//! breaks keeps its last good content, a path that vanishes as a whole too. Here is what is *done*: reading and
//! watching; what follows from it is decided in [`state`], with values only.

mod found;
mod read;
mod scan;
mod state;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::mpsc::Sender;

use crate::diagnostic::Diagnostic;
use crate::resources::{Batch, Event};
use crate::telemetry::vitals::Pulse;

use super::watch::{self, Signal, Watching};
use state::FilesState;

/// Name of this source in batches, logs and metrics.
pub(crate) const NAME: &str = "files";

/// The source.
#[derive(Debug)]
pub struct Files {
    wanted: Wanted,
    state: FilesState,
    /// Folders that were walked last: what has to be watched.
    folders: Vec<PathBuf>,
    told: Vec<Diagnostic>,
    is_complete: bool,
    pulse: Option<Arc<Pulse>>,
}

/// Paths to read; shared with a running source, so that they may change.
#[derive(Clone, Debug)]
pub struct Wanted {
    folder: PathBuf,
    is: Arc<ArcSwap<Paths>>,
}

#[derive(Debug)]
struct Paths {
    roots: Vec<PathBuf>,
    is_followed: bool,
}

// === impl Wanted ===

impl Wanted {
    /// Asks for these paths from the next look on, and whether changes are followed without being told to look.
    /// Objects of paths that are left out go away.
    pub fn set<P: AsRef<Path>>(&self, paths: impl IntoIterator<Item = P>, is_followed: bool) {
        self.is.store(Arc::new(Paths::new(paths, &self.folder, is_followed)));
    }
}

impl Paths {
    fn new<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>, folder: &Path, is_followed: bool) -> Self {
        Self { roots: paths.into_iter().map(|path| scan::tidy(&folder.join(path))).collect(), is_followed }
    }
}

// === impl Files ===

impl Files {
    /// Makes the source; relative paths start in `folder`, that of the conf file.
    pub fn new<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>, folder: &Path) -> Self {
        let is = Arc::new(ArcSwap::from_pointee(Paths::new(paths, folder, true)));
        let wanted = Wanted { folder: folder.to_owned(), is };
        Self {
            wanted,
            state: FilesState::default(),
            folders: Vec::new(),
            told: Vec::new(),
            is_complete: false,
            pulse: None,
        }
    }

    /// Tells there that it is alive.
    #[must_use]
    pub fn with_pulse(self, pulse: Arc<Pulse>) -> Self {
        Self { pulse: Some(pulse), ..self }
    }

    /// What changes the paths of this source, also while it runs.
    pub fn wanted(&self) -> Wanted {
        self.wanted.clone()
    }

    /// Reads everything: the first batch.
    ///
    /// It is complete unless a configured path is missing: an unmounted volume must not look like an empty one.
    pub fn load(&mut self) -> Batch {
        let (events, diagnostics) = self.scan();
        self.batch(events, diagnostics, Instant::now())
    }

    /// Follows changes on a thread of its own until the result is dropped or nobody receives any more.
    ///
    /// Batches come only when objects or diagnostics differ from what was delivered last.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn watch(mut self, sender: Sender<Batch>) -> std::io::Result<Watching> {
        let pulse = self.pulse.take().unwrap_or_else(|| Pulse::unwatched("files-source"));
        watch::spawn("files-source", move |mut signals| {
            signals.watch(&self.folders);
            // What changed between the first scan and the watch has no event of its own.
            let mut noticed = Instant::now();
            loop {
                // What panics is looked at again at the next sign or poll.
                let delivered = pulse.contain(|| self.deliver(&mut signals, &sender, noticed));
                if delivered.is_some_and(|it| it.is_err()) || sender.is_closed() {
                    return;
                }
                let Some(next) = self.wait(&mut signals) else { return };
                noticed = next;
            }
        })
    }

    /// Waits until it is time to look; `None`: stop.
    fn wait(&self, signals: &mut watch::Signals) -> Option<Instant> {
        loop {
            let is_followed = self.wanted.is.load().is_followed;
            match signals.next() {
                Signal::Stop => return None,
                Signal::Reload => return Some(Instant::now()),
                Signal::Changed(noticed) if is_followed => return Some(noticed),
                Signal::Poll if is_followed => return Some(Instant::now()),
                Signal::Changed(_) | Signal::Poll => {}
            }
        }
    }

    /// Scans until there is no folder that was not watched before its scan, and sends what changed.
    fn deliver(&mut self, signals: &mut watch::Signals, sender: &Sender<Batch>, noticed: Instant) -> Result<(), ()> {
        let (mut events, mut diagnostics) = self.scan();
        // Folders may be made faster than they are watched; whoever does that forever waits for the poll.
        for _ in 0..3 {
            if !signals.watch(&self.folders) {
                break;
            }
            let (more, now) = self.scan();
            events.extend(more);
            diagnostics = now;
        }
        if events.is_empty() && diagnostics == self.told {
            return Ok(());
        }
        let batch = self.batch(events, diagnostics, noticed);
        tracing::debug!(source = NAME, events = batch.events.len(), "source changed");
        sender.blocking_send(batch).map_err(drop)
    }

    fn scan(&mut self) -> (Vec<Event>, Vec<Diagnostic>) {
        let scan = scan::scan(&self.wanted.is.load().roots, &self.state);
        self.folders.clone_from(&scan.folders);
        self.is_complete |= scan.gone.is_empty();
        let events = self.state.decide(scan);
        (events, self.state.diagnostics())
    }

    fn batch(&mut self, events: Vec<Event>, diagnostics: Vec<Diagnostic>, noticed: Instant) -> Batch {
        self.told.clone_from(&diagnostics);
        Batch { source: NAME, events, diagnostics, noticed, is_complete: self.is_complete, answered: 0 }
    }
}
