//! The plugin chain of a route: which instances run at which hook, in which order.
//!
//! Order is stage, then position; answers pass in reverse. A panic of a plugin ends its request with 500 and harms
//! nothing else. It must not know how instances are built, nor any type of the proxy's engine.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use http::{Method, StatusCode, header};
use tidegate_plugin::{
    BodyChunk, BodyFlow, Flow, Hooks, LogRecord, Plugin, Reply, RequestContext, ResponseContext, Shared, Stage,
    UpstreamRequest, Verdict,
};

pub(crate) use self::instance::Description;
pub use self::instance::{Instance, Mode};
pub use self::passage::Passage;
use self::passage::Watch;
use crate::telemetry::metrics::Phase;

mod instance;
mod passage;

/// The plugins of a route, sorted by stage and position, a list a hook.
#[derive(Debug, Default)]
pub struct Pipeline {
    chain: Box<[Arc<Instance>]>,
    hooks: Hooks,
    authenticates: bool,
    request: List,
    upstream_request: List,
    request_body: List,
    response: List,
    response_body: List,
    log: List,
}

/// What the request hooks decided.
#[derive(Debug)]
pub enum Outcome {
    /// On to the upstream.
    Continue,
    /// This plugin (by index) must wait; call [`Pipeline::wait`] with it.
    Wait(usize),
    /// This answer.
    Reply(Reply),
}

/// Instances with their positions in the chain.
type List = Box<[(usize, Arc<Instance>)]>;

// === impl Pipeline ===

impl Pipeline {
    /// Sorts the instances by stage; within a stage the given order holds.
    pub fn new(mut chain: Vec<Arc<Instance>>) -> Self {
        chain.sort_by_key(|instance| instance.stage);
        let wanting = |hook| chain.iter().cloned().enumerate().filter(move |(_, i)| i.hooks.contains(hook));
        let reversed = |hook| wanting(hook).collect::<Vec<_>>().into_iter().rev().collect();
        Self {
            hooks: chain.iter().fold(Hooks::NONE, |all, instance| all | instance.hooks),
            authenticates: chain.iter().any(|instance| instance.stage == Stage::Authenticate),
            request: wanting(Hooks::REQUEST).collect(),
            upstream_request: wanting(Hooks::UPSTREAM_REQUEST).collect(),
            request_body: wanting(Hooks::REQUEST_BODY).collect(),
            response: reversed(Hooks::RESPONSE),
            response_body: reversed(Hooks::RESPONSE_BODY),
            log: wanting(Hooks::LOG).collect(),
            chain: chain.into(),
        }
    }

    /// Hooks that at least one plugin wants.
    pub fn hooks(&self) -> Hooks {
        self.hooks
    }

    /// The instances in the order in which requests meet them.
    pub fn instances(&self) -> &[Arc<Instance>] {
        &self.chain
    }

    /// What `explain` shows, in order.
    pub fn describe(&self) -> Vec<Description> {
        self.chain.iter().map(|instance| instance.describe()).collect()
    }

    /// Runs the request hooks until one answers or must wait.
    pub fn on_request(&self, cx: &mut RequestContext<'_>, passage: &Passage) -> Outcome {
        self.run_from(0, cx, passage)
    }

    /// Lets the plugin that must wait do so, then runs the rest. Never returns [`Outcome::Wait`].
    pub async fn wait(&self, index: usize, cx: &mut RequestContext<'_>, passage: &Passage) -> Outcome {
        let mut index = index;
        loop {
            let Some((position, instance)) = self.request.get(index) else {
                return Outcome::Reply(failed());
            };
            let mut watch = Watch::start(passage, Phase::Wait);
            let waited = wait_guarded(instance, cx).await;
            watch.done(*position, instance);
            match waited {
                None => return Outcome::Reply(failed()),
                Some(Verdict::Continue) => {}
                Some(Verdict::Reply(reply)) => {
                    if let Some(reply) = self.judge(instance, reply, cx) {
                        return Outcome::Reply(reply);
                    }
                }
            }
            match self.run_from(index + 1, cx, passage) {
                Outcome::Wait(next) => index = next,
                outcome => return outcome,
            }
        }
    }

    /// Runs the upstream request hooks. A panic marks the request as failed, see [`Shared::has_failed`].
    pub fn on_upstream_request(&self, head: &mut UpstreamRequest<'_>, shared: &Shared, passage: &Passage) {
        let mut watch = Watch::start(passage, Phase::UpstreamRequest);
        for (position, instance) in &self.upstream_request {
            let done = guarded(instance, |plugin| plugin.on_upstream_request(head, shared));
            watch.done(*position, instance);
            if done.is_none() {
                return shared.fail();
            }
        }
    }

    /// Runs the request body hooks.
    pub fn on_request_body(&self, chunk: &mut BodyChunk<'_>, shared: &Shared, passage: &Passage) -> BodyFlow {
        body(&self.request_body, Phase::RequestBody, chunk, passage, |plugin, chunk| {
            plugin.on_request_body(chunk, shared)
        })
    }

    /// Runs the response hooks, last plugin first. A panic makes the status 500 and marks the request as failed.
    pub fn on_response(&self, cx: &mut ResponseContext<'_>, passage: &Passage) {
        let mut watch = Watch::start(passage, Phase::Response);
        for (position, instance) in &self.response {
            let done = guarded(instance, |plugin| plugin.on_response(cx));
            watch.done(*position, instance);
            if done.is_none() {
                cx.status = StatusCode::INTERNAL_SERVER_ERROR;
                cx.shared().fail();
            }
        }
    }

    /// Runs the response body hooks, last plugin first.
    pub fn on_response_body(&self, chunk: &mut BodyChunk<'_>, shared: &Shared, passage: &Passage) -> BodyFlow {
        body(&self.response_body, Phase::ResponseBody, chunk, passage, |plugin, chunk| {
            plugin.on_response_body(chunk, shared)
        })
    }

    /// Runs the log hooks.
    pub fn on_log(&self, record: &LogRecord<'_>, passage: &Passage) {
        let mut watch = Watch::start(passage, Phase::Log);
        for (position, instance) in &self.log {
            let _ = guarded(instance, |plugin| plugin.on_log(record));
            watch.done(*position, instance);
        }
    }

    fn run_from(&self, start: usize, cx: &mut RequestContext<'_>, passage: &Passage) -> Outcome {
        let mut watch = Watch::start(passage, Phase::Request);
        for (index, (position, instance)) in self.request.iter().enumerate().skip(start) {
            let done = guarded(instance, |plugin| plugin.on_request(cx));
            watch.done(*position, instance);
            match done {
                Some(Flow::Continue) => {}
                Some(Flow::Wait) => return Outcome::Wait(index),
                Some(Flow::Reply(reply)) => match self.judge(instance, reply, cx) {
                    Some(reply) => return Outcome::Reply(reply),
                    None => continue,
                },
                None => return Outcome::Reply(failed()),
            }
        }
        Outcome::Continue
    }

    /// What becomes of a plugin's answer: nothing in report mode, 500 where it would skip authentication.
    fn judge(&self, instance: &Instance, reply: Reply, cx: &RequestContext<'_>) -> Option<Reply> {
        if instance.mode == Mode::Report {
            instance.count_would_refuse();
            tracing::debug!(plugin = %instance.name, status = reply.status.as_u16(), "plugin would refuse");
            return None;
        }
        if self.authenticates && instance.stage < Stage::Authenticate && !may_end(cx, &reply) {
            instance.count_broken();
            return Some(failed());
        }
        instance.count_reply();
        Some(reply)
    }
}

// === private functions ===

fn failed() -> Reply {
    Reply::new(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Whether an answer may come before authentication: a refusal, a redirect or a CORS preflight, never content.
fn may_end(cx: &RequestContext<'_>, reply: &Reply) -> bool {
    let is_redirect = matches!(reply.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    is_redirect || reply.status.is_client_error() || reply.status.is_server_error() || is_preflight(cx, reply)
}

/// Fetch standard, "CORS-preflight request". Clients can send these fields as they like, so the answer must be empty.
fn is_preflight(cx: &RequestContext<'_>, reply: &Reply) -> bool {
    let asks = |name| cx.headers().contains_key(name);
    cx.method == Method::OPTIONS
        && asks(header::ORIGIN)
        && asks(header::ACCESS_CONTROL_REQUEST_METHOD)
        && matches!(reply.status.as_u16(), 200 | 204)
        && reply.body.is_empty()
}

/// Runs one hook; `None`, counted, when it panics.
fn guarded<T>(instance: &Instance, hook: impl FnOnce(&dyn Plugin) -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(|| hook(&*instance.plugin))).ok();
    if result.is_none() {
        instance.count_panic();
    }
    result
}

/// Waits; `None`, counted, when the plugin panics while it makes the future or in any poll of it.
async fn wait_guarded(instance: &Instance, cx: &mut RequestContext<'_>) -> Option<Verdict> {
    let made = catch_unwind(AssertUnwindSafe(move || {
        let cx = cx;
        instance.plugin.wait(cx)
    }))
    .ok();
    if made.is_none() {
        instance.count_panic();
    }
    let mut future = made?;
    poll_fn(|task| match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut future).poll(task))) {
        Ok(poll) => poll.map(Some),
        Err(_) => {
            instance.count_panic();
            Poll::Ready(None)
        }
    })
    .await
}

/// Shows a piece of a body to each plugin of the list. Who would have ended the body in report mode sees no more of it.
fn body(
    list: &[(usize, Arc<Instance>)],
    phase: Phase,
    chunk: &mut BodyChunk<'_>,
    passage: &Passage,
    mut hook: impl FnMut(&dyn Plugin, &mut BodyChunk<'_>) -> BodyFlow,
) -> BodyFlow {
    let mut watch = Watch::start(passage, phase);
    for (position, instance) in list.iter().filter(|(position, _)| !passage.has_ended(*position)) {
        let before = (instance.mode == Mode::Report).then(|| chunk.bytes.clone());
        let done = guarded(instance, |plugin| hook(plugin, chunk));
        watch.done(*position, instance);
        match (done, before) {
            (Some(BodyFlow::Continue), _) => {}
            (Some(BodyFlow::Abort(_)), Some(before)) => {
                instance.count_would_refuse();
                passage.end(*position);
                *chunk.bytes = before;
            }
            (Some(abort @ BodyFlow::Abort(_)), None) => {
                instance.count_reply();
                return abort;
            }
            (None, _) => return BodyFlow::Abort(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
    BodyFlow::Continue
}

#[cfg(test)]
mod tests;
