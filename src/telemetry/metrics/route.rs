//! Handles of routes: counters by route, histograms by service, and the register of both.

mod count;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use ahash::RandomState;
use prometheus::core::{Collector, Desc};
use prometheus::proto;
use tidegate_plugin::RouteFacts;

use super::family::{self, Family};
use super::histogram::{BYTES, Histogram, SECONDS};
use super::status_table::StatusTable;

/// Counters of one route. Recording takes no lock and, once a combination was seen, allocates nothing.
#[derive(Debug, Default)]
pub struct RouteMetrics {
    path: Arc<str>,
    requests: StatusTable,
    service: Arc<ServiceMetrics>,
}

/// Histograms that the routes of an object share which go to the same backend.
#[derive(Debug, Default)]
struct ServiceMetrics {
    object: Object,
    service: Arc<str>,
    /// Made by the first request: a route that never gets one stays small.
    series: OnceLock<Box<Series>>,
}

/// The object that routes are part of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Object {
    kind: &'static str,
    namespace: Arc<str>,
    name: Arc<str>,
}

#[derive(Debug)]
struct Series {
    request_duration: Histogram,
    connect: Histogram,
    header: Histogram,
    response: Histogram,
    request_size: Histogram,
    response_size: Histogram,
    retries: AtomicU64,
}

/// Handles of all routes that are still in use.
#[derive(Debug, Default)]
pub(super) struct Routes {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    routes: WeakTable<RouteKey, RouteMetrics>,
    services: WeakTable<ServiceKey, ServiceMetrics>,
}

/// Address of the [`ServiceMetrics`], and path. A route holds its service, so that as long as an entry can be upgraded
/// no other service has the address.
type RouteKey = (usize, Arc<str>);
type ServiceKey = (Object, Arc<str>);

#[derive(Debug)]
struct WeakTable<K, V> {
    entries: HashMap<K, Weak<V>, RandomState>,
    /// Number of entries at which dropped handles are looked for.
    sweep_at: usize,
}

/// Renders the routes.
pub(super) struct RouteCollector {
    routes: Arc<Routes>,
    descriptions: Vec<Desc>,
}

const FIRST_SWEEP: usize = 1024;

// === impl RouteMetrics ===

impl RouteMetrics {
    fn collect(&self, into: &mut Vec<proto::Metric>) {
        let [namespace, kind, route, service] = self.service.labels();
        for entry in self.requests.entries() {
            let code = entry.status.map_or_else(|| "other".to_owned(), |status| status.to_string());
            let labels = [namespace, kind, route, service, &self.path, entry.method, &code, entry.reason];
            into.push(family::REQUESTS.number(&labels, entry.count as f64));
        }
    }
}

// === impl Series ===

impl Default for Series {
    fn default() -> Self {
        Self {
            request_duration: Histogram::new(&SECONDS),
            connect: Histogram::new(&SECONDS),
            header: Histogram::new(&SECONDS),
            response: Histogram::new(&SECONDS),
            request_size: Histogram::new(&BYTES),
            response_size: Histogram::new(&BYTES),
            retries: AtomicU64::new(0),
        }
    }
}

// === impl Routes ===

impl Routes {
    /// The handle of these labels.
    pub(super) fn handle(&self, facts: &RouteFacts) -> Arc<RouteMetrics> {
        let [namespace, name, service, path] =
            [&facts.namespace, &facts.name, &facts.service, &facts.path].map(Arc::clone);
        let object = Object { kind: facts.kind, namespace, name };
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let Tables { routes, services } = &mut *tables;
        let service = services.get_or_make((object.clone(), Arc::clone(&service)), || ServiceMetrics {
            object,
            service,
            series: OnceLock::new(),
        });
        routes.get_or_make((Arc::as_ptr(&service).addr(), Arc::clone(&path)), || RouteMetrics {
            path,
            requests: StatusTable::default(),
            service,
        })
    }

    /// Forgets dropped handles and gives the others; rendering then happens outside the lock.
    fn alive(&self) -> (Vec<Arc<RouteMetrics>>, Vec<Arc<ServiceMetrics>>) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        (tables.routes.alive(), tables.services.alive())
    }
}

// === impl WeakTable ===

impl<K, V> Default for WeakTable<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::default(), sweep_at: FIRST_SWEEP }
    }
}

impl<K: Eq + Hash, V> WeakTable<K, V> {
    fn get_or_make(&mut self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        if let Some(value) = self.entries.get(&key).and_then(Weak::upgrade) {
            return value;
        }
        if self.entries.len() >= self.sweep_at {
            self.sweep();
        }
        let value = Arc::new(make());
        self.entries.insert(key, Arc::downgrade(&value));
        value
    }

    fn alive(&mut self) -> Vec<Arc<V>> {
        self.sweep();
        self.entries.values().filter_map(Weak::upgrade).collect()
    }

    /// Looks at each entry; the next time is at twice the number left, so that a registration costs O(1) on average.
    fn sweep(&mut self) {
        self.entries.retain(|_, value| value.strong_count() > 0);
        self.sweep_at = FIRST_SWEEP.max(self.entries.len() * 2);
    }
}

// === impl RouteCollector ===

impl RouteCollector {
    pub(super) fn new(routes: Arc<Routes>) -> Result<Self, prometheus::Error> {
        let descriptions = family::ROUTES.iter().map(|family| family.desc()).collect::<Result<_, _>>()?;
        Ok(Self { routes, descriptions })
    }
}

impl Collector for RouteCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let (routes, services) = self.routes.alive();
        let mut requests = Vec::new();
        routes.iter().for_each(|route| route.collect(&mut requests));
        let mut families = vec![family::REQUESTS.with(requests), retries(&services)];
        families.extend(HISTOGRAMS.iter().map(|(family, select)| histograms(family, *select, &services)));
        families
    }
}

type Select = fn(&Series) -> &Histogram;

const HISTOGRAMS: [(&Family, Select); 6] = [
    (&family::REQUEST_DURATION, |series| &series.request_duration),
    (&family::CONNECT_DURATION, |series| &series.connect),
    (&family::HEADER_DURATION, |series| &series.header),
    (&family::RESPONSE_DURATION, |series| &series.response),
    (&family::REQUEST_SIZE, |series| &series.request_size),
    (&family::RESPONSE_SIZE, |series| &series.response_size),
];

fn histograms(family: &Family, select: Select, services: &[Arc<ServiceMetrics>]) -> proto::MetricFamily {
    let metric = |service: &Arc<ServiceMetrics>| {
        let histogram = select(service.series.get()?).collect()?;
        let mut metric = family.labelled(&service.labels());
        metric.set_histogram(histogram);
        Some(metric)
    };
    family.with(services.iter().filter_map(metric).collect())
}

fn retries(services: &[Arc<ServiceMetrics>]) -> proto::MetricFamily {
    let metric = |service: &Arc<ServiceMetrics>| {
        let count = service.series.get()?.retries.load(Relaxed);
        Some(family::RETRIES.number(&service.labels(), count as f64))
    };
    family::RETRIES.with(services.iter().filter_map(metric).collect())
}

impl ServiceMetrics {
    /// In the order of the families' labels.
    fn labels(&self) -> [&str; 4] {
        [&self.object.namespace, self.object.kind, &self.object.name, &self.service]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(path: &str) -> RouteFacts {
        RouteFacts::new("Ingress", "a", "b").service("c").path(path)
    }

    #[test]
    fn equal_labels_share_a_handle_and_services_share_histograms() {
        let routes = Routes::default();
        let (one, same, other) = (routes.handle(&facts("/")), routes.handle(&facts("/")), routes.handle(&facts("/x")));
        assert!(Arc::ptr_eq(&one, &same));
        assert!(!Arc::ptr_eq(&one, &other));
        assert!(Arc::ptr_eq(&one.service, &other.service));
    }

    #[test]
    fn a_dropped_handle_is_forgotten() {
        let routes = Routes::default();
        let kept = routes.handle(&facts("/kept"));
        drop(routes.handle(&facts("/dropped")));
        assert_eq!(routes.alive().0.len(), 1);
        for i in 0..10 * FIRST_SWEEP {
            drop(routes.handle(&facts(&format!("/{i}"))));
        }
        let held = routes.tables.lock().unwrap().routes.entries.len();
        assert!(held <= FIRST_SWEEP + 1, "{held} entries of one route are held");
        drop(kept);
    }

    #[test]
    fn a_route_without_requests_takes_less_than_a_kibibyte() {
        let arcs = size_of::<RouteMetrics>() + size_of::<ServiceMetrics>() + 4 * size_of::<usize>();
        // A hash table is at most 7/8 and at least 7/16 full.
        let entries = (size_of::<(RouteKey, Weak<()>)>() + size_of::<(ServiceKey, Weak<()>)>() + 2) * 16 / 7;
        assert!(arcs + entries < 1024, "{arcs} + {entries}");
    }
}
