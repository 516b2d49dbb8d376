//! Where objects come from.
//!
//! Every source delivers the same typed objects as [`crate::resources::Batch`]es and keeps its last good state
//! when its input breaks. It must not know what objects mean: no class, no route, no port is looked at here.

pub(crate) mod conf;
pub(crate) mod files;
pub(crate) mod kubernetes;
mod object;
mod stamp;
mod watch;

pub(crate) use watch::{Reload, Watching};
