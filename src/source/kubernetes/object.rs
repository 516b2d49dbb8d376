//! From what the API server says to the objects of [`crate::resources`]: the one place of the conversion.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::watcher;

use super::state::{Seen, Word};
use crate::resources::{Kind, Object, ObjectRef, Strings};

/// A kind that is watched.
pub(super) trait Watched: Resource {
    /// Its kind.
    const KIND: Kind;

    /// Keeps what is read of it.
    fn into_object(self) -> Object;
}

/// Takes one word of a watch.
pub(super) fn seen<K>(word: watcher::Result<watcher::Event<DeserializeGuard<K>>>) -> Seen
where
    K: Watched + Resource<DynamicType = ()>,
{
    match word {
        Ok(watcher::Event::Init) => Seen::Begin,
        Ok(watcher::Event::InitApply(object)) => Seen::Listed(read(object)),
        Ok(watcher::Event::InitDone) => Seen::End,
        Ok(watcher::Event::Apply(object)) => Seen::Applied(read(object)),
        Ok(watcher::Event::Delete(object)) => Seen::Deleted(name(object.meta(), K::KIND)),
        Err(error @ watcher::Error::InitialListFailed(_)) => Seen::ListFailed(chain(&error)),
        Err(error) => Seen::WatchFailed(chain(&error)),
    }
}

fn read<K: Watched + Resource<DynamicType = ()>>(object: DeserializeGuard<K>) -> Word {
    match object.0 {
        Ok(object) => Word::Object(object.into_object()),
        Err(invalid) => Word::Broken(name(&invalid.metadata, K::KIND), invalid.error),
    }
}

fn name(metadata: &ObjectMeta, kind: Kind) -> ObjectRef {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    ObjectRef::new(kind, &text(&metadata.namespace), &text(&metadata.name))
}

/// An error with its causes: the status of the server is one of them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors repeat the text of their source.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

// === impl Watched ===

impl Watched for Ingress {
    const KIND: Kind = Kind::Ingress;

    fn into_object(self) -> Object {
        Object::ingress(self, None, &mut Strings::default())
    }
}

impl Watched for IngressClass {
    const KIND: Kind = Kind::IngressClass;

    fn into_object(self) -> Object {
        Object::ingress_class(self, None, &mut Strings::default())
    }
}

impl Watched for Service {
    const KIND: Kind = Kind::Service;

    fn into_object(self) -> Object {
        Object::service(self, None, &mut Strings::default())
    }
}

impl Watched for EndpointSlice {
    const KIND: Kind = Kind::EndpointSlice;

    fn into_object(self) -> Object {
        Object::endpoint_slice(self, None, &mut Strings::default())
    }
}
