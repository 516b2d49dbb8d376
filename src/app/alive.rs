//! Tasks beside requests that are begun again after a panic, and the sign of life of the threads that serve.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::shared::Shared;
use crate::endpoint;
use crate::telemetry::vitals::Pulse;

/// How often the threads that serve give a sign of life, at least.
const BEAT: Duration = Duration::from_secs(1);

/// Starts them. `stuck_after`: when a task that gives no sign counts as stuck; `None`: nobody asks.
pub(super) fn start(shared: &Arc<Shared>, stuck_after: Option<Duration>, stop: &watch::Sender<bool>) {
    let (table, vitals) = (&shared.table, &shared.vitals);
    let (health, of, until) = (vitals.pulse("health"), table.clone(), stop.subscribe());
    tokio::spawn(async move { health.supervise(|| endpoint::prober::run(of.clone(), until.clone())).await });
    let (resolver, of, until) = (vitals.pulse("resolver"), table.clone(), stop.subscribe());
    tokio::spawn(async move {
        let config = endpoint::resolver::Config::default;
        resolver.supervise(|| endpoint::resolver::run(of.clone(), config(), until.clone())).await;
    });
    if let Some(after) = stuck_after {
        tokio::spawn(beat(vitals.pulse("serving"), BEAT.min(after / 4), stop.subscribe()));
    }
}

/// Comes by again and again as long as there is a thread that takes it on.
async fn beat(pulse: Arc<Pulse>, interval: Duration, mut stop: watch::Receiver<bool>) {
    loop {
        pulse.beat();
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            // A sender that is gone is the end too.
            _ = stop.wait_for(|stop| *stop) => return pulse.rest(),
        }
    }
}
