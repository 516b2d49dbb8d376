//! What is known of all files, and what follows when they change. Pure: no file system, no clock.

use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::found::{Scan, SeenFile, Text};
use crate::code::Code;
use crate::dense;
use crate::diagnostic::{Diagnostic, Position};
use crate::origin::{Origin, Place};
use crate::resources::{Event, Kind, Object, ObjectRef};
use crate::source::object::{self, Content};
use crate::source::stamp::Stamp;

/// State of the source: every file with its last good content.
#[derive(Debug, Default)]
pub(super) struct FilesState {
    files: BTreeMap<Arc<Path>, KnownFile>,
    /// Which files hold an object; the first in path order is the one that counts.
    holders: BTreeMap<ObjectRef, Holders>,
    gone: BTreeMap<PathBuf, String>,
    hasher: RandomState,
}

/// A file with its last good content.
#[derive(Debug, Default)]
struct KnownFile {
    stamp: Stamp,
    /// Of the bytes read last, good or bad; none when they could not be read.
    hash: Option<u64>,
    /// Objects of the last good content, in the order of their names.
    objects: Box<[Object]>,
    /// What is to be said about the last good content.
    diagnostics: Vec<Diagnostic>,
    /// Kinds in it that nobody here knows.
    unknown: BTreeMap<String, Place>,
    /// Why the content on disk is not the one that is served.
    fault: Option<Diagnostic>,
}

/// The files that hold an object: one, but for mistakes.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "there is one for each object, and hardly any is in many files")]
enum Holders {
    One(Arc<Path>),
    Many(Box<BTreeSet<Arc<Path>>>),
}

/// Objects that may have changed, with the version that was delivered of each.
type Touched = BTreeMap<ObjectRef, Option<Object>>;

// === impl FilesState ===

impl FilesState {
    /// The stamp that a file had when it was read last.
    pub(super) fn stamp(&self, path: &Path) -> Option<Stamp> {
        self.files.get(path).filter(|known| known.hash.is_some()).map(|known| known.stamp)
    }

    /// Tells one content of a file from another.
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash_one(bytes)
    }

    /// Whether this is the content that a file had when it was read last.
    pub(super) fn is_known(&self, path: &Path, hash: u64) -> bool {
        self.files.get(path).is_some_and(|known| known.hash == Some(hash))
    }

    /// Takes in what the file system looks like now; gives what differs from what was delivered.
    pub(super) fn decide(&mut self, scan: Scan) -> Vec<Event> {
        let mut touched = Touched::new();
        let vanished: Vec<Arc<Path>> = self.files.keys().filter(|path| is_vanished(path, &scan)).cloned().collect();
        for path in vanished {
            self.touch(&path, &[], &mut touched);
            if let Some(known) = self.files.remove(&path) {
                self.release(&path, &known.objects);
            }
        }
        for (path, seen) in scan.files {
            self.take(&path, seen, &mut touched);
        }
        self.gone = scan.gone;
        if touched.len() > self.holders.len() / 2 {
            dense::pack(&mut self.holders);
        }
        touched.into_iter().filter_map(|(name, delivered)| self.event(name, delivered.as_ref())).collect()
    }

    /// All that there is to say about the files now.
    pub(super) fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut diagnostics: Vec<Diagnostic> =
            self.gone.iter().map(|(path, why)| self.source_gone(path, why)).collect();
        let mut kinds: BTreeMap<&str, &Place> = BTreeMap::new();
        for known in self.files.values() {
            diagnostics.extend(known.fault.clone());
            diagnostics.extend(known.diagnostics.iter().cloned());
            for (kind, place) in &known.unknown {
                kinds.entry(kind).or_insert(place);
            }
        }
        diagnostics.extend(self.duplicates());
        diagnostics.extend(kinds.into_iter().map(|(kind, place)| unknown_kind(kind, place)));
        diagnostics
    }

    fn take(&mut self, path: &Path, seen: SeenFile, touched: &mut Touched) {
        let file: Arc<str> = path.to_string_lossy().into();
        let (hash, is_empty, content) = match seen.text {
            Text::Same => return,
            Text::Known => {
                if let Some(known) = self.files.get_mut(path) {
                    known.stamp = seen.stamp;
                }
                return;
            }
            Text::Unreadable(why) => {
                let known = self.files.entry(path.into()).or_default();
                known.hash = None;
                known.fault = Some(known.keeps(Code::FileUnreadable, &file, format!("cannot be read: {why}")));
                return;
            }
            Text::Read { hash, is_empty, content } => (hash, is_empty, content),
        };
        let known = self.files.entry(path.into()).or_default();
        known.stamp = seen.stamp;
        known.hash = Some(hash);
        if is_empty && !known.objects.is_empty() {
            // Whoever writes in place empties the file first; nobody empties a file to delete its objects.
            let fault = known.keeps(Code::FileEmpty, &file, "the file is empty".to_owned());
            known.fault = Some(fault.hint("delete the file if its objects shall go").at(Position::START));
            return;
        }
        match content {
            Ok(content) => self.replace(path, content, touched),
            Err(error) => {
                let fault = known.keeps(Code::InvalidYaml, &file, error.message).at(error.position);
                known.fault = Some(Diagnostic { hint: error.hint, ..fault });
            }
        }
    }

    /// Puts new content in the place of the old; objects that broke stay as they were.
    fn replace(&mut self, path: &Path, mut content: Content, touched: &mut Touched) {
        let Some((path, known)) = self.files.get_key_value(path) else { return };
        let path = Arc::clone(path);
        for name in std::mem::take(&mut content.broken) {
            if let Some(object) = known.object(&name).filter(|_| !content.objects.contains_key(&name)) {
                content.objects.insert(name, object.clone());
            }
        }
        for (name, object) in &mut content.objects {
            // What did not change is not kept twice.
            if let Some(same) = known.object(name).filter(|old| *old == object) {
                *object = same.clone();
            }
        }
        let objects: Box<[Object]> = content.objects.into_values().collect();
        self.touch(&path, &objects, touched);
        let Some(known) = self.files.get_mut(&path) else { return };
        let old = std::mem::replace(&mut known.objects, objects.clone());
        known.diagnostics = content.diagnostics;
        known.unknown = content.unknown;
        known.fault = None;
        self.release(&path, &old);
        for object in &objects {
            match self.holders.entry(object.to_ref()) {
                Entry::Vacant(entry) => drop(entry.insert(Holders::One(Arc::clone(&path)))),
                Entry::Occupied(mut entry) => entry.get_mut().add(&path),
            }
        }
    }

    /// Notes what counts now of the objects that a file has and of those that it will have.
    fn touch(&self, path: &Path, new: &[Object], touched: &mut Touched) {
        let old = self.files.get(path).map(|known| &*known.objects).unwrap_or_default();
        for name in old.iter().chain(new).map(Object::to_ref) {
            touched.entry(name).or_insert_with_key(|name| self.held(name).cloned());
        }
    }

    fn release(&mut self, path: &Path, objects: &[Object]) {
        for name in objects.iter().map(Object::to_ref) {
            if self.holders.get_mut(&name).is_some_and(|holders| holders.remove(path)) {
                self.holders.remove(&name);
            }
        }
    }

    /// What has to be delivered about an object, if anything.
    fn event(&self, name: ObjectRef, delivered: Option<&Object>) -> Option<Event> {
        match self.held(&name) {
            None => delivered.map(|_| Event::Delete(name)),
            // The place counts too: explain and diagnostics point at it.
            held if held == delivered => None,
            Some(object) => Some(Event::Apply(object.clone())),
        }
    }

    /// The object that counts under a name.
    fn held(&self, name: &ObjectRef) -> Option<&Object> {
        let path = self.holders.get(name)?.iter().next()?;
        self.files.get(path)?.object(name)
    }

    fn duplicates(&self) -> impl Iterator<Item = Diagnostic> {
        let doubled = self.holders.iter().filter(|(_, holders)| matches!(holders, Holders::Many(_)));
        doubled.flat_map(move |(name, holders)| {
            let first = self.held(name);
            holders.iter().skip(1).filter_map(move |path| {
                let place = self.files.get(path)?.object(name)?.place().cloned();
                Some(object::duplicate(&name.origin(place), first?))
            })
        })
    }

    fn source_gone(&self, path: &Path, why: &str) -> Diagnostic {
        let origin = Origin::new("File", "", &path.to_string_lossy(), None);
        if self.files.keys().any(|file| file.starts_with(path)) {
            let message = format!("cannot be read: {why}; its last good content is kept");
            return Diagnostic::error(Code::SourceGone, &origin, message)
                .hint("bring it back, or take it out of `sources.files.paths`");
        }
        Diagnostic::error(Code::SourceGone, &origin, format!("cannot be read: {why}"))
            .hint("make it, or take it out of `sources.files.paths`")
    }
}

// === impl KnownFile, Holders ===

impl KnownFile {
    fn object(&self, name: &ObjectRef) -> Option<&Object> {
        let order = |object: &Object| -> Ordering {
            let ObjectRef { kind, name: wanted } = name;
            let origin = object.origin();
            let is_conf = object.kind() == Kind::Conf;
            let own = if is_conf { ("", "") } else { (&*origin.namespace, &*origin.name) };
            (object.kind(), own).cmp(&(*kind, (&*wanted.namespace, &*wanted.name)))
        };
        let index = self.objects.binary_search_by(order).ok()?;
        self.objects.get(index)
    }

    /// A fault of the whole file, which says what is served meanwhile.
    fn keeps(&self, code: Code, file: &Arc<str>, message: String) -> Diagnostic {
        let place = Place { file: file.clone(), line: 1, document: 0, item: None };
        let kept = if self.objects.is_empty() { "" } else { "; its last good content is kept" };
        Diagnostic::error(code, &Origin::new("File", "", file, Some(place)), format!("{message}{kept}"))
    }
}

impl Holders {
    fn iter(&self) -> impl Iterator<Item = &Arc<Path>> {
        let (one, many) = match self {
            Self::One(path) => (Some(path), None),
            Self::Many(paths) => (None, Some(&**paths)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn add(&mut self, path: &Arc<Path>) {
        match self {
            Self::One(known) if known == path => {}
            Self::One(known) => *self = Self::Many(Box::new(BTreeSet::from([Arc::clone(known), Arc::clone(path)]))),
            Self::Many(known) => drop(known.insert(Arc::clone(path))),
        }
    }

    /// Says whether no file is left.
    fn remove(&mut self, path: &Path) -> bool {
        match self {
            Self::One(known) => **known == *path,
            Self::Many(known) => {
                known.remove(path);
                if let (1, Some(only)) = (known.len(), known.first()) {
                    *self = Self::One(Arc::clone(only));
                }
                false
            }
        }
    }
}

/// Whether a known file is deleted, and not only out of sight with everything around it.
fn is_vanished(path: &Path, scan: &Scan) -> bool {
    !scan.files.contains_key(path) && !scan.gone.keys().any(|gone| path.starts_with(gone))
}

fn unknown_kind(kind: &str, place: &Place) -> Diagnostic {
    let origin = Origin::new("", "", "", Some(place.clone()));
    Diagnostic::info(
        Code::UnknownKind,
        &origin,
        format!("objects of `{kind}` are not read here; all of them are left out"),
    )
}
