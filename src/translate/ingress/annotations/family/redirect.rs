//! Redirects from plain HTTP to HTTPS.

use super::super::row::{Annotation, Support};
use super::super::security::Security;
use super::super::value::{FamilyAnnotations, boolean};
use crate::translate::asked::{Asked, Redirection};

pub(crate) const TABLE: &[Annotation] = &[SSL_REDIRECT, FORCE_SSL_REDIRECT];

const SSL_REDIRECT: Annotation = Annotation {
    name: "ssl-redirect",
    aliases: &[],
    grammar: "`true` or `false`",
    doc: "Whether plain HTTP is redirected to https with 308 on hosts with a `tls` entry. Default: `ingress.sslRedirect`.",
    support: Support::Both,
    on_service: false,
    security: Security::No,
};

const FORCE_SSL_REDIRECT: Annotation = Annotation {
    name: "force-ssl-redirect",
    aliases: &[],
    grammar: "`true` or `false`",
    doc: "Whether plain HTTP is redirected to https with 308 on hosts without a `tls` entry too. Default false.",
    support: Support::Both,
    on_service: false,
    security: Security::No,
};

pub(crate) fn finish(given: FamilyAnnotations<'_>, asked: &mut Asked) {
    let with_tls = given.read(&SSL_REDIRECT, asked, |value, _| boolean(value.text));
    let always = given.read(&FORCE_SSL_REDIRECT, asked, |value, _| boolean(value.text));
    asked.redirection = match (always, with_tls) {
        (Some(true), _) => Some(Redirection::Always),
        (_, Some(true)) => Some(Redirection::WithTls),
        (_, Some(false)) => Some(Redirection::Never),
        (_, None) => None,
    };
}
