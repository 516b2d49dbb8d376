//! Annotations of Ingresses and Services: one table that documentation, checks and translation read.
//!
//! Read under `tidegate.io/` and, where an annotation has a counterpart there, under the foreign prefix
//! (`nginx.ingress.kubernetes.io/`); tidegate's own wins. Names are told apart without case, as the API server takes
//! any. An object's keys are walked once: what is read goes to its family, and what is not is judged by what it may
//! ask for. Source: ingress-nginx, "Annotations".

pub(crate) mod family;
pub(crate) mod row;
pub(crate) mod security;
pub(crate) mod table;
mod unkept;
mod value;

use row::{Dialect, Holder, PREFIX, name_under};
use table::{Entry, Lookup};
use unkept::{Stray, Unkept};
use value::{FamilyAnnotations, Found};

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::reason::Reason;
use crate::resources::object::Annotations;
use crate::translate::asked::Asked;

/// An annotation that is read, and perhaps another one of the same name.
#[derive(Clone, Copy, Debug)]
struct Hit<'a> {
    entry: &'a Entry,
    dialect: Dialect,
    key: &'a str,
    text: &'a str,
}

/// What the annotations of an Ingress ask for. `foreign`: the prefix beside tidegate's own.
pub(crate) fn read_ingress(annotations: &Annotations, foreign: &str, object: &Origin) -> Asked {
    read_with(Lookup::of_all(), Holder::Ingress, annotations, foreign, object)
}

/// What the annotations of a Service ask for.
pub(crate) fn read_service(annotations: &Annotations, object: &Origin) -> Asked {
    read_with(Lookup::of_all(), Holder::Service, annotations, PREFIX, object)
}

/// The same by any table.
pub(crate) fn read_with(
    lookup: &Lookup,
    holder: Holder,
    annotations: &Annotations,
    foreign: &str,
    object: &Origin,
) -> Asked {
    let mut asked = Asked::default();
    if annotations.is_empty() {
        return asked;
    }
    let mut hits = walk(lookup, holder, annotations, foreign, object, &mut asked);
    hits.sort_by_key(Hit::order);
    let rows = hits.chunk_by(|a, b| a.entry.position == b.entry.position);
    let found: Vec<Found<'_>> = rows.filter_map(|hits| choose(hits, object, &mut asked)).collect();
    for found in found.chunk_by(|a, b| a.family == b.family) {
        if let Some(family) = found.first().and_then(|first| lookup.family(first.family)) {
            (family.finish)(FamilyAnnotations(found), &mut asked);
        }
    }
    asked
}

/// Walks the keys: finds what is read, and judges what is not.
fn walk<'a>(
    lookup: &'a Lookup,
    holder: Holder,
    annotations: &'a Annotations,
    foreign: &str,
    object: &Origin,
    asked: &mut Asked,
) -> Vec<Hit<'a>> {
    let foreign = Some(foreign).filter(|foreign| !foreign.eq_ignore_ascii_case(PREFIX));
    let prefixes = [(Some(PREFIX), Dialect::Own), (foreign, Dialect::Nginx)];
    let (mut hits, mut unkept) = (Vec::new(), Unkept::new(holder));
    for (key, text) in annotations.iter() {
        for (prefix, dialect) in prefixes {
            let Some(name) = prefix.and_then(|prefix| name_under(prefix, key)) else { continue };
            match lookup.find(name, dialect) {
                Some(entry) if holder.reads(entry.row, dialect) => hits.push(Hit { entry, dialect, key, text }),
                entry => {
                    let stray = Stray { key, name, value: text, dialect };
                    unkept.judge(stray, entry.map(|entry| entry.row), object, asked);
                }
            }
        }
    }
    unkept.finish(foreign.unwrap_or(PREFIX), object, asked);
    hits
}

/// The one that counts of those that mean the same: tidegate's own before a foreign one, and among those that differ
/// by case only the one that is written as it is documented.
fn choose<'a>(hits: &[Hit<'a>], object: &Origin, asked: &mut Asked) -> Option<Found<'a>> {
    let first = hits.first()?;
    let same = || hits.iter().take_while(|hit| hit.order() == first.order());
    let Hit { entry, dialect, key, text } = same().find(|hit| hit.key.ends_with(hit.entry.name)).unwrap_or(first);
    let origin = object.at(entry.field(key));
    if let Some(rival) = same().find(|hit| hit.text != *text) {
        let is_security = entry.row.security.asks(text) || entry.row.security.asks(rival.text);
        let end = if is_security { "the routes are closed (503)" } else { "this one counts" };
        if is_security {
            asked.close(Reason::BrokenPolicy);
        }
        let message = format!("`{}` is the same annotation with another value; {end}", rival.key);
        asked.diagnostics.push(Diagnostic::error(Code::InvalidAnnotation, &origin, message).hint("keep one of them"));
    }
    Some(Found { family: entry.family, name: entry.row.name, text, dialect: *dialect, origin })
}

// === impl Hit ===

impl Hit<'_> {
    /// By row, and within a row who comes first.
    fn order(&self) -> (usize, Dialect, usize) {
        (self.entry.position, self.dialect, self.entry.rank)
    }
}

#[cfg(test)]
mod tests;
