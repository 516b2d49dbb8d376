//! Who an Ingress asks to serve it.

use super::annotations::family::live;
use super::class::{self, Ownership};
use crate::resources::conf::IngressOptions;
use crate::resources::object::Ingress;
use crate::resources::status::Parent;
use crate::resources::{Resources, Sourced};
use crate::translate::standing::Standing;

/// Whom an Ingress asks; `None`: others speak of it.
pub(crate) fn standing(
    sourced: &Sourced<Ingress>,
    resources: &Resources,
    options: &IngressOptions,
) -> Option<Standing> {
    let ingress = &*sourced.object;
    let (parent, is_ours) = match class::ownership(ingress, resources, options) {
        Ownership::Ours { class } => (class.map_or(Parent::Controller, Parent::class), true),
        Ownership::Unknown { class, .. } => (Parent::class(&class), false),
        Ownership::Foreign => return None,
    };
    Some(Standing {
        parent,
        is_ours,
        generation: ingress.generation,
        is_of_cluster: sourced.origin.is_of_cluster(),
        reports_live: is_ours && live::asks_when_live(&ingress.annotations),
    })
}
