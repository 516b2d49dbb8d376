//! From what the API server says to the words of [`super::state`] and [`super::secrets`].

use std::fmt::Debug;
use std::sync::Arc;

use futures::future::ready;
use futures::stream::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::super::client::chain;
use super::secrets::Version;
use super::state::{Failure, Seen, Word};
use crate::resources::{Kind, Object, ObjectName, ObjectRef, Strings};

/// A kind that is watched.
pub(super) trait Watched: Resource {
    /// Its kind.
    const KIND: Kind;

    /// Keeps what is read of it.
    fn into_object(self, strings: &mut Strings) -> Object;
}

/// A word about the namespaces that a selector chooses.
#[derive(Debug)]
pub(super) enum Chosen {
    /// A list begins.
    Begin,
    /// It names this.
    Listed(String),
    /// It has ended.
    End,
    /// This is chosen now.
    Entered(String),
    /// This is not chosen any more, or is gone.
    Left(String),
    /// A list or a watch was refused or broke off; it is tried again.
    Failed(Failure),
}

/// Follows a kind: a first list in one stream where the server can do that, in pages where not.
pub(super) fn follow<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = watcher::Result<watcher::Event<K>>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let streamed = watcher(api.clone(), config.clone().streaming_lists()).default_backoff();
    let listed = watcher(api, config).default_backoff();
    streamed.take_while(|word| ready(!refuses_streams(word))).chain(listed)
}

/// Whether the server knows no lists in one stream.
fn refuses_streams<T>(word: &watcher::Result<T>) -> bool {
    let Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) = word else { return false };
    matches!(status.code, 400 | 422)
}

/// Takes the words of a watch; texts are shared by the objects of one list.
pub(super) fn seen<K>() -> impl FnMut(watcher::Result<watcher::Event<DeserializeGuard<K>>>) -> Seen
where
    K: Watched + Resource<DynamicType = ()>,
{
    let mut strings = Strings::default();
    move |word| match word {
        Ok(watcher::Event::Init) => Seen::Begin,
        Ok(watcher::Event::InitApply(object)) => Seen::Listed(read(object, &mut strings)),
        Ok(watcher::Event::InitDone) => {
            strings = Strings::default();
            Seen::End
        }
        Ok(watcher::Event::Apply(object)) => Seen::Applied(read(object, &mut Strings::default())),
        Ok(watcher::Event::Delete(object)) => Seen::Deleted(reference(object.meta(), K::KIND)),
        Err(error) => Seen::Failed(failure(&error)),
    }
}

/// Takes a word about the versions of Secrets.
pub(super) fn version(word: watcher::Result<watcher::Event<PartialObjectMeta<Secret>>>) -> Version {
    let version = |object: PartialObjectMeta<Secret>| {
        let version = object.metadata.resource_version.as_deref().unwrap_or_default().into();
        (name(&object.metadata), version)
    };
    match word {
        Ok(watcher::Event::Init) => Version::Begin,
        Ok(watcher::Event::InitApply(object)) => {
            let (name, version) = version(object);
            Version::Listed(name, version)
        }
        Ok(watcher::Event::InitDone) => Version::End,
        Ok(watcher::Event::Apply(object)) => {
            let (name, version) = version(object);
            Version::Applied(name, version)
        }
        Ok(watcher::Event::Delete(object)) => Version::Deleted(name(&object.metadata)),
        Err(error) => Version::Failed(failure(&error)),
    }
}

/// Takes a word about chosen namespaces.
pub(super) fn chosen(word: watcher::Result<watcher::Event<PartialObjectMeta<Namespace>>>) -> Chosen {
    match word {
        Ok(watcher::Event::Init) => Chosen::Begin,
        Ok(watcher::Event::InitApply(namespace)) => Chosen::Listed(namespace.name_any()),
        Ok(watcher::Event::InitDone) => Chosen::End,
        Ok(watcher::Event::Apply(namespace)) => Chosen::Entered(namespace.name_any()),
        Ok(watcher::Event::Delete(namespace)) => Chosen::Left(namespace.name_any()),
        Err(error) => Chosen::Failed(failure(&error)),
    }
}

/// What went wrong with a watch.
pub(super) fn failure(error: &watcher::Error) -> Failure {
    let cause = match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => Some(error),
        _ => None,
    };
    let is_forbidden = matches!(cause, Some(kube::Error::Api(status)) if status.code == 403);
    Failure { error: chain(error), is_forbidden }
}

/// The version of an object.
pub(super) fn version_of(metadata: &ObjectMeta) -> Arc<str> {
    metadata.resource_version.as_deref().unwrap_or_default().into()
}

fn read<K: Watched + Resource<DynamicType = ()>>(object: DeserializeGuard<K>, strings: &mut Strings) -> Word {
    match object.0 {
        Ok(object) => Word::Object(object.into_object(strings)),
        Err(invalid) => Word::Broken(reference(&invalid.metadata, K::KIND), invalid.error),
    }
}

fn reference(metadata: &ObjectMeta, kind: Kind) -> ObjectRef {
    ObjectRef { kind, name: name(metadata) }
}

fn name(metadata: &ObjectMeta) -> ObjectName {
    let text = |field: &Option<String>| field.as_deref().unwrap_or_default().into();
    ObjectName { namespace: text(&metadata.namespace), name: text(&metadata.name) }
}

// === impl Watched ===

impl Watched for Ingress {
    const KIND: Kind = Kind::Ingress;

    fn into_object(self, strings: &mut Strings) -> Object {
        Object::ingress(self, None, strings)
    }
}

impl Watched for IngressClass {
    const KIND: Kind = Kind::IngressClass;

    fn into_object(self, strings: &mut Strings) -> Object {
        Object::ingress_class(self, None, strings)
    }
}

impl Watched for Service {
    const KIND: Kind = Kind::Service;

    fn into_object(self, strings: &mut Strings) -> Object {
        Object::service(self, None, strings)
    }
}

impl Watched for EndpointSlice {
    const KIND: Kind = Kind::EndpointSlice;

    fn into_object(self, strings: &mut Strings) -> Object {
        Object::endpoint_slice(self, None, strings)
    }
}
