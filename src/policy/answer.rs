//! Answers that a route gives itself.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A redirect; parts that are not given stay as the client sent them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308. Default 302.
    pub status: u16,
    /// `http` or `https`.
    pub scheme: Option<Arc<str>>,
    /// Host name.
    pub host: Option<Arc<str>>,
    /// Port.
    pub port: Option<u16>,
    /// Replaces the whole path; the query stays.
    pub path: Option<Arc<str>>,
    /// Replaces the matched prefix.
    pub prefix: Option<Arc<str>>,
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Respond {
    /// Status code, 200 to 599. Default 200.
    pub status: u16,
    /// Response body. Default empty.
    pub body: Arc<str>,
    /// `Content-Type`. Default `text/plain; charset=utf-8`.
    pub content_type: Arc<str>,
}

// === impl Redirect ===

impl Default for Redirect {
    fn default() -> Self {
        Self { status: 302, scheme: None, host: None, port: None, path: None, prefix: None }
    }
}

// === impl Respond ===

impl Default for Respond {
    fn default() -> Self {
        Self { status: 200, body: "".into(), content_type: "text/plain; charset=utf-8".into() }
    }
}
