//! User names and passwords: the plugin `basic-auth`. Whatever cannot be kept closes the routes.
//!
//! Source: ingress-nginx, "Annotations", Authentication.

use serde_json::{Map, Value};

use super::super::row::{Annotation, Support};
use super::super::security::Security;
use super::super::value::{FamilyAnnotations, Refusal};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::reason::Reason;
use crate::resources::conf::PluginSpec;
use crate::translate::asked::Asked;
use crate::translate::asked::plugin::{PluginRequest, Wanted};

/// The type of the plugin.
const KIND: &str = "basic-auth";

pub(crate) const TABLE: &[Annotation] = &[AUTH_TYPE, AUTH_SECRET, AUTH_SECRET_TYPE, AUTH_REALM];

/// What tells the instance from others of the same Ingress.
const PART: &str = "auth";

const AUTH_TYPE: Annotation = Annotation {
    name: "auth-type",
    aliases: &[],
    grammar: "`basic`",
    doc: "Basic authentication: asks for a user name and password of `auth-secret` (plugin `basic-auth`). The upstream does not get them. `digest` closes the routes (503).",
    support: Support::Both,
    on_service: false,
    security: Security::Always,
};

const AUTH_SECRET: Annotation = Annotation {
    name: "auth-secret",
    aliases: &[],
    grammar: "the name of a Secret, with or without `namespace/`",
    doc: "Secret with the users for `auth-type`, of the Ingress's own namespace or of one that grants it (`grants` in the conf): key `auth` with lines `user:hash` as `htpasswd` writes them, see `auth-secret-type`. One that is missing or cannot be used closes the routes (503). A user whose hash costs more than `defaults.maxHashCost` in the conf is refused.",
    support: Support::Both,
    on_service: false,
    security: Security::Always,
};

const AUTH_SECRET_TYPE: Annotation = Annotation {
    name: "auth-secret-type",
    aliases: &[],
    grammar: "`auth-file` or `auth-map`",
    doc: "Format of the Secret of `auth-secret`: lines under the key `auth`, or each key a user and its value the hash. Default: `auth-file`.",
    support: Support::Both,
    on_service: false,
    security: Security::Always,
};

const AUTH_REALM: Annotation = Annotation {
    name: "auth-realm",
    aliases: &[],
    grammar: "printable ASCII without `\"` and `\\`",
    doc: "Realm of `auth-type`, which browsers show when they ask for the user name and password.",
    support: Support::Both,
    on_service: false,
    security: Security::Always,
};

/// Half a rule was meant to protect something: it closes the routes too.
pub(crate) fn finish(given: FamilyAnnotations<'_>, asked: &mut Asked) {
    let basic = given.read(&AUTH_TYPE, asked, |value, _| match value.text {
        "basic" => Ok(value.origin.clone()),
        other => Err(Refusal(format!("`{other}` is not supported"))),
    });
    let users = given.read(&AUTH_SECRET, asked, |value, _| Ok((users(value.text)?, value.origin.clone())));
    // Where is said what means nothing alone.
    let mut parts = Vec::new();
    let is_map = given.read(&AUTH_SECRET_TYPE, asked, |value, _| {
        parts.push(value.origin.clone());
        is_map(value.text)
    });
    let realm = given.read(&AUTH_REALM, asked, |value, _| {
        parts.push(value.origin.clone());
        realm(value.text)
    });
    match (basic, users) {
        (None, None) => tell_parts(asked, &parts),
        (Some(origin), None) => missing(asked, "auth-secret", &origin),
        (None, Some((_, origin))) => missing(asked, "auth-type", &origin),
        (Some(_), Some((users, origin))) => {
            // As ingress-nginx does: the upstream gets no password.
            let mut config = Map::from_iter([("users".to_owned(), users.into()), ("forward".to_owned(), false.into())]);
            config.extend((is_map == Some(true)).then(|| ("form".to_owned(), "map".into())));
            config.extend(realm.flatten().map(|realm| ("realm".to_owned(), realm.into())));
            let spec = PluginSpec { kind: KIND.to_owned(), config };
            asked.plugins.push(PluginRequest { plugin: Wanted::Own { part: PART.to_owned(), spec }, origin });
        }
    }
}

/// The users, as the plugin is told of them.
fn users(text: &str) -> Result<Map<String, Value>, Refusal> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    if name.is_empty() || name.contains('/') || namespace.is_some_and(str::is_empty) {
        return Err(Refusal(format!("`{text}` is not a Secret")));
    }
    let mut users = Map::from_iter([("secretName".to_owned(), name.into())]);
    users.extend(namespace.map(|namespace| ("namespace".to_owned(), namespace.into())));
    Ok(users)
}

fn is_map(text: &str) -> Result<bool, Refusal> {
    match text {
        "auth-file" => Ok(false),
        "auth-map" => Ok(true),
        other => Err(Refusal(format!("`{other}` is not a form of users"))),
    }
}

/// `None`: nothing is said, so the plugin's own.
fn realm(text: &str) -> Result<Option<String>, Refusal> {
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        return Err(Refusal("cannot be quoted in a field".to_owned()));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// Nothing is asked for, but somebody may believe so.
fn tell_parts(asked: &mut Asked, parts: &[Origin]) {
    if asked.is_closed() {
        return;
    }
    let message = "has no effect without `auth-type` and `auth-secret`; the routes are not protected";
    let told = parts.iter().map(|origin| Diagnostic::warning(Code::IncompleteAnnotations, origin, message));
    asked.diagnostics.extend(told.map(|it| it.hint("add them, or remove it")));
}

fn missing(asked: &mut Asked, name: &str, origin: &Origin) {
    if !asked.is_closed() {
        let message = format!("needs `{name}` beside it; the routes are closed (503)");
        asked.diagnostics.push(Diagnostic::error(Code::InvalidAnnotation, origin, message));
    }
    asked.close(Reason::BrokenPolicy);
}
