//! Annotations of Ingresses and Services: one table that documentation, checks and translation read.
//!
//! Read under `tidegate.io/` and, where an annotation has a counterpart there, under the foreign prefix
//! (`nginx.ingress.kubernetes.io/`); tidegate's own wins. Names are told apart without case, as the API server takes
//! any. What protects something and is not read is in a table of its own. Source: ingress-nginx, "Annotations".

mod auth;
mod backend;
mod plugins;
mod policy;
mod protection;
mod redirect;
mod tell;

use super::field;
use crate::diagnostic::Diagnostic;
use crate::model::HealthCheck;
use crate::origin::Origin;
use crate::resources::object::Annotations;
use crate::translate::asked::policy::Wait;
use crate::translate::contribution::Overrides;
use protection::Scope;

pub(crate) use auth::plugin as auth_plugin;
pub use protection::{Asks, PROTECTIONS, Protection};
pub(crate) use tell::asks_when_live;

/// Prefix of tidegate's own annotations, without the slash.
pub(crate) const PREFIX: &str = "tidegate.io";

/// What an annotation of an Ingress closes.
const ROUTES: &str = "routes of this Ingress";

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
    /// Whether it decides who may pass, so that an Ingress where it cannot be kept is closed.
    pub protects: bool,
    pub(crate) read: Reader,
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
pub(crate) type Reader = fn(&Value<'_>, &mut Reading) -> Result<(), Refusal>;

/// A value to be read.
#[derive(Debug)]
pub(crate) struct Value<'a> {
    pub text: &'a str,
    pub dialect: Dialect,
    pub origin: &'a Origin,
}

/// Whose grammar holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Own,
    Nginx,
}

/// Why a value is not taken.
#[derive(Debug)]
pub(crate) struct Refusal(pub String);

/// What the annotations of one object say.
#[derive(Debug, Default)]
pub(crate) struct Reading {
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

/// What the annotations of a Service say.
#[derive(Debug, Default)]
pub(crate) struct ServiceReading {
    pub health_check: Option<HealthCheck>,
    /// Whether one asks for protection, which is not kept there.
    pub is_broken: bool,
}

/// The value of an annotation.
struct Found<'a> {
    key: &'a str,
    text: &'a str,
    dialect: Dialect,
    /// The same name in other letters, with another value.
    rival: Option<&'a str>,
}

/// Reads the annotations of an Ingress.
pub(crate) fn read_ingress(annotations: &Annotations, foreign: &str, object: &Origin) -> Reading {
    let mut reading = Reading::default();
    if annotations.is_empty() {
        return reading;
    }
    for annotation in ANNOTATIONS {
        if let Some(found) = find(annotation, annotations, foreign) {
            read_one(annotation, &found, object, &mut reading);
        }
    }
    let own = Scope { prefix: PREFIX, is_read: |_| true, what: ROUTES };
    protection::check(annotations, own, object, &mut reading);
    if !foreign.eq_ignore_ascii_case(PREFIX) {
        let foreign = Scope { prefix: foreign, is_read: |each| each.support == Support::Both, what: ROUTES };
        protection::check(annotations, foreign, object, &mut reading);
        report_unsupported(annotations, foreign.prefix, object, &mut reading.diagnostics);
    }
    reading
}

/// Reads the annotations of a Service: its health check.
pub(crate) fn read_service(
    annotations: &Annotations,
    object: &Origin,
    diagnostics: &mut Vec<Diagnostic>,
) -> ServiceReading {
    if annotations.is_empty() {
        return ServiceReading::default();
    }
    let mut reading = Reading::default();
    for annotation in ANNOTATIONS.iter().filter(|annotation| annotation.on_service) {
        // No foreign annotation is read on Services.
        if let Some(found) = find(annotation, annotations, PREFIX) {
            read_one(annotation, &found, object, &mut reading);
        }
    }
    let own = Scope { prefix: PREFIX, is_read: |each| each.on_service, what: "routes to this Service" };
    protection::check(annotations, own, object, &mut reading);
    diagnostics.append(&mut reading.diagnostics);
    ServiceReading { health_check: reading.overrides.health_check, is_broken: reading.is_broken }
}

/// The key and value of an annotation, tidegate's own first.
fn find<'a>(annotation: &Annotation, annotations: &'a Annotations, foreign: &str) -> Option<Found<'a>> {
    let names = std::iter::once(&annotation.name).chain(annotation.aliases);
    let own = names.into_iter().find_map(|name| find_under(PREFIX, name, annotations, Dialect::Own));
    own.or_else(|| {
        let is_read = annotation.support == Support::Both && !foreign.eq_ignore_ascii_case(PREFIX);
        is_read.then(|| find_under(foreign, annotation.name, annotations, Dialect::Nginx)).flatten()
    })
}

/// The annotation of a name; where several differ by case only, the one that is written as it is documented.
fn find_under<'a>(prefix: &str, name: &str, annotations: &'a Annotations, dialect: Dialect) -> Option<Found<'a>> {
    let is_it = |key: &str| name_under(prefix, key).is_some_and(|under| under.eq_ignore_ascii_case(name));
    let all = || annotations.iter().filter(|(key, _)| is_it(key));
    let (key, text) = all().find(|(key, _)| key.ends_with(name)).or_else(|| all().next())?;
    let rival = all().find(|(_, other)| *other != text).map(|(key, _)| key);
    Some(Found { key, text, dialect, rival })
}

/// What of a key follows the prefix and its slash.
fn name_under<'a>(prefix: &str, key: &'a str) -> Option<&'a str> {
    let (before, name) = key.split_at_checked(prefix.len())?;
    before.eq_ignore_ascii_case(prefix).then(|| name.strip_prefix('/')).flatten()
}

fn read_one(annotation: &Annotation, found: &Found<'_>, object: &Origin, reading: &mut Reading) {
    let origin = at(object, found.key);
    let value = Value { text: found.text.trim(), dialect: found.dialect, origin: &origin };
    if let Err(Refusal(message)) = (annotation.read)(&value, reading) {
        let hint = format!("write {}", annotation.grammar);
        reading.diagnostics.push(Diagnostic::error("InvalidAnnotation", &origin, message).hint(hint));
    }
    if let Some(rival) = found.rival {
        reading.is_broken |= annotation.protects;
        let end = if annotation.protects { "the routes are closed (503)" } else { "this one counts" };
        let message = format!("`{rival}` is the same annotation with another value; {end}");
        reading.diagnostics.push(Diagnostic::error("InvalidAnnotation", &origin, message).hint("keep one of them"));
    }
}

fn report_unsupported(annotations: &Annotations, foreign: &str, object: &Origin, diagnostics: &mut Vec<Diagnostic>) {
    let is_known = |name: &str| protection::is_listed(name) || is_read_as_foreign(name);
    let unsupported: Vec<&str> =
        annotations.keys().filter_map(|key| name_under(foreign, key)).filter(|name| !is_known(name)).collect();
    if !unsupported.is_empty() {
        let message = format!("annotations under `{foreign}/` without effect: {}", unsupported.join(", "));
        diagnostics.push(Diagnostic::info("UnsupportedAnnotation", &object.at("metadata.annotations"), message));
    }
}

/// Whether an annotation is read under the foreign prefix.
fn is_read_as_foreign(name: &str) -> bool {
    ANNOTATIONS.iter().any(|each| each.support == Support::Both && each.name.eq_ignore_ascii_case(name))
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
}
