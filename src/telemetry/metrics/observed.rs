//! Numbers that other stages hold, asked of them at scrape time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::family::{self, Family, Sample};

/// Takes one sample.
pub(crate) type Emit<'a> = &'a mut dyn FnMut(Sample<'_>);

/// Gives the present samples, one call each.
pub(crate) type Source = Box<dyn Fn(Emit<'_>) + Send + Sync>;

/// Sources that are sampled at a scrape.
#[derive(Default)]
pub(super) struct Observed {
    sources: RwLock<Vec<Source>>,
}

/// Collector of the sampled metrics.
pub(super) struct ObservedCollector {
    observed: Arc<Observed>,
    descriptions: Vec<Desc>,
}

/// Sorted, and one value for each set of labels: Prometheus refuses a scrape with a series given twice.
type Sums = BTreeMap<&'static str, (&'static Family, BTreeMap<Vec<String>, f64>)>;

// === impl Observed ===

impl Observed {
    pub(super) fn add(&self, source: Source) {
        self.sources.write().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    fn ask(&self) -> Sums {
        let mut sums = Sums::new();
        for source in self.sources.read().unwrap_or_else(PoisonError::into_inner).iter() {
            source(&mut |sample| add(&mut sums, &sample));
        }
        sums
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").finish_non_exhaustive()
    }
}

fn add(sums: &mut Sums, sample: &Sample<'_>) {
    if sample.labels.len() != sample.family.arity() {
        return;
    }
    let (_, series) = sums.entry(sample.family.name()).or_insert_with(|| (sample.family, BTreeMap::new()));
    *series.entry(sample.labels.iter().map(|&label| label.to_owned()).collect()).or_default() += sample.value;
}

// === impl ObservedCollector ===

impl ObservedCollector {
    pub(super) fn new(observed: Arc<Observed>) -> Result<Self, prometheus::Error> {
        let descriptions = family::OBSERVED.iter().map(|family| family.desc()).collect::<Result<_, _>>()?;
        Ok(Self { observed, descriptions })
    }
}

impl Collector for ObservedCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let family = |(family, series): (&'static Family, BTreeMap<Vec<String>, f64>)| {
            let number = |(labels, value): (&Vec<String>, &f64)| {
                let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                family.number(&labels, *value)
            };
            family.with(series.iter().map(number).collect())
        };
        self.observed.ask().into_values().map(family).collect()
    }
}
