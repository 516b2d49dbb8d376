//! `tidegate rbac`: the least rights that the conf needs in a cluster, as manifests.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};

use super::print;
use crate::resources::{Feed, Kind, Row, Use};
use crate::settings::{KubernetesSpec, Settings};

/// ServiceAccount that gets the permissions.
#[derive(Clone, Debug)]
pub(super) struct Account {
    namespace: String,
    name: String,
}

/// Where rules hold: everywhere, or in a namespace.
type Place = Option<String>;

pub(super) fn rbac(conf: Option<&Path>, account: &str) -> anyhow::Result<ExitCode> {
    let settings = crate::app::settings(conf).map_err(|found| super::run::unusable(&found))?;
    let (namespace, name) = account.split_once('/').context("write the ServiceAccount as `namespace/name`")?;
    let account = Account { namespace: namespace.to_owned(), name: name.to_owned() };
    let spec = settings.process.sources.kubernetes.as_ref();
    let spec = spec.context("the conf has no `sources.kubernetes`: nothing is asked of a cluster")?;
    print(&manifests(&settings, spec, &account)?)?;
    Ok(ExitCode::SUCCESS)
}

fn manifests(settings: &Settings, spec: &KubernetesSpec, account: &Account) -> anyhow::Result<String> {
    let mut text = String::new();
    for (place, rules) in rules(settings, spec, account) {
        for object in role(&place, &rules, account) {
            text.push_str("---\n");
            text.push_str(&crate::yaml::to_string(&object)?);
        }
    }
    Ok(text)
}

/// A role and its binding.
fn role(place: &Place, rules: &[Value], account: &Account) -> [Value; 2] {
    let cluster = format!("{}-{}", account.namespace, account.name);
    let (prefix, name) = if place.is_none() { ("Cluster", &cluster) } else { ("", &account.name) };
    let (kind, group) = (format!("{prefix}Role"), "rbac.authorization.k8s.io");
    let mut metadata = serde_json::Map::from_iter([("name".to_owned(), json!(name))]);
    metadata.extend(place.iter().map(|namespace| ("namespace".to_owned(), json!(namespace))));
    let subject = json!([{ "kind": "ServiceAccount", "name": account.name, "namespace": account.namespace }]);
    let version = format!("{group}/v1");
    [
        json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "rules": rules }),
        json!({ "apiVersion": version, "kind": format!("{kind}Binding"), "metadata": metadata,
            "roleRef": { "apiGroup": group, "kind": kind, "name": name }, "subjects": subject }),
    ]
}

/// Every place with its rules, the cluster first.
fn rules(settings: &Settings, spec: &KubernetesSpec, account: &Account) -> Vec<(Place, Vec<Value>)> {
    let mut places: Vec<(Place, Vec<Value>)> = Vec::new();
    let mut add = |place: Place, rule: Value| match places.iter_mut().find(|(known, _)| *known == place) {
        Some((_, rules)) => rules.push(rule),
        None => places.push((place, vec![rule])),
    };
    let (own, status) = (account.namespace.clone(), settings.conf.ingress.status.as_ref());
    let writes = status.is_some() || spec.events || settings.process.admission.is_some();
    let scope: Vec<Place> = in_places(&spec.namespaces);
    let secrets = if spec.secret_namespaces.is_empty() { scope.clone() } else { in_places(&spec.secret_namespaces) };
    let (cluster, namespaced): (Vec<_>, Vec<_>) = Kind::rows().partition(|(_, row)| !row.is_namespaced());
    for (_, row) in cluster.into_iter().chain(namespaced) {
        let places: &[Place] = match row.feed {
            Feed::Objects if row.is_namespaced() => &scope,
            Feed::Objects => &[None],
            Feed::OnDemand => &secrets,
            Feed::Selector if spec.namespace_selector.is_some() => &[None],
            Feed::Selector | Feed::Files => &[],
        };
        for place in places {
            add(place.clone(), rule(row.group, row.plural, verbs(row, settings, spec, place)));
            if row.uses.contains(&Use::Status) && status.is_some() {
                add(place.clone(), rule(row.group, &format!("{}/status", row.plural), &["patch"]));
            }
        }
    }
    if spec.events {
        scope.iter().for_each(|place| add(place.clone(), rule("events.k8s.io", "events", &["create"])));
    }
    if let Some(election) = spec.leader_election.on().filter(|_| writes) {
        let (place, lease) = election.lease.split_once('/').map_or((own.as_str(), &*election.lease), |it| it);
        add(Some(place.to_owned()), named("coordination.k8s.io", "leases", lease, &["get", "update"]));
        add(Some(place.to_owned()), rule("coordination.k8s.io", "leases", &["create"]));
    }
    if let Some((namespace, service)) = published(settings).filter(|_| !scope.contains(&None))
        && !scope.contains(&Some(namespace.to_owned()))
    {
        add(Some(namespace.to_owned()), named("", "services", service, &["get"]));
    }
    if status.is_some_and(|status| status.clear_on_stop || status.node_addresses.is_some()) {
        add(Some(own), rule("", "pods", &["list"]));
    }
    if status.is_some_and(|status| status.node_addresses.is_some()) {
        add(None, rule("", "nodes", &["get"]));
    }
    webhook(settings, &mut add);
    places
}

/// What is done with objects of a kind: they are followed, and where something needs it got one by one.
fn verbs(row: &Row, settings: &Settings, spec: &KubernetesSpec, place: &Place) -> &'static [&'static str] {
    let is_got = row.uses.iter().any(|it| match it {
        Use::Events => spec.events,
        Use::Status => settings.conf.ingress.status.is_some(),
        Use::Published => publishes(settings, place),
        Use::Contents => true,
    });
    if is_got { &["get", "list", "watch"] } else { &["list", "watch"] }
}

fn webhook(settings: &Settings, add: &mut impl FnMut(Place, Value)) {
    let Some(spec) = &settings.process.admission else { return };
    let Some((namespace, _)) = spec.service.as_ref().and_then(|service| service.split_once('/')) else { return };
    add(Some(namespace.to_owned()), named("", "secrets", &spec.secret, &["get", "update"]));
    add(Some(namespace.to_owned()), rule("", "secrets", &["create"]));
    if let Some(name) = &spec.webhook_configuration {
        let group = "admissionregistration.k8s.io";
        add(None, named(group, "validatingwebhookconfigurations", name, &["get", "update"]));
    }
}

fn in_places(namespaces: &[String]) -> Vec<Place> {
    if namespaces.is_empty() { vec![None] } else { namespaces.iter().cloned().map(Some).collect() }
}

/// The Service whose addresses are told.
fn published(settings: &Settings) -> Option<(&str, &str)> {
    settings.conf.ingress.status.as_ref()?.publish_service.as_ref()?.split_once('/')
}

fn publishes(settings: &Settings, place: &Place) -> bool {
    published(settings).is_some_and(|(namespace, _)| place.as_ref().is_none_or(|place| place == namespace))
}

fn rule(group: &str, resource: &str, verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs })
}

fn named(group: &str, resource: &str, name: &str, verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": [resource], "resourceNames": [name], "verbs": verbs })
}
