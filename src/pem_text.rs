//! Certificates and private keys out of PEM text: the one place where such text is read.
//!
//! The text may be a secret, so a fault says in words of its own what is wrong and quotes nothing: the errors of the
//! library hold the line that they are about. It must not know where the text came from.
//! Source: RFC 7468.

mod blocks;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) use blocks::{Block, beside_certificates, beside_key};

/// Fault of a PEM text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PemFault {
    /// Nothing is there.
    #[error("is empty")]
    Empty,
    /// A template or a shell wrote the line ends out.
    #[error("has `\\n` as two characters where lines must end")]
    EscapedLineEnds,
    /// A folded YAML text, or a variable without quotes in a shell.
    #[error("has lost its line ends: a BEGIN or END line must stand alone")]
    LostLineEnds,
    /// A block begins and does not end.
    #[error("is cut off: a block has no END line")]
    Cut,
    /// What stands between BEGIN and END is damaged.
    #[error("has a block that is not base64")]
    NotBase64,
    /// A key stands where a certificate should.
    #[error("has a private key and no CERTIFICATE block")]
    KeyOnly,
    /// A certificate stands where a key should.
    #[error("has a certificate and no private key")]
    CertificateOnly,
    /// There are blocks, of other kinds.
    #[error("has no CERTIFICATE block")]
    NoCertificate,
    /// There are blocks, of other kinds.
    #[error("has no PRIVATE KEY block")]
    NoKey,
    /// A kind of key that TLS does not use any more.
    #[error("is a DSA key, which TLS does not use any more")]
    Dsa,
    /// What `ssh-keygen` makes.
    #[error("is in the form of OpenSSH; `ssh-keygen -p -m PKCS8 -f FILE` changes that")]
    OpenSsh,
    /// Nobody can enter the passphrase.
    #[error("is encrypted; store it without a passphrase")]
    Encrypted,
}

/// All certificates of a text in their order, at least one; blocks of other kinds are passed over.
///
/// # Errors
/// There is none, or some block cannot be read.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemFault> {
    let text = &*tidy(text);
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) if has_key(text) && !is_misshapen(text) => Err(PemFault::KeyOnly),
        Ok(_) => Err(shape(text).unwrap_or(PemFault::NoCertificate)),
        Err(_) => Err(shape(text).unwrap_or(PemFault::NotBase64)),
    }
}

/// The first private key of a text.
///
/// # Errors
/// There is none that can be read.
pub(crate) fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PemFault> {
    if contains(text, b"BEGIN ENCRYPTED PRIVATE KEY") || contains(text, b"Proc-Type: 4,ENCRYPTED") {
        return Err(PemFault::Encrypted);
    }
    let text = &*tidy(text);
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match (shape(text), error) {
        (Some(fault), _) => fault,
        (None, rustls_pki_types::pem::Error::NoItemsFound) if contains(text, b"-----BEGIN CERTIFICATE-----") => {
            foreign_key(text).unwrap_or(PemFault::CertificateOnly)
        }
        (None, rustls_pki_types::pem::Error::NoItemsFound) => foreign_key(text).unwrap_or(PemFault::NoKey),
        (None, _) => PemFault::NotBase64,
    })
}

/// Blocks as tools leave them, in the form that the library reads: BEGIN and END in lines of their own where files were
/// joined without a line end between them, no blanks around lines, no empty lines.
fn tidy(text: &[u8]) -> Vec<u8> {
    let mut tidy = Vec::with_capacity(text.len() + 16);
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
    {
        let mut rest = line;
        while let Some(at) = border(rest) {
            let (head, tail) = rest.split_at(at);
            tidy.extend_from_slice(head);
            tidy.push(b'\n');
            rest = tail;
        }
        tidy.extend_from_slice(rest);
        tidy.push(b'\n');
    }
    tidy
}

/// Where a line is to be cut: before BEGIN or END behind something else, and behind END and its dashes.
fn border(line: &[u8]) -> Option<usize> {
    let find =
        |part: &[u8], from: usize| line.get(from..)?.windows(part.len()).position(|it| it == part).map(|at| at + from);
    if line.starts_with(b"-----END ") {
        let end = find(b"-----", 9)? + 5;
        return (end < line.len()).then_some(end);
    }
    // One line that is a whole block has lost more than a line end.
    if line.starts_with(b"-----BEGIN ") {
        return None;
    }
    find(b"-----BEGIN ", 1).into_iter().chain(find(b"-----END ", 1)).min()
}

/// What is wrong with the lines of a text, if anything.
fn shape(text: &[u8]) -> Option<PemFault> {
    if text.trim_ascii().is_empty() {
        Some(PemFault::Empty)
    } else if contains(text, b"-----\\n") || contains(text, b"-----\\r") {
        Some(PemFault::EscapedLineEnds)
    } else if is_misshapen(text) {
        Some(PemFault::LostLineEnds)
    } else {
        (count(text, b"-----BEGIN ") > count(text, b"-----END ")).then_some(PemFault::Cut)
    }
}

/// Whether a BEGIN or END stands in a line with something else.
fn is_misshapen(text: &[u8]) -> bool {
    let mut lines = text.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii);
    lines.any(|line| {
        let markers = count(line, b"-----BEGIN ") + count(line, b"-----END ");
        let stands_alone = (line.starts_with(b"-----BEGIN ") || line.starts_with(b"-----END "))
            && line.ends_with(b"-----")
            && count(line, b"-----") == 2;
        markers > 0 && !stands_alone
    })
}

/// A key of a kind, or in a form, that nobody here reads.
fn foreign_key(text: &[u8]) -> Option<PemFault> {
    let kinds = [(&b"BEGIN DSA PRIVATE KEY"[..], PemFault::Dsa), (b"BEGIN OPENSSH PRIVATE KEY", PemFault::OpenSsh)];
    kinds.into_iter().find(|(label, _)| contains(text, label)).map(|(_, fault)| fault)
}

fn has_key(text: &[u8]) -> bool {
    contains(text, b"PRIVATE KEY-----")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn count(text: &[u8], part: &[u8]) -> usize {
    text.windows(part.len()).filter(|window| *window == part).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn certificates_come_in_order_and_other_blocks_are_passed_over() {
        let ((one, key), (two, _)) = (pair(), pair());
        let bundle = format!("subject=CN = a\n{one}\n{key}{two}");
        let ders =
            |texts: &[&str]| texts.iter().map(|text| certificates(text.as_bytes()).unwrap()[0].clone()).collect();
        let expected: Vec<_> = ders(&[&one, &two]);
        assert_eq!(certificates(bundle.as_bytes()), Ok(expected));
        assert!(private_key(bundle.as_bytes()).is_ok(), "and the key is found among them");
    }

    #[test]
    fn blocks_are_read_as_tools_leave_them() {
        let ((one, key), (two, _)) = (pair(), pair());
        let expected = [certificates(one.as_bytes()).unwrap(), certificates(two.as_bytes()).unwrap()].concat();
        let joined = format!("{}{two}", one.trim_end());
        let texts = [
            joined.clone(),
            joined.replace("-----END", "\n-----END").replace("\n\n", "\n").replace("\n-----END", "-----END"),
            format!("{one}{two}").replace('\n', "\r\n"),
            format!("{one}\n\n{two}").replace('\n', "\n\n"),
            format!("{one}{two}").replace('\n', " \t\n"),
            format!("  {}", format!("{one}{two}").replace('\n', "\n\t ")),
            format!("subject=/CN=a\n{one}some words\n{two}more"),
            format!("{}{}{two}", key.trim_end(), one.trim_end()),
        ];
        for text in texts {
            assert_eq!(certificates(text.as_bytes()), Ok(expected.clone()), "{text}");
        }
        let found = private_key(format!("{}{}", one.trim_end(), key.trim_end()).as_bytes());
        assert_eq!(found.unwrap().secret_der(), private_key(key.as_bytes()).unwrap().secret_der());
    }

    #[test]
    fn a_fault_says_what_happened_to_the_text() {
        let (chain, key) = pair();
        let cut = |text: &str| text[..text.len() / 2].to_owned();
        let damaged = |text: &str| text.replacen("MI", "M*", 1);
        let cases = [
            (String::new(), Some(PemFault::Empty), Some(PemFault::Empty)),
            (" \n".to_owned(), Some(PemFault::Empty), Some(PemFault::Empty)),
            ("junk".to_owned(), Some(PemFault::NoCertificate), Some(PemFault::NoKey)),
            (chain.replace('\n', "\\n"), Some(PemFault::EscapedLineEnds), Some(PemFault::EscapedLineEnds)),
            (key.replace('\n', "\\n"), Some(PemFault::EscapedLineEnds), Some(PemFault::EscapedLineEnds)),
            (chain.replace('\n', " "), Some(PemFault::LostLineEnds), Some(PemFault::LostLineEnds)),
            (key.replace('\n', ""), Some(PemFault::LostLineEnds), Some(PemFault::LostLineEnds)),
            (format!("{key}{chain}").replace('\n', " "), Some(PemFault::LostLineEnds), Some(PemFault::LostLineEnds)),
            (cut(&chain), Some(PemFault::Cut), Some(PemFault::Cut)),
            (cut(&key), Some(PemFault::Cut), Some(PemFault::Cut)),
            (damaged(&chain), Some(PemFault::NotBase64), Some(PemFault::NotBase64)),
            (damaged(&key), Some(PemFault::NotBase64), Some(PemFault::NotBase64)),
            (key.clone(), Some(PemFault::KeyOnly), None),
            (chain.clone(), None, Some(PemFault::CertificateOnly)),
            (
                key.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE"),
                Some(PemFault::NotBase64),
                Some(PemFault::Encrypted),
            ),
        ];
        for (text, of_chain, of_key) in cases {
            // What the chain is told to be where only the key's form matters may be any fault.
            if of_key != Some(PemFault::Encrypted) {
                assert_eq!(certificates(text.as_bytes()).err(), of_chain, "as a chain: {text}");
            }
            assert_eq!(private_key(text.as_bytes()).err(), of_key, "as a key: {text}");
        }
    }
}
