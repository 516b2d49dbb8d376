//! Who carries out what `proxy` decides: frames, writes, waits, and says what went wrong.

pub(crate) mod pingora;

pub(crate) use self::pingora::FlowControlCounts;
pub use self::pingora::{Engine, Proxy};
