//! Annotations of Ingresses and Services: one table that documentation, checks and translation read.
//!
//! Read under `tidegate.io/` and, where an annotation has a counterpart there, under the foreign prefix
//! (`nginx.ingress.kubernetes.io/`); tidegate's own wins. Source: ingress-nginx, "Annotations".

mod auth;
mod backend;
mod plugins;
mod policy;
mod redirect;
mod security;
mod tell;

use super::contribution::Overrides;
use super::policy::Wait;
use super::{field, suggest};
use crate::diagnostic::Diagnostic;
use crate::model::HealthCheck;
use crate::origin::Origin;
use crate::resources::object::Annotations;

pub(super) use auth::plugin as auth_plugin;
pub use tell::asks_when_live;

/// Prefix of tidegate's own annotations, without the slash.
pub const PREFIX: &str = "tidegate.io";

/// Every annotation that is understood.
pub const ANNOTATIONS: &[Annotation] = &[
    redirect::SSL_REDIRECT,
    redirect::FORCE_SSL_REDIRECT,
    backend::BACKEND_PROTOCOL,
    backend::LOAD_BALANCE,
    backend::SERVICE_UPSTREAM,
    backend::HEALTH_CHECK,
    policy::PROXY_CONNECT_TIMEOUT,
    policy::PROXY_READ_TIMEOUT,
    policy::PROXY_SEND_TIMEOUT,
    policy::PROXY_BODY_SIZE,
    policy::PROXY_NEXT_UPSTREAM_TRIES,
    plugins::PLUGINS,
    tell::REPORT_LIVE,
    auth::AUTH_TYPE,
    auth::AUTH_SECRET,
    auth::AUTH_SECRET_TYPE,
    auth::AUTH_REALM,
];

/// One annotation.
#[derive(Debug)]
pub struct Annotation {
    /// Name after the prefix.
    pub name: &'static str,
    /// Other names, under tidegate's own prefix only.
    pub aliases: &'static [&'static str],
    /// What its value looks like.
    pub grammar: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Under which prefixes it is read.
    pub support: Support,
    /// Whether it is read on Services too.
    pub on_service: bool,
    pub(super) read: Reader,
}

/// Under which prefixes an annotation is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// `tidegate.io/` only.
    Own,
    /// The foreign prefix too.
    Both,
}

/// Reads one value into the settings.
pub(super) type Reader = fn(&Value<'_>, &mut Reading) -> Result<(), Refusal>;

/// A value to be read.
#[derive(Debug)]
pub(super) struct Value<'a> {
    pub text: &'a str,
    pub dialect: Dialect,
    pub origin: &'a Origin,
}

/// Whose grammar holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Own,
    Nginx,
}

/// Why a value is not taken.
#[derive(Debug)]
pub(super) struct Refusal(pub String);

/// What the annotations of one object say.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub ssl_redirect: Option<bool>,
    pub force_ssl_redirect: Option<bool>,
    pub overrides: Overrides,
    pub waits: Vec<(Wait, std::time::Duration, Origin)>,
    /// The inner `None` is unlimited.
    pub body: Option<(Option<u64>, Origin)>,
    pub tries: Option<(u32, Origin)>,
    pub plugins: Vec<(String, Origin)>,
    pub auth: auth::Auth,
    /// A rule of security that cannot be kept: the routes are closed.
    pub is_broken: bool,
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads the annotations of an Ingress.
pub(super) fn read_ingress(annotations: &Annotations, foreign: &str, object: &Origin) -> Reading {
    let mut reading = Reading::default();
    if annotations.is_empty() {
        return reading;
    }
    for annotation in ANNOTATIONS {
        if let Some((key, text, dialect)) = find(annotation, annotations, foreign) {
            read_one(annotation, key, text, dialect, object, &mut reading);
        }
    }
    security::check(annotations, foreign, object, &mut reading);
    report_unknown(annotations, object, |_| true, &mut reading.diagnostics);
    report_unsupported(annotations, foreign, object, &mut reading.diagnostics);
    reading
}

/// Reads the annotations of a Service: its health check.
pub(super) fn read_service(
    annotations: &Annotations,
    object: &Origin,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<HealthCheck> {
    if annotations.is_empty() {
        return None;
    }
    let mut reading = Reading::default();
    for annotation in ANNOTATIONS.iter().filter(|annotation| annotation.on_service) {
        // No foreign annotation is read on Services.
        if let Some((key, text, dialect)) = find(annotation, annotations, PREFIX) {
            read_one(annotation, key, text, dialect, object, &mut reading);
        }
    }
    report_unknown(annotations, object, |annotation| annotation.on_service, &mut reading.diagnostics);
    diagnostics.append(&mut reading.diagnostics);
    reading.overrides.health_check
}

/// The key and value of an annotation, tidegate's own first.
fn find<'a>(
    annotation: &Annotation,
    annotations: &'a Annotations,
    foreign: &str,
) -> Option<(&'a str, &'a str, Dialect)> {
    let get = |prefix: &str, name: &str, dialect| {
        let (key, text) = annotations.iter().find(|(key, _)| name_under(prefix, key) == Some(name))?;
        Some((key, text, dialect))
    };
    let names = std::iter::once(&annotation.name).chain(annotation.aliases);
    let own = names.into_iter().find_map(|name| get(PREFIX, name, Dialect::Own));
    own.or_else(|| {
        let is_read = annotation.support == Support::Both && foreign != PREFIX;
        is_read.then(|| get(foreign, annotation.name, Dialect::Nginx)).flatten()
    })
}

/// What of a key follows the prefix and its slash.
fn name_under<'a>(prefix: &str, key: &'a str) -> Option<&'a str> {
    key.strip_prefix(prefix)?.strip_prefix('/')
}

fn read_one(annotation: &Annotation, key: &str, text: &str, dialect: Dialect, object: &Origin, reading: &mut Reading) {
    let origin = at(object, key);
    let value = Value { text: text.trim(), dialect, origin: &origin };
    if let Err(Refusal(message)) = (annotation.read)(&value, reading) {
        let hint = format!("write {}", annotation.grammar);
        reading.diagnostics.push(Diagnostic::error("InvalidAnnotation", &origin, message).hint(hint));
    }
}

fn report_unknown(
    annotations: &Annotations,
    object: &Origin,
    is_read: fn(&Annotation) -> bool,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for key in annotations.keys() {
        let Some(name) = name_under(PREFIX, key) else { continue };
        let known = || {
            let read = ANNOTATIONS.iter().filter(|each| is_read(each));
            read.flat_map(|each| std::iter::once(each.name).chain(each.aliases.iter().copied()))
        };
        if known().any(|each| each == name) {
            continue;
        }
        let mut diagnostic = Diagnostic::warning(
            "UnknownAnnotation",
            &at(object, key),
            format!("`{key}` is no annotation of this kind of object"),
        );
        if let Some(near) = suggest::nearest(name, known()) {
            diagnostic = diagnostic.hint(format!("did you mean `{PREFIX}/{near}`?"));
        }
        diagnostics.push(diagnostic);
    }
}

fn report_unsupported(annotations: &Annotations, foreign: &str, object: &Origin, diagnostics: &mut Vec<Diagnostic>) {
    if foreign == PREFIX {
        return;
    }
    let is_known = |name: &str| security::is_listed(name) || is_read_as_foreign(name);
    let unsupported: Vec<&str> =
        annotations.keys().filter_map(|key| name_under(foreign, key)).filter(|name| !is_known(name)).collect();
    if !unsupported.is_empty() {
        let message = format!("annotations under `{foreign}/` without effect: {}", unsupported.join(", "));
        diagnostics.push(Diagnostic::info("UnsupportedAnnotation", &object.at("metadata.annotations"), message));
    }
}

/// Whether an annotation is read under the foreign prefix.
fn is_read_as_foreign(name: &str) -> bool {
    ANNOTATIONS.iter().any(|each| each.support == Support::Both && each.name == name)
}

fn at(object: &Origin, key: &str) -> Origin {
    object.at(field::of_annotation(key))
}

/// A boolean as Go's `strconv.ParseBool` reads it: what users of ingress-nginx know.
fn parse_bool(text: &str) -> Result<bool, Refusal> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(Refusal(format!("`{text}` is not a boolean"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_those_of_go() {
        assert!(["1", "t", "T", "TRUE", "true", "True"].iter().all(|text| parse_bool(text).unwrap()));
        assert!(["0", "f", "F", "FALSE", "false", "False"].iter().all(|text| !parse_bool(text).unwrap()));
        assert!(["yes", "on", "tRUE", "", " true"].iter().all(|text| parse_bool(text).is_err()));
    }

    #[test]
    fn names_and_aliases_are_unique() {
        let names: Vec<_> =
            ANNOTATIONS.iter().flat_map(|each| std::iter::once(&each.name).chain(each.aliases)).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
    }
}
