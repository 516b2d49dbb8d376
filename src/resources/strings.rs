//! Equal texts as one: names of namespaces and Services stand in many objects.

use std::collections::HashSet;
use std::sync::Arc;

use ahash::RandomState;

/// Interner of texts while objects are read. Dropped after that; shared texts live on.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    known: HashSet<Arc<str>, RandomState>,
}

// === impl Strings ===

impl Strings {
    /// The one text that is equal to this one.
    pub(crate) fn share(&mut self, text: &str) -> Arc<str> {
        if text.is_empty() {
            return Arc::default();
        }
        if let Some(known) = self.known.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.known.insert(Arc::clone(&text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one() {
        let mut strings = Strings::default();
        let (one, same, other) = (strings.share("a"), strings.share("a"), strings.share("b"));
        assert!(Arc::ptr_eq(&one, &same));
        assert_eq!((&*one, &*other, &*strings.share("")), ("a", "b", ""));
    }
}
