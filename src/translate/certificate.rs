//! Certificates from Secrets of type `kubernetes.io/tls`. Only presence is checked: whether certificate and key fit
//! each other is found when they are compiled.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::model::{Certificate, SecretBytes};
use crate::origin::Origin;
use crate::resources::object::{Secret, SharedBytes};
use crate::resources::{ObjectName, Resources};

const TYPE: &str = "kubernetes.io/tls";

/// Why a Secret gives no certificate that can be used.
#[derive(Debug)]
pub(super) enum Problem {
    Missing,
    Invalid(String),
}

/// Reads a certificate. One that is of another type or lacks a part is invalid, but keeps its place: what it was
/// before may still be presented. Only a Secret that is missing gives none.
pub(super) fn read(name: &ObjectName, resources: &Resources) -> (Option<Arc<Certificate>>, Option<Problem>) {
    let Some(sourced) = resources.secrets.get(name) else { return (None, Some(Problem::Missing)) };
    let (chain, key, problem) = match parts(&sourced.object) {
        Ok((chain, key)) => (Arc::clone(chain), Arc::clone(key), None),
        Err(why) => (Arc::default(), Arc::default(), Some(Problem::Invalid(format!("Secret `{name}` {why}")))),
    };
    let certificate = Certificate {
        name: name.to_string().into(),
        origin: sourced.origin(),
        chain_pem: chain,
        key_pem: SecretBytes::new(key),
        is_invalid: problem.is_some(),
    };
    (Some(Arc::new(certificate)), problem)
}

/// What a problem means at a place that names the Secret.
pub(super) fn diagnose(problem: &Problem, name: &ObjectName, origin: &Origin) -> Diagnostic {
    match problem {
        Problem::Missing => Diagnostic::warning("SecretNotFound", origin, format!("there is no Secret `{name}`"))
            .hint("another certificate of the host, else the default one, is presented until it exists"),
        Problem::Invalid(message) => Diagnostic::error("InvalidSecret", origin, message.clone()).hint(format!(
            "make it one of type `{TYPE}` with `tls.crt` and `tls.key`; its last good certificate, else another one \
             of the host, else the default one, is presented until then"
        )),
    }
}

/// Chain and key, or why they are not there.
fn parts(secret: &Secret) -> Result<(&SharedBytes, &SharedBytes), String> {
    let type_ = secret.kind.as_deref().unwrap_or("Opaque");
    if type_ != TYPE {
        return Err(format!("has type `{type_}`, not `{TYPE}`"));
    }
    let part = |key| secret.get(key).filter(|value| !value.is_empty()).ok_or_else(|| format!("has no `{key}`"));
    Ok((part("tls.crt")?, part("tls.key")?))
}
