//! Waits for upstreams: as they are written, and as they are in force.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Change;
use crate::quantity;

/// Waits for upstreams; each is per step, not a total.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct TimeoutsSpec {
    /// TCP and TLS handshake. Default 5s.
    pub connect: Option<quantity::Duration>,
    /// Longest silence of the upstream while it owes its answer, or more of it. A client that still sends its body is
    /// held to `limits.bodyTimeout` instead. Default 60s.
    pub read: Option<quantity::Duration>,
    /// Longest time from the end of the request until the whole head of the answer is there, interim answers (1xx)
    /// included, however it drips. Never shorter than `read`. Default twice `read`.
    pub head: Option<quantity::Duration>,
    /// Longest time in which the upstream takes nothing of what it is sent. Default 60s.
    pub send: Option<quantity::Duration>,
    /// How long idle upstream connections are kept. Default 60s.
    pub idle: Option<quantity::Duration>,
    /// How long a request waits for other endpoints when none of those known can be connected to, as in a rollout
    /// whose Pods close before their end is known; `0s`: not at all. Default 1s.
    pub endpoints: Option<quantity::Duration>,
}

/// The waits in force. What each is for is said at [`TimeoutsSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    pub connect: Duration,
    pub read: Duration,
    /// What was asked for of `head`: kept for a later change of `read`.
    #[serde(rename = "head", skip_serializing_if = "Option::is_none")]
    pub asked_head: Option<Duration>,
    /// Follows from `read` and from what was asked for, so that a request need not find it out.
    #[serde(skip)]
    pub head: Duration,
    pub send: Duration,
    pub idle: Duration,
    pub endpoints: Duration,
}

/// Which wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Connect,
    Read,
    Head,
    Send,
    Idle,
    Endpoints,
}

// === impl TimeoutsSpec ===

impl TimeoutsSpec {
    /// The waits that are given.
    pub fn changes(&self) -> impl Iterator<Item = Change> + use<> {
        let waits = [
            (Wait::Connect, self.connect),
            (Wait::Read, self.read),
            (Wait::Head, self.head),
            (Wait::Send, self.send),
            (Wait::Idle, self.idle),
            (Wait::Endpoints, self.endpoints),
        ];
        waits.into_iter().filter_map(|(wait, value)| Some(Change::Wait(wait, value?.0)))
    }
}

// === impl Timeouts ===

impl Default for Timeouts {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            connect: Duration::from_secs(5),
            read: minute,
            asked_head: None,
            head: 2 * minute,
            send: minute,
            idle: minute,
            endpoints: Duration::from_secs(1),
        }
    }
}

impl Timeouts {
    /// Every wait in force.
    pub fn all(&self) -> [(Wait, Duration); 6] {
        [
            (Wait::Connect, self.connect),
            (Wait::Read, self.read),
            (Wait::Head, self.head),
            (Wait::Send, self.send),
            (Wait::Idle, self.idle),
            (Wait::Endpoints, self.endpoints),
        ]
    }

    pub(super) fn set(&mut self, wait: Wait, value: Duration) {
        match wait {
            Wait::Connect => self.connect = value,
            Wait::Read => self.read = value,
            Wait::Head => self.asked_head = Some(value),
            Wait::Send => self.send = value,
            Wait::Idle => self.idle = value,
            Wait::Endpoints => self.endpoints = value,
        }
        self.head = self.asked_head.unwrap_or(self.read.saturating_mul(2)).max(self.read);
    }
}

// === impl Wait ===

impl Wait {
    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "timeouts.connect",
            Self::Read => "timeouts.read",
            Self::Head => "timeouts.head",
            Self::Send => "timeouts.send",
            Self::Idle => "timeouts.idle",
            Self::Endpoints => "timeouts.endpoints",
        }
    }

    /// Whether no wait at all makes sense.
    pub(super) fn may_be_zero(self) -> bool {
        matches!(self, Self::Idle | Self::Endpoints)
    }
}
