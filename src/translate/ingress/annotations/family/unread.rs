//! Annotations of ingress-nginx that are known and not supported: none is overlooked, under either prefix.
//!
//! Those that decide who may pass, or have something verified, close the routes rather than serve them to everybody;
//! those that soften something, or protect against load, are told. Source: ingress-nginx, "Annotations".

use super::super::row::{Annotation, Support};
use super::super::said::Said;
use super::super::security::Security;
use crate::translate::asked::Asked;

/// Says that they are off.
const OFF: &[&str] = &["false", "f", "0", "off", "no"];
/// Verifies nothing, or lets everybody pass who does not verify.
const UNVERIFIED: &[&str] = &["off", "optional_no_ca"];

pub(crate) const TABLE: &[Annotation] = &[
    protection("auth-url", Security::Always, "asks another server about each request"),
    protection("auth-tls-secret", Security::Always, "asks clients for certificates"),
    protection("auth-tls-verify-client", Security::Unless(UNVERIFIED), "asks clients for certificates"),
    protection("auth-tls-match-cn", Security::Always, "lets pass whose certificate has that name"),
    protection("whitelist-source-range", Security::UnlessEverybody, "lets addresses pass"),
    protection("allowlist-source-range", Security::UnlessEverybody, "lets addresses pass"),
    protection("denylist-source-range", Security::Always, "refuses addresses"),
    protection("enable-global-auth", Security::Unless(OFF), "asks for the cluster's own authentication"),
    protection("enable-modsecurity", Security::Unless(OFF), "has requests looked at by a firewall"),
    protection("enable-owasp-core-rules", Security::Unless(OFF), "has requests looked at by a firewall"),
    protection("modsecurity-snippet", Security::UnlessBlank, "has requests looked at by a firewall"),
    protection("proxy-ssl-verify", Security::Unless(OFF), "has the upstream's certificate verified"),
    protection("secure-verify-ca-secret", Security::Always, "has the upstream's certificate verified"),
    protection("configuration-snippet", Security::AccessRule, "may hold rules of access"),
    protection("server-snippet", Security::AccessRule, "may hold rules of access"),
    protection("location-snippet", Security::AccessRule, "may hold rules of access"),
    protection("auth-snippet", Security::AccessRule, "may hold rules of access"),
    protection("stream-snippet", Security::AccessRule, "may hold rules of access"),
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

const fn protection(name: &'static str, security: Security, doc: &'static str) -> Annotation {
    Annotation { name, aliases: &[], grammar: "", doc, support: Support::Unread, on_service: false, security }
}

const fn softer(name: &'static str, doc: &'static str) -> Annotation {
    protection(name, Security::No, doc)
}

/// None is read anywhere, so nothing is ever said.
pub(crate) fn finish(_: Said<'_>, _: &mut Asked) {}
