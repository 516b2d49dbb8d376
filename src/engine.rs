//! Who carries out what `proxy` decides: frames, writes, waits, and says what went wrong.

mod pingora;

pub use self::pingora::Engine;
pub(crate) use self::pingora::{FlowControlCounts, Outbound};
