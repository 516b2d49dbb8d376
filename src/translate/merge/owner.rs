//! Who owns a host, as others may see it.

use crate::origin::Origin;
use crate::resources::Kind;

/// The object of an origin: where the conf lies is nothing for those who use a cluster.
pub(crate) fn owner_text(origin: &Origin) -> String {
    if origin.kind == Kind::Conf.as_str() { "the conf".to_owned() } else { origin.object() }
}
