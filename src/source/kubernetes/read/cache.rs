//! The last good state of a cluster in a file, so that a process that starts while the API server is away can serve.
//!
//! One JSON object a line: first what the file is, then the objects as they are kept. The file is for this program
//! only, readable by its account only, and replaced by rename. A file of another format is as good as none.

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use crate::origin::ObjectOrigin;
use crate::resources::object::{EndpointSlice, Ingress, IngressClass, Secret, Service};
use crate::resources::{Kind, Object, Resources, Sourced};

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

/// What a file held.
#[derive(Debug)]
pub struct Remembered {
    /// The objects.
    pub objects: Vec<Object>,
    /// When they were written.
    pub written: SystemTime,
}

/// Writes states beside whoever has them.
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

/// Every other line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    namespace: Arc<str>,
    name: Arc<str>,
    object: Kept,
}

#[derive(Debug, Serialize, Deserialize)]
enum Kept {
    Ingress(Arc<Ingress>),
    IngressClass(Arc<IngressClass>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Secret(Arc<Secret>),
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
        while let Some(line) = next::<Line>(&mut reader)? {
            objects.extend(line.map(object));
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
        put_kind(writer, resources.ingress_classes.values(), Kept::IngressClass)?;
        put_kind(writer, resources.services.values(), Kept::Service)?;
        put_kind(writer, resources.endpoint_slices.values(), Kept::EndpointSlice)?;
        put_kind(writer, resources.ingresses.values(), Kept::Ingress)?;
        if self.keeps_secrets {
            put_kind(writer, resources.secrets.values(), Kept::Secret)?;
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
                    Ok(()) => debug!(file = %self.path.display(), "state of the cluster written"),
                    Err(error) => warn!(file = %self.path.display(), %error, "state of the cluster not written"),
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

/// Objects of files have a place, and are read again anyway.
fn put_kind<'a, T: 'a>(
    writer: &mut impl Write,
    objects: impl Iterator<Item = &'a Sourced<T>>,
    keep: fn(Arc<T>) -> Kept,
) -> io::Result<()> {
    for sourced in objects.filter(|sourced| sourced.origin.place.is_none()) {
        let (namespace, name) = (Arc::clone(&sourced.origin.namespace), Arc::clone(&sourced.origin.name));
        put(writer, &Line { namespace, name, object: keep(Arc::clone(&sourced.object)) })?;
    }
    Ok(())
}

fn object(line: Line) -> Object {
    let origin = |kind: Kind| {
        Arc::new(ObjectOrigin { kind: kind.as_str(), namespace: line.namespace, name: line.name, place: None })
    };
    match line.object {
        Kept::Ingress(object) => Object::Ingress(Sourced { object, origin: origin(Kind::Ingress) }),
        Kept::IngressClass(object) => Object::IngressClass(Sourced { object, origin: origin(Kind::IngressClass) }),
        Kept::Service(object) => Object::Service(Sourced { object, origin: origin(Kind::Service) }),
        Kept::EndpointSlice(object) => Object::EndpointSlice(Sourced { object, origin: origin(Kind::EndpointSlice) }),
        Kept::Secret(object) => Object::Secret(Sourced { object, origin: origin(Kind::Secret) }),
    }
}
