//! Tells whether a file may have changed, without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// Stamp of a file: detects a change without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Read so soon after its last change that another change might leave the same times.
    is_fresh: bool,
}

/// Coarser than the time stamps of any file system that is in use.
const FRESH: Duration = Duration::from_secs(2);

impl Stamp {
    /// The state that the metadata tells of.
    pub(super) fn of(metadata: &Metadata, now: SystemTime) -> Self {
        let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            is_fresh: age.is_none_or(|age| age < FRESH),
        }
    }

    /// Whether the file is surely in the same state now.
    pub(super) fn is_same(&self, now: &Self) -> bool {
        !now.is_fresh && self == now
    }
}
