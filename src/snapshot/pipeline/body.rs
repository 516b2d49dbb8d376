//! Bodies on their way through a chain.

use std::sync::Arc;

use http::StatusCode;
use tidegate_plugin::{BodyChunk, BodyFlow, BodyVerdict, Plugin, Shared};

use super::passage::Watch;
use super::{Instance, Mode, Passage, Pipeline, guarded, wait_guarded};
use crate::telemetry::metrics::Phase;

/// What becomes of a piece of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyOutcome {
    /// It goes on.
    Continue,
    /// This plugin (by index) must wait; call [`Pipeline::wait_request_body`] with it.
    Wait(usize),
    /// The message is ended with this status.
    Abort(StatusCode),
}

const FAILED: BodyOutcome = BodyOutcome::Abort(StatusCode::INTERNAL_SERVER_ERROR);

impl Pipeline {
    /// Runs the request body hooks until one must wait.
    pub fn on_request_body(&self, chunk: &mut BodyChunk<'_>, shared: &mut Shared, passage: &Passage) -> BodyOutcome {
        show(&self.request_body, 0, Phase::RequestBody, chunk, passage, |plugin, chunk| {
            plugin.on_request_body(chunk, shared)
        })
    }

    /// Lets the plugin that must wait do so, then shows the piece to the rest. Never returns [`BodyOutcome::Wait`].
    pub async fn wait_request_body(
        &self,
        index: usize,
        chunk: &mut BodyChunk<'_>,
        shared: &mut Shared,
        passage: &Passage,
    ) -> BodyOutcome {
        let mut index = index;
        loop {
            let Some((position, instance)) = self.request_body.get(index) else { return FAILED };
            let before = kept(instance, chunk);
            let mut watch = Watch::start(passage, Phase::Wait);
            let (piece, slots) = (&mut *chunk, &mut *shared);
            let waited = wait_guarded(instance, move || instance.plugin.wait_request_body(piece, slots)).await;
            watch.done(*position, instance);
            match waited {
                Some(BodyVerdict::Continue) => {}
                Some(BodyVerdict::Abort(status)) => {
                    if let Some(outcome) = end(*position, instance, status, before, chunk, passage) {
                        return outcome;
                    }
                }
                _ => return FAILED,
            }
            let rest = show(&self.request_body, index + 1, Phase::RequestBody, chunk, passage, |plugin, chunk| {
                plugin.on_request_body(chunk, shared)
            });
            match rest {
                BodyOutcome::Wait(next) => index = next,
                outcome => return outcome,
            }
        }
    }

    /// Runs the response body hooks, last plugin first. Never returns [`BodyOutcome::Wait`]: none of them can wait.
    pub fn on_response_body(&self, chunk: &mut BodyChunk<'_>, shared: &mut Shared, passage: &Passage) -> BodyOutcome {
        let shown = show(&self.response_body, 0, Phase::ResponseBody, chunk, passage, |plugin, chunk| {
            plugin.on_response_body(chunk, shared)
        });
        match shown {
            BodyOutcome::Wait(_) => FAILED,
            outcome => outcome,
        }
    }
}

/// Shows a piece to each plugin of the list from `start` on. Who would have ended the body in report mode sees no more
/// of it.
fn show(
    list: &[(usize, Arc<Instance>)],
    start: usize,
    phase: Phase,
    chunk: &mut BodyChunk<'_>,
    passage: &Passage,
    mut hook: impl FnMut(&dyn Plugin, &mut BodyChunk<'_>) -> BodyFlow,
) -> BodyOutcome {
    let mut watch = Watch::start(passage, phase);
    for (index, (position, instance)) in list.iter().enumerate().skip(start) {
        if passage.has_ended(*position) {
            continue;
        }
        let before = kept(instance, chunk);
        let done = guarded(instance, |plugin| hook(plugin, chunk));
        watch.done(*position, instance);
        match done {
            Some(BodyFlow::Continue) => {}
            Some(BodyFlow::Wait) => return BodyOutcome::Wait(index),
            Some(BodyFlow::Abort(status)) => {
                if let Some(outcome) = end(*position, instance, status, before, chunk, passage) {
                    return outcome;
                }
            }
            _ => return FAILED,
        }
    }
    BodyOutcome::Continue
}

/// The piece as it came, where a plugin's word may not hold.
fn kept(instance: &Instance, chunk: &BodyChunk<'_>) -> Option<Option<bytes::Bytes>> {
    (instance.mode == Mode::Report).then(|| chunk.bytes.clone())
}

/// Ends the body, or the plugin's part in it where its word does not hold.
fn end(
    position: usize,
    instance: &Instance,
    status: StatusCode,
    before: Option<Option<bytes::Bytes>>,
    chunk: &mut BodyChunk<'_>,
    passage: &Passage,
) -> Option<BodyOutcome> {
    let Some(before) = before else {
        instance.count_reply(None);
        return Some(BodyOutcome::Abort(status));
    };
    instance.count_would_refuse();
    passage.end(position);
    *chunk.bytes = before;
    None
}
