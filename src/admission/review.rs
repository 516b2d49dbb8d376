//! The verdict on one Ingress: refused is what would not be served as it is written; the rest is said as warnings.
//!
//! What is only missing (a Service, a Secret) is no fault: objects may be written in any order.

mod clash;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use memchr::memmem;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::code::Code;
use crate::diagnostic::{Diagnostic, Severity};
use crate::origin::Origin;
use crate::resources::conf::Conf;
use crate::resources::{Event, Kind, Object, ObjectName, Resources, Sourced};
use crate::snapshot::Snapshot;
use crate::translate::{Translation, translate};
use clash::Clash;

/// Translation options and classes that every Ingress is reviewed with.
#[derive(Clone, Debug, Default)]
pub struct Base {
    classes: Vec<Object>,
    conf: Option<Object>,
}

/// `request` of an AdmissionReview, as far as it is read.
#[derive(Clone, Debug)]
pub struct Request {
    /// To be given back.
    pub uid: String,
    /// The Ingress that is about to be stored; `None`: it is something else that happens.
    ingress: Option<Written>,
}

/// An Ingress that is about to be stored.
#[derive(Clone, Debug)]
enum Written {
    /// More than is judged, as its text alone tells.
    Large,
    Read {
        /// As it is to be, or why it cannot be read.
        object: Result<Object, String>,
        /// As it was.
        old: Option<Object>,
    },
}

/// An AdmissionReview, with the parts that are read.
#[derive(Deserialize)]
struct Envelope<T> {
    request: T,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    uid: String,
    operation: String,
    kind: HeadKind,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HeadKind {
    kind: String,
}

#[derive(Deserialize)]
struct New {
    #[serde(deserialize_with = "Object::read_ingress")]
    object: Object,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Old {
    #[serde(deserialize_with = "Object::read_ingress")]
    old_object: Object,
}

/// The result of a review: allowed or not, with messages and warnings.
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

/// Hosts and paths of an Ingress that are judged. Whoever may write one, or reaches the webhook, chooses how many there
/// are, and each takes some microseconds to translate; reviews that come after have to wait.
const MAX_JUDGED: usize = 2_500;

/// Findings that other objects mend, or will.
const OF_OTHERS: [Code; 6] = [
    Code::ServiceNotFound,
    Code::PortNotFound,
    Code::SecretNotFound,
    Code::NoEndpoints,
    Code::TlsHostNotServed,
    Code::TlsHostOfOthers,
];

/// Reviews a request.
pub fn review(request: &Request, base: &Base, live: &Snapshot) -> Verdict {
    let (object, old) = match &request.ingress {
        None => return Verdict::default(),
        Some(Written::Large) => return Verdict::not_reviewed(),
        Some(Written::Read { object, old }) => (object, old),
    };
    let object = match object {
        Ok(object) => object.clone(),
        Err(error) => return Verdict { refusal: Some(format!("it cannot be read: {error}")), warnings: Vec::new() },
    };
    // Finalizers, labels and status are no business of ours, and what stands there may be older than this webhook.
    if old.as_ref() == Some(&object) {
        return Verdict::default();
    }
    if size(&object) > MAX_JUDGED {
        return Verdict::not_reviewed();
    }
    judge(object, old.clone().filter(|old| size(old) <= MAX_JUDGED), base, live)
}

/// Hosts and paths of an Ingress.
fn size(object: &Object) -> usize {
    let Object::Ingress(ingress) = object else { return 0 };
    let rules = ingress.object.rules.iter().map(|rule| 1 + rule.paths.len());
    rules.chain(ingress.object.tls.iter().map(|tls| tls.hosts.len())).sum()
}

/// Rules with a host and paths in the text of a review, at least: reading them costs more than to count their keys. In a
/// string, such as an annotation with an object in it, a quote has a backslash before it.
fn rules_and_paths(body: &[u8]) -> usize {
    let keys = [r#""backend":"#, r#""host":"#];
    keys.into_iter().map(|key| memmem::find_iter(body, key).count()).sum()
}

fn judge(object: Object, old: Option<Object>, base: &Base, live: &Snapshot) -> Verdict {
    let name = object.name();
    let translation = base.translate(object);
    let found = translation.diagnostics.iter();
    let ours = found.filter(|it| is_about(&it.origin, &name) && !OF_OTHERS.contains(&it.code));
    let (errors, rest): (Vec<&Diagnostic>, Vec<&Diagnostic>) = ours.partition(|it| it.severity == Severity::Error);
    let clashes = clash::find(&translation, &name, live);
    // What the object had lost before it was changed is no reason against the change.
    let before = old.filter(|_| !clashes.is_empty()).map(|old| base.translate(old).model);
    let is_known = |clash: &Clash<'_>| before.as_ref().is_some_and(|before| clash.is_of(before));
    let (known, new): (Vec<Clash<'_>>, Vec<Clash<'_>>) =
        clashes.into_iter().partition(|clash| clash.is_harmless() || is_known(clash));
    let reasons: Vec<String> = errors.into_iter().map(text).chain(new.iter().map(ToString::to_string)).collect();
    let warnings = rest.into_iter().filter(|it| it.severity == Severity::Warning).map(text);
    let warnings = known.iter().map(ToString::to_string).chain(warnings);
    Verdict { refusal: refusal(&reasons), warnings: warnings.take(MAX_WARNINGS).map(shorten).collect() }
}

fn refusal(reasons: &[String]) -> Option<String> {
    let shown = reasons.iter().take(MAX_REASONS).cloned().collect::<Vec<_>>().join("; ");
    match reasons.len().saturating_sub(MAX_REASONS) {
        0 if reasons.is_empty() => None,
        0 => Some(shown),
        more => Some(format!("{shown}; and {more} more")),
    }
}

fn is_about(origin: &Origin, name: &ObjectName) -> bool {
    origin.kind == Kind::Ingress.as_str() && origin.namespace == name.namespace && origin.name == name.name
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

// === impl Request ===

impl Request {
    /// Reads the body of a review. It is passed over once for each part that is wanted of it, which is cheaper than
    /// to keep what is not: nothing but the Ingresses themselves is built of it.
    ///
    /// # Errors
    /// It is no AdmissionReview. An object in it that cannot be read is for [`review`].
    pub fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        let Envelope { request: head } = serde_json::from_slice::<Envelope<Head>>(body)?;
        let is_written = head.kind.kind == "Ingress" && matches!(&*head.operation, "CREATE" | "UPDATE");
        let ingress = is_written.then(|| {
            // The object as it is and as it was: one of them is more than is judged.
            if rules_and_paths(body) > 2 * MAX_JUDGED {
                return Written::Large;
            }
            let new = serde_json::from_slice::<Envelope<New>>(body);
            // Not there, or of a form that nobody reads any more.
            let old = serde_json::from_slice::<Envelope<Old>>(body).ok();
            Written::Read {
                object: new.map(|it| it.request.object).map_err(|error| error.to_string()),
                old: old.map(|it| it.request.old_object),
            }
        });
        Ok(Self { uid: head.uid, ingress })
    }
}

// === impl Base ===

impl Base {
    /// Takes the classes and the conf out of all there is. The conf's own routes and upstreams stay out: what they
    /// take is asked of what is live, and translating them for each review would cost what they cost.
    pub fn new(resources: &Resources) -> Self {
        let classes = resources.ingress_classes.values().cloned().map(Object::IngressClass).collect();
        let conf = resources.conf.as_ref().map(|conf| {
            let without = Conf { routes: Vec::new(), upstreams: BTreeMap::new(), ..(*conf.object).clone() };
            Object::Conf(Sourced { object: Arc::new(without), origin: Arc::clone(&conf.origin) })
        });
        Self { classes, conf }
    }

    /// Translates an Ingress as if it were the only one.
    fn translate(&self, object: Object) -> Translation {
        let mut resources = Resources::default();
        let objects = self.classes.iter().chain(&self.conf).cloned().chain([object]);
        resources.apply(objects.map(Event::Apply));
        translate(&resources)
    }
}

// === impl Verdict ===

impl Verdict {
    fn not_reviewed() -> Self {
        let warning = format!("it was not reviewed: it has more than {MAX_JUDGED} hosts and paths");
        Self { refusal: None, warnings: vec![warning] }
    }

    /// The AdmissionReview that is sent back.
    ///
    /// Whatever the reason is, it is 403: 409 makes clients try again, and after 409 and 422 alike
    /// `kubectl apply --force` deletes the object that is served.
    pub fn to_json(&self, uid: &str) -> Value {
        let status = self
            .refusal
            .as_ref()
            .map(|refusal| json!({ "code": 403, "reason": "Forbidden", "message": format!("tidegate: {refusal}") }));
        let is_allowed = status.is_none();
        let response = json!({ "uid": uid, "allowed": is_allowed, "status": status, "warnings": self.warnings });
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
    }
}
