//! The verdict on one Ingress: refused is what would not be served as it is written; the rest is said as warnings.
//!
//! What is only missing (a Service, a Secret) is no fault: objects may be written in any order.

#[cfg(test)]
mod tests;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Severity};
use crate::model::{PathMatch, VirtualHost};
use crate::origin::Origin;
use crate::resources::{Event, Kind, Object, ObjectName, Resources};
use crate::snapshot::Snapshot;
use crate::translate::Translator;

/// What every Ingress is read with.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// The IngressClasses.
    pub classes: Vec<Object>,
    /// The conf.
    pub conf: Option<Object>,
}

/// `request` of an AdmissionReview, as far as it is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Request {
    /// To be given back.
    pub uid: String,
    /// What is about to happen.
    pub operation: String,
    /// The kind of the object.
    pub kind: RequestKind,
    /// The object as it is to be.
    pub object: Value,
    /// The object as it was.
    pub old_object: Value,
}

/// `kind` of a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RequestKind {
    /// Such as `Ingress`.
    pub kind: String,
}

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it is refused; `None`: it is not.
    pub refusal: Option<String>,
    /// What whoever writes the object should know.
    pub warnings: Vec<String>,
}

/// Warnings in one answer, and characters in each: clients show them on terminals.
const MAX_WARNINGS: usize = 10;
const MAX_WARNING: usize = 240;
/// Reasons in one refusal.
const MAX_REASONS: usize = 5;

/// Findings that other objects will mend.
const OF_OTHERS: [&str; 4] = ["ServiceNotFound", "PortNotFound", "SecretNotFound", "NoEndpoints"];

/// Reviews a request.
pub fn review(request: &Request, base: &Base, live: &Snapshot) -> Verdict {
    if request.kind.kind != "Ingress" || !matches!(&*request.operation, "CREATE" | "UPDATE") {
        return Verdict::default();
    }
    let object = match Object::from_json(Kind::Ingress, request.object.clone()) {
        Ok(object) => object,
        Err(error) => return Verdict { refusal: Some(format!("it cannot be read: {error}")), warnings: Vec::new() },
    };
    // Finalizers, labels and status are no business of ours, and what stands there may be older than this webhook.
    if Object::from_json(Kind::Ingress, request.old_object.clone()).is_ok_and(|old| old == object) {
        return Verdict::default();
    }
    judge(object, base, live)
}

fn judge(object: Object, base: &Base, live: &Snapshot) -> Verdict {
    let name = object.name();
    let mut resources = Resources::default();
    let objects = base.classes.iter().chain(&base.conf).cloned().chain([object]);
    resources.apply(objects.map(Event::Apply));
    let mut translator = Translator::new();
    translator.apply(&resources, &resources.all());
    let found = translator.diagnostics();
    let ours = found.iter().filter(|it| is_about(&it.origin, &name) && !OF_OTHERS.contains(&it.code));
    let (errors, rest): (Vec<&Diagnostic>, Vec<&Diagnostic>) = ours.partition(|it| it.severity == Severity::Error);
    let clashes = translator.model().hosts.values().flat_map(|host| clashes(host, &name, live));
    let reasons: Vec<String> = errors.into_iter().map(text).chain(clashes).collect();
    let warnings = rest.into_iter().filter(|it| it.severity == Severity::Warning).map(text);
    let shown = reasons.iter().take(MAX_REASONS).cloned().collect::<Vec<_>>().join("; ");
    let more = reasons.len().saturating_sub(MAX_REASONS);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Verdict {
        refusal: (!reasons.is_empty()).then(|| format!("{shown}{more}")),
        warnings: warnings.take(MAX_WARNINGS).map(shorten).collect(),
    }
}

fn is_about(origin: &Origin, name: &ObjectName) -> bool {
    origin.kind == Kind::Ingress.as_str() && origin.namespace == name.namespace && origin.name == name.name
}

/// Paths that another object serves already.
fn clashes(host: &VirtualHost, name: &ObjectName, live: &Snapshot) -> Vec<String> {
    let Some(routes) = live.router.host(&host.pattern) else { return Vec::new() };
    let mut found = Vec::new();
    for route in host.routes.iter().filter(|route| is_about(&route.origin, name)) {
        let path = &route.matcher.path;
        let same = routes.entries().iter().find(|entry| {
            entry.conditions().is_empty()
                && entry.kind() == path.kind()
                && closed(entry.path(), path) == closed(path.as_str(), path)
                && !is_about(&entry.route().origin, name)
        });
        if let Some(entry) = same {
            let (kind, text, other) = (path.kind(), path.as_str(), entry.route().origin.object());
            found.push(format!("{kind} path `{text}` of host `{}` is already served by {other}", host.pattern));
        }
    }
    found
}

/// Prefixes mean the same with and without a slash at the end.
fn closed<'p>(path: &'p str, kind: &PathMatch) -> &'p str {
    if matches!(kind, PathMatch::Prefix(_)) { path.trim_end_matches('/') } else { path }
}

fn text(diagnostic: &Diagnostic) -> String {
    let field = &diagnostic.origin.field;
    let place = if field.is_empty() { String::new() } else { format!("{field}: ") };
    let hint = diagnostic.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{place}{}{hint}", diagnostic.message)
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(MAX_WARNING) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

// === impl Verdict ===

impl Verdict {
    /// The AdmissionReview that is sent back.
    pub fn to_json(&self, uid: &str) -> Value {
        let status = self
            .refusal
            .as_ref()
            .map(|refusal| json!({ "code": 422, "reason": "Invalid", "message": format!("tidegate: {refusal}") }));
        let is_allowed = status.is_none();
        let response = json!({ "uid": uid, "allowed": is_allowed, "status": status, "warnings": self.warnings });
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
    }
}
