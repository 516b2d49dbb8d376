//! What happens to a request, decided over plain types: heads, fields, reasons, statuses.
//!
//! An engine asks in this order: [`Proxy::begin`], `request` (`begin`, `apply`, `expect`, `route`, `take`, `wait`),
//! `upstream` (`next`, `aim`, `edit`, `sent`; after a failure `not_connected` or `lost`), `response` (`on_head` and `wait`,
//! or `compose` and `after` for one of tidegate's own), `body` meanwhile, and in the end `finish` (`fail`, `record`).
//! Between `route` and `take` no plugin has run, and the request may still be handed to another engine.
//! It must not know engines, sockets, Kubernetes, the model or how the snapshot was compiled.

pub(crate) mod body;
pub(crate) mod canonical;
pub(crate) mod context;
pub(crate) mod expect;
pub(crate) mod fault;
pub(crate) mod finish;
#[doc(hidden)]
pub(crate) mod forwarded;
#[doc(hidden)]
pub mod guard;
pub(crate) mod head;
mod host;
pub(crate) mod length;
pub(crate) mod pace;
pub(crate) mod redirect;
pub(crate) mod reply;
pub(crate) mod request;
mod request_id;
pub(crate) mod response;
pub(crate) mod retry;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod upstream;

use std::sync::Arc;

use arc_swap::ArcSwap;

use self::context::Context;
use crate::pressure::Memory;
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::snapshot::pipeline::Passage;
use crate::telemetry::record::Recorder;

/// Serves requests from the snapshot of the moment, in the hands of an engine.
pub struct Proxy {
    snapshot: Arc<ArcSwap<Snapshot>>,
    recorder: Arc<dyn Recorder>,
    memory: Arc<Memory>,
}

// === impl Proxy ===

impl Proxy {
    /// A proxy that reads that snapshot and records there.
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>, recorder: Arc<dyn Recorder>) -> Self {
        Self { snapshot, recorder, memory: Arc::default() }
    }

    /// Refuses new requests while that memory is nearly used up.
    #[must_use]
    pub fn with_memory(self, memory: Arc<Memory>) -> Self {
        Self { memory, ..self }
    }

    /// What a request begins with. It keeps the snapshot of its beginning.
    pub(crate) fn begin(&self) -> Context {
        let passage = if self.recorder.is_timing() { Passage::timed() } else { Passage::untimed() };
        let mut cx = Context::new(self.snapshot.load_full(), passage);
        cx.refusal = self.memory.refuses_request().then_some(Reason::Overload);
        cx
    }

    /// The snapshot of the moment.
    pub(crate) fn snapshot(&self) -> &Arc<ArcSwap<Snapshot>> {
        &self.snapshot
    }

    /// Where requests that have ended are told.
    pub(crate) fn recorder(&self) -> &dyn Recorder {
        &*self.recorder
    }
}

#[cfg(test)]
mod tests;
