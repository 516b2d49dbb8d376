//! The plugins that come with tidegate, one file each.
//!
//! They see only the plugin API, which proves that it is enough.

use tidegate_plugin::Definition;

/// Every built-in plugin.
pub const ALL: &[Definition] = &[];
