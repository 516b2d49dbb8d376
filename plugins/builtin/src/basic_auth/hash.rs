//! Hashes of passwords, as `htpasswd` and `mkpasswd` write them.
//!
//! bcrypt (`$2y$`, `$2b$`, `$2a$`), SHA-crypt (`$5$`, `$6$`), the MD5 of Apache (`$apr1$`) and of crypt(3) (`$1$`), and
//! unsalted SHA-1 (`{SHA}`). The costs that a hash may ask for are capped: verifying one is work that anybody can order.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest, Md5};
use sha_crypt::{PasswordVerifier, ShaCrypt};
use sha1::Sha1;
use subtle::ConstantTimeEq;

/// A hash that can be verified.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Hash {
    Bcrypt(Box<str>),
    ShaCrypt(Box<str>),
    Md5 { magic: &'static str, salt: Box<str>, digest: Box<str> },
    Sha1([u8; 20]),
}

/// Twice the work for each one more; 15 takes about two seconds.
const MAX_BCRYPT_COST: u32 = 15;
/// 200 times the usual number.
const MAX_ROUNDS: u32 = 1_000_000;

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
            let digest = BASE64_STANDARD.decode(rest).ok().and_then(|bytes| bytes.try_into().ok());
            return digest.map(Self::Sha1).ok_or("is no base64 of a SHA-1 digest");
        }
        Err(
            "is none of bcrypt, SHA-crypt, apr1, MD5-crypt and {SHA}; passwords in clear are not taken (use `htpasswd -B`)",
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
            Self::Sha1(digest) => Sha1::digest(password.as_bytes()).as_slice().ct_eq(digest).into(),
        }
    }
}

fn bcrypt(text: &str) -> Result<Hash, &'static str> {
    let cost = text.get(4..6).and_then(|cost| cost.parse::<u32>().ok());
    match cost {
        _ if text.len() != 60 || text.parse::<bcrypt::HashParts>().is_err() => Err("is no bcrypt hash"),
        Some(cost) if cost <= MAX_BCRYPT_COST => Ok(Hash::Bcrypt(text.into())),
        _ => Err("asks for a bcrypt cost above 15"),
    }
}

fn sha_crypt(text: &str) -> Result<Hash, &'static str> {
    let mut parts = text.split('$').skip(2).peekable();
    if let Some(rounds) = parts.next_if(|part| part.starts_with("rounds=")) {
        let rounds = rounds.strip_prefix("rounds=").and_then(|rounds| rounds.parse::<u32>().ok());
        if !rounds.is_some_and(|rounds| (1000..=MAX_ROUNDS).contains(&rounds)) {
            return Err("asks for fewer than 1000 or more than 1000000 rounds");
        }
    }
    let length = if text.starts_with("$5$") { 43 } else { 86 };
    match (parts.next(), parts.next(), parts.next()) {
        (Some(salt), Some(digest), None) if salt.len() <= 16 && digest.len() == length => {
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
    fn what_costs_too_much_or_is_no_hash_is_refused() {
        for hash in [
            "topsecret",
            "{SHA}short",
            "$apr1$salt",
            "$2y$31$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC",
            "$6$rounds=999999999$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1",
            "$5$saltstring$short",
        ] {
            let why = Hash::parse(hash).err().unwrap_or_default();
            assert!(!why.is_empty() && !why.contains(hash), "{hash}: {why}");
        }
    }
}
