//! Why a backend cannot be used, as it is said at every place that names it.

use crate::address::Refused;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::resources::ObjectName;

/// Code of the finding that an address is no endpoint.
pub(crate) const ADDRESS_REFUSED: Code = Code::AddressRefused;
/// What to do about it.
pub(crate) const ALLOW_ADDRESSES: &str = "`defaults.allowAddresses` of the conf lets networks in";

/// Why a backend cannot be used.
#[derive(Debug)]
pub(crate) struct Problem {
    pub code: Code,
    pub message: String,
    pub hint: String,
}

// === impl Problem ===

impl Problem {
    /// What is to be said at a place that names the backend.
    pub(crate) fn diagnose(&self, origin: &Origin) -> Diagnostic {
        Diagnostic::error(self.code, origin, self.message.clone()).hint(self.hint.clone())
    }
}

/// The hint names no other Service: it would have to change whenever any Service comes or goes.
pub(crate) fn not_found(service: &ObjectName) -> Problem {
    Problem {
        code: Code::ServiceNotFound,
        message: format!("there is no Service `{service}`"),
        hint: "check name and namespace; requests are answered 503 until it exists".to_owned(),
    }
}

pub(crate) fn protection_on_service(service: &ObjectName) -> Problem {
    Problem {
        code: Code::UnsupportedSecurityAnnotation,
        message: format!("Service `{service}` has an annotation that asks for protection, which Services do not have"),
        hint: "put it on the Ingress; requests are answered 503 until then".to_owned(),
    }
}

pub(crate) fn external_name_disabled(service: &ObjectName) -> Problem {
    Problem {
        code: Code::ExternalNameDisabled,
        message: format!("Service `{service}` is of type ExternalName, which is not served"),
        hint: "set `defaults.allowExternalName: true` if authors of Services may reach any host".to_owned(),
    }
}

pub(crate) fn external_name_refused(service: &ObjectName, refused: &Refused) -> Problem {
    Problem {
        code: ADDRESS_REFUSED,
        message: format!("Service `{service}` is an ExternalName of {refused}, where no endpoint may be"),
        hint: ALLOW_ADDRESSES.to_owned(),
    }
}
