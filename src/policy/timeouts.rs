//! Timeouts for upstreams: as the conf writes them, and as they are in force.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Change;
use crate::quantity;

/// Timeouts for upstreams; each is per step, not a total.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct TimeoutsSpec {
    /// Longest time for the TCP and TLS handshake with an endpoint. Default 5s.
    pub connect: Option<quantity::Duration>,
    /// Longest time without a byte from the upstream while a response, or the rest of one, is awaited. While the client
    /// still sends its body, `limits.bodyTimeout` holds instead. Default 60s.
    pub read: Option<quantity::Duration>,
    /// Longest time from the end of the request until the response headers are complete, interim responses (1xx)
    /// included, however slowly they arrive. Never shorter than `read`. Default twice `read`.
    pub response_header: Option<quantity::Duration>,
    /// Longest time in which the upstream reads nothing of what it is sent. Default 60s.
    pub send: Option<quantity::Duration>,
    /// How long idle upstream connections are kept open. Default 60s.
    pub idle: Option<quantity::Duration>,
    /// How long a request waits for new endpoints when none of the known ones can be connected to, as in a rollout
    /// whose Pods close before their removal is known; `0s` turns waiting off. Default 1s.
    pub endpoints: Option<quantity::Duration>,
}

/// Timeouts in force; [`TimeoutsSpec`] describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    pub connect: Duration,
    pub read: Duration,
    /// The `responseHeader` that was asked for: kept for a later change of `read`.
    #[serde(rename = "responseHeader", skip_serializing_if = "Option::is_none")]
    pub asked_response_header: Option<Duration>,
    /// Follows from `read` and from what was asked for, so that a request need not find it out.
    #[serde(skip)]
    pub response_header: Duration,
    pub send: Duration,
    pub idle: Duration,
    pub endpoints: Duration,
}

/// Names one of the timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Connect,
    Read,
    ResponseHeader,
    Send,
    Idle,
    Endpoints,
}

// === impl TimeoutsSpec ===

impl TimeoutsSpec {
    /// The timeouts that are given.
    pub fn changes(&self) -> impl Iterator<Item = Change> + use<> {
        let Self { connect, read, response_header, send, idle, endpoints } = *self;
        let given = Wait::each([connect, read, response_header, send, idle, endpoints]);
        given.filter_map(|(wait, value)| Some(Change::Wait(wait, value?.0)))
    }
}

// === impl Timeouts ===

impl Default for Timeouts {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            connect: Duration::from_secs(5),
            read: minute,
            asked_response_header: None,
            response_header: 2 * minute,
            send: minute,
            idle: minute,
            endpoints: Duration::from_secs(1),
        }
    }
}

impl Timeouts {
    /// Every timeout in force.
    pub fn all(&self) -> impl Iterator<Item = (Wait, Duration)> + use<> {
        Wait::each([self.connect, self.read, self.response_header, self.send, self.idle, self.endpoints])
    }

    pub(super) fn set(&mut self, wait: Wait, value: Duration) {
        match wait {
            Wait::Connect => self.connect = value,
            Wait::Read => self.read = value,
            Wait::ResponseHeader => self.asked_response_header = Some(value),
            Wait::Send => self.send = value,
            Wait::Idle => self.idle = value,
            Wait::Endpoints => self.endpoints = value,
        }
        self.response_header = self.asked_response_header.unwrap_or(self.read.saturating_mul(2)).max(self.read);
    }
}

// === impl Wait ===

impl Wait {
    /// Every timeout, in the order in which they are written.
    const ALL: [Self; 6] = [Self::Connect, Self::Read, Self::ResponseHeader, Self::Send, Self::Idle, Self::Endpoints];

    /// Values in the order of [`Wait::ALL`], each with its name.
    fn each<T>(values: [T; Self::ALL.len()]) -> impl Iterator<Item = (Self, T)> + use<T> {
        Self::ALL.into_iter().zip(values)
    }

    /// The key that users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "timeouts.connect",
            Self::Read => "timeouts.read",
            Self::ResponseHeader => "timeouts.responseHeader",
            Self::Send => "timeouts.send",
            Self::Idle => "timeouts.idle",
            Self::Endpoints => "timeouts.endpoints",
        }
    }

    /// Whether 0 makes sense.
    pub(super) fn may_be_zero(self) -> bool {
        matches!(self, Self::Idle | Self::Endpoints)
    }
}
