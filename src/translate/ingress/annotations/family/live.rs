//! What an Ingress wants to be told about itself.

use super::super::row::{Annotation, PREFIX, Support, name_under};
use super::super::security::Security;
use super::super::value::{FamilyAnnotations, boolean};
use crate::resources::object::Annotations;
use crate::translate::asked::Asked;

pub(crate) const TABLE: &[Annotation] = &[REPORT_LIVE];

const REPORT_LIVE: Annotation = Annotation {
    name: "report-live",
    aliases: &[],
    grammar: "`true` or `false`",
    doc: "Whether each change of the Ingress is reported when it is live, in the log and, in a cluster, as an event: how long it took, and the generation. Default false.",
    support: Support::Own,
    on_service: false,
    security: Security::No,
};

/// It asks for nothing that routes have; a value that is no boolean is told.
pub(crate) fn finish(given: FamilyAnnotations<'_>, asked: &mut Asked) {
    given.read(&REPORT_LIVE, asked, |value, _| boolean(value.text));
}

/// Whether an Ingress wants to be told when it is live.
pub(crate) fn asks_when_live(annotations: &Annotations) -> bool {
    let is_it = |key: &str| name_under(PREFIX, key).is_some_and(|name| name.eq_ignore_ascii_case(REPORT_LIVE.name));
    let all = || annotations.iter().filter(|(key, _)| is_it(key));
    let found = all().find(|(key, _)| key.ends_with(REPORT_LIVE.name)).or_else(|| all().next());
    found.is_some_and(|(_, text)| boolean(text.trim()).unwrap_or(false))
}
