//! Certificates from Secrets of type `kubernetes.io/tls`. Only presence is checked: whether certificate and key fit
//! each other is found when they are compiled.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;

use crate::diagnostic::Diagnostic;
use crate::model::{Certificate, SecretBytes};
use crate::origin::Origin;
use crate::resources::{Kind, ObjectName, ObjectRef, Resources};

const TYPE: &str = "kubernetes.io/tls";

/// Why a Secret gives no certificate.
#[derive(Debug)]
pub(super) enum Problem {
    Missing,
    Invalid(String),
}

/// Reads a certificate.
///
/// # Errors
/// The Secret is missing, has another type, or lacks a key.
pub(super) fn read(name: &ObjectName, resources: &Resources) -> Result<Arc<Certificate>, Problem> {
    let sourced = resources.secrets.get(name).ok_or(Problem::Missing)?;
    let secret = &*sourced.object;
    let type_ = secret.type_.as_deref().unwrap_or("Opaque");
    if type_ != TYPE {
        return Err(Problem::Invalid(format!("Secret `{name}` has type `{type_}`, not `{TYPE}`")));
    }
    let missing = |key: &str| Problem::Invalid(format!("Secret `{name}` has no `{key}`"));
    let chain = value(secret, "tls.crt").ok_or_else(|| missing("tls.crt"))?;
    let key = value(secret, "tls.key").ok_or_else(|| missing("tls.key"))?;
    Ok(Arc::new(Certificate {
        name: name.to_string().into(),
        origin: ObjectRef { kind: Kind::Secret, name: name.clone() }.origin(sourced.place.clone()),
        chain_pem: chain.into(),
        key_pem: SecretBytes::new(key),
    }))
}

/// What a problem means at a place that names the Secret.
pub(super) fn diagnose(problem: &Problem, name: &ObjectName, origin: &Origin) -> Diagnostic {
    match problem {
        Problem::Missing => Diagnostic::warning("SecretNotFound", origin, format!("there is no Secret `{name}`"))
            .hint("clients get the default certificate until it exists"),
        Problem::Invalid(message) => Diagnostic::error("InvalidSecret", origin, message.clone())
            .hint(format!("make a Secret of type `{TYPE}` with `tls.crt` and `tls.key`")),
    }
}

fn value<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    let text = || secret.string_data.as_ref()?.get(key).map(String::as_bytes);
    let data = || secret.data.as_ref()?.get(key).map(|bytes| bytes.0.as_slice());
    // The API server lets `stringData` win when both are given.
    text().or_else(data).filter(|bytes| !bytes.is_empty())
}
