//! What is told of an object once: the content of an event, made from a finding.
//!
//! Whoever writes notes writes them as they are. Which findings become one, and in which words, is decided here.

use std::sync::Arc;
use std::time::Duration;

use super::{Kind, ObjectName, Use};
use crate::diagnostic::{Diagnostic, Severity};

/// A note about an object, which becomes an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Note {
    /// Kind of the object.
    pub kind: &'static str,
    /// Its namespace; empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Whether it is a warning.
    pub is_warning: bool,
    /// Reason code in CamelCase.
    pub reason: &'static str,
    /// The text, a line.
    pub text: String,
}

/// What the API takes as the text of an event.
const MAX_TEXT: usize = 1024;

// === impl Note ===

impl Note {
    /// What a diagnostic says of its object; nothing, when that is no object of a cluster whose owner looks at events.
    pub(crate) fn of(diagnostic: &Diagnostic) -> Option<Self> {
        let origin = &diagnostic.origin;
        let has_events = Kind::rows().any(|(_, row)| row.name == origin.kind && row.uses.contains(&Use::Events));
        (has_events && origin.is_of_cluster()).then(|| Self {
            kind: origin.kind,
            namespace: Arc::clone(&origin.namespace),
            name: Arc::clone(&origin.name),
            is_warning: diagnostic.severity != Severity::Info,
            reason: diagnostic.code.as_str(),
            text: text_of(diagnostic),
        })
    }

    /// Says that an Ingress is served as it is now written.
    pub(crate) fn live(ingress: &ObjectName, generation: u64, elapsed: Duration) -> Self {
        Self {
            kind: Kind::Ingress.as_str(),
            namespace: Arc::clone(&ingress.namespace),
            name: Arc::clone(&ingress.name),
            is_warning: false,
            reason: "Live",
            text: format!("live in {} ms at generation {generation}", elapsed.as_millis()),
        }
    }
}

/// A finding as its object's owner reads it: the field, what is wrong and what to do. It fits into an event.
pub(crate) fn text_of(diagnostic: &Diagnostic) -> String {
    let field = &diagnostic.origin.field;
    let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
    let hint = diagnostic.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
    shorten(format!("{field}{}{hint}", diagnostic.message))
}

fn shorten(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT - 3).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;
    use crate::origin::{Origin, Place};

    #[test]
    fn findings_about_files_and_conf_are_not_told_to_a_cluster() {
        let conf = Diagnostic::error(Code::Internal, &Origin::new("Conf", "", "tidegate.yaml", None), "x");
        assert_eq!(Note::of(&conf), None);
        let place = Place { file: "a.yaml".into(), line: 1, document: 0, item: None };
        let file = Diagnostic::error(Code::Internal, &Origin::new("Ingress", "a", "b", Some(place)), "x");
        assert_eq!(Note::of(&file), None);
    }

    #[test]
    fn a_long_text_is_shortened_at_a_character() {
        let text = shorten("ä".repeat(1000));
        assert!(text.len() <= MAX_TEXT && text.ends_with('…'), "{}", text.len());
    }
}
