//! One row of the table of annotations: what documentation, checks and translation know of it.

use super::security::Security;

/// Prefix of tidegate's own annotations, without the slash.
pub(crate) const PREFIX: &str = "tidegate.io";

/// One annotation.
#[derive(Clone, Copy, Debug)]
pub struct Annotation {
    /// Name after the prefix, in lower case.
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
    /// Which of its values decide who may pass, or have something verified: where one cannot be kept, the routes are
    /// closed.
    pub security: Security,
}

/// Under which prefixes an annotation is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// `tidegate.io/` only.
    Own,
    /// The foreign prefix too.
    Both,
    /// None: it is known, and not supported.
    Unread,
}

/// Prefix and grammar of an annotation: tidegate's or ingress-nginx's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dialect {
    Own,
    Nginx,
}

/// Which kind of object has annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Ingress,
    Service,
}

// === impl Holder ===

impl Holder {
    /// Whether an annotation is read there.
    pub(crate) fn reads(self, row: &Annotation, dialect: Dialect) -> bool {
        match (self, dialect) {
            (Self::Ingress, Dialect::Own) => row.support != Support::Unread,
            (Self::Ingress, Dialect::Nginx) => row.support == Support::Both,
            (Self::Service, Dialect::Own) => row.on_service,
            // No foreign annotation is read on Services.
            (Self::Service, Dialect::Nginx) => false,
        }
    }

    /// What is closed where protection cannot be kept.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Ingress => "routes of this Ingress",
            Self::Service => "routes to this Service",
        }
    }
}

// === keys ===

/// What of a key follows a prefix and its slash. Prefixes are told apart without case, as the API server takes any.
pub(crate) fn name_under<'a>(prefix: &str, key: &'a str) -> Option<&'a str> {
    let (before, name) = key.split_at_checked(prefix.len())?;
    before.eq_ignore_ascii_case(prefix).then(|| name.strip_prefix('/')).flatten()
}
