//! Errors of calls as texts that quote no answer.

/// An error with its causes: the status of the server is one of them.
///
/// What serde says quotes the answer, which may be a Secret; only where it stumbled is told.
pub(in crate::source::kubernetes) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = text_of(error);
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = text_of(cause);
        // Some errors repeat the text of their source.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn text_of(error: &(dyn std::error::Error + 'static)) -> String {
    let serde = match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::SerdeError(inner)) => Some(inner),
        _ => error.downcast_ref::<serde_json::Error>(),
    };
    serde.map_or_else(
        || error.to_string(),
        |inner| format!("the response cannot be read (line {}, column {})", inner.line(), inner.column()),
    )
}
