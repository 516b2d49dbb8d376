//! Secret of the core.

mod data;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::parts::{SharedBytes, option};
use crate::resources::fields::{Field, METADATA, any, of};
use crate::resources::row::{ApiKind, Caching, Feed, Row, Scope, Use, Version};
use crate::resources::strings::Strings;

/// `v1` Secret. Its contents are never shown.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// `type`.
    pub kind: Option<Arc<str>>,
    /// `data`, decoded, with what `stringData` puts over it, in the order of the keys.
    #[serde(with = "data")]
    pub data: Box<[(Arc<str>, SharedBytes)]>,
}

const SECRET: &[Field] = &[of("metadata", METADATA), any("data"), any("immutable"), any("stringData"), any("type")];

// === impl Secret ===

impl Secret {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&SharedBytes> {
        self.data.iter().find(|(known, _)| **known == *key).map(|(_, value)| value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("kind", &self.kind).finish_non_exhaustive()
    }
}

// === impl ApiKind ===

impl ApiKind for core::Secret {
    type Kept = Secret;

    const ROW: &'static Row = &Row {
        name: "Secret",
        group: "",
        plural: "secrets",
        versions: &[Version::new("v1", Some(SECRET)).prepared(unwrap_lines)],
        scope: Scope::Namespaced,
        feed: Feed::OnDemand,
        is_optional: false,
        cache: Caching::WithSecrets,
        uses: &[Use::Contents],
        is_confidential: true,
    };

    fn keep(self, strings: &mut Strings) -> Secret {
        // Helm keeps whole releases in Secrets, up to a megabyte each, that nothing here ever reads.
        let is_release = self.type_.as_deref().is_some_and(|kind| kind.starts_with("helm.sh/"));
        let data = self.data.into_iter().flatten().filter(|(key, _)| !(is_release && key == "release"));
        let mut data: BTreeMap<String, Vec<u8>> = data.map(|(key, bytes)| (key, bytes.0)).collect();
        // It is for writing only: an API server moves it into `data`, so a file's reader has to.
        data.extend(self.string_data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes())));
        Secret {
            kind: option(self.type_.as_deref(), strings),
            data: data.into_iter().map(|(key, bytes)| (strings.share(&key), bytes.into())).collect(),
        }
    }
}

/// `base64` and kustomize wrap lines; the API server's decoder passes line ends over.
fn unwrap_lines(secret: &mut Value) {
    let Some(Value::Object(data)) = secret.get_mut("data") else { return };
    for text in data.values_mut() {
        if let Value::String(text) = text {
            text.retain(|c| !matches!(c, '\r' | '\n'));
        }
    }
}
