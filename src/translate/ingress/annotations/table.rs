//! The table of annotations: the families' rows, joined, and sorted to be looked up.

use std::sync::{Arc, LazyLock};

use super::family::{FAMILIES, Family};
use super::row::{Annotation, Dialect, PREFIX, Support};
use super::security::Security;
use crate::translate::ingress::field;

/// The prefix of foreign annotations, unless the conf says otherwise.
const FOREIGN_PREFIX: &str = "nginx.ingress.kubernetes.io";

/// Every annotation that is known: the families, joined.
pub const ANNOTATIONS: &[Annotation] = &joined::<{ count(FAMILIES) }>(FAMILIES);

/// Annotations by name.
#[derive(Debug)]
pub(crate) struct Lookup {
    /// Sorted by name.
    entries: Box<[Entry]>,
    families: Box<[Family]>,
}

/// One name of an annotation.
#[derive(Debug)]
pub(crate) struct Entry {
    pub name: &'static str,
    pub row: &'static Annotation,
    /// Position of its family.
    pub family: usize,
    /// Position of its row among all.
    pub position: usize,
    /// Which of several names of a row comes first: its own, 0, then the others.
    pub rank: usize,
    /// Its fields under the usual prefixes: made once, shared by all objects.
    fields: [Arc<str>; 2],
}

// === impl Lookup ===

impl Lookup {
    /// The one of all families.
    pub(crate) fn of_all() -> &'static Self {
        static ALL: LazyLock<Lookup> = LazyLock::new(|| Lookup::new(FAMILIES.to_vec()));
        &ALL
    }

    pub(crate) fn new(families: Vec<Family>) -> Self {
        let rows = families.iter().enumerate().flat_map(|(at, family)| family.table.iter().map(move |row| (at, row)));
        let entries = rows.enumerate().flat_map(|(position, (family, row))| {
            let names = std::iter::once(&row.name).chain(row.aliases).enumerate();
            names.map(move |(rank, name)| Entry { name, row, family, position, rank, fields: fields(name) })
        });
        let mut entries: Box<[Entry]> = entries.collect();
        entries.sort_unstable_by_key(|entry| entry.name);
        Self { entries, families: families.into() }
    }

    /// What the table has of a name. Names are told apart without case; other names than a row's own are tidegate's.
    pub(crate) fn find(&self, name: &str, dialect: Dialect) -> Option<&Entry> {
        let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
        let entry = if is_lower { self.exact(name) } else { self.exact(&name.to_ascii_lowercase()) };
        entry.filter(|entry| dialect == Dialect::Own || entry.rank == 0)
    }

    /// A family by its position.
    pub(crate) fn family(&self, at: usize) -> Option<&Family> {
        self.families.get(at)
    }

    fn exact(&self, name: &str) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| entry.name.cmp(name)).ok()?;
        self.entries.get(at)
    }
}

// === impl Entry ===

impl Entry {
    /// The field of a key by which it was found.
    pub(crate) fn field(&self, key: &str) -> Arc<str> {
        let known = self.fields.iter().find(|known| field::annotation_of(known) == Some(key));
        known.cloned().unwrap_or_else(|| field::of_annotation(key))
    }
}

// === private functions ===

fn fields(name: &str) -> [Arc<str>; 2] {
    [PREFIX, FOREIGN_PREFIX].map(|prefix| field::of_annotation(&format!("{prefix}/{name}")))
}

const fn count(mut families: &[Family]) -> usize {
    let mut count = 0;
    while let [family, rest @ ..] = families {
        count += family.table.len();
        families = rest;
    }
    count
}

const fn joined<const N: usize>(mut families: &[Family]) -> [Annotation; N] {
    let none = Annotation {
        name: "",
        aliases: &[],
        grammar: "",
        doc: "",
        support: Support::Unread,
        on_service: false,
        security: Security::No,
    };
    let mut all = [none; N];
    let mut room = all.as_mut_slice();
    while let [family, rest @ ..] = families {
        let (part, left) = room.split_at_mut(family.table.len());
        part.copy_from_slice(family.table);
        (room, families) = (left, rest);
    }
    all
}
