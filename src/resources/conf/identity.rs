//! Which fields only trusted proxies may send.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fields by which clients could claim who or where they are. From peers that are not in `trustedProxies` they are
/// dropped: those that widely used servers and applications believe (see SECURITY.md), and these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct IdentityHeadersSpec {
    /// Names besides the known ones: `X-Corp-User`, or `X-Corp-*` for all that begin so.
    pub add: Vec<String>,
    /// Names that any client may send although they are known, written in the same way.
    pub pass: Vec<String>,
}
