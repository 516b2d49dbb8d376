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
    BoxFuture, Choice, Flow, Hooks, LogRecord, Plugin, Reply, RequestContext, RouteContext, Shared, Stage,
    UpstreamRequest, Verdict,
};

pub use self::body::BodyOutcome;
pub(crate) use self::instance::Description;
pub use self::instance::{Instance, Mode};
pub use self::passage::Passage;
use self::passage::Watch;
pub use self::response::ResponseOutcome;
use crate::telemetry::metrics::Phase;

mod body;
mod instance;
mod passage;
mod response;

/// The plugins of a route, sorted by stage and position, a list a hook.
#[derive(Debug, Default)]
pub struct Pipeline {
    chain: Box<[Arc<Instance>]>,
    hooks: Hooks,
    authenticates: bool,
    request: List,
    route: List,
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
    Reply(Given),
}

/// An answer, and who gives it.
#[derive(Debug)]
pub struct Given {
    /// The answer.
    pub reply: Reply,
    /// The plugin's position in the chain; `None`: it has failed.
    pub by: Option<usize>,
}

/// What the routing hooks decided.
#[derive(Debug, PartialEq, Eq)]
pub enum Routed {
    /// Nobody chose.
    Pass,
    /// The backend at that position.
    Backend(usize),
    /// The upstream of that name.
    Upstream(Arc<str>),
    /// A plugin has failed.
    Failed,
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
            route: wanting(Hooks::ROUTE).collect(),
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

    /// Upstreams of the conf that its plugins may choose, by name.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<str>> {
        self.chain.iter().flat_map(|instance| &instance.upstreams)
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
                return failed();
            };
            let mut watch = Watch::start(passage, Phase::Wait);
            let asked = &mut *cx;
            let waited = wait_guarded(instance, move || instance.plugin.wait(asked)).await;
            watch.done(*position, instance);
            match waited {
                Some(Verdict::Continue) => {}
                Some(Verdict::Reply(reply)) => {
                    if let Some(outcome) = self.judge(*position, instance, reply, cx) {
                        return outcome;
                    }
                }
                _ => return failed(),
            }
            match self.run_from(index + 1, cx, passage) {
                Outcome::Wait(next) => index = next,
                outcome => return outcome,
            }
        }
    }

    /// Runs the routing hooks until one chooses.
    pub fn on_route(&self, cx: &mut RouteContext<'_>, passage: &Passage) -> Routed {
        let mut watch = Watch::start(passage, Phase::Route);
        for (position, instance) in &self.route {
            let done = guarded(instance, |plugin| plugin.on_route(cx));
            watch.done(*position, instance);
            match done {
                Some(Choice::Pass) => {}
                Some(Choice::Backend(backend)) => return Routed::Backend(backend),
                Some(Choice::Upstream(name)) => return Routed::Upstream(name),
                _ => return Routed::Failed,
            }
        }
        Routed::Pass
    }

    /// Runs the upstream request hooks. A panic, or a target that cannot be sent, marks the request as failed, see
    /// [`Shared::has_failed`].
    pub fn on_upstream_request(&self, head: &mut UpstreamRequest<'_>, shared: &Shared, passage: &Passage) {
        let mut watch = Watch::start(passage, Phase::UpstreamRequest);
        for (position, instance) in &self.upstream_request {
            let before = head.error();
            let done = guarded(instance, |plugin| plugin.on_upstream_request(head, shared));
            watch.done(*position, instance);
            if done.is_none() {
                return shared.fail();
            }
            if let Some(error) = head.error().filter(|_| before.is_none()) {
                instance.count_broken();
                tracing::debug!(plugin = %instance.name, %error, "plugin has set a target that cannot be sent");
            }
        }
        if head.error().is_some() {
            shared.fail();
        }
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
                Some(Flow::Reply(reply)) => match self.judge(*position, instance, reply, cx) {
                    Some(outcome) => return outcome,
                    None => continue,
                },
                _ => return failed(),
            }
        }
        Outcome::Continue
    }

    /// What becomes of a plugin's answer: nothing in report mode, 500 where it would skip authentication.
    fn judge(&self, by: usize, instance: &Instance, reply: Reply, cx: &RequestContext<'_>) -> Option<Outcome> {
        if instance.mode == Mode::Report {
            instance.would_refuse(&reply);
            return None;
        }
        if self.authenticates && instance.stage < Stage::Authenticate && !may_end(cx, &reply) {
            instance.count_broken();
            return Some(failed());
        }
        instance.count_reply(reply.reason);
        Some(Outcome::Reply(Given { reply, by: Some(by) }))
    }
}

// === private functions ===

fn failed() -> Outcome {
    Outcome::Reply(Given { reply: failure(), by: None })
}

fn failure() -> Reply {
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
async fn wait_guarded<'f, T>(instance: &Instance, make: impl FnOnce() -> BoxFuture<'f, T>) -> Option<T> {
    let made = catch_unwind(AssertUnwindSafe(make)).ok();
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

#[cfg(test)]
mod tests;
