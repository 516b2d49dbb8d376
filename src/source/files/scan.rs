//! Looks at the file system: which files there are, and what is in those that may have changed.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use super::found::{Scan, SeenFile, Text};
use super::read::{self, reason};
use super::state::FilesState;
use crate::source::stamp::Stamp;

const MAX_FOLDER_DEPTH: usize = 32;

/// Looks at all roots; files that `state` knows with the same stamp are not read again.
pub(super) fn scan(roots: &[PathBuf], state: &FilesState) -> Scan {
    let mut walk =
        Walk { scan: Scan::default(), seen: BTreeSet::new(), unread: Vec::new(), state, now: SystemTime::now() };
    for root in roots {
        // The folder above notices that the path itself is replaced, removed or made.
        walk.scan.folders.extend(root.ancestors().skip(1).find(|folder| folder.is_dir()).map(Path::to_owned));
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => walk.folder(root, 0),
            Ok(metadata) => walk.file(root, &metadata),
            Err(error) => drop(walk.scan.gone.insert(root.clone(), reason(&error))),
        }
    }
    walk.finish()
}

/// A path without `.` parts, so that it reads well and compares.
pub(super) fn tidy(path: &Path) -> PathBuf {
    let tidy: PathBuf = path.components().filter(|part| !matches!(part, Component::CurDir)).collect();
    if tidy.as_os_str().is_empty() { PathBuf::from(".") } else { tidy }
}

struct Walk<'a> {
    scan: Scan,
    /// Device and inode of what was visited: links must not make anything appear twice, or forever.
    seen: BTreeSet<(u64, u64)>,
    /// Files that have to be read.
    unread: Vec<(PathBuf, Stamp)>,
    state: &'a FilesState,
    now: SystemTime,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, depth: usize) {
        let is_new = fs::metadata(folder).is_ok_and(|metadata| self.seen.insert((metadata.dev(), metadata.ino())));
        if !is_new || depth > MAX_FOLDER_DEPTH {
            return;
        }
        self.scan.folders.push(folder.to_owned());
        let names = fs::read_dir(folder).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<BTreeSet<_>>>()
        });
        match names {
            Ok(names) => {
                for name in names.iter().filter(|name| !name.as_encoded_bytes().starts_with(b".")) {
                    self.entry(&folder.join(name), depth);
                }
            }
            Err(error) => drop(self.scan.gone.insert(folder.to_owned(), reason(&error))),
        }
    }

    fn entry(&mut self, path: &Path, depth: usize) {
        // An entry that vanished since the folder was read is simply not there.
        let Ok(metadata) = fs::metadata(path) else { return };
        if metadata.is_dir() {
            self.folder(path, depth + 1);
        } else if metadata.is_file() && is_manifest(path) {
            self.file(path, &metadata);
        }
    }

    fn file(&mut self, path: &Path, metadata: &Metadata) {
        if !self.seen.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        let stamp = Stamp::of(metadata, self.now);
        let is_same = self.state.stamp(path).is_some_and(|known| known.is_same(&stamp));
        if is_same {
            self.scan.files.insert(path.to_owned(), SeenFile { stamp, text: Text::Same });
        } else {
            self.unread.push((path.to_owned(), stamp));
        }
    }

    fn finish(mut self) -> Scan {
        let (paths, stamps): (Vec<PathBuf>, Vec<Stamp>) = self.unread.into_iter().unzip();
        let texts = read::all(&paths, self.state);
        let read = stamps.into_iter().zip(texts).map(|(stamp, text)| SeenFile { stamp, text });
        self.scan.files.extend(paths.into_iter().zip(read));
        self.scan.folders.sort();
        self.scan.folders.dedup();
        self.scan
    }
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|it| ["yaml", "yml", "json"].iter().any(|known| it.eq_ignore_ascii_case(known)))
}
