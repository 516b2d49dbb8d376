//! From what the API server sends to [`WatchEvent`]s.

use std::fmt::Debug;
use std::sync::Arc;

use futures::future::ready;
use futures::stream::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::fault::{Cause, Failure};
use super::scoped::Scoped;
use super::watch_event::{Decoded, NamespaceEvent, ObjectEvent, SecretEvent, SecretVersion, WatchEvent};
use crate::resources::{Kind, Object, ObjectName, ObjectRef, Strings, Tabled};
use crate::source::kubernetes::client::chain;

/// Event of kube's watcher for a type.
type Watched<K> = watcher::Result<watcher::Event<K>>;
/// Objects of a kind, those that cannot be read too.
pub(super) type Guarded<K> = DeserializeGuard<Scoped<K>>;

/// Follows a kind: a first list in one stream where the server can do that, in pages where not.
pub(super) fn follow<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = Watched<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let streamed = watcher(api.clone(), config.clone().streaming_lists()).default_backoff();
    let listed = watcher(api, config).default_backoff();
    streamed.take_while(|event| ready(!refuses_streams(event))).chain(listed)
}

/// Whether the server knows no lists in one stream.
fn refuses_streams<T>(event: &watcher::Result<T>) -> bool {
    let Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) = event else { return false };
    matches!(status.code, 400 | 422)
}

/// Decodes objects; texts are shared by the objects of one list.
pub(super) fn objects<K: Tabled>() -> impl FnMut(Watched<Guarded<K>>) -> ObjectEvent {
    let mut strings = Strings::default();
    move |event| {
        let is_listed = matches!(event, Ok(watcher::Event::Init | watcher::Event::InitApply(_)));
        let event = decode(event, |object| keep(object, &mut strings), |object| reference(object.meta(), K::KIND));
        if !is_listed {
            strings = Strings::default();
        }
        event
    }
}

/// Decodes the versions of Secrets.
pub(super) fn secret(event: Watched<PartialObjectMeta<Secret>>) -> SecretEvent {
    let version = |it: PartialObjectMeta<Secret>| SecretVersion {
        name: name_of(&it.metadata),
        version: version_of(&it.metadata),
    };
    decode(event, version, |it| name_of(&it.metadata))
}

/// Decodes the namespaces that are chosen.
pub(super) fn namespace(event: Watched<PartialObjectMeta<Namespace>>) -> NamespaceEvent {
    decode(event, |it| it.name_any(), |it| it.name_any())
}

/// The version of an object.
pub(super) fn version_of(metadata: &ObjectMeta) -> Arc<str> {
    metadata.resource_version.as_deref().unwrap_or_default().into()
}

/// What a failed call comes of.
pub(super) fn cause(error: &kube::Error) -> Cause {
    match error {
        kube::Error::Api(status) if status.code == 403 => Cause::Forbidden,
        kube::Error::Api(status) if status.code == 404 => Cause::Missing,
        _ => Cause::Other,
    }
}

fn decode<K, T, N>(event: Watched<K>, mut keep: impl FnMut(K) -> T, name: impl FnOnce(&K) -> N) -> WatchEvent<T, N> {
    match event {
        Ok(watcher::Event::Init) => WatchEvent::Init,
        Ok(watcher::Event::InitApply(it)) => WatchEvent::InitApply(keep(it)),
        Ok(watcher::Event::InitDone) => WatchEvent::InitDone,
        Ok(watcher::Event::Apply(it)) => WatchEvent::Apply(keep(it)),
        Ok(watcher::Event::Delete(it)) => WatchEvent::Delete(name(&it)),
        Err(error) => WatchEvent::Failed(failure(&error)),
    }
}

/// What went wrong with a list or a watch.
fn failure(error: &watcher::Error) -> Failure {
    let cause = match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => cause(error),
        _ => Cause::Other,
    };
    Failure { error: chain(error), cause }
}

fn keep<K: Tabled>(object: Guarded<K>, strings: &mut Strings) -> Decoded {
    match object.0 {
        Ok(Scoped(object)) => Decoded::Object(Object::of(object, None, strings)),
        Err(invalid) => Decoded::Broken(reference(&invalid.metadata, K::KIND), invalid.error),
    }
}

fn reference(metadata: &ObjectMeta, kind: Kind) -> ObjectRef {
    ObjectRef { kind, name: name_of(metadata) }
}

fn name_of(metadata: &ObjectMeta) -> ObjectName {
    let text = |field: &Option<String>| field.as_deref().unwrap_or_default().into();
    ObjectName { namespace: text(&metadata.namespace), name: text(&metadata.name) }
}
