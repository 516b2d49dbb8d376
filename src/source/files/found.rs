//! What the file system looks like, as values.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::source::object::Content;
use crate::source::stamp::Stamp;
use crate::yaml::YamlError;

/// Scan of the file system.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Every file that counts, in path order.
    pub(super) files: BTreeMap<PathBuf, SeenFile>,
    /// Configured paths that are not there, and folders that cannot be read, with the reason.
    pub(super) gone: BTreeMap<PathBuf, String>,
    /// Folders to watch.
    pub(super) folders: Vec<PathBuf>,
}

/// A file that was seen.
#[derive(Debug)]
pub(super) struct SeenFile {
    pub(super) stamp: Stamp,
    pub(super) text: Text,
}

/// Content of a file that was seen.
#[derive(Debug)]
pub(super) enum Text {
    /// The stamp says that it is what it was.
    Same,
    /// Read anew, and the bytes are what they were.
    Known,
    /// Read anew.
    Read {
        /// Of the bytes.
        hash: u64,
        is_empty: bool,
        content: Result<Content, YamlError>,
    },
    /// Cannot be read, for this reason.
    Unreadable(String),
}
