//! A value of the conf that is not taken.

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::origin::Origin;

/// Says so; the default stays.
pub(crate) fn invalid_value(origin: &Origin, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code::InvalidValue, origin, message).hint("the default is used")
}
