//! Hashes of passwords, as `htpasswd` and `mkpasswd` write them.
//!
//! bcrypt (`$2y$`, `$2b$`, `$2a$`), SHA-crypt (`$5$`, `$6$`), the MD5 of Apache (`$apr1$`) and of crypt(3) (`$1$`), and
//! SHA-1 without and with salt (`{SHA}`, `{SSHA}`). The costs that a hash may ask for are capped, see [`HashCost`].

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest, Md5};
use schemars::JsonSchema;
use serde::Deserialize;
use sha_crypt::{PasswordVerifier, ShaCrypt};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use tidegate_plugin::BuildError;

/// A hash that can be verified.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Hash {
    Bcrypt(Box<str>),
    ShaCrypt(Box<str>),
    Md5 { magic: &'static str, salt: Box<str>, digest: Box<str> },
    Sha1 { digest: [u8; 20], salt: Box<[u8]> },
}

/// The dearest hashes that are verified: verifying one is work that anybody can order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HashCost {
    /// Cost of bcrypt, 4 to 15; one more is twice the work, and 15 takes two seconds or more. Default 12.
    pub bcrypt: u32,
    /// Rounds of SHA-crypt, 1000 to 1000000; a million takes seconds. Default 100000.
    pub rounds: u32,
}

const DEFAULT_ROUNDS: u32 = 5_000;

// === impl HashCost ===

impl Default for HashCost {
    fn default() -> Self {
        Self { bcrypt: 12, rounds: 100_000 }
    }
}

impl HashCost {
    pub(super) fn check(self) -> Result<Self, BuildError> {
        if !(4..=15).contains(&self.bcrypt) {
            return Err(BuildError::invalid("maxHashCost.bcrypt", "must be from 4 to 15"));
        }
        if !(1000..=1_000_000).contains(&self.rounds) {
            return Err(BuildError::invalid("maxHashCost.rounds", "must be from 1000 to 1000000"));
        }
        Ok(self)
    }
}

// === impl Hash ===

impl Hash {
    /// Reads a hash; the error says what is wrong with it, never what it is.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.starts_with("$2y$") || text.starts_with("$2b$") || text.starts_with("$2a$") {
            return bcrypt(text);
        }
        if text.starts_with("$5$") || text.starts_with("$6$") {
            return sha_crypt(text);
        }
        if let Some(rest) = text.strip_prefix("$apr1$") {
            return md5("$apr1$", rest);
        }
        if let Some(rest) = text.strip_prefix("$1$") {
            return md5("$1$", rest);
        }
        if let Some(rest) = text.strip_prefix("{SHA}") {
            return sha1(rest).filter(|(_, salt)| salt.is_empty()).map(Self::from_sha1).ok_or("is no base64 of SHA-1");
        }
        if let Some(rest) = text.strip_prefix("{SSHA}") {
            let salted = sha1(rest).filter(|(_, salt)| !salt.is_empty());
            return salted.map(Self::from_sha1).ok_or("is no base64 of SHA-1 and salt");
        }
        Err(
            "is none of bcrypt, SHA-crypt, apr1, MD5-crypt, {SHA} and {SSHA}; passwords in clear are not taken (use `htpasswd -B`)",
        )
    }

    /// Whether this is the password. Takes from microseconds to seconds.
    pub(super) fn verifies(&self, password: &str) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::ShaCrypt(hash) => ShaCrypt::default().verify_password(password.as_bytes(), &**hash).is_ok(),
            Self::Md5 { magic, salt, digest } => {
                let made = md5_crypt(password.as_bytes(), salt.as_bytes(), magic.as_bytes());
                made.as_bytes().ct_eq(digest.as_bytes()).into()
            }
            Self::Sha1 { digest, salt } => {
                let made = Sha1::new().chain_update(password).chain_update(salt).finalize();
                made.as_slice().ct_eq(digest).into()
            }
        }
    }

    /// About how many microseconds a check takes: only to compare hashes with each other.
    pub(super) fn cost(&self) -> u64 {
        match self {
            Self::Bcrypt(hash) => 50 << bcrypt_cost(hash).unwrap_or(0),
            Self::ShaCrypt(hash) => u64::from(rounds(hash)),
            Self::Md5 { .. } => 300,
            Self::Sha1 { .. } => 1,
        }
    }

    /// Whether it asks for no more than that.
    pub(super) fn is_within(&self, max: HashCost) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt_cost(hash).is_some_and(|cost| cost <= max.bcrypt),
            Self::ShaCrypt(hash) => rounds(hash) <= max.rounds,
            Self::Md5 { .. } | Self::Sha1 { .. } => true,
        }
    }

    fn from_sha1((digest, salt): ([u8; 20], Box<[u8]>)) -> Self {
        Self::Sha1 { digest, salt }
    }
}

/// Digest, and the salt after it.
fn sha1(text: &str) -> Option<([u8; 20], Box<[u8]>)> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    let (digest, salt) = bytes.split_at_checked(20)?;
    Some((digest.try_into().ok()?, salt.into()))
}

fn rounds(text: &str) -> u32 {
    let rounds = text.split('$').find_map(|part| part.strip_prefix("rounds=")?.parse().ok());
    rounds.unwrap_or(DEFAULT_ROUNDS)
}

fn bcrypt_cost(text: &str) -> Option<u32> {
    text.get(4..6)?.parse().ok()
}

fn is_crypt64(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'))
}

fn bcrypt(text: &str) -> Result<Hash, &'static str> {
    match bcrypt_cost(text) {
        _ if text.len() != 60 || text.parse::<bcrypt::HashParts>().is_err() => Err("is no bcrypt hash"),
        Some(4..=31) => Ok(Hash::Bcrypt(text.into())),
        _ => Err("asks for a bcrypt cost below 4 or above 31"),
    }
}

fn sha_crypt(text: &str) -> Result<Hash, &'static str> {
    let mut parts = text.split('$').skip(2).peekable();
    if let Some(rounds) = parts.next_if(|part| part.starts_with("rounds=")) {
        let rounds = rounds.strip_prefix("rounds=").and_then(|rounds| rounds.parse::<u32>().ok());
        if !rounds.is_some_and(|rounds| (1000..=999_999_999).contains(&rounds)) {
            return Err("asks for fewer than 1000 or more than 999999999 rounds");
        }
    }
    let length = if text.starts_with("$5$") { 43 } else { 86 };
    match (parts.next(), parts.next(), parts.next()) {
        (Some(salt), Some(digest), None)
            if (1..=16).contains(&salt.len()) && digest.len() == length && is_crypt64(salt) && is_crypt64(digest) =>
        {
            Ok(Hash::ShaCrypt(text.into()))
        }
        _ => Err("is no SHA-crypt hash"),
    }
}

fn md5(magic: &'static str, rest: &str) -> Result<Hash, &'static str> {
    match rest.split_once('$') {
        Some((salt, digest)) if salt.len() <= 8 && digest.len() == 22 => {
            Ok(Hash::Md5 { magic, salt: salt.into(), digest: digest.into() })
        }
        _ => Err("is no MD5 hash of crypt(3)"),
    }
}

/// The MD5 of crypt(3), which Apache uses with another magic; by Poul-Henning Kamp, FreeBSD 2.0.
fn md5_crypt(password: &[u8], salt: &[u8], magic: &[u8]) -> String {
    let mut inner = Md5::new();
    [password, salt, password].iter().for_each(|part| inner.update(part));
    let inner = inner.finalize();
    let mut first = Md5::new();
    [password, magic, salt].iter().for_each(|part| first.update(part));
    (0..password.len()).for_each(|at| first.update(inner.get(at % 16..).and_then(|rest| rest.get(..1)).unwrap_or(&[])));
    let mut left = password.len();
    while left > 0 {
        first.update(if left & 1 == 1 { &[0][..] } else { password.get(..1).unwrap_or(&[]) });
        left >>= 1;
    }
    let mut digest = first.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        next.update(if round & 1 == 1 { password } else { digest.as_slice() });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if round & 1 == 1 { digest.as_slice() } else { password });
        digest = next.finalize();
    }
    encode(digest.as_slice())
}

/// The base 64 of crypt(3), whose bytes are not in order.
fn encode(digest: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const GROUPS: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let byte = |at: usize| digest.get(at).map_or(0, |byte| u32::from(*byte));
    let groups = GROUPS.iter().map(|[a, b, c]| (byte(*a) << 16 | byte(*b) << 8 | byte(*c), 4)).chain([(byte(11), 2)]);
    let mut text = String::with_capacity(22);
    for (mut value, digits) in groups {
        for _ in 0..digits {
            text.extend(ALPHABET.get((value & 63) as usize).map(|digit| char::from(*digit)));
            value >>= 6;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `htpasswd` and `openssl passwd`, and the vectors of the SHA-crypt specification.
    const KNOWN: &[(&str, &str)] = &[
        ("myPassword", "$apr1$qHDFfhPC$nITSVHgYbDAK1Y0acGRnY0"),
        ("password", "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/"),
        ("myPassword", "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE="),
        // nginx, `auth_basic.t`; crypt_blowfish, `wrapper.c`.
        ("password", "{SSHA}yI6cZwQadOA1e+/f+T+H3eCQQhRzYWx0"),
        ("password", "$apr1$salt$Xxd1irWT9ycqoYxGFn4cb."),
        ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        // `openssl passwd -apr1`, around the length of a digest.
        ("xxxxxxxxxxxxxxxx", "$apr1$abcdefgh$R0E65Eb3vdT903fP0jqAA0"),
        ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "$apr1$abcdefgh$5YkgR/.Nxu.IeFpunYPzQ."),
        ("Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
        (
            "Hello world!",
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        ),
        ("Hello world!", "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"),
        ("myPassword", "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC"),
    ];

    #[test]
    fn every_format_verifies_its_password_and_no_other() {
        for (password, hash) in KNOWN {
            let Ok(parsed) = Hash::parse(hash) else { panic!("{hash} is not read: {:?}", Hash::parse(hash).err()) };
            assert!(parsed.verifies(password), "{hash}");
            assert!(!parsed.verifies(&format!("{password}!")) && !parsed.verifies(""), "{hash}");
        }
    }

    #[test]
    fn what_costs_more_than_it_may_is_known() {
        let bcrypt = |cost: u32| format!("$2y${cost:02}$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC");
        let sha = |rounds: u32| format!("$5$rounds={rounds}$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5");
        let is_within =
            |hash: &str, max| Hash::parse(hash).unwrap_or_else(|why| panic!("{hash}: {why}")).is_within(max);
        let (usual, more) = (HashCost::default(), HashCost { bcrypt: 14, rounds: 500_000 });
        for (hash, by_default, raised) in [
            (bcrypt(12), true, true),
            (bcrypt(13), false, true),
            (bcrypt(15), false, false),
            (bcrypt(31), false, false),
            (sha(100_000), true, true),
            (sha(100_001), false, true),
            (sha(999_999_999), false, false),
            (KNOWN[0].1.to_owned(), true, true),
            (KNOWN[2].1.to_owned(), true, true),
        ] {
            assert_eq!((is_within(&hash, usual), is_within(&hash, more)), (by_default, raised), "{hash}");
        }
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for hash in [
            "topsecret",
            "{SHA}short",
            "{SHA}yI6cZwQadOA1e+/f+T+H3eCQQhRzYWx0",
            "{SSHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=",
            "$2y$03$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC",
            "$5$$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
            "$5$salt string$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
            "$5$rounds=999$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
            "$apr1$salt",
            "$2y$32$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC",
            "$6$rounds=1000000000$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1",
            "$5$saltstring$short",
        ] {
            let why = Hash::parse(hash).err().unwrap_or_default();
            assert!(!why.is_empty() && !why.contains(hash), "{hash}: {why}");
        }
    }
}
