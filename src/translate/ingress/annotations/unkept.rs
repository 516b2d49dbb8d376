//! Annotations that are not read where they stand, and may ask for protection: never overlooked.
//!
//! Where one asks for it, the routes are closed. Under tidegate's own prefix an unknown name that resembles one that
//! would closes too: nobody else reads it.

use super::row::{Annotation, Dialect, Holder, PREFIX, Support};
use super::security::Security;
use super::table::ANNOTATIONS;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::reason::Reason;
use crate::suggest;
use crate::translate::asked::Asked;
use crate::translate::ingress::field;

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
pub(crate) const MAX_UNKNOWN: usize = 64;

/// Judges the annotations of one object that are not read there.
#[derive(Debug)]
pub(crate) struct Unkept<'a> {
    holder: Holder,
    /// What is under the foreign prefix, and means nothing here.
    foreign: Vec<&'a str>,
    /// How many names under the own prefix are unknown.
    unknown: usize,
}

/// An annotation that is not read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stray<'a> {
    pub key: &'a str,
    /// What of the key follows the prefix.
    pub name: &'a str,
    pub value: &'a str,
    pub dialect: Dialect,
}

// === impl Unkept ===

impl<'a> Unkept<'a> {
    pub(crate) fn new(holder: Holder) -> Self {
        Self { holder, foreign: Vec::new(), unknown: 0 }
    }

    /// Judges one; `row`: what the table has of its name.
    pub(crate) fn judge(&mut self, stray: Stray<'a>, row: Option<&Annotation>, object: &Origin, asked: &mut Asked) {
        let is_supported = row.is_none_or(|row| row.support != Support::Unread);
        if stray.dialect == Dialect::Nginx && is_supported {
            self.foreign.push(stray.name);
        }
        let origin = || object.at(field::of_annotation(stray.key));
        match row {
            Some(row) if row.security.asks(stray.value) => {
                let finding = if is_supported { misplaced } else { closing };
                close(asked, finding(stray.name, &origin(), self.holder.what()));
            }
            Some(row) if !is_supported => match row.security {
                Security::No | Security::AccessRule => asked.diagnostics.push(softer(stray.name, &origin())),
                _ => {}
            },
            _ if stray.dialect == Dialect::Own => self.judge_unknown(stray, &origin(), asked),
            // ingress-nginx does not read it either, or it protects nothing: told as one of many.
            _ => {}
        }
    }

    fn judge_unknown(&mut self, stray: Stray<'_>, origin: &Origin, asked: &mut Asked) {
        self.unknown += 1;
        if self.unknown > MAX_UNKNOWN {
            if self.unknown == MAX_UNKNOWN + 1 {
                close(asked, resembling(stray.key, None, origin, self.holder.what()));
            }
            return;
        }
        let asks = |near: &str| ANNOTATIONS.iter().any(|row| row.name == near && row.security.asks(stray.value));
        match resembles(stray.name) {
            Some(near) if near.is_none_or(asks) => {
                close(asked, resembling(stray.key, near, origin, self.holder.what()));
            }
            _ => asked.diagnostics.push(self.unknown(stray, origin)),
        }
    }

    /// Says at the end what is to be said of many at once.
    pub(crate) fn finish(self, foreign: &str, object: &Origin, asked: &mut Asked) {
        if !self.foreign.is_empty() {
            let message = format!("annotations under `{foreign}/` without effect: {}", self.foreign.join(", "));
            let diagnostic = Diagnostic::info(Code::UnsupportedAnnotation, &object.at("metadata.annotations"), message);
            asked.diagnostics.push(diagnostic);
        }
    }

    fn unknown(&self, stray: Stray<'_>, origin: &Origin) -> Diagnostic {
        let message = format!("`{}` is no annotation of this kind of object", stray.key);
        let diagnostic = Diagnostic::warning(Code::UnknownAnnotation, origin, message);
        let rows = ANNOTATIONS.iter().filter(|row| self.holder.reads(row, Dialect::Own));
        let names = rows.flat_map(|row| std::iter::once(row.name).chain(row.aliases.iter().copied()));
        let near = suggest::nearest(&stray.name.to_ascii_lowercase(), names);
        Diagnostic { hint: near.map(did_you_mean), ..diagnostic }
    }
}

// === private functions ===

fn close(asked: &mut Asked, finding: Diagnostic) {
    asked.close(Reason::BrokenPolicy);
    asked.diagnostics.push(finding);
}

/// Whether an unknown name resembles one that closes, and which, if one can be told.
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
    ANNOTATIONS.iter().filter(|row| row.security != Security::No).map(|row| row.name)
}

fn harmless_names() -> impl Iterator<Item = &'static str> {
    let rows = ANNOTATIONS.iter().filter(|row| row.security == Security::No);
    rows.flat_map(|row| std::iter::once(row.name).chain(row.aliases.iter().copied()))
}

// === findings ===

fn softer(name: &str, origin: &Origin) -> Diagnostic {
    let message = format!("`{name}` is not supported; the routes are served without it");
    Diagnostic::warning(Code::UnsupportedSecurityAnnotation, origin, message)
}

fn closing(name: &str, origin: &Origin, what: &str) -> Diagnostic {
    let message = format!("`{name}` is not supported, so the {what} are closed (503)");
    Diagnostic::error(Code::UnsupportedSecurityAnnotation, origin, message)
        .hint("use a plugin (`tidegate.io/plugins`) that does the same, and remove the annotation")
}

fn misplaced(name: &str, origin: &Origin, what: &str) -> Diagnostic {
    let message = format!("`{name}` is not read here, so the {what} are closed (503)");
    let hint = format!("write `{PREFIX}/{}` on the Ingress", name.to_ascii_lowercase());
    Diagnostic::error(Code::UnsupportedSecurityAnnotation, origin, message).hint(hint)
}

fn resembling(key: &str, near: Option<&str>, origin: &Origin, what: &str) -> Diagnostic {
    let message = format!("`{key}` is unknown and may ask for protection, so the {what} are closed (503)");
    let hint = near.map_or_else(|| "remove it, or spell it as it is documented".to_owned(), did_you_mean);
    Diagnostic::error(Code::UnknownAnnotation, origin, message).hint(hint)
}

fn did_you_mean(near: &str) -> String {
    format!("did you mean `{PREFIX}/{near}`?")
}
