//! What the annotations of one object say to one family of the table.

use super::row::{Annotation, Dialect};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;
use crate::reason::Reason;
use crate::translate::asked::Asked;

/// An annotation that an object has, and that is read there.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// Position of its family.
    pub family: usize,
    /// Its name in the table.
    pub name: &'static str,
    pub text: &'a str,
    pub dialect: Dialect,
    pub origin: Origin,
}

/// Annotations of an object that belong to one family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FamilyAnnotations<'a>(pub &'a [Found<'a>]);

/// A value to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    pub text: &'a str,
    pub dialect: Dialect,
    pub origin: &'a Origin,
}

/// Refusal of a value, with the reason.
#[derive(Debug)]
pub(crate) struct Refusal(pub String);

// === impl FamilyAnnotations ===

impl FamilyAnnotations<'_> {
    /// Reads an annotation, if it is there. A value that is refused is told; one that was to protect something closes
    /// the routes.
    pub(crate) fn read<T>(
        &self,
        row: &Annotation,
        asked: &mut Asked,
        read: impl FnOnce(Value<'_>, &mut Asked) -> Result<T, Refusal>,
    ) -> Option<T> {
        let Found { text, dialect, origin, .. } = self.0.iter().find(|found| found.name == row.name)?;
        let text = text.trim();
        match read(Value { text, dialect: *dialect, origin }, asked) {
            Ok(value) => Some(value),
            Err(Refusal(message)) => {
                let protects = row.security.asks(text);
                if protects {
                    asked.close(Reason::BrokenPolicy);
                }
                let end = if protects { "; the routes are closed" } else { "" };
                let diagnostic = Diagnostic::error(Code::InvalidAnnotation, origin, format!("{message}{end}"));
                asked.diagnostics.push(diagnostic.hint(format!("write {}", row.grammar)));
                None
            }
        }
    }
}

/// A boolean as Go's `strconv.ParseBool` reads it: what users of ingress-nginx know.
pub(crate) fn boolean(text: &str) -> Result<bool, Refusal> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(Refusal(format!("`{text}` is not a boolean"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_those_of_go() {
        assert!(["1", "t", "T", "TRUE", "true", "True"].iter().all(|text| boolean(text).unwrap()));
        assert!(["0", "f", "F", "FALSE", "false", "False"].iter().all(|text| !boolean(text).unwrap()));
        assert!(["yes", "on", "tRUE", "", " true"].iter().all(|text| boolean(text).is_err()));
    }
}
