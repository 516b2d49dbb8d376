//! What tidegate has to say about its input.
//!
//! A diagnostic is a value: what is wrong, where, under which code, and what to do.
//! Whoever finds a fault makes one; who shows it (check, log, status, metrics) decides its form.

use std::fmt;

use serde::Serialize;

pub(crate) use crate::code::{Code, Severity};
use crate::origin::Origin;

/// One finding about the input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// What kind of finding it is.
    pub code: Code,
    /// The object and field.
    pub origin: Origin,
    /// What is wrong, lower case, without full stop.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Exact position, when the finder knows it (parse errors do); otherwise found from the origin on demand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

/// A position in a text, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

// === impl Diagnostic ===

impl Diagnostic {
    /// Something that is not served.
    pub fn error(code: Code, origin: &Origin, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, origin, message)
    }

    /// Something served differently than written, or unwisely.
    pub fn warning(code: Code, origin: &Origin, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, origin, message)
    }

    /// Something worth knowing.
    pub fn info(code: Code, origin: &Origin, message: impl Into<String>) -> Self {
        Self::new(Severity::Info, code, origin, message)
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the exact position.
    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    fn new(severity: Severity, code: Code, origin: &Origin, message: impl Into<String>) -> Self {
        Self { severity, code, origin: origin.clone(), message: message.into(), hint: None, position: None }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {} [{}]", self.severity.as_str(), self.origin, self.message, self.code)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

// === impl Position ===

impl Position {
    /// The first character of a text.
    pub const START: Self = Self { line: 1, column: 1 };

    /// The position right behind a text.
    pub fn after(text: &str) -> Self {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let last = text.rsplit('\n').next().unwrap_or_default();
        Self {
            line: number(text.matches('\n').count()).saturating_add(1),
            column: number(last.chars().count()).saturating_add(1),
        }
    }
}
