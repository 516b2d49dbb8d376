//! What is known of all files, and what follows when they change. Pure: no file system, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::scan::{Scan, Seen, Stamp, Text};
use crate::diagnostic::{Diagnostic, Position};
use crate::origin::{Origin, Place};
use crate::resources::{Event, Object, ObjectRef, Sourced};
use crate::source::object::{self, Content};

/// What is known of all files.
#[derive(Debug, Default)]
pub(super) struct State {
    files: BTreeMap<PathBuf, Known>,
    /// Which files hold an object; the first in path order is the one that counts.
    holders: BTreeMap<ObjectRef, BTreeSet<PathBuf>>,
    delivered: BTreeMap<ObjectRef, Object>,
    gone: BTreeMap<PathBuf, String>,
    hasher: RandomState,
}

/// What is known of a file.
#[derive(Debug, Default)]
struct Known {
    stamp: Stamp,
    /// Of the bytes read last, good or bad; none when they could not be read.
    hash: Option<u64>,
    /// The last good content.
    content: Content,
    /// Why the content on disk is not the one that is served.
    fault: Option<Diagnostic>,
}

// === impl State ===

impl State {
    /// The stamp that a file had when it was read last.
    pub(super) fn stamp(&self, path: &Path) -> Option<Stamp> {
        self.files.get(path).filter(|known| known.hash.is_some()).map(|known| known.stamp)
    }

    /// Takes in what the file system looks like now; gives what differs from what was delivered.
    pub(super) fn decide(&mut self, scan: Scan) -> Vec<Event> {
        let mut touched = BTreeSet::new();
        let vanished: Vec<PathBuf> = self.files.keys().filter(|path| is_vanished(path, &scan)).cloned().collect();
        for path in vanished {
            if let Some(known) = self.files.remove(&path) {
                self.release(&path, known.content.objects.into_keys(), &mut touched);
            }
        }
        for (path, seen) in scan.files {
            self.take(path, seen, &mut touched);
        }
        self.gone = scan.gone;
        touched.into_iter().filter_map(|name| self.event(name)).collect()
    }

    /// All that there is to say about the files now.
    pub(super) fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut diagnostics: Vec<Diagnostic> =
            self.gone.iter().map(|(path, why)| self.source_gone(path, why)).collect();
        let mut kinds: BTreeMap<&str, &Place> = BTreeMap::new();
        for known in self.files.values() {
            diagnostics.extend(known.fault.clone());
            diagnostics.extend(known.content.diagnostics.iter().cloned());
            for (kind, place) in &known.content.unknown {
                kinds.entry(kind).or_insert(place);
            }
        }
        diagnostics.extend(self.duplicates());
        diagnostics.extend(kinds.into_iter().map(|(kind, place)| unknown_kind(kind, place)));
        diagnostics
    }

    fn take(&mut self, path: PathBuf, seen: Seen, touched: &mut BTreeSet<ObjectRef>) {
        let file: Arc<str> = path.to_string_lossy().into();
        let bytes = match seen.text {
            Text::Same => return,
            Text::Unreadable(why) => {
                let known = self.files.entry(path).or_default();
                known.hash = None;
                known.fault = Some(known.keeps("FileUnreadable", &file, format!("cannot be read: {why}")));
                return;
            }
            Text::Read(bytes) => bytes,
        };
        let hash = self.hasher.hash_one(&bytes);
        let known = self.files.entry(path.clone()).or_default();
        known.stamp = seen.stamp;
        if known.hash.replace(hash) == Some(hash) {
            return;
        }
        if bytes.is_empty() && !known.content.objects.is_empty() {
            // Whoever writes in place empties the file first; nobody empties a file to delete its objects.
            let fault = known.keeps("FileEmpty", &file, "the file is empty".to_owned());
            known.fault = Some(fault.hint("delete the file if its objects shall go").at(Position::START));
            return;
        }
        match object::read(&bytes, &file) {
            Ok(content) => self.replace(path, content, touched),
            Err(error) => {
                let fault = known.keeps("InvalidYaml", &file, error.message).at(error.position);
                known.fault = Some(Diagnostic { hint: error.hint, ..fault });
            }
        }
    }

    /// Puts new content in the place of the old; objects that broke stay as they were.
    fn replace(&mut self, path: PathBuf, mut content: Content, touched: &mut BTreeSet<ObjectRef>) {
        let Some(known) = self.files.get_mut(&path) else { return };
        for name in std::mem::take(&mut content.broken) {
            if let Some(object) = known.content.objects.get(&name).filter(|_| !content.objects.contains_key(&name)) {
                content.objects.insert(name, object.clone());
            }
        }
        let names: Vec<ObjectRef> = content.objects.keys().cloned().collect();
        let old = std::mem::replace(&mut known.content, content);
        known.fault = None;
        self.release(&path, old.objects.into_keys(), touched);
        for name in names {
            self.holders.entry(name.clone()).or_default().insert(path.clone());
            touched.insert(name);
        }
    }

    fn release(&mut self, path: &Path, names: impl Iterator<Item = ObjectRef>, touched: &mut BTreeSet<ObjectRef>) {
        for name in names {
            if let Some(holders) = self.holders.get_mut(&name) {
                holders.remove(path);
                if holders.is_empty() {
                    self.holders.remove(&name);
                }
            }
            touched.insert(name);
        }
    }

    /// What has to be delivered about an object, if anything.
    fn event(&mut self, name: ObjectRef) -> Option<Event> {
        let Some(object) = self.held(&name).cloned() else {
            return self.delivered.remove(&name).map(|_| Event::Delete(name));
        };
        if self.delivered.get(&name).is_some_and(|delivered| is_same(delivered, &object)) {
            return None;
        }
        self.delivered.insert(name, object.clone());
        Some(Event::Apply(object))
    }

    /// The object that counts under a name.
    fn held(&self, name: &ObjectRef) -> Option<&Object> {
        let path = self.holders.get(name)?.first()?;
        self.files.get(path)?.content.objects.get(name)
    }

    fn duplicates(&self) -> impl Iterator<Item = Diagnostic> {
        self.holders.iter().filter(|(_, paths)| paths.len() > 1).flat_map(move |(name, paths)| {
            let first = self.held(name);
            paths.iter().skip(1).filter_map(move |path| {
                let place = self.files.get(path)?.content.objects.get(name)?.place().cloned();
                Some(object::duplicate(&name.origin(place), first?))
            })
        })
    }

    fn source_gone(&self, path: &Path, why: &str) -> Diagnostic {
        let origin = Origin::new("File", "", &path.to_string_lossy(), None);
        if self.files.keys().any(|file| file.starts_with(path)) {
            let message = format!("cannot be read: {why}; its last good content is kept");
            return Diagnostic::error("SourceGone", &origin, message)
                .hint("bring it back, or take it out of `sources.files.paths`");
        }
        Diagnostic::error("SourceGone", &origin, format!("cannot be read: {why}"))
            .hint("make it, or take it out of `sources.files.paths`")
    }
}

impl Known {
    /// A fault of the whole file, which says what is served meanwhile.
    fn keeps(&self, code: &'static str, file: &Arc<str>, message: String) -> Diagnostic {
        let place = Place { file: file.clone(), line: 1, document: 0, item: None };
        let kept = if self.content.objects.is_empty() { "" } else { "; its last good content is kept" };
        Diagnostic::error(code, &Origin::new("File", "", file, Some(place)), format!("{message}{kept}"))
    }
}

/// Whether a known file is deleted, and not only out of sight with everything around it.
fn is_vanished(path: &Path, scan: &Scan) -> bool {
    !scan.files.contains_key(path) && !scan.gone.keys().any(|gone| path.starts_with(gone))
}

fn unknown_kind(kind: &str, place: &Place) -> Diagnostic {
    let origin = Origin::new("", "", "", Some(place.clone()));
    Diagnostic::info("UnknownKind", &origin, format!("objects of `{kind}` are not read here; all of them are left out"))
}

/// Whether two objects are equal, their place included: explain and diagnostics point at it.
fn is_same(a: &Object, b: &Object) -> bool {
    fn eq<T: PartialEq>(a: &Sourced<T>, b: &Sourced<T>) -> bool {
        a.place == b.place && (Arc::ptr_eq(&a.object, &b.object) || a.object == b.object)
    }
    match (a, b) {
        (Object::Ingress(a), Object::Ingress(b)) => eq(a, b),
        (Object::IngressClass(a), Object::IngressClass(b)) => eq(a, b),
        (Object::Service(a), Object::Service(b)) => eq(a, b),
        (Object::EndpointSlice(a), Object::EndpointSlice(b)) => eq(a, b),
        (Object::Endpoints(a), Object::Endpoints(b)) => eq(a, b),
        (Object::Secret(a), Object::Secret(b)) => eq(a, b),
        (Object::ConfigMap(a), Object::ConfigMap(b)) => eq(a, b),
        (Object::Namespace(a), Object::Namespace(b)) => eq(a, b),
        (Object::Conf(a), Object::Conf(b)) => eq(a, b),
        _ => false,
    }
}
