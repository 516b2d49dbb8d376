//! Upstreams and their endpoints while serving: who may get a request, who is healthy, how busy each is.
//!
//! Lives outside the snapshot's routes: a route points to an [`Upstream`], whose configuration and endpoints
//! are swapped under it, so that endpoint churn touches no route. Two tasks work beside the requests:
//! [`prober::run`] probes endpoints, [`resolver::run`] turns DNS names into endpoints.
//! It must not know Kubernetes, the model or how requests are sent.

mod balance;
mod health;
mod hold;
mod pick;
mod probe;
pub(crate) mod prober;
pub(crate) mod resolver;
mod shared;
mod state;
mod strain;
mod table;
mod upstream;
mod waiting;

use std::net::SocketAddr;

pub(crate) use hold::Hold;
pub use pick::Tried;
pub(crate) use pick::{NoPick, Pick};
pub(crate) use state::UpstreamState;
pub use table::Table;
pub(crate) use upstream::{EndpointView, Upstream};

/// An address with its weight, as configuration gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Address and port.
    pub address: SocketAddr,
    /// Share, at least 1.
    pub weight: u16,
}
