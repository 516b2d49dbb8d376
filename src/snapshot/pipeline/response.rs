//! Heads of responses on their way through a chain, last plugin first.

use http::StatusCode;
use tidegate_plugin::{Reply, ResponseContext, ResponseFlow, ResponseVerdict};

use super::passage::Watch;
use super::{Given, Instance, Mode, Passage, Pipeline, failure, guarded, wait_guarded};
use crate::telemetry::metrics::Phase;

/// What the response hooks decided.
#[derive(Debug)]
pub enum ResponseOutcome {
    /// On to the client.
    Continue,
    /// This plugin (by index) must wait; call [`Pipeline::wait_response`] with it.
    Wait(usize),
    /// This response in its place. In a box, because nearly every request has none.
    Replace(Box<Given>),
}

impl Pipeline {
    /// Runs the response hooks until one must wait or gives another response. A panic makes the status 500 and marks the
    /// request as failed. `given_by`: whose response it is, if a plugin has given it; that one does not see it.
    pub fn on_response(
        &self,
        given_by: Option<usize>,
        cx: &mut ResponseContext<'_>,
        passage: &Passage,
    ) -> ResponseOutcome {
        self.respond_from(0, given_by, cx, passage)
    }

    /// Lets the plugin that must wait do so, then runs the rest. Never returns [`ResponseOutcome::Wait`].
    pub async fn wait_response(
        &self,
        index: usize,
        given_by: Option<usize>,
        cx: &mut ResponseContext<'_>,
        passage: &Passage,
    ) -> ResponseOutcome {
        let mut index = index;
        loop {
            let Some((position, instance)) = self.response.get(index) else { return failed(cx) };
            let mut watch = Watch::start(passage, Phase::Wait);
            let head = &mut *cx;
            let waited = wait_guarded(instance, move || instance.plugin.wait_response(head)).await;
            watch.done(*position, instance);
            match waited {
                Some(ResponseVerdict::Continue) => {}
                Some(ResponseVerdict::Replace(reply)) => {
                    if let Some(outcome) = replace(*position, instance, reply, given_by) {
                        return outcome;
                    }
                }
                _ => return failed(cx),
            }
            match self.respond_from(index + 1, given_by, cx, passage) {
                ResponseOutcome::Wait(next) => index = next,
                outcome => return outcome,
            }
        }
    }

    fn respond_from(
        &self,
        start: usize,
        given_by: Option<usize>,
        cx: &mut ResponseContext<'_>,
        passage: &Passage,
    ) -> ResponseOutcome {
        let mut watch = Watch::start(passage, Phase::Response);
        for (index, (position, instance)) in self.response.iter().enumerate().skip(start) {
            if given_by == Some(*position) {
                continue;
            }
            let done = guarded(instance, |plugin| plugin.on_response(cx));
            watch.done(*position, instance);
            match done {
                Some(ResponseFlow::Continue) => {}
                Some(ResponseFlow::Wait) => return ResponseOutcome::Wait(index),
                Some(ResponseFlow::Replace(reply)) => {
                    if let Some(outcome) = replace(*position, instance, reply, given_by) {
                        return outcome;
                    }
                }
                _ => drop(failed(cx)),
            }
        }
        ResponseOutcome::Continue
    }
}

/// A plugin's response takes the place of another once: in report mode, and where one has, it is only counted.
fn replace(position: usize, instance: &Instance, reply: Reply, given_by: Option<usize>) -> Option<ResponseOutcome> {
    if instance.mode == Mode::Report {
        instance.would_refuse(&reply);
        return None;
    }
    if given_by.is_some() {
        instance.count_broken();
        return None;
    }
    instance.count_reply(reply.reason);
    Some(ResponseOutcome::Replace(Box::new(Given { reply, by: Some(position) })))
}

fn failed(cx: &mut ResponseContext<'_>) -> ResponseOutcome {
    cx.status = StatusCode::INTERNAL_SERVER_ERROR;
    cx.shared.fail();
    ResponseOutcome::Replace(Box::new(Given { reply: failure(), by: None }))
}
