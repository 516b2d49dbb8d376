//! Who owns what of a host that several namespaces name: random Ingresses, from their text to the snapshot, against
//! every rule of `docs/ingress.md`, one by one, slowly. Whatever the order of events, the result is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use http::{HeaderMap, Method};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixtures::compiler;
use crate::compile::Compiler;
use crate::host::HostPattern;
use crate::resources::{Event, Kind, Object, ObjectRef, Resources};
use crate::snapshot::Snapshot;
use crate::snapshot::router::RequestView;
use crate::translate::{Translator, translate};

const NAMESPACES: [&str; 3] = ["red", "green", "blue"];
const HOSTS: [&str; 6] = ["a.t", "b.t", "*.t", "x.w.t", "*.w.t", ""];
/// Every kind of name there is to ask for: named, under a wildcard only, under none.
const ASKED: [&str; 8] = ["a.t", "b.t", "c.t", "x.w.t", "y.w.t", "z.y.w.t", "w.t", "else"];
const PATHS: [&str; 2] = ["/p", "/q"];
/// Contents of Secrets: the names that a certificate covers; `broken` is none, `absent` is not there.
const SECRETS: [(&str, &[&str]); 7] = [
    ("a", &["a.t"]),
    ("stars", &["*.t", "*.w.t"]),
    ("mixed", &["b.t", "x.w.t"]),
    ("star", &["*.w.t", "a.t"]),
    ("other", &["other.test"]),
    ("broken", &[]),
    ("absent", &[]),
];

#[derive(Clone, Debug)]
struct Ingress {
    namespace: &'static str,
    name: &'static str,
    created: u8,
    rules: Vec<(&'static str, Vec<&'static str>)>,
    has_default: bool,
    tls: Vec<(Vec<&'static str>, Option<&'static str>)>,
    redirects: bool,
}

/// A route, or a default backend where there is no path, before it is known who loses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: Rank,
    path: Option<&'static str>,
    redirects: bool,
}

/// Time, namespace, name and place inside the object.
type Rank = (u8, &'static str, &'static str, usize);

/// A `tls` entry that names a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    rank: Rank,
    by_wildcard: bool,
    secret: Option<&'static str>,
}

// === The reference ===

struct Reference<'i> {
    ingresses: &'i [Ingress],
    has_conf: bool,
}

impl Reference<'_> {
    fn candidates(&self, host: &str) -> Vec<Candidate> {
        let mut found = Vec::new();
        for it in self.ingresses {
            let mut index = usize::from(it.has_default);
            let candidate = |index, path| Candidate {
                rank: (it.created, it.namespace, it.name, index),
                path,
                redirects: it.redirects,
            };
            for (rule, paths) in &it.rules {
                for path in paths {
                    found.extend((*rule == host).then(|| candidate(index, Some(*path))));
                    index += 1;
                }
            }
            let rests = it.rules.iter().any(|(rule, _)| *rule == host) || it.rules.is_empty() && host.is_empty();
            found.extend((it.has_default && rests).then(|| candidate(0, None)));
        }
        // The conf of the test has one route, for `/p` of `b.t`: the operator's come before all others.
        if self.has_conf && host == "b.t" {
            found.push(Candidate { rank: (0, "", "", 0), path: Some("/p"), redirects: false });
        }
        found.sort();
        found.dedup();
        found
    }

    /// What is served of a host: each path by the oldest, the rest by the oldest of the oldest one's namespace.
    fn served(&self, host: &str) -> Vec<Candidate> {
        let all = self.candidates(host);
        let Some(oldest) = all.first().map(|first| first.rank.1) else { return Vec::new() };
        let mut served: Vec<Candidate> =
            PATHS.iter().filter_map(|path| all.iter().find(|it| it.path == Some(*path)).cloned()).collect();
        served.extend(all.iter().find(|it| it.path.is_none() && it.rank.1 == oldest).cloned());
        served
    }

    fn serving(&self, name: &str) -> Option<&'static str> {
        let mut hosts: Vec<HostPattern> = HOSTS.iter().map(|host| HostPattern::parse(host).unwrap()).collect();
        hosts.sort();
        let text = |host: &HostPattern| if *host == HostPattern::Any { String::new() } else { host.to_string() };
        let mut matching = hosts.iter().filter(|host| host.matches(name)).map(text);
        let found = matching.find(|host| !self.candidates(host).is_empty())?;
        HOSTS.iter().find(|host| **host == found).copied()
    }

    fn route(&self, name: &str, path: &str) -> Option<Candidate> {
        let served = self.served(self.serving(name)?);
        served.iter().find(|it| it.path == Some(path)).or(served.iter().find(|it| it.path.is_none())).cloned()
    }

    /// Entries that name a name, the oldest first.
    fn entries(&self, name: &str) -> Vec<Entry> {
        let mut found = Vec::new();
        for it in self.ingresses {
            for (index, (hosts, secret)) in it.tls.iter().enumerate() {
                let mut hosts = hosts.clone();
                if hosts.is_empty() {
                    hosts = it.rules.iter().map(|(host, _)| *host).collect();
                    hosts.extend((it.rules.is_empty() && it.has_default).then_some(""));
                }
                let rank = (it.created, it.namespace, it.name, index);
                for host in hosts.into_iter().collect::<BTreeSet<_>>() {
                    let is_named = match host {
                        // Rules for every host mean those that nobody else serves, and no certificate.
                        "" => self.serving(name) == Some(""),
                        host => HostPattern::parse(host).unwrap().matches(name),
                    };
                    let secret = secret.filter(|_| !host.is_empty());
                    found.extend(is_named.then_some(Entry { rank, by_wildcard: host.starts_with('*'), secret }));
                }
            }
        }
        found.sort();
        found
    }

    fn redirects(&self, name: &str, route: &Candidate) -> bool {
        route.redirects && self.entries(name).iter().any(|entry| entry.rank.1 == route.rank.1)
    }

    fn certificate(&self, name: &str) -> Option<String> {
        let served = self.served(self.serving(name)?);
        let counts = |namespace: &str| served.iter().any(|it| it.rank.1 == namespace);
        let covers = |secret: &str| {
            let (_, names) = SECRETS.iter().find(|(known, _)| *known == secret).unwrap();
            names.iter().any(|text| HostPattern::parse(text).unwrap().matches(name))
        };
        let fits = |entry: &Entry| counts(entry.rank.1) && entry.secret.is_some_and(covers);
        let entries: Vec<Entry> = self.entries(name).into_iter().filter(fits).collect();
        let first = entries.first()?;
        let own = entries.iter().find(|it| !it.by_wildcard && it.rank.1 == first.rank.1);
        let entry = if first.by_wildcard { own.unwrap_or(first) } else { first };
        Some(format!("{}/{}", entry.rank.1, entry.secret.unwrap()))
    }
}

// === What is served ===

fn check(snapshot: &Snapshot, reference: &Reference<'_>) -> Result<(), TestCaseError> {
    for name in ASKED {
        let presented = &snapshot.common.certificates.find_or(Some(name), None).name;
        let presented = (**presented != *"self-signed").then(|| presented.to_string());
        prop_assert_eq!(presented, reference.certificate(name), "certificate of {}", name);
        for path in ["/p", "/q", "/r"] {
            let headers = HeaderMap::new();
            let view = RequestView { host: name, path, query: None, method: &Method::GET, headers: &headers };
            let found = snapshot.common.router.find(&view).map(|found| found.route);
            let seen = found.map(|route| (route.facts.to_string(), route.https_redirect.is_due(name)));
            let want = reference.route(name, path).map(|route| {
                let (_, namespace, ingress, _) = route.rank;
                let owner = if namespace.is_empty() { "operator".to_owned() } else { format!("{namespace}/{ingress}") };
                (owner, reference.redirects(name, &route))
            });
            prop_assert_eq!(seen, want, "{}{}", name, path);
        }
    }
    Ok(())
}

// === Random objects ===

fn pick<T: Clone + std::fmt::Debug + 'static>(from: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(from.to_vec())
}

fn any_ingress() -> impl Strategy<Value = Ingress> {
    let rule = (pick(&HOSTS), prop::collection::vec(pick(&PATHS), 0..3));
    let secret = pick(&SECRETS.map(|(name, _)| name));
    let tls = (prop::collection::vec(pick(&HOSTS[..5]), 0..3), prop::option::weighted(0.8, secret));
    let parts = (
        (pick(&NAMESPACES), pick(&["one", "two"]), 1..4u8),
        prop::collection::vec(rule, 0..4),
        prop::bool::weighted(0.3),
        prop::collection::vec(tls, 0..3),
        prop::bool::weighted(0.8),
    );
    parts.prop_map(|((namespace, name, created), rules, has_default, tls, redirects)| Ingress {
        namespace,
        name,
        created,
        rules,
        has_default,
        tls,
        redirects,
    })
}

fn object(it: &Ingress) -> Object {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let rules = it.rules.iter().map(|(host, paths)| {
        let paths: Vec<Value> =
            paths.iter().map(|path| json!({ "path": path, "pathType": "Prefix", "backend": backend })).collect();
        json!({ "host": host, "http": { "paths": paths } })
    });
    let tls = it.tls.iter().map(|(hosts, secret)| json!({ "hosts": hosts, "secretName": secret }));
    let redirect = it.redirects.to_string();
    let value = json!({
        "metadata": { "namespace": it.namespace, "name": it.name,
            "creationTimestamp": format!("2024-01-0{}T00:00:00Z", it.created),
            "annotations": { "tidegate.io/ssl-redirect": redirect } },
        "spec": { "ingressClassName": "tidegate", "rules": rules.collect::<Vec<_>>(), "tls": tls.collect::<Vec<_>>(),
            "defaultBackend": it.has_default.then_some(backend) },
    });
    Object::from_json(Kind::Ingress, value).unwrap()
}

/// Secrets of the same names in each namespace.
fn secrets() -> Vec<Object> {
    static PAIRS: LazyLock<BTreeMap<&str, (String, String)>> = LazyLock::new(|| {
        let pair = |(name, names): (&'static str, &[&str])| {
            let mut params = rcgen::CertificateParams::default();
            let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            // One name needs no list of names: it may be the subject's.
            if let [only] = &*names {
                params.distinguished_name = rcgen::DistinguishedName::new();
                params.distinguished_name.push(rcgen::DnType::CommonName, only.clone());
                names.clear();
            }
            params.subject_alt_names =
                names.into_iter().map(|name| rcgen::SanType::DnsName(name.try_into().unwrap())).collect();
            let key = rcgen::KeyPair::generate().unwrap();
            let chain = if name == "broken" { "none".to_owned() } else { params.self_signed(&key).unwrap().pem() };
            (name, (chain, key.serialize_pem()))
        };
        SECRETS.into_iter().map(pair).collect()
    });
    let secret = |namespace: &str, name: &str, (chain, key): &(String, String)| {
        let data = json!({ "tls.crt": chain, "tls.key": key });
        let metadata = json!({ "namespace": namespace, "name": name });
        let value = json!({ "metadata": metadata, "type": "kubernetes.io/tls", "stringData": data });
        Object::from_json(Kind::Secret, value).unwrap()
    };
    let present = PAIRS.iter().filter(|(name, _)| **name != "absent");
    present.flat_map(|(name, pair)| NAMESPACES.map(|namespace| secret(namespace, name, pair))).collect()
}

fn conf(has_route: bool) -> Object {
    let route = json!({ "name": "operator", "hosts": ["b.t"], "paths": [{ "prefix": "/p" }], "respond": {} });
    Object::from_json(Kind::Conf, json!({ "routes": if has_route { vec![route] } else { Vec::new() } })).unwrap()
}

/// A control plane that takes events one by one.
struct Running {
    resources: Resources,
    translator: Translator,
    compiler: Compiler,
    snapshot: Snapshot,
}

impl Running {
    fn new() -> Self {
        let compiler = compiler();
        let snapshot = compiler.empty();
        Self { resources: Resources::default(), translator: Translator::new(), compiler, snapshot }
    }

    fn apply(&mut self, events: impl IntoIterator<Item = Event>) {
        let changes = self.resources.apply(events);
        let touched = self.translator.apply(&self.resources, &changes);
        self.snapshot = self.compiler.compile(self.translator.model(), &touched, &self.snapshot);
    }

    fn described(&self) -> Value {
        let mut described = self.snapshot.describe();
        described["defaultCertificate"] = Value::Null;
        described
    }
}

/// The last of each name, and names in order.
fn last_of_each(ingresses: &[Ingress]) -> Vec<Ingress> {
    let by_name = ingresses.iter().map(|it| ((it.namespace, it.name), it.clone())).collect::<BTreeMap<_, _>>();
    by_name.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn what_namespaces_own_of_shared_hosts_follows_the_rules_in_any_order_of_events(
        ingresses in prop::collection::vec(any_ingress(), 1..7),
        has_conf in prop::bool::weighted(0.3),
        seed in any::<u64>(),
    ) {
        let last = last_of_each(&ingresses);
        let reference = Reference { ingresses: &last, has_conf };
        let mut random = fastrand::Rng::with_seed(seed);
        // Former states and deletions first, then everything as it is to be, each in an order of its own.
        let mut events: Vec<Event> = ingresses.iter().map(|it| Event::Apply(object(it))).collect();
        events.extend(secrets().into_iter().map(Event::Apply));
        events.push(Event::Apply(conf(!has_conf)));
        events.extend(last.iter().filter(|_| random.bool()).map(|it| Event::Delete(object(it).to_ref())));
        events.extend(NAMESPACES.map(|namespace| Event::Delete(ObjectRef::new(Kind::Secret, namespace, "stars"))));
        random.shuffle(&mut events);
        let mut end: Vec<Event> = last.iter().map(object).chain(secrets()).chain([conf(has_conf)]).map(Event::Apply).collect();
        random.shuffle(&mut end);
        events.extend(end);
        let mut running = Running::new();
        while !events.is_empty() {
            let count = random.usize(1..=events.len().min(6));
            running.apply(events.drain(..count));
        }
        check(&running.snapshot, &reference)?;
        let mut whole = Running::new();
        whole.apply(last.iter().map(object).chain(secrets()).chain([conf(has_conf)]).map(Event::Apply));
        prop_assert_eq!(running.described(), whole.described());
        prop_assert_eq!(running.compiler.diagnostics(), whole.compiler.diagnostics());
        let full = translate(&running.resources);
        prop_assert_eq!(running.translator.model(), &full.model);
        prop_assert_eq!(running.translator.diagnostics(), full.diagnostics);
    }
}
