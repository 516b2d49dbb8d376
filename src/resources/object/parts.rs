//! Parts that objects of several kinds have.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::resources::strings::Strings;

/// Transport protocol of a port. Ports are distinguished by number and by this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// TCP, also where nothing is said.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// A protocol that the API does not know.
    Unknown,
}

/// A port of endpoints.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPort {
    /// Name; may be empty.
    pub name: Arc<str>,
    /// Number.
    pub port: u16,
    /// `protocol`.
    #[serde(default)]
    pub transport: Transport,
}

/// Shared value of a Secret's key.
pub(crate) type SharedBytes = Arc<[u8]>;

/// Annotations in the order of their keys.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations(Box<[(Arc<str>, Box<str>)]>);

/// Annotations which only their writers read, and which are long.
const UNUSED_ANNOTATIONS: [&str; 2] = ["kubectl.kubernetes.io/", "meta.helm.sh/"];

// === impl Transport ===

impl Transport {
    /// Reads `protocol`; files may have it in any case.
    pub fn of(text: Option<&str>) -> Self {
        let known = [("", Self::Tcp), ("TCP", Self::Tcp), ("UDP", Self::Udp), ("SCTP", Self::Sctp)];
        let text = text.unwrap_or_default();
        let found = known.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        found.map_or(Self::Unknown, |(_, transport)| transport)
    }

    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Unknown => "of an unknown protocol",
        }
    }
}

// === impl Annotations ===

impl Annotations {
    /// Keeps those that somebody reads.
    pub(super) fn of(all: Option<&BTreeMap<String, String>>, strings: &mut Strings) -> Self {
        let is_read = |key: &str| !UNUSED_ANNOTATIONS.iter().any(|prefix| key.starts_with(prefix));
        let all = all.into_iter().flatten().filter(|(key, _)| is_read(key));
        Self(all.map(|(key, value)| (strings.share(key), value.as_str().into())).collect())
    }

    /// Keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(key, _)| key)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// === impl EndpointPort ===

impl EndpointPort {
    pub(super) fn of(name: Option<&str>, port: u16, protocol: Option<&str>, strings: &mut Strings) -> Self {
        Self { name: strings.share(name.unwrap_or_default()), port, transport: Transport::of(protocol) }
    }
}

/// A text that may be absent, as a shared one.
pub(super) fn option(text: Option<&str>, strings: &mut Strings) -> Option<Arc<str>> {
    text.map(|text| strings.share(text))
}
