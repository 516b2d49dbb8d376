//! The families of annotations, a file each: a table and a `finish` that turns what an object says to it into what is
//! asked for.

mod auth;
mod backend;
pub(crate) mod live;
mod plugins;
mod policy;
mod redirect;
mod unread;

use super::row::Annotation;
use super::value::FamilyAnnotations;
use crate::translate::asked::Asked;

/// Annotations that belong together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub table: &'static [Annotation],
    pub finish: fn(FamilyAnnotations<'_>, &mut Asked),
}

/// All families. Plugins run in this order within their stages, those of the conf first; `auth` is last, since it tells
/// only where nothing else has closed the routes.
pub(crate) const FAMILIES: &[Family] = &[
    Family { table: redirect::TABLE, finish: redirect::finish },
    Family { table: backend::TABLE, finish: backend::finish },
    Family { table: policy::TABLE, finish: policy::finish },
    Family { table: plugins::TABLE, finish: plugins::finish },
    Family { table: live::TABLE, finish: live::finish },
    Family { table: auth::TABLE, finish: auth::finish },
    Family { table: unread::TABLE, finish: unread::finish },
];
