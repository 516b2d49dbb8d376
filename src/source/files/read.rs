//! Reads and parses the files that may have changed, several at once: at start that is most of the work.

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::found::Text;
use super::state::FilesState;
use crate::source::object;
use crate::yaml::MAX_OBJECT_BYTES;

/// Reads files; gives what became of each, in their order.
pub(super) fn all(paths: &[PathBuf], state: &FilesState) -> Vec<Text> {
    let next = AtomicUsize::new(0);
    let work = || -> Vec<(usize, Text)> {
        let mut done = Vec::new();
        // A file at a time, so that a large one does not make the others wait behind it.
        while let Some((index, path)) = take(paths, &next) {
            done.push((index, one(path, state)));
        }
        done
    };
    let others = std::thread::available_parallelism().map_or(1, usize::from).min(paths.len()).saturating_sub(1);
    let mut done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for thread in threads {
            match thread.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, text)| text).collect()
}

fn take<'p>(paths: &'p [PathBuf], next: &AtomicUsize) -> Option<(usize, &'p PathBuf)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    paths.get(index).map(|path| (index, path))
}

/// Reads a file, and parses it unless it is what it was.
fn one(path: &Path, state: &FilesState) -> Text {
    let bytes = match fs::metadata(path).and_then(|metadata| bytes(path, &metadata)) {
        Ok(bytes) => bytes,
        Err(error) => return Text::Unreadable(reason(&error)),
    };
    let hash = state.hash(&bytes);
    if state.is_known(path, hash) {
        return Text::Known;
    }
    let file: Arc<str> = path.to_string_lossy().into();
    Text::Read { hash, is_empty: bytes.is_empty(), content: object::read(&bytes, &file) }
}

/// One byte more than allowed when there are too many and nobody knew.
fn bytes(path: &Path, metadata: &Metadata) -> io::Result<Vec<u8>> {
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if length > MAX_OBJECT_BYTES {
        return Err(too_large(&length.to_string()));
    }
    let mut bytes = Vec::with_capacity(length + 1);
    fs::File::open(path)?.take(MAX_OBJECT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_OBJECT_BYTES {
        return Err(too_large(&format!("more than {MAX_OBJECT_BYTES}")));
    }
    Ok(bytes)
}

fn too_large(bytes: &str) -> io::Error {
    let limit = MAX_OBJECT_BYTES >> 20;
    io::Error::other(format!(
        "it has {bytes} bytes and {limit} MiB are read at most; split it, or leave out Secrets that no Ingress names \
         (`--field-selector type=kubernetes.io/tls`)"
    ))
}

/// Why something cannot be read, as it is told.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it is not there".to_owned(),
        _ => error.to_string(),
    }
}
