//! The plugins that come with tidegate, one file each.
//!
//! They see only the plugin API, which proves that it is enough.

pub mod basic_auth;
mod gcra;
pub mod headers;
pub mod rate_limit;

use tidegate_plugin::{Definition, define};

/// Every built-in plugin.
pub const ALL: &[Definition] =
    &[define::<basic_auth::BasicAuth>(), define::<rate_limit::RateLimit>(), define::<headers::Headers>()];
