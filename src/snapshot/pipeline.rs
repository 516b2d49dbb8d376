//! The plugin chain of a route. (stub: replaced by the plugin owner)

use http::StatusCode;
use tidegate_plugin::{
    BodyChunk, BodyFlow, Hooks, LogRecord, Reply, RequestContext, RequestFacts, ResponseContext, Shared,
    UpstreamRequest,
};

/// The plugins of a route, sorted by stage and position, a list a hook.
#[derive(Debug, Default)]
pub struct Pipeline {}

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

impl Pipeline {
    /// Hooks that at least one plugin wants.
    pub fn hooks(&self) -> Hooks {
        Hooks::NONE
    }
    /// Runs the request hooks until one answers or must wait.
    pub fn on_request(&self, _cx: &mut RequestContext<'_>) -> Outcome {
        Outcome::Continue
    }
    /// Lets the plugin that must wait do so, then runs the rest. Never returns [`Outcome::Wait`].
    pub async fn wait(&self, _index: usize, _cx: &mut RequestContext<'_>) -> Outcome {
        Outcome::Continue
    }
    /// Runs the upstream request hooks.
    pub fn on_upstream_request(&self, _head: &mut UpstreamRequest<'_>, _shared: &Shared) {}
    /// Runs the request body hooks.
    pub fn on_request_body(&self, _chunk: &mut BodyChunk<'_>, _shared: &Shared) -> BodyFlow {
        BodyFlow::Continue
    }
    /// Runs the response hooks, last plugin first.
    pub fn on_response(&self, _cx: &mut ResponseContext<'_>) {}
    /// Runs the response body hooks, last plugin first.
    pub fn on_response_body(&self, _chunk: &mut BodyChunk<'_>, _shared: &Shared) -> BodyFlow {
        BodyFlow::Continue
    }
    /// Runs the log hooks.
    pub fn on_log(&self, _record: &LogRecord<'_>) {}
}

#[allow(dead_code)]
fn unused(_: RequestFacts<'_>, _: StatusCode) {}
