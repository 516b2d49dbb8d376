//! User names and passwords: the plugin `basic-auth`. Whatever cannot be kept closes the routes.
//!
//! Source: ingress-nginx, "Annotations", Authentication.

use serde_json::Map;

use super::{Annotation, Reading, Refusal, Support};
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::resources::conf::PluginSpec;

/// The type of the plugin.
const KIND: &str = "basic-auth";

/// What the annotations of one object say about it.
#[derive(Debug, Default)]
pub(crate) struct Auth {
    basic: Option<Origin>,
    secret: Option<(Secret, Origin)>,
    is_map: bool,
    realm: Option<String>,
    /// Where is said what means nothing alone.
    parts: Vec<Origin>,
}

#[derive(Debug)]
struct Secret {
    namespace: Option<String>,
    name: String,
}

pub(crate) const AUTH_TYPE: Annotation = Annotation {
    name: "auth-type",
    aliases: &[],
    grammar: "`basic`",
    doc: "Asks for user name and password (plugin `basic-auth`), which `auth-secret` knows. The upstream does not get them. `digest` closes the routes (503).",
    support: Support::Both,
    on_service: false,
    protects: true,
    read: |value, reading| match value.text {
        "basic" => {
            reading.auth.basic = Some(value.origin.clone());
            Ok(())
        }
        other => refuse(reading, format!("`{other}` is not supported; the routes are closed")),
    },
};

pub(crate) const AUTH_SECRET: Annotation = Annotation {
    name: "auth-secret",
    aliases: &[],
    grammar: "the name of a Secret, with or without `namespace/`",
    doc: "Secret with the users for `auth-type`, of the Ingress's own namespace or of one that grants it (`grants` in the conf): key `auth` with lines `user:hash` as `htpasswd` writes them, see `auth-secret-type`. One that is missing or cannot be used closes the routes (503). A user whose hash is dearer than `defaults.maxHashCost` in the conf cannot come in.",
    support: Support::Both,
    on_service: false,
    protects: true,
    read: |value, reading| {
        let (namespace, name) = match value.text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, value.text),
        };
        if name.is_empty() || name.contains('/') || namespace.is_some_and(str::is_empty) {
            return refuse(reading, format!("`{}` is not a Secret; the routes are closed", value.text));
        }
        let secret = Secret { namespace: namespace.map(str::to_owned), name: name.to_owned() };
        reading.auth.secret = Some((secret, value.origin.clone()));
        Ok(())
    },
};

pub(crate) const AUTH_SECRET_TYPE: Annotation = Annotation {
    name: "auth-secret-type",
    aliases: &[],
    grammar: "`auth-file` or `auth-map`",
    doc: "How the Secret of `auth-secret` holds the users: lines under the key `auth`, or each key a user and its value the hash. Default: `auth-file`.",
    support: Support::Both,
    on_service: false,
    protects: true,
    read: |value, reading| {
        reading.auth.parts.push(value.origin.clone());
        match value.text {
            "auth-file" => Ok(()),
            "auth-map" => {
                reading.auth.is_map = true;
                Ok(())
            }
            other => refuse(reading, format!("`{other}` is not a form of users; the routes are closed")),
        }
    },
};

pub(crate) const AUTH_REALM: Annotation = Annotation {
    name: "auth-realm",
    aliases: &[],
    grammar: "printable ASCII without `\"` and `\\`",
    doc: "What browsers show when they ask for `auth-type`'s user name and password.",
    support: Support::Both,
    on_service: false,
    protects: true,
    read: |value, reading| {
        if !value.text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            return refuse(reading, "cannot be quoted in a field; the routes are closed".to_owned());
        }
        reading.auth.parts.push(value.origin.clone());
        reading.auth.realm = Some(value.text.to_owned());
        Ok(())
    },
};

/// The `basic-auth` that does what the annotations ask for, and where they name its users.
pub(crate) fn plugin(reading: &mut Reading) -> Option<(PluginSpec, Origin)> {
    let Auth { basic, secret, is_map, realm, parts } = std::mem::take(&mut reading.auth);
    let (secret, origin) = match (basic, secret) {
        (None, None) => {
            tell_parts(reading, &parts);
            return None;
        }
        (Some(_), Some(secret)) => secret,
        (Some(origin), None) => return missing(reading, "auth-secret", &origin),
        (None, Some((_, origin))) => return missing(reading, "auth-type", &origin),
    };
    let mut users = Map::from_iter([("secretName".to_owned(), secret.name.into())]);
    users.extend(secret.namespace.map(|namespace| ("namespace".to_owned(), namespace.into())));
    // As ingress-nginx does: the upstream gets no password.
    let mut config = Map::from_iter([("users".to_owned(), users.into()), ("forward".to_owned(), false.into())]);
    config.extend(is_map.then(|| ("form".to_owned(), "map".into())));
    config.extend(realm.filter(|realm| !realm.is_empty()).map(|realm| ("realm".to_owned(), realm.into())));
    Some((PluginSpec { kind: KIND.to_owned(), config }, origin))
}

// === private functions ===

/// A rule of access that cannot be read is never left out.
fn refuse(reading: &mut Reading, message: String) -> Result<(), Refusal> {
    reading.is_broken = true;
    Err(Refusal(message))
}

/// Nothing is asked for, but somebody may believe so.
fn tell_parts(reading: &mut Reading, parts: &[Origin]) {
    if reading.is_broken {
        return;
    }
    let message = "means nothing without `auth-type` and `auth-secret`; the routes are open to everybody";
    let told = parts.iter().map(|origin| Diagnostic::warning("IncompleteAnnotations", origin, message));
    reading.diagnostics.extend(told.map(|it| it.hint("add them, or remove it")));
}

fn missing<T>(reading: &mut Reading, name: &str, origin: &Origin) -> Option<T> {
    // Half a rule was meant to protect something.
    if !reading.is_broken {
        let message = format!("needs `{name}` beside it; the routes are closed (503)");
        reading.diagnostics.push(Diagnostic::error("InvalidAnnotation", origin, message));
    }
    reading.is_broken = true;
    None
}
