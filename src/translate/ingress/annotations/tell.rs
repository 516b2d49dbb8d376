//! What an Ingress wants to be told about itself.

use super::{Annotation, Dialect, PREFIX, Support, find_under, parse_bool};
use crate::resources::object::Annotations;

pub(crate) const REPORT_LIVE: Annotation = Annotation {
    name: "report-live",
    aliases: &[],
    grammar: "`true` or `false`",
    doc: "Whether each change of the Ingress that is live is told in the log and, in a cluster, by an event on it: how long it took, and the generation. Default false.",
    support: Support::Own,
    on_service: false,
    protects: false,
    read: |value, _| parse_bool(value.text).map(drop),
};

/// Whether an Ingress wants to be told when it is live.
pub(crate) fn asks_when_live(annotations: &Annotations) -> bool {
    let found = find_under(PREFIX, REPORT_LIVE.name, annotations, Dialect::Own);
    found.is_some_and(|found| parse_bool(found.text).unwrap_or(false))
}
