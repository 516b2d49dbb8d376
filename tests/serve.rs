//! The running proxy over real sockets: plain and TLS listeners, echo upstreams, manifests that change.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    unreachable_pub,
    missing_docs,
    reason = "a test that cannot go on fails, and its tables are as long as they must be"
)]

#[path = "serve/admission.rs"]
mod admission;
#[path = "serve/answers.rs"]
mod answers;
#[path = "serve/auth.rs"]
mod auth;
#[path = "serve/bodies.rs"]
mod bodies;
#[path = "serve/calls.rs"]
mod calls;
#[path = "serve/clients.rs"]
mod clients;
#[path = "serve/clocks.rs"]
mod clocks;
#[path = "serve/contained.rs"]
mod contained;
#[path = "serve/faults.rs"]
mod faults;
#[path = "serve/framing.rs"]
mod framing;
#[path = "serve/h2_flow.rs"]
mod h2_flow;
#[path = "serve/h2_refused.rs"]
mod h2_refused;
#[path = "serve/hostile.rs"]
mod hostile;
#[path = "serve/http.rs"]
mod http_truth;
#[path = "serve/limits.rs"]
mod limits;
#[path = "serve/listeners.rs"]
mod listeners;
#[path = "serve/memory.rs"]
mod memory;
#[path = "serve/names.rs"]
mod names;
#[path = "serve/options.rs"]
mod options;
#[path = "serve/plugins.rs"]
mod plugins;
#[path = "serve/protection.rs"]
mod protection;
#[path = "serve/protocols.rs"]
mod protocols;
#[path = "serve/reload.rs"]
mod reload;
#[path = "serve/replies.rs"]
mod replies;
#[path = "serve/routing.rs"]
mod routing;
#[path = "serve/shares.rs"]
mod shares;
#[path = "serve/stages.rs"]
mod stages;
#[path = "serve/stop.rs"]
mod stop;
#[path = "serve/support.rs"]
mod support;
#[path = "serve/targets.rs"]
mod targets;
#[path = "serve/tell.rs"]
mod tell;
#[path = "serve/tls.rs"]
mod tls;
#[path = "serve/upstreams.rs"]
mod upstreams;
#[path = "serve/work.rs"]
mod work;
