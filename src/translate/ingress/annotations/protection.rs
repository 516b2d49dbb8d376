//! Annotations that ask for protection and are not kept: never overlooked, under either prefix.
//!
//! [`PROTECTIONS`] is the one list of them; documentation and tests read it too. Those that decide who may pass, or
//! have something verified, close the routes rather than serve them to everybody; those that soften something, or
//! protect against load, are told. Under tidegate's own prefix an unknown name that resembles one of the former closes
//! too: nobody else reads it. Source: ingress-nginx, "Annotations".

mod snippet;

use super::{ANNOTATIONS, Annotation, Annotations, Origin, PREFIX, Reading, at, name_under};
use crate::diagnostic::Diagnostic;
use crate::translate::suggest;

/// Says that they are off.
const OFF: &[&str] = &["false", "f", "0", "off", "no"];
/// Verifies nothing, or lets everybody pass who does not verify.
const UNVERIFIED: &[&str] = &["off", "optional_no_ca"];

/// Every annotation that protects something and is not supported.
pub const PROTECTIONS: &[Protection] = &[
    protection("auth-url", Asks::Always, "asks another server about each request"),
    protection("auth-tls-secret", Asks::Always, "asks clients for certificates"),
    protection("auth-tls-verify-client", Asks::Unless(UNVERIFIED), "asks clients for certificates"),
    protection("auth-tls-match-cn", Asks::Always, "lets pass whose certificate has that name"),
    protection("whitelist-source-range", Asks::UnlessEverybody, "lets addresses pass"),
    protection("allowlist-source-range", Asks::UnlessEverybody, "lets addresses pass"),
    protection("denylist-source-range", Asks::Always, "refuses addresses"),
    protection("enable-global-auth", Asks::Unless(OFF), "asks for the cluster's own authentication"),
    protection("enable-modsecurity", Asks::Unless(OFF), "has requests looked at by a firewall"),
    protection("enable-owasp-core-rules", Asks::Unless(OFF), "has requests looked at by a firewall"),
    protection("modsecurity-snippet", Asks::UnlessBlank, "has requests looked at by a firewall"),
    protection("proxy-ssl-verify", Asks::Unless(OFF), "has the upstream's certificate verified"),
    protection("secure-verify-ca-secret", Asks::Always, "has the upstream's certificate verified"),
    protection("configuration-snippet", Asks::AccessRule, "may hold rules of access"),
    protection("server-snippet", Asks::AccessRule, "may hold rules of access"),
    protection("location-snippet", Asks::AccessRule, "may hold rules of access"),
    protection("auth-snippet", Asks::AccessRule, "may hold rules of access"),
    protection("stream-snippet", Asks::AccessRule, "may hold rules of access"),
    softer("satisfy", "lets one of several rules suffice; all must hold"),
    softer("auth-method", "a part of `auth-url`"),
    softer("auth-signin", "a part of `auth-url`"),
    softer("auth-signin-redirect-param", "a part of `auth-url`"),
    softer("auth-response-headers", "a part of `auth-url`"),
    softer("auth-proxy-set-headers", "a part of `auth-url`"),
    softer("auth-request-redirect", "a part of `auth-url`"),
    softer("auth-cache-key", "a part of `auth-url`"),
    softer("auth-cache-duration", "a part of `auth-url`"),
    softer("auth-always-set-cookie", "a part of `auth-url`"),
    softer("auth-keepalive", "a part of `auth-url`"),
    softer("auth-keepalive-share-vars", "a part of `auth-url`"),
    softer("auth-keepalive-requests", "a part of `auth-url`"),
    softer("auth-keepalive-timeout", "a part of `auth-url`"),
    softer("auth-tls-verify-depth", "a part of `auth-tls-secret`"),
    softer("auth-tls-error-page", "a part of `auth-tls-secret`"),
    softer("auth-tls-pass-certificate-to-upstream", "a part of `auth-tls-secret`"),
    softer("proxy-ssl-secret", "shows the upstream a certificate, which refuses whoever has none"),
    softer("proxy-ssl-verify-depth", "a part of `proxy-ssl-verify`"),
    softer("proxy-ssl-name", "a part of `proxy-ssl-verify`"),
    softer("proxy-ssl-server-name", "names the server to the upstream"),
    softer("proxy-ssl-protocols", "versions of TLS; 1.2 and 1.3 are spoken"),
    softer("proxy-ssl-ciphers", "ciphers; those of rustls are spoken"),
    softer("modsecurity-transaction-id", "a part of `enable-modsecurity`"),
    softer("limit-rps", "protects against load"),
    softer("limit-rpm", "protects against load"),
    softer("limit-connections", "protects against load"),
    softer("limit-burst-multiplier", "protects against load"),
    softer("limit-rate", "protects against load"),
    softer("limit-rate-after", "protects against load"),
    softer("limit-whitelist", "leaves addresses out of limits"),
    softer("limit-allowlist", "leaves addresses out of limits"),
    softer("global-rate-limit", "protects against load"),
    softer("global-rate-limit-window", "protects against load"),
    softer("global-rate-limit-key", "protects against load"),
    softer("global-rate-limit-ignored-cidrs", "leaves addresses out of limits"),
];

/// Words of unknown names that ask for protection, however the rest of the name is spelled.
const WORDS: &[&str] = &[
    "acl",
    "allowlist",
    "auth",
    "authentication",
    "authn",
    "authorization",
    "authz",
    "blacklist",
    "blocklist",
    "deny",
    "denylist",
    "jwt",
    "modsecurity",
    "mtls",
    "oauth",
    "oauth2",
    "oidc",
    "password",
    "plugin",
    "plugins",
    "verify",
    "waf",
    "whitelist",
];

/// Unknown names that are looked at one by one; with more, the routes are closed.
const MAX_UNKNOWN: usize = 64;

/// An annotation that protects something and is not supported.
#[derive(Debug)]
pub struct Protection {
    /// Name after the prefix.
    pub name: &'static str,
    /// When it closes the routes.
    pub asks: Asks,
    /// What it is for.
    pub doc: &'static str,
}

/// When an annotation that is not kept closes the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Whatever its value.
    Always,
    /// Unless its value is one of these.
    Unless(&'static [&'static str]),
    /// Unless it lets everybody pass: cert-manager opens the solvers of its challenges by that.
    UnlessEverybody,
    /// Unless there is nothing in it.
    UnlessBlank,
    /// When the nginx configuration in it has a rule of access.
    AccessRule,
    /// Never: the routes are served without it, and that is told.
    Never,
}

/// A prefix under which annotations of one kind of object are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub prefix: &'a str,
    /// Which annotations are read there.
    pub is_read: fn(&Annotation) -> bool,
    /// What is closed: `routes of this Ingress`.
    pub what: &'static str,
}

/// What an annotation that is not read comes to.
enum Verdict {
    /// It asks for nothing.
    Nothing,
    /// It is told.
    Softer,
    Closes,
    /// It closes, and is one of tidegate's own that is read elsewhere.
    Misplaced,
    /// Nobody knows it, and it resembles the name of one that closes.
    Resembles(Option<&'static str>),
    Unknown,
    /// There are more such names than are looked at.
    TooMany,
}

/// Reports the annotations under a prefix that are not read, and closes the routes where they were to be protected.
pub(crate) fn check(annotations: &Annotations, scope: Scope<'_>, object: &Origin, reading: &mut Reading) {
    let mut unknown = 0;
    for (key, value) in annotations.iter() {
        let Some(name) = name_under(scope.prefix, key).filter(|name| !scope.reads(name)) else { continue };
        let origin = at(object, key);
        match scope.verdict(name, value, &mut unknown) {
            Verdict::Nothing => {}
            Verdict::Softer => reading.diagnostics.push(unsupported(name, &origin, "the routes are served without it")),
            Verdict::Closes => {
                reading.is_broken = true;
                reading.diagnostics.push(closing(name, &origin, scope.what));
            }
            Verdict::Misplaced => {
                reading.is_broken = true;
                reading.diagnostics.push(misplaced(name, &origin, scope.what));
            }
            Verdict::Resembles(near) => {
                reading.is_broken = true;
                reading.diagnostics.push(resembling(key, near, &origin, scope.what));
            }
            Verdict::Unknown => reading.diagnostics.push(scope.unknown(key, name, &origin)),
            Verdict::TooMany if unknown == MAX_UNKNOWN + 1 => {
                reading.is_broken = true;
                reading.diagnostics.push(resembling(key, None, &origin, scope.what));
            }
            Verdict::TooMany => {}
        }
    }
}

/// Whether it is one of [`PROTECTIONS`].
pub(crate) fn is_listed(name: &str) -> bool {
    find(name).is_some()
}

// === impl Asks ===

impl Asks {
    /// Whether a value asks for protection.
    pub fn closes(self, value: &str) -> bool {
        let value = value.trim();
        match self {
            Self::Always => true,
            Self::Unless(none) => !none.iter().any(|off| value.eq_ignore_ascii_case(off)),
            Self::UnlessEverybody => !allows_everybody(value),
            Self::UnlessBlank => !value.is_empty(),
            Self::AccessRule => snippet::has_access_rule(value),
            Self::Never => false,
        }
    }
}

// === impl Scope ===

impl Scope<'_> {
    fn is_own(&self) -> bool {
        self.prefix == PREFIX
    }

    fn read(&self) -> impl Iterator<Item = &'static str> {
        let read = ANNOTATIONS.iter().filter(|each| (self.is_read)(each));
        let is_own = self.is_own();
        read.flat_map(move |each| {
            // Other names are tidegate's own.
            let aliases = each.aliases.iter().copied().filter(move |_| is_own);
            std::iter::once(each.name).chain(aliases)
        })
    }

    fn reads(&self, name: &str) -> bool {
        self.read().any(|each| each.eq_ignore_ascii_case(name))
    }

    fn verdict(&self, name: &str, value: &str, unknown: &mut usize) -> Verdict {
        if let Some(listed) = find(name) {
            return match listed.asks {
                Asks::Never => Verdict::Softer,
                asks if asks.closes(value) => Verdict::Closes,
                Asks::AccessRule => Verdict::Softer,
                _ => Verdict::Nothing,
            };
        }
        if ANNOTATIONS.iter().any(|each| each.protects && each.name.eq_ignore_ascii_case(name)) {
            return Verdict::Misplaced;
        }
        // ingress-nginx does not read it either, or it protects nothing: told as one of many.
        if !self.is_own() {
            return Verdict::Nothing;
        }
        *unknown += 1;
        if *unknown > MAX_UNKNOWN {
            return Verdict::TooMany;
        }
        match resembles(name) {
            Some(Some(near)) if find(near).is_some_and(|near| !near.asks.closes(value)) => Verdict::Unknown,
            Some(near) => Verdict::Resembles(near),
            None => Verdict::Unknown,
        }
    }

    fn unknown(&self, key: &str, name: &str, origin: &Origin) -> Diagnostic {
        let message = format!("`{key}` is no annotation of this kind of object");
        let diagnostic = Diagnostic::warning("UnknownAnnotation", origin, message);
        let near = suggest::nearest(&name.to_ascii_lowercase(), self.read());
        Diagnostic { hint: near.map(did_you_mean), ..diagnostic }
    }
}

// === private functions ===

const fn protection(name: &'static str, asks: Asks, doc: &'static str) -> Protection {
    Protection { name, asks, doc }
}

const fn softer(name: &'static str, doc: &'static str) -> Protection {
    protection(name, Asks::Never, doc)
}

fn find(name: &str) -> Option<&'static Protection> {
    PROTECTIONS.iter().find(|each| each.name.eq_ignore_ascii_case(name))
}

/// Whether an unknown name resembles one that closes, and which.
fn resembles(name: &str) -> Option<Option<&'static str>> {
    let name = name.to_ascii_lowercase();
    let near = suggest::nearest_with_distance(&name, closing_names());
    let harmless = suggest::nearest_with_distance(&name, harmless_names());
    if let Some((distance, near)) = near
        && harmless.is_none_or(|(other, _)| distance <= other)
    {
        return Some(Some(near));
    }
    // More than half of it, or more than it.
    let is_beginning =
        |each: &&str| name.starts_with(each) || (each.starts_with(&*name) && name.len() * 2 > each.len());
    // What is nearer to a harmless name is that one, misspelt.
    if harmless.is_none()
        && let Some(near) = closing_names().find(is_beginning)
    {
        return Some(Some(near));
    }
    let mut words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.any(|word| WORDS.contains(&word)).then_some(None)
}

fn closing_names() -> impl Iterator<Item = &'static str> {
    let ours = ANNOTATIONS.iter().filter(|each| each.protects).map(|each| each.name);
    ours.chain(PROTECTIONS.iter().filter(|each| each.asks != Asks::Never).map(|each| each.name))
}

fn harmless_names() -> impl Iterator<Item = &'static str> {
    let ours = ANNOTATIONS.iter().filter(|each| !each.protects);
    let ours = ours.flat_map(|each| std::iter::once(each.name).chain(each.aliases.iter().copied()));
    ours.chain(PROTECTIONS.iter().filter(|each| each.asks == Asks::Never).map(|each| each.name))
}

fn allows_everybody(ranges: &str) -> bool {
    ["0.0.0.0/0", "::/0"].iter().all(|all| ranges.split(',').any(|range| range.trim() == *all))
}

// === findings ===

fn unsupported(name: &str, origin: &Origin, rest: &str) -> Diagnostic {
    Diagnostic::warning("UnsupportedSecurityAnnotation", origin, format!("`{name}` is not supported; {rest}"))
}

fn closing(name: &str, origin: &Origin, what: &str) -> Diagnostic {
    let message = format!("`{name}` is not supported, so the {what} are closed (503)");
    Diagnostic::error("UnsupportedSecurityAnnotation", origin, message)
        .hint("use a plugin (`tidegate.io/plugins`) that does the same, and remove the annotation")
}

fn misplaced(name: &str, origin: &Origin, what: &str) -> Diagnostic {
    let message = format!("`{name}` is not read here, so the {what} are closed (503)");
    let hint = format!("write `{PREFIX}/{}` on the Ingress", name.to_ascii_lowercase());
    Diagnostic::error("UnsupportedSecurityAnnotation", origin, message).hint(hint)
}

fn resembling(key: &str, near: Option<&str>, origin: &Origin, what: &str) -> Diagnostic {
    let message = format!("`{key}` is not known, and may ask for protection, so the {what} are closed (503)");
    let hint = near.map_or_else(|| "remove it, or spell it as it is documented".to_owned(), did_you_mean);
    Diagnostic::error("UnknownAnnotation", origin, message).hint(hint)
}

fn did_you_mean(near: &str) -> String {
    format!("did you mean `{PREFIX}/{near}`?")
}

#[cfg(test)]
mod tests;
