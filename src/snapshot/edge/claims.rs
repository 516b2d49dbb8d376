//! Which fields of a request claim something about the client that only a trusted proxy may.
//!
//! One table, compiled with the edge settings and asked once a field: two bytes of the name choose a handful of entries,
//! most often none. Names are compared as servers behind may read them that turn signs into `-` or `_`.
//! It must not know what becomes of such a field.

use std::sync::{Arc, LazyLock};

use http::{HeaderName, header};

mod known;

/// Names longer than this are compared by their start.
const MAX_BYTES: usize = 128;
const SLOTS: usize = 256;

/// Class of a header name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing.
    Plain,
    /// Something about the client.
    Claim,
    /// Something that no honest proxy says: `Proxy`, which is HTTP_PROXY to CGI programs, another spelling of a claim
    /// (`X.Real.IP`), or a name with `_`, which is `-` to some servers.
    Never,
    /// `CDN-Loop`: who has seen the request already.
    Loop,
}

/// Classes of header names.
#[derive(Debug)]
pub struct Claims {
    /// Where the entries of each slot end.
    ends: [u16; SLOTS],
    entries: Box<[Entry]>,
    /// Whether a field that nearly every request has says something.
    asks_common: bool,
}

/// A name, or the beginning of names.
#[derive(Debug)]
struct Entry {
    /// As it is written.
    text: Box<str>,
    /// With `-` for every sign.
    plain: Box<[u8]>,
    /// Its first bytes, and which of them a name must have: most names are told from it by one compare.
    head: u64,
    mask: u64,
    is_prefix: bool,
    class: Class,
}

// === impl Claims ===

impl Claims {
    /// The known claims, with names that the conf adds and without those that it lets pass. A name that ends in `*`
    /// stands for all that begin so.
    pub fn new(add: &[Arc<str>], pass: &[Arc<str>]) -> Self {
        let known = known::CLAIMS.split_ascii_whitespace();
        // In order of precedence: the first entry that fits decides.
        let entries = [Entry::new("cdn-loop", Class::Loop), Entry::new("proxy", Class::Never)].into_iter();
        let entries = entries.chain(pass.iter().map(|text| Entry::new(text, Class::Plain)));
        let entries = entries.chain(add.iter().map(|text| Entry::new(text, Class::Claim)));
        let mut entries: Vec<Entry> = entries.chain(known.map(|text| Entry::new(text, Class::Claim))).collect();
        entries.sort_by_key(|entry| slot(&entry.plain));
        let end = |slot_of| entries.partition_point(|entry| slot(&entry.plain) <= slot_of);
        let ends = std::array::from_fn(|slot| u16::try_from(end(slot)).unwrap_or(u16::MAX));
        let mut claims = Self { ends, entries: entries.into(), asks_common: false };
        claims.asks_common = COMMON.iter().any(|name| claims.class_of(name.as_str()) != Class::Plain);
        claims
    }

    /// The known claims.
    pub fn known() -> Arc<Self> {
        static KNOWN: LazyLock<Arc<Claims>> = LazyLock::new(|| Arc::new(Claims::new(&[], &[])));
        Arc::clone(&KNOWN)
    }

    /// Class of a header name.
    pub fn class(&self, name: &HeaderName) -> Class {
        match is_common(name) && !self.asks_common {
            true => Class::Plain,
            false => self.class_of(name.as_str()),
        }
    }

    fn class_of(&self, name: &str) -> Class {
        let bytes = name.as_bytes();
        match bytes.iter().fold(0, |signs, byte| signs | SIGNS.get(usize::from(*byte)).copied().unwrap_or_default()) {
            0 => self.find(bytes).map_or(Class::Plain, |entry| entry.class),
            UNDERSCORE.. => Class::Never,
            _ => self.odd(name),
        }
    }

    /// What a name says that has signs in it which some servers take for `-` or `_`, as CGI has it.
    fn odd(&self, name: &str) -> Class {
        let mut room = [0; MAX_BYTES];
        let plain = room.iter_mut().zip(name.bytes()).map(|(to, byte)| *to = plain(byte)).count();
        let found = self.find(room.get(..plain).unwrap_or_default());
        match found {
            None => Class::Plain,
            Some(entry) if entry.class == Class::Plain || entry.is_written(name) => entry.class,
            Some(_) => Class::Never,
        }
    }

    fn find(&self, plain: &[u8]) -> Option<&Entry> {
        let slot = slot(plain);
        let begin = slot.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        let end = self.ends.get(slot).copied().unwrap_or_default();
        let entries = self.entries.get(usize::from(begin)..usize::from(end)).filter(|entries| !entries.is_empty())?;
        let head = head(plain);
        entries.iter().find(|entry| head & entry.mask == entry.head && entry.fits(plain))
    }
}

// === impl Entry ===

impl Entry {
    fn new(text: &str, class: Class) -> Self {
        let text = text.to_ascii_lowercase();
        let name = text.strip_suffix('*');
        let is_prefix = name.is_some();
        let name = name.unwrap_or(&text);
        let plain: Box<[u8]> = name.bytes().map(plain).collect();
        let mask = if is_prefix { head(&vec![u8::MAX; plain.len()]) } else { u64::MAX };
        Self { head: head(&plain), mask, plain, text: name.into(), is_prefix, class }
    }

    fn fits(&self, plain: &[u8]) -> bool {
        if self.is_prefix { plain.starts_with(&self.plain) } else { *plain == *self.plain }
    }

    /// Whether the name is this one as it is written, not another spelling.
    fn is_written(&self, name: &str) -> bool {
        if self.is_prefix { name.starts_with(&*self.text) } else { *name == *self.text }
    }
}

/// Fields that nearly every request has. The names of the standard are numbers, which are quicker told than text.
macro_rules! common {
    ($($name:ident)+) => {
        const COMMON: &[HeaderName] = &[$(header::$name),+];

        fn is_common(name: &HeaderName) -> bool {
            matches!(*name, $(header::$name)|+)
        }
    };
}

common! { HOST USER_AGENT ACCEPT ACCEPT_ENCODING ACCEPT_LANGUAGE COOKIE CONTENT_TYPE CONTENT_LENGTH CONNECTION }

/// Where the names that begin like this one are: those of a kind differ in the first byte or in the third.
fn slot(plain: &[u8]) -> usize {
    let byte = |at: usize| plain.get(at).copied().unwrap_or_default();
    usize::from(byte(0).wrapping_mul(29) ^ byte(2))
}

/// The first eight bytes; of shorter names, with zeros behind them.
fn head(plain: &[u8]) -> u64 {
    let mut first = [0; 8];
    match plain.first_chunk::<8>() {
        Some(chunk) => first = *chunk,
        None => first.iter_mut().zip(plain).for_each(|(to, byte)| *to = *byte),
    }
    u64::from_le_bytes(first)
}

fn plain(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte } else { b'-' }
}

const UNDERSCORE: u8 = 2;

/// Signs of names besides `-`: 1, and `_`: 2.
const SIGNS: [u8; 256] = signs();

const fn signs() -> [u8; 256] {
    let mut table = [1; 256];
    let mut byte = 0;
    #[expect(clippy::indexing_slicing, reason = "`byte` stays under 256, the table's length")]
    while byte < 256 {
        let value = byte as u8;
        if value.is_ascii_alphanumeric() || value == b'-' {
            table[byte] = 0;
        } else if value == b'_' {
            table[byte] = UNDERSCORE;
        }
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests;
