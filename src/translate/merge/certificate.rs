//! Certificates from Secrets with `tls.crt` and `tls.key`, whatever their type. Only presence is checked: whether
//! certificate and key fit each other is found when they are compiled.

use std::sync::Arc;

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{Certificate, SecretBytes};
use crate::origin::Origin;
use crate::resources::object::{Secret, SharedBytes};
use crate::resources::{ObjectName, Resources};

const TYPE: &str = "kubernetes.io/tls";

/// Problem of a Secret, for a finding where it is referred to.
#[derive(Debug)]
pub(crate) enum Problem {
    Missing,
    /// It gives no certificate that can be used.
    Invalid(String),
    /// It does, but is not of the type that is meant for it.
    OtherType(String),
}

/// Reads a certificate. One that lacks a part is invalid, but keeps its place: what it was before may still be
/// presented. Only a Secret that is missing gives none.
pub(crate) fn read(name: &ObjectName, resources: &Resources) -> (Option<Arc<Certificate>>, Option<Problem>) {
    let Some(sourced) = resources.secrets.get(name) else { return (None, Some(Problem::Missing)) };
    let (chain, key, problem) = match parts(&sourced.object) {
        Ok((chain, key)) => (Arc::clone(chain), Arc::clone(key), other_type(&sourced.object, name)),
        Err(why) => (Arc::default(), Arc::default(), Some(Problem::Invalid(format!("Secret `{name}` {why}")))),
    };
    let certificate = Certificate {
        name: name.to_string().into(),
        origin: sourced.origin(),
        chain_pem: chain,
        key_pem: SecretBytes::new(key),
        is_invalid: matches!(problem, Some(Problem::Invalid(_))),
    };
    (Some(Arc::new(certificate)), problem)
}

/// What a problem means at a place that names the Secret.
pub(crate) fn diagnose(problem: &Problem, name: &ObjectName, origin: &Origin) -> Diagnostic {
    match problem {
        Problem::Missing => Diagnostic::warning(Code::SecretNotFound, origin, format!("there is no Secret `{name}`"))
            .hint("another certificate of the host, else the default one, is presented until it exists"),
        Problem::Invalid(message) => Diagnostic::error(Code::InvalidSecret, origin, message.clone()).hint(format!(
            "make it one of type `{TYPE}` with `tls.crt` and `tls.key`; its last good certificate, else another one \
             of the host, else the default one, is presented until then"
        )),
        Problem::OtherType(message) => Diagnostic::info(Code::SecretType, origin, message.clone())
            .hint(format!("it is presented all the same; `{TYPE}` is what tools expect, and the API server checks it")),
    }
}

/// Chain and key, or why they are not there.
fn parts(secret: &Secret) -> Result<(&SharedBytes, &SharedBytes), String> {
    let of_type = || secret.kind.as_deref().filter(|kind| *kind != TYPE).map(|kind| format!(" (its type is `{kind}`)"));
    let why = |key: &str| format!("has no `{key}`{}", of_type().unwrap_or_default());
    let part = |key| secret.get(key).filter(|value| !value.is_empty()).ok_or_else(|| why(key));
    Ok((part("tls.crt")?, part("tls.key")?))
}

/// `kubectl create secret generic`, so that `ca.crt` fits in, and tools with types of their own.
fn other_type(secret: &Secret, name: &ObjectName) -> Option<Problem> {
    let kind = secret.kind.as_deref().unwrap_or("Opaque");
    (kind != TYPE).then(|| Problem::OtherType(format!("Secret `{name}` has type `{kind}`, not `{TYPE}`")))
}
