//! The plugins that come with tidegate, one file each.
//!
//! They see only the plugin API, which proves that it is enough.

pub mod headers;

use tidegate_plugin::{Definition, define};

/// Every built-in plugin.
pub const ALL: &[Definition] = &[define::<headers::Headers>()];
