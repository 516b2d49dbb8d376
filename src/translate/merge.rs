//! Contributions brought together: hosts, backends and certificates of the model, and what is said of each object.
//!
//! It knows no dialect: whoever contributes, what is asked for has one form.

pub(crate) mod backend;
pub(crate) mod certificate;
pub(crate) mod host;
pub(crate) mod statuses;
pub(crate) mod tls;
