//! Types of the API of which only their row says whether they are in namespaces.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicResourceScope;
use kube::{Api, Client, Resource};
use serde::Deserialize;

/// A type whose scope is chosen when it is asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Scoped<K>(pub(super) K);

/// The objects of one namespace, or of all.
pub(super) fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = DynamicResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(name) => Api::namespaced_with(client.clone(), name, &()),
        None => Api::all(client.clone()),
    }
}

// === impl Scoped ===

impl<K: Resource<DynamicType = ()>> Resource for Scoped<K> {
    type DynamicType = ();
    type Scope = DynamicResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}
