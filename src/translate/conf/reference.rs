//! Objects of Kubernetes, as the conf names them.

use crate::model::BackendId;
use crate::resources::ObjectName;

/// `namespace/name:port`.
pub(crate) fn service(text: &str) -> Option<BackendId> {
    let (service, port) = text.rsplit_once(':')?;
    let name = object(service)?;
    (!port.is_empty()).then(|| BackendId::service(&name.namespace, &name.name, port))
}

/// `namespace/name`.
pub(crate) fn object(text: &str) -> Option<ObjectName> {
    let (namespace, name) = text.split_once('/')?;
    let is_good = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
    is_good.then(|| ObjectName::new(namespace, name))
}
