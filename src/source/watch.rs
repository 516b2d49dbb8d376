//! Watches folders: tells that something changed, once it has become quiet.
//!
//! The system's notifications are a hint to look again, never the truth; a slow poll finds what they miss
//! (network file systems, targets of links). It must not know what the files are.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// Nothing may happen for this long before a change is looked at,
const QUIET: Duration = Duration::from_millis(20);
/// unless changes have gone on for this long.
const LONGEST: Duration = Duration::from_millis(200);
/// Time between two looks without any notification.
const POLL: Duration = Duration::from_secs(5);
/// A look must not take more than a fiftieth of the time.
const POLL_SHARE: u32 = 50;

/// A source that follows changes; dropping it stops its thread.
#[derive(Debug)]
pub struct Watching {
    wake: Sender<Wake>,
    thread: Option<JoinHandle<()>>,
}

/// Handle that has a source read again at once.
#[derive(Clone, Debug)]
pub struct Reload {
    wake: Sender<Wake>,
}

/// Signal to a watching thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Something changed; noticed then.
    Changed(Instant),
    /// Somebody asked for it.
    Reload,
    /// Time to look, without any sign of change.
    Poll,
    /// Stop.
    Stop,
}

/// Where a watching thread gets its signals from.
pub(super) struct Signals {
    wakes: Receiver<Wake>,
    watcher: Option<RecommendedWatcher>,
    /// Watched folders and their identity: a folder that was replaced has to be watched anew.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    last: Instant,
    noise: Arc<Noise>,
}

/// Keeps notifications few.
#[derive(Debug, Default)]
struct Noise {
    /// Whether a change waits to be looked at; one is enough, so the queue never grows.
    is_told: AtomicBool,
    /// File names whose changes matter; `None`: all of the watched folders.
    names: ArcSwapOption<BTreeSet<OsString>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Changed,
    Reload,
    Stop,
}

/// Starts a thread that follows signals.
///
/// # Errors
/// The thread cannot be started.
pub(super) fn spawn(name: &str, body: impl FnOnce(Signals) + Send + 'static) -> io::Result<Watching> {
    let (wake, wakes) = mpsc::channel();
    let noise = Arc::<Noise>::default();
    let watcher = watcher(wake.clone(), noise.clone());
    let signals = Signals { wakes, watcher, watched: BTreeMap::new(), last: Instant::now(), noise };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || body(signals))?;
    Ok(Watching { wake, thread: Some(thread) })
}

fn watcher(wake: Sender<Wake>, noise: Arc<Noise>) -> Option<RecommendedWatcher> {
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let matters = event.as_ref().map_or(true, |event| is_change(&event.kind) && noise.matters(&event.paths));
        if matters && !noise.is_told.swap(true, Ordering::SeqCst) {
            // Nobody listens any more: the thread is about to end.
            let _ = wake.send(Wake::Changed);
        }
    });
    watcher.inspect_err(|error| tracing::warn!(%error, "files are polled, not watched")).ok()
}

/// Reading files makes events too, which must not lead to reading them again.
fn is_change(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

// === impl Noise ===

impl Noise {
    /// Whether one of the paths is worth a look. Names that begin with two dots are links of ConfigMap volumes.
    fn matters(&self, paths: &[PathBuf]) -> bool {
        let names = self.names.load();
        let Some(names) = names.as_ref().filter(|_| !paths.is_empty()) else { return true };
        let file_names = paths.iter().filter_map(|path| path.file_name());
        file_names.into_iter().any(|name| names.contains(name) || name.as_encoded_bytes().starts_with(b".."))
    }
}

// === impl Watching, Reload ===

impl Watching {
    /// What makes this source look again at once, as on SIGHUP.
    pub fn reload_handle(&self) -> Reload {
        Reload { wake: self.wake.clone() }
    }

    /// Makes this source look again at once.
    pub fn reload(&self) {
        self.reload_handle().reload();
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // The thread may be waiting to hand a batch over; it ends when the receiver goes, so it is not joined.
        let _ = self.wake.send(Wake::Stop);
        drop(self.thread.take());
    }
}

impl Reload {
    /// Makes the source look again at once.
    pub fn reload(&self) {
        // Nobody listens any more: there is nothing to reload.
        let _ = self.wake.send(Wake::Reload);
    }
}

// === impl Signals ===

impl Signals {
    /// Lets only changes of files with these names, and of ConfigMap links, be noticed.
    pub(super) fn only(&self, names: BTreeSet<OsString>) {
        self.noise.names.store(Some(Arc::new(names)));
    }

    /// Watches these folders and no others; true when one of them was not watched before.
    pub(super) fn watch(&mut self, folders: &[PathBuf]) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let wanted: BTreeMap<PathBuf, (u64, u64)> =
            folders.iter().filter_map(|folder| Some((folder.clone(), identity(folder)?))).collect();
        let old: Vec<PathBuf> = self
            .watched
            .iter()
            .filter(|(path, id)| wanted.get(*path) != Some(*id))
            .map(|(path, _)| path.clone())
            .collect();
        for folder in old {
            self.watched.remove(&folder);
            // A folder that is gone has taken its watch along.
            let _ = watcher.unwatch(&folder);
        }
        let mut is_new = false;
        for (folder, id) in wanted {
            if self.watched.contains_key(&folder) {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder, id);
                    is_new = true;
                }
                Err(error) => tracing::debug!(folder = %folder.display(), %error, "folder is polled, not watched"),
            }
        }
        is_new
    }

    /// Waits for the next signal.
    pub(super) fn next(&mut self) -> Signal {
        let poll = POLL.max(self.last.elapsed() * POLL_SHARE);
        let signal = match self.receive(poll) {
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => Signal::Stop,
            Ok(Wake::Reload) => Signal::Reload,
            Ok(Wake::Changed) => self.settle(Instant::now()),
            Err(RecvTimeoutError::Timeout) => Signal::Poll,
        };
        self.last = Instant::now();
        signal
    }

    fn receive(&self, patience: Duration) -> Result<Wake, RecvTimeoutError> {
        let wake = self.wakes.recv_timeout(patience);
        if wake == Ok(Wake::Changed) {
            self.noise.is_told.store(false, Ordering::SeqCst);
        }
        wake
    }

    /// Waits until changes pause.
    fn settle(&self, noticed: Instant) -> Signal {
        loop {
            let left = LONGEST.saturating_sub(noticed.elapsed()).min(QUIET);
            match self.receive(left) {
                Ok(Wake::Changed) if !left.is_zero() => {}
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return Signal::Stop,
                Ok(Wake::Reload) => return Signal::Reload,
                Ok(Wake::Changed) | Err(RecvTimeoutError::Timeout) => return Signal::Changed(noticed),
            }
        }
    }
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}
