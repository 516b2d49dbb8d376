//! Redirects from plain HTTP to HTTPS.

use super::{Annotation, Support, parse_bool};

pub(crate) const SSL_REDIRECT: Annotation = Annotation {
    name: "ssl-redirect",
    aliases: &[],
    grammar: "`true` or `false`",
    doc: "Whether plain HTTP is answered 308 to https on hosts with a `tls` entry. Default: `ingress.sslRedirect`.",
    support: Support::Both,
    on_service: false,
    protects: false,
    read: |value, reading| {
        reading.ssl_redirect = Some(parse_bool(value.text)?);
        Ok(())
    },
};

pub(crate) const FORCE_SSL_REDIRECT: Annotation = Annotation {
    name: "force-ssl-redirect",
    aliases: &[],
    grammar: "`true` or `false`",
    doc: "Whether plain HTTP is answered 308 to https on hosts without a `tls` entry too. Default false.",
    support: Support::Both,
    on_service: false,
    protects: false,
    read: |value, reading| {
        reading.force_ssl_redirect = Some(parse_bool(value.text)?);
        Ok(())
    },
};
