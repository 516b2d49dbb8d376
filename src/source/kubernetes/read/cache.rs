//! The last good state of a cluster in a file, so that a process that starts while the API server is away can serve.
//!
//! One JSON object a line: first what the file is, then the objects as they are kept. The file is for this program
//! only, readable by its account only, and replaced by rename. A file of another format is as good as none.

mod object;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use crate::resources::{Caching, Kind, Object, Resources, Sourced, Tabled, Visit};
use object::CachedObject;

/// Changes when older or newer programs could misread the file.
const FORMAT: u32 = 1;
/// A line longer than that is no object: an API server takes 3 MiB.
const MAX_LINE: u64 = 16 * 1024 * 1024;

/// A file for the last good state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cache {
    /// The file.
    pub path: PathBuf,
    /// Whether Secrets are kept: private keys, and hashes of passwords.
    pub keeps_secrets: bool,
}

/// Content of a cache file.
#[derive(Debug)]
pub struct Remembered {
    /// The objects.
    pub objects: Vec<Object>,
    /// When they were written.
    pub written: SystemTime,
}

/// Writer of the cache file in the background.
#[derive(Debug)]
pub(crate) struct CacheWriter {
    states: SyncSender<Resources>,
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    /// Seconds since 1970.
    written: u64,
}

/// Every other line: an object under the name of its kind.
#[derive(Serialize)]
struct Line<'o, T> {
    namespace: &'o str,
    name: &'o str,
    object: BTreeMap<&'static str, &'o T>,
}

/// Writes the objects of a kind.
struct PutKind<'w, W> {
    writer: &'w mut W,
    resources: &'w Resources,
}

// === impl Cache ===

impl Cache {
    /// Reads the file; `None`: there is none of this format. Lines that cannot be read are left out.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(crate) fn read(&self) -> io::Result<Option<Remembered>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut reader = BufReader::new(file);
        let Some(head) = next::<Head>(&mut reader)?.flatten().filter(|head| head.format == FORMAT) else {
            return Ok(None);
        };
        let mut objects = Vec::new();
        while let Some(line) = next::<CachedObject>(&mut reader)? {
            objects.extend(line.map(|CachedObject(object)| object));
        }
        Ok(Some(Remembered { objects, written: UNIX_EPOCH + Duration::from_secs(head.written) }))
    }

    /// Replaces the file by what came from a cluster.
    ///
    /// # Errors
    /// The file cannot be written; the old one stays.
    pub(crate) fn write(&self, resources: &Resources) -> io::Result<()> {
        let new = self.path.with_extension("new");
        // A leftover may have been made by somebody else, with other rights.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let mut writer = BufWriter::new(file);
        let written = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        put(&mut writer, &Head { format: FORMAT, written })?;
        self.put_all(&mut writer, resources)?;
        writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&new, &self.path)
    }

    fn put_all(&self, writer: &mut impl Write, resources: &Resources) -> io::Result<()> {
        for (kind, row) in Kind::rows() {
            let is_kept = match row.cache {
                Caching::Always => true,
                Caching::WithSecrets => self.keeps_secrets,
                Caching::Never => false,
            };
            if is_kept {
                kind.visit(PutKind { writer, resources }).transpose()?;
            }
        }
        Ok(())
    }

    /// Writes states from now on, in a thread of its own.
    ///
    /// # Errors
    /// There is no thread.
    pub(crate) fn writer(self) -> io::Result<CacheWriter> {
        let (states, inbox) = sync_channel::<Resources>(1);
        std::thread::Builder::new().name("cache".into()).spawn(move || {
            for state in inbox {
                match self.write(&state) {
                    Ok(()) => debug!(file = %self.path.display(), "cache of the cluster state written"),
                    Err(error) => warn!(file = %self.path.display(), %error, "cache of the cluster state not written"),
                }
            }
        })?;
        Ok(CacheWriter { states })
    }
}

// === impl CacheWriter ===

impl CacheWriter {
    /// Hands a state over; false: the one before is still being written.
    pub(crate) fn put(&self, state: Resources) -> bool {
        !matches!(self.states.try_send(state), Err(TrySendError::Full(_)))
    }
}

// === impl PutKind ===

impl<W: Write> Visit for PutKind<'_, W> {
    type Output = io::Result<()>;

    fn visit<K: Tabled>(self) -> Self::Output {
        // Objects of files have a place, and are read again anyway.
        for Sourced { object, origin } in K::all(self.resources).values().filter(|it| it.origin.place.is_none()) {
            let object = BTreeMap::from([(K::ROW.name, &**object)]);
            put(self.writer, &Line { namespace: &origin.namespace, name: &origin.name, object })?;
        }
        Ok(())
    }
}

/// The next line: `None` at the end, an inner `None` for one that cannot be read.
fn next<T: for<'de> Deserialize<'de>>(reader: &mut impl BufRead) -> io::Result<Option<Option<T>>> {
    let mut line = Vec::new();
    let mut limited = io::Read::take(&mut *reader, MAX_LINE);
    match limited.read_until(b'\n', &mut line)? {
        0 => Ok(None),
        _ => Ok(Some(serde_json::from_slice(&line).ok())),
    }
}

fn put(writer: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, line)?;
    writer.write_all(b"\n")
}
