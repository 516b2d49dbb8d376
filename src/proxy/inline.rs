//! Short texts that live inside their owner.

use std::fmt;

/// Up to `N` bytes of ASCII text. Writing more fails and changes nothing.
#[derive(Clone, Copy)]
pub(super) struct Inline<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

// === impl Inline ===

impl<const N: usize> Inline<N> {
    pub(super) fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl<const N: usize> Default for Inline<N> {
    fn default() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> fmt::Write for Inline<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_whole() {
        let mut text = Inline::<4>::default();
        assert!(text.write_str("ab").is_ok());
        assert!(text.write_str("cde").is_err());
        assert_eq!(text.as_str(), "ab");
    }
}
