//! What follows a panic of the control plane: what is served stays, and only what made it panic is left out.
//!
//! Translator and compiler are begun anew, as nobody knows what they left half done. Then the objects of the batch are
//! taken in by halves, until those that cannot be are found; of them the last good version stays in force. Until all
//! that is done, the snapshot before is served.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::{Control, Spent, Translator};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model::Touched;
use crate::origin::Origin;
use crate::resources::{Batch, Event, ObjectRef, Resources};
use crate::snapshot::Snapshot;

/// Objects, each as it was.
type Undo = Vec<(ObjectRef, Option<Event>)>;

impl Control {
    /// Takes batches in; what panics does so in here.
    pub(super) fn take_contained(&mut self, batches: Vec<Batch>) {
        let pulse = Arc::clone(&self.pulse);
        let count = batches.len() as u64;
        let names = batches.iter().flat_map(|batch| &batch.events).map(Event::to_ref);
        let undo = self.undo(names);
        if pulse.contain(|| self.take(batches)).is_some() {
            return;
        }
        if pulse.contain(|| self.recover(undo)).is_none() {
            error!("control plane not recovered, the configuration in force stays");
            pulse.end();
        }
        // Whoever waits for these batches waits no longer.
        self.shared.took(count);
    }

    /// Begins anew without the changes of `undo`, then takes them in again as far as that can be done.
    fn recover(&mut self, undo: Undo) {
        let wanted = undo.iter().map(|(name, _)| self.event(name)).collect();
        self.revert(undo);
        if self.rebuild() {
            self.settle(wanted);
        } else {
            // Something that was taken in before, and was not compiled until now.
            let all = self.resources.all().objects;
            let all = all.iter().map(|name| self.event(name)).collect();
            self.resources = Resources::default();
            self.rebuild();
            self.settle(all);
        }
        info!(refused = self.refused.len(), "control plane restarted");
        self.telling.restart(self.translator.take_statuses(&self.resources));
        // Only now, so that nobody is served by less than there is.
        let Some(mut snapshot) = self.draft.take().filter(|_| self.may_publish()) else { return };
        snapshot.generation = self.shared.snapshot.load().generation + 1;
        self.shared.snapshot.store(Arc::new(snapshot));
        let now = Instant::now();
        self.report(now, &Spent { translate: Duration::ZERO, compile: Duration::ZERO }, true);
        self.tell_cluster(now);
        self.shared.readiness.set_loaded();
    }

    /// Takes in what can be taken in.
    fn settle(&mut self, mut events: Vec<Event>) {
        let undo = self.undo(events.iter().map(Event::to_ref));
        if events.is_empty() || self.tries(events.clone()) {
            return;
        }
        self.revert(undo);
        self.rebuild();
        if events.len() > 1 {
            let second = events.split_off(events.len() / 2);
            self.settle(events);
            self.settle(second);
        } else if let Some(event) = events.pop() {
            let name = event.to_ref();
            error!(object = %name, "object makes the control plane panic, its last version stays in force");
            let origin = Origin::new(name.kind.as_str(), &name.name.namespace, &name.name.name, None);
            let message = "it makes the control plane panic; its last version stays in force";
            let finding =
                Diagnostic::error(Code::Internal, &origin, message).hint("report it with the lines of the process log");
            self.refused.insert(name, finding);
        }
    }

    /// Takes events in and compiles them; whether it did not panic.
    fn tries(&mut self, events: Vec<Event>) -> bool {
        let pulse = Arc::clone(&self.pulse);
        let done = pulse.contain(|| {
            let changes = self.resources.apply(events);
            let touched = self.translator.apply(&self.resources, &changes);
            self.touched.merge(touched);
            self.share_base(&changes);
            let previous = self.draft.take();
            let new = match &previous {
                Some(previous) => self.compile(previous),
                None => self.compile(&self.shared.snapshot.load_full()),
            };
            self.draft = new.or(previous);
        });
        done.is_some()
    }

    /// Begins anew with the objects there are; whether that did not panic.
    fn rebuild(&mut self) -> bool {
        let pulse = Arc::clone(&self.pulse);
        let done = pulse.contain(|| {
            self.translator = Translator::new();
            self.translator.apply(&self.resources, &self.resources.all());
            self.compiler.restart();
            self.touched = Touched::all(self.translator.model());
            // Nothing of the snapshot in force is counted by the compiler any more.
            let live = self.shared.snapshot.load_full();
            let (generation, listeners) = (live.generation, Arc::clone(&live.listeners));
            let empty = Snapshot { generation, listeners, ..self.compiler.empty() };
            self.draft = self.compile(&empty);
        });
        done.is_some()
    }

    fn undo(&self, names: impl Iterator<Item = ObjectRef>) -> Undo {
        names
            .map(|name| {
                let old = self.resources.object(&name).map(Event::Apply);
                (name, old)
            })
            .collect()
    }

    /// What there is of an object now.
    fn event(&self, name: &ObjectRef) -> Event {
        self.resources.object(name).map_or_else(|| Event::Delete(name.clone()), Event::Apply)
    }

    fn revert(&mut self, undo: Undo) {
        let old = undo.into_iter().map(|(name, old)| old.unwrap_or(Event::Delete(name)));
        self.resources.apply(old);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::capacity::Capacity;
    use crate::compile::{Compiler, CompilerParts};
    use crate::endpoint::Table;
    use crate::resources::{Kind, Object};
    use crate::source::kubernetes::write::{Given, Outlet};
    use crate::telemetry::{Metrics, Telemetry};

    /// A control plane whose counters panic for Ingresses called `poison`.
    fn control() -> Control {
        let table = Arc::new(Table::new(Arc::new(Capacity::default())));
        let compiler = Compiler::new(CompilerParts {
            table: table.clone(),
            plugins: Vec::new(),
            folder: ".".into(),
            route_metrics: Box::new(|facts| {
                assert_ne!(&*facts.path, "/poison", "as the test wants");
                Arc::default()
            }),
            now: Box::new(|| 0),
        });
        let telemetry = Arc::new(Telemetry::new(Arc::new(Metrics::new().unwrap())));
        let shared = Arc::new(super::super::Shared::new(compiler.empty(), table, telemetry));
        Control::new(compiler, shared, [])
    }

    fn ingress(name: &str, path: &str) -> Event {
        let backend = json!({ "service": { "name": "a", "port": { "number": 80 } } });
        let paths = json!([{ "path": path, "pathType": "Exact", "backend": backend }]);
        let rules = json!([{ "host": format!("{name}.test"), "http": { "paths": paths } }]);
        let object = json!({ "metadata": { "namespace": "shop", "name": name },
            "spec": { "ingressClassName": "tidegate", "rules": rules } });
        Event::Apply(Object::from_json(Kind::Ingress, object).unwrap())
    }

    fn batch(events: Vec<Event>) -> Batch {
        let noticed = Instant::now();
        Batch { source: "files", events, diagnostics: Vec::new(), noticed, is_complete: true, answered: 0 }
    }

    fn hosts(control: &Control) -> Vec<String> {
        let snapshot = control.shared.snapshot.load();
        let mut all: Vec<String> = snapshot.common.router.hosts().map(|(pattern, _)| pattern.to_string()).collect();
        all.sort();
        all
    }

    fn refused(control: &Control) -> Vec<String> {
        let report = control.shared.report.load();
        report.diagnostics.iter().filter(|it| it.code == Code::Internal).map(|it| it.origin.to_string()).collect()
    }

    #[test]
    fn an_object_that_panics_is_left_out_and_the_rest_is_served() {
        let mut control = control();
        let mut events: Vec<Event> = (0..20).map(|nth| ingress(&format!("h{nth:02}"), "/a")).collect();
        events.insert(7, ingress("bad", "/poison"));
        control.take_contained(vec![batch(events)]);
        assert_eq!(hosts(&control).len(), 20);
        assert!(!hosts(&control).contains(&"bad.test".to_owned()));
        assert_eq!(refused(&control), ["Ingress/shop/bad"]);
        assert!(control.shared.readiness.is_ready());

        control.take_contained(vec![batch(vec![ingress("later", "/a")])]);
        assert_eq!(hosts(&control).len(), 21, "what comes later is taken in");
        assert_eq!(refused(&control), ["Ingress/shop/bad"], "and what is wrong is still told");
        control.take_contained(vec![batch(vec![ingress("bad", "/good")])]);
        assert_eq!((hosts(&control).len(), refused(&control).len()), (22, 0), "mended");
    }

    #[test]
    fn the_last_good_version_stays_in_force() {
        let mut control = control();
        control.take_contained(vec![batch(vec![ingress("a", "/a"), ingress("b", "/b")])]);
        let generation = control.shared.snapshot.load().generation;
        control.take_contained(vec![batch(vec![ingress("a", "/poison"), ingress("b", "/c"), ingress("c", "/c")])]);
        assert_eq!(hosts(&control), ["a.test", "b.test", "c.test"]);
        assert_eq!(refused(&control), ["Ingress/shop/a"]);
        assert!(control.shared.snapshot.load().generation > generation);
        let shown = control.shared.snapshot.load();
        let paths = crate::explain::routes(&shown);
        assert!(format!("{paths:?}").contains("/a") && !format!("{paths:?}").contains("/poison"));
        assert_eq!(control.shared.vitals.obstacles(), []);
    }

    /// Names of the Ingresses with an address, as whoever writes it hears them.
    fn addressed(given: &Given) -> Vec<String> {
        given.statuses.borrow().addressed().map(|name| name.name.to_string()).collect()
    }

    #[test]
    fn whoever_writes_to_a_cluster_hears_what_is_left() {
        let (outlet, given) = Outlet::new(true, Arc::default());
        let mut control = control().with_outlet(outlet);
        control.take_contained(vec![batch(vec![ingress("a", "/a"), ingress("gone", "/a")])]);
        assert_eq!(addressed(&given), ["a", "gone"]);
        let gone = Event::Delete(ingress("gone", "/a").to_ref());
        control.take_contained(vec![batch(vec![gone, ingress("a", "/poison"), ingress("b", "/b")])]);
        assert_eq!(addressed(&given), ["a", "b"]);
        let notes = given.findings.borrow();
        assert_eq!(
            notes.iter().map(|note| note.reason).collect::<Vec<_>>(),
            ["Internal", "ServiceNotFound", "ServiceNotFound"]
        );
    }

    #[test]
    fn an_ingress_that_changes_nothing_of_what_is_served_is_heard_of_too() {
        let (outlet, given) = Outlet::new(true, Arc::default());
        let mut control = control().with_outlet(outlet);
        control.take_contained(vec![batch(vec![ingress("a", "no path")])]);
        let generation = control.shared.snapshot.load().generation;
        control.take_contained(vec![batch(vec![ingress("b", "no path")])]);
        assert_eq!(control.shared.snapshot.load().generation, generation);
        assert_eq!(addressed(&given), ["a", "b"]);
        let before = Arc::clone(&given.statuses.borrow());
        control.take_contained(vec![batch(vec![])]);
        assert!(Arc::ptr_eq(&before, &given.statuses.borrow()), "what is nothing new is not told again");
    }

    #[test]
    fn upstreams_are_counted_as_before() {
        let mut control = control();
        control.take_contained(vec![batch(vec![ingress("a", "/a"), ingress("bad", "/poison")])]);
        assert_eq!(control.shared.table.iter().count(), 1);
        let name = ingress("a", "/a").to_ref();
        control.take_contained(vec![batch(vec![Event::Delete(name)])]);
        assert_eq!((hosts(&control).len(), control.shared.table.iter().count()), (0, 0));
    }
}
