//! The conf file as a source: routes, upstreams, plugins and defaults, and the process's settings beside them.
//!
//! Files that the conf names (`caFile`, certificates of listeners, what plugins name) are read here, so that translation
//! stays pure. A conf that
//! breaks keeps the last good one in force. It must not know what a change of the process's settings leads to.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::mpsc::Sender;

use super::stamp::Stamp;
use super::watch::{self, Signal, Signals, Watching};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::quantity::ByteSize;
use crate::resources::conf::PemFiles;
use crate::resources::{Batch, Event, Object};
use crate::settings::{self, Settings};
use crate::telemetry::vitals::Pulse;
use crate::yaml::MAX_BYTES;

/// Name of this source in batches, logs and metrics.
pub(crate) const NAME: &str = "conf";

/// Bytes that a file may have which a plugin names, or a listener.
const MAX_NAMED_FILE: usize = 1024 * 1024;
/// The same of a plugin whose `maxSize` says so.
const LARGEST_PLUGIN_FILE: usize = 64 * 1024 * 1024;

/// The source.
#[derive(Debug)]
pub(crate) struct ConfFile {
    path: PathBuf,
    /// The zone of this process, where the file says none.
    zone: Option<String>,
    /// The last good settings, with the files that they name read in.
    good: Option<Settings>,
    told: Vec<Diagnostic>,
    /// The files as they were when they were read last.
    stamps: Vec<Option<Stamp>>,
    pulse: Option<Arc<Pulse>>,
}

/// Change of the conf file, as it is delivered.
#[derive(Debug)]
pub(crate) struct Change {
    /// For translation; none when objects and diagnostics are what they were.
    pub batch: Option<Batch>,
    /// The whole settings, when they differ; to be compared by [`settings::Process::restart_needed`].
    pub settings: Option<Settings>,
}

// === impl ConfFile ===

impl ConfFile {
    /// Makes the source of a file.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), zone: None, good: None, told: Vec::new(), stamps: Vec::new(), pulse: None }
    }

    /// Puts that zone where the file gives no `zone`.
    #[must_use]
    pub(crate) fn in_zone(mut self, zone: Option<String>) -> Self {
        self.zone = zone;
        self
    }

    /// Tells there that it is alive.
    #[must_use]
    pub(crate) fn with_pulse(self, pulse: Arc<Pulse>) -> Self {
        Self { pulse: Some(pulse), ..self }
    }

    /// Reads the file for the first time.
    ///
    /// # Errors
    /// Every fault of the file: a process without any good conf does not start.
    pub(crate) fn load(&mut self) -> Result<(Settings, Batch), Vec<Diagnostic>> {
        let noticed = Instant::now();
        let (settings, diagnostics) = self.read()?;
        self.good = Some(settings.clone());
        let batch = self.batch(vec![apply(&settings)], diagnostics, noticed);
        Ok((settings, batch))
    }

    /// Follows changes on a thread of its own until the result is dropped or nobody receives any more.
    ///
    /// `on_settings` is called with the new settings, on that thread, before their batch is sent; after a reload
    /// that was asked for also with the old ones, since files that they name may have changed.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn watch(
        mut self,
        sender: Sender<Batch>,
        mut on_settings: impl FnMut(Settings) + Send + 'static,
    ) -> io::Result<Watching> {
        let pulse = self.pulse.take().unwrap_or_else(|| Pulse::unwatched("conf-source"));
        watch::spawn("conf-source", move |mut signals| {
            signals.only(self.names());
            signals.watch(&self.folders());
            let mut noticed = Instant::now();
            let mut is_asked = false;
            loop {
                let batch = pulse.contain(|| {
                    let change = self.reread(noticed);
                    signals.only(self.names());
                    signals.watch(&self.folders());
                    if let Some(settings) = change.settings.or_else(|| self.good.clone().filter(|_| is_asked)) {
                        on_settings(settings);
                    }
                    change.batch
                });
                if batch.flatten().is_some_and(|batch| sender.blocking_send(batch).is_err()) || sender.is_closed() {
                    return;
                }
                let signal = self.wait(&mut signals);
                is_asked = signal == Signal::Reload;
                noticed = match signal {
                    Signal::Stop => return,
                    Signal::Changed(noticed) => noticed,
                    Signal::Reload | Signal::Poll => Instant::now(),
                };
            }
        })
    }

    /// Waits until there is something to look at. What looks the same is not parsed over and over.
    fn wait(&mut self, signals: &mut Signals) -> Signal {
        self.stamps = self.stamps();
        loop {
            match signals.next() {
                Signal::Poll if self.is_same() => {}
                signal => return signal,
            }
        }
    }

    fn is_same(&self) -> bool {
        let now = self.stamps();
        let is_same = |(old, now): (&Option<Stamp>, &Option<Stamp>)| match (old, now) {
            (Some(old), Some(now)) => old.is_same(now),
            _ => false,
        };
        now.len() == self.stamps.len() && self.stamps.iter().zip(&now).all(is_same)
    }

    /// Fresh ones are the same as nothing, so that a write after the reading is not missed.
    fn stamps(&self) -> Vec<Option<Stamp>> {
        let now = SystemTime::now();
        self.files().map(|file| fs::metadata(file).ok().map(|metadata| Stamp::of(&metadata, now))).collect()
    }

    /// Reads the file again and says what changed.
    pub(crate) fn reread(&mut self, noticed: Instant) -> Change {
        let (settings, mut diagnostics) = match self.read() {
            Ok((settings, diagnostics)) => (Some(settings), diagnostics),
            Err(diagnostics) => (None, diagnostics),
        };
        diagnostics.sort();
        let new = settings.filter(|settings| self.good.as_ref() != Some(settings));
        let is_conf_new = new.as_ref().is_some_and(|new| self.good.as_ref().is_none_or(|good| good.conf != new.conf));
        let events: Vec<Event> = new.iter().filter(|_| is_conf_new).map(apply).collect();
        let is_news = !events.is_empty() || diagnostics != self.told;
        if let Some(new) = &new {
            self.good = Some(new.clone());
        }
        Change { batch: is_news.then(|| self.batch(events, diagnostics, noticed)), settings: new }
    }

    fn read(&self) -> Result<(Settings, Vec<Diagnostic>), Vec<Diagnostic>> {
        let (mut settings, diagnostics) = read(&self.path, self.good.as_ref())?;
        let zone = &mut settings.conf.zone;
        *zone = zone.take().or_else(|| self.zone.clone());
        Ok((settings, diagnostics))
    }

    fn batch(&mut self, events: Vec<Event>, mut diagnostics: Vec<Diagnostic>, noticed: Instant) -> Batch {
        diagnostics.sort();
        self.told.clone_from(&diagnostics);
        let is_complete = self.good.is_some() || self.told.is_empty();
        Batch { source: NAME, events, diagnostics, noticed, is_complete, answered: 0 }
    }

    /// Folders of the conf file and of every file that it names.
    fn folders(&self) -> Vec<PathBuf> {
        self.files().filter_map(|file| parent(&file)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Names of these files: logs and others may change in the same folders all the time.
    fn names(&self) -> BTreeSet<OsString> {
        self.files().filter_map(|file| file.file_name().map(ToOwned::to_owned)).collect()
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.good.iter().flat_map(named_files).chain([self.path.clone()])
    }
}

/// Reads the conf and what it names. A named file that cannot be read keeps what `good` had of it.
fn read(path: &Path, good: Option<&Settings>) -> Result<(Settings, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut settings = Settings::load(path)?;
    let origin = settings::origin(path);
    let folder = settings.folder.clone();
    let mut diagnostics = Vec::new();
    for (name, upstream) in &mut settings.conf.upstreams {
        let Some(file) = &upstream.tls.ca_file else { continue };
        match read_text(&folder.join(file)) {
            Ok(text) => upstream.tls.ca = Some(text),
            Err(why) => {
                let old = good
                    .and_then(|good| good.conf.upstreams.get(name))
                    .filter(|old| old.tls.ca_file.as_ref() == Some(file));
                upstream.tls.ca = old.and_then(|old| old.tls.ca.clone());
                diagnostics.push(unreadable(&origin, name, file, &why));
            }
        }
    }
    read_plugin_files(&mut settings, good, &origin, &mut diagnostics);
    diagnostics.extend(read_certificates(&mut settings, good));
    Ok((settings, diagnostics))
}

/// Reads the certificates of listeners. What cannot be read keeps what `good` had of it.
pub(crate) fn read_certificates(settings: &mut Settings, good: Option<&Settings>) -> Vec<Diagnostic> {
    let origin = settings::origin(&settings.file);
    let folder = settings.folder.clone();
    let mut diagnostics = Vec::new();
    for (index, listener) in settings.conf.listeners.iter_mut().enumerate() {
        let Some(tls) = &mut listener.tls else { continue };
        let Some((chain, key)) = tls.files() else { continue };
        let read = |file: &str| match read_bytes(&folder.join(file), MAX_NAMED_FILE) {
            Ok(bytes) => Ok(Arc::from(bytes)),
            Err(why) => Err(format!("certificate {chain}: `{file}` cannot be read: {why}")),
        };
        match read(chain).and_then(|chain| Ok(PemFiles { chain, key: read(key)? })) {
            Ok(pem) => tls.pem = Some(pem),
            Err(message) => {
                let olds = good.into_iter().flat_map(|good| &good.conf.listeners).filter_map(|old| old.tls.as_ref());
                tls.pem = olds.filter(|old| old.files() == tls.files()).find_map(|old| old.pem.clone());
                let origin = origin.at(format!("listeners[{index}].tls.certificateFile"));
                let diagnostic = Diagnostic::error(Code::InvalidCertificate, &origin, message);
                diagnostics.push(diagnostic.hint("relative names start in the folder of the conf file"));
            }
        }
    }
    diagnostics
}

fn read_plugin_files(
    settings: &mut Settings,
    good: Option<&Settings>,
    origin: &Origin,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for (name, max) in plugin_files(settings) {
        let old = good.and_then(|good| good.conf.plugin_files.0.get(&name).cloned());
        match max.and_then(|max| read_plugin_file(&settings.resolve(&name), max, old.as_deref())) {
            Ok(contents) => drop(settings.conf.plugin_files.0.insert(name, contents.into())),
            Err(why) => {
                let kept = if old.is_some() { "; its last good content is kept" } else { "" };
                let message = format!("`{name}`, which a plugin names, cannot be read: {why}{kept}");
                diagnostics.push(Diagnostic::error(Code::FileUnreadable, &origin.at("plugins"), message));
                settings.conf.plugin_files.0.extend(old.map(|contents| (name, contents)));
            }
        }
    }
}

/// Files that plugins name, with the most that each may have: of several that name one, the largest.
fn plugin_files(settings: &Settings) -> BTreeMap<String, Result<usize, String>> {
    let mut files: BTreeMap<String, Result<usize, String>> = BTreeMap::new();
    for (file, max) in settings.conf.plugin_specs().flat_map(|spec| spec.sized_files()) {
        let max = max.map_or(Ok(MAX_NAMED_FILE), read_max_size);
        let known = files.entry(file.to_owned()).or_insert_with(|| max.clone());
        if let (Ok(known), Ok(max)) = (known.as_mut(), &max) {
            *known = (*known).max(*max);
        } else if max.is_err() {
            *known = max;
        }
    }
    files
}

fn read_max_size(given: &serde_json::Value) -> Result<usize, String> {
    let size = given.as_str().and_then(|text| text.parse::<ByteSize>().ok()).map(ByteSize::as_usize);
    let size = size.filter(|size| (1..=LARGEST_PLUGIN_FILE).contains(size));
    size.ok_or_else(|| format!("`maxSize`: {given} is no size from `1B` to `64MiB`"))
}

fn read_plugin_file(path: &Path, max: usize, old: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let contents = read_bytes(path, max)?;
    match old {
        // Whoever writes in place empties the file first.
        Some(old) if contents.is_empty() && !old.is_empty() => Err("it is empty".to_owned()),
        _ => Ok(contents),
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    String::from_utf8(read_bytes(path, MAX_BYTES)?).map_err(|error| error.to_string())
}

fn read_bytes(path: &Path, max: usize) -> Result<Vec<u8>, String> {
    let told = |error: io::Error| error.to_string();
    // Opening a pipe would wait for whoever writes into it.
    if !fs::metadata(path).map_err(told)?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut file = File::open(path).map_err(told)?;
    let mut bytes = Vec::new();
    (&mut file).take(max as u64 + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() > max {
        return Err(format!("it has more than {max} bytes"));
    }
    if file.metadata().map_err(told)?.len() != bytes.len() as u64 {
        return Err("it is being written".to_owned());
    }
    Ok(bytes)
}

fn unreadable(origin: &Origin, upstream: &str, file: &str, why: &str) -> Diagnostic {
    let origin = origin.at(format!("upstreams.{upstream}.tls.caFile"));
    Diagnostic::error(Code::FileUnreadable, &origin, format!("`{file}` cannot be read: {why}"))
        .hint("relative names start in the folder of the conf file")
}

fn named_files(settings: &Settings) -> Vec<PathBuf> {
    let upstreams = settings.conf.upstreams.values().filter_map(|upstream| upstream.tls.ca_file.as_deref());
    let plugins = settings.conf.plugin_specs().flat_map(|spec| spec.files());
    let tls = settings.conf.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let certificates = tls.filter_map(|tls| tls.files()).flat_map(|(chain, key)| [chain, key]);
    upstreams.chain(plugins).chain(certificates).map(|file| settings.resolve(file)).collect()
}

fn parent(file: &Path) -> Option<PathBuf> {
    let folder = file.parent()?;
    Some(if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() })
}

fn apply(settings: &Settings) -> Event {
    let place = settings::origin(&settings.file).place.clone();
    Event::Apply(Object::conf(settings.conf.clone(), place))
}
