//! Which blocks of a PEM text are there, and which of them nobody uses.

use std::fmt;

/// Labels of keys that are read.
const KEYS: [&str; 3] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
/// A label longer than that is none.
const MAX_LABEL: usize = 40;

/// A PEM block, by its label and position. Never by its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Its number among the blocks, from 1.
    pub(crate) number: usize,
    /// The line of the text, from 1.
    pub(crate) line: usize,
    /// Its label; `None`: it is none that may be shown.
    pub(crate) label: Option<String>,
}

/// Blocks that are no certificates, where certificates are wanted.
pub(crate) fn beside_certificates(text: &[u8]) -> Vec<Block> {
    all(text).filter(|block| block.label.as_deref() != Some("CERTIFICATE")).collect()
}

/// Blocks beside the first key, where one key is wanted.
pub(crate) fn beside_key(text: &[u8]) -> Vec<Block> {
    let mut blocks: Vec<Block> = all(text).collect();
    if let Some(key) = blocks.iter().position(Block::is_key) {
        blocks.remove(key);
    }
    blocks
}

fn all(text: &[u8]) -> impl Iterator<Item = Block> + '_ {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let mut from = 0;
    let mut number = 0;
    let mut line = 1;
    std::iter::from_fn(move || {
        let rest = text.get(from..)?;
        let at = rest.windows(BEGIN.len()).position(|window| window == BEGIN)?;
        line += rest.get(..at)?.iter().filter(|byte| **byte == b'\n').count();
        from += at + BEGIN.len();
        number += 1;
        Some(Block { number, line, label: text.get(from..).and_then(label) })
    })
}

/// What stands before the closing dashes, if it looks like a label: the text may be a secret in disguise.
fn label(rest: &[u8]) -> Option<String> {
    let length = rest.windows(5).take(MAX_LABEL).position(|window| window == b"-----")?;
    let label = std::str::from_utf8(rest.get(..length)?).ok()?;
    let is_word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
    label.chars().all(is_word).then(|| label.to_owned())
}

// === impl Block ===

impl Block {
    /// Whether it is a private key.
    pub(crate) fn is_key(&self) -> bool {
        self.label.as_deref().is_some_and(|label| KEYS.contains(&label))
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(label) => write!(f, "block {} (`{label}`, line {})", self.number, self.line),
            None => write!(f, "block {} (line {})", self.number, self.line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "words\n-----BEGIN EC PARAMETERS-----\nBggq\n-----END EC PARAMETERS-----\n\
        -----BEGIN EC PRIVATE KEY-----\nAA\n-----END EC PRIVATE KEY----------BEGIN CERTIFICATE-----\nAA\n\
        -----END CERTIFICATE-----\r\n-----BEGIN PRIVATE KEY-----\nhunter2\n";

    fn told(blocks: &[Block]) -> Vec<String> {
        blocks.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn blocks_that_nobody_uses_are_named_by_label_and_place() {
        assert_eq!(
            told(&beside_certificates(TEXT.as_bytes())),
            [
                "block 1 (`EC PARAMETERS`, line 2)",
                "block 2 (`EC PRIVATE KEY`, line 5)",
                "block 4 (`PRIVATE KEY`, line 10)"
            ]
        );
        assert_eq!(
            told(&beside_key(TEXT.as_bytes())),
            [
                "block 1 (`EC PARAMETERS`, line 2)",
                "block 3 (`CERTIFICATE`, line 7)",
                "block 4 (`PRIVATE KEY`, line 10)"
            ]
        );
        assert!(beside_certificates(b"").is_empty() && beside_key(b"junk -----BEGIN").is_empty());
    }

    #[test]
    fn what_is_no_label_is_not_shown() {
        for text in ["-----BEGIN hunter2-----", "-----BEGIN AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-----"] {
            assert_eq!(told(&beside_key(text.as_bytes())), ["block 1 (line 1)"]);
        }
    }
}
