//! What happens to a request, in the order in which it happens.
//!
//! `begin` (guard) → `decide` (route, plugins) → `peer` (endpoint) → upstream → answer → `record`.
//! It must not know Kubernetes, the model or how the snapshot was compiled.

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
pub(crate) mod upstream;
