//! What the conf says about the side of clients: trusted proxies, limits, headers of tidegate's own.

use super::invalid::invalid_value;
use crate::diagnostic::Diagnostic;
use crate::edge::Edge;
use crate::origin::Origin;
use crate::resources::conf::Conf;

/// Reads them; a value that is not taken is told, and the default stays.
pub(crate) fn edge(conf: &Conf, origin: &Origin, diagnostics: &mut Vec<Diagnostic>) -> Edge {
    let mut edge = conf.edge();
    let faults = edge.mend().into_iter();
    diagnostics.extend(faults.map(|(field, why)| invalid_value(&origin.at(format!("defaults.{field}")), why)));
    edge
}
