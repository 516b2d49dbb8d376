//! Any text as chain and key: it is refused in words that quote nothing of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::bench::compile::load_certificate;
use tidegate::bench::origin::Origin;

/// All words that there are for a fault, but for keys of a kind that cannot be used.
const WORDS: [&str; 15] = [
    "is empty",
    "has `\\n` as two characters where lines must end",
    "has lost its line ends: a BEGIN or END line must stand alone",
    "is cut off: a block has no END line",
    "has a block that is not base64",
    "has a private key and no CERTIFICATE block",
    "has a certificate and no private key",
    "has no CERTIFICATE block",
    "has no PRIVATE KEY block",
    "is a DSA key, which TLS does not use any more",
    "is in the form of OpenSSH; `ssh-keygen -p -m PKCS8 -f FILE` changes that",
    "is encrypted; store it without a passphrase",
    "is damaged, or no key at all",
    "the first block of the chain is no X.509 certificate",
    "the key does not belong to the first certificate of the chain",
];

fuzz_target!(|data: &[u8]| {
    let half = data.iter().position(|byte| *byte == 0).unwrap_or(data.len() / 2);
    let (chain, key) = data.split_at(half);
    let Err(told) = load_certificate("a", &Origin::default(), chain, key) else { return };
    let fault = told.strip_prefix("the chain ").or(told.strip_prefix("the private key ")).unwrap_or(&told);
    // Algorithm, size and exponent, and numbers of algorithms and curves that have no name here.
    let kind = fault.strip_prefix("is ").and_then(|rest| rest.split_once(", which cannot be used; make one of "));
    let is_kind = kind.is_some_and(|(kind, _)| kind.len() < 80);
    assert!(is_kind || WORDS.contains(&fault) || WORDS.contains(&told.as_str()), "{told}");
});
