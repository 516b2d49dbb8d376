//! Annotations of ingress-nginx that are known and not supported: none is overlooked, under either prefix.
//!
//! Those that decide who may pass, or have something verified, close the routes rather than serve them to everybody;
//! those that soften something, or protect against load, are told. Source: ingress-nginx, "Annotations".

use super::super::row::{Annotation, Support};
use super::super::security::Security;
use super::super::value::FamilyAnnotations;
use crate::translate::asked::Asked;

/// Says that they are off.
const OFF: &[&str] = &["false", "f", "0", "off", "no"];
/// Verifies nothing, or lets everybody pass who does not verify.
const UNVERIFIED: &[&str] = &["off", "optional_no_ca"];

pub(crate) const TABLE: &[Annotation] = &[
    protection("auth-url", Security::Always, "external authentication: asks another server about each request"),
    protection("auth-tls-secret", Security::Always, "requires client certificates (mTLS)"),
    protection("auth-tls-verify-client", Security::Unless(UNVERIFIED), "requires client certificates (mTLS)"),
    protection("auth-tls-match-cn", Security::Always, "allows client certificates by common name"),
    protection("whitelist-source-range", Security::UnlessEverybody, "allows client addresses"),
    protection("allowlist-source-range", Security::UnlessEverybody, "allows client addresses"),
    protection("denylist-source-range", Security::Always, "denies client addresses"),
    protection("enable-global-auth", Security::Unless(OFF), "global external authentication"),
    protection("enable-modsecurity", Security::Unless(OFF), "web application firewall"),
    protection("enable-owasp-core-rules", Security::Unless(OFF), "web application firewall"),
    protection("modsecurity-snippet", Security::UnlessBlank, "web application firewall"),
    protection("proxy-ssl-verify", Security::Unless(OFF), "verifies the upstream's certificate"),
    protection("secure-verify-ca-secret", Security::Always, "verifies the upstream's certificate"),
    protection("configuration-snippet", Security::AccessRule, "may have access rules"),
    protection("server-snippet", Security::AccessRule, "may have access rules"),
    protection("location-snippet", Security::AccessRule, "may have access rules"),
    protection("auth-snippet", Security::AccessRule, "may have access rules"),
    protection("stream-snippet", Security::AccessRule, "may have access rules"),
    softer("satisfy", "one of several access rules suffices; here all must hold"),
    softer("auth-method", "part of `auth-url`"),
    softer("auth-signin", "part of `auth-url`"),
    softer("auth-signin-redirect-param", "part of `auth-url`"),
    softer("auth-response-headers", "part of `auth-url`"),
    softer("auth-proxy-set-headers", "part of `auth-url`"),
    softer("auth-request-redirect", "part of `auth-url`"),
    softer("auth-cache-key", "part of `auth-url`"),
    softer("auth-cache-duration", "part of `auth-url`"),
    softer("auth-always-set-cookie", "part of `auth-url`"),
    softer("auth-keepalive", "part of `auth-url`"),
    softer("auth-keepalive-share-vars", "part of `auth-url`"),
    softer("auth-keepalive-requests", "part of `auth-url`"),
    softer("auth-keepalive-timeout", "part of `auth-url`"),
    softer("auth-tls-verify-depth", "part of `auth-tls-secret`"),
    softer("auth-tls-error-page", "part of `auth-tls-secret`"),
    softer("auth-tls-pass-certificate-to-upstream", "part of `auth-tls-secret`"),
    softer("proxy-ssl-secret", "client certificate for the upstream, which refuses requests without one"),
    softer("proxy-ssl-verify-depth", "part of `proxy-ssl-verify`"),
    softer("proxy-ssl-name", "part of `proxy-ssl-verify`"),
    softer("proxy-ssl-server-name", "server name (SNI) for the upstream"),
    softer("proxy-ssl-protocols", "TLS versions; 1.2 and 1.3 are supported"),
    softer("proxy-ssl-ciphers", "TLS ciphers; those of rustls are supported"),
    softer("modsecurity-transaction-id", "part of `enable-modsecurity`"),
    softer("limit-rps", "rate limit"),
    softer("limit-rpm", "rate limit"),
    softer("limit-connections", "connection limit"),
    softer("limit-burst-multiplier", "rate limit"),
    softer("limit-rate", "bandwidth limit of responses"),
    softer("limit-rate-after", "part of `limit-rate`"),
    softer("limit-whitelist", "exempts addresses from rate limits"),
    softer("limit-allowlist", "exempts addresses from rate limits"),
    softer("global-rate-limit", "rate limit"),
    softer("global-rate-limit-window", "rate limit"),
    softer("global-rate-limit-key", "rate limit"),
    softer("global-rate-limit-ignored-cidrs", "exempts addresses from rate limits"),
];

const fn protection(name: &'static str, security: Security, doc: &'static str) -> Annotation {
    Annotation { name, aliases: &[], grammar: "", doc, support: Support::Unread, on_service: false, security }
}

const fn softer(name: &'static str, doc: &'static str) -> Annotation {
    protection(name, Security::No, doc)
}

/// None is read anywhere, so nothing is ever said.
pub(crate) fn finish(_: FamilyAnnotations<'_>, _: &mut Asked) {}
