//! Which certificate a host presents: of those who may say so, the first whose certificate can be used and covers it.
//!
//! What cannot be used is never presented, and takes nothing away from others: the last good certificate of the same
//! Secret stays, else that of the next one, else the default.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::certificate::{Read, read};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::host::HostPattern;
use crate::model::{Certificate, Claim};
use crate::origin::Origin;
use crate::snapshot::certificates::{Presented, ServedCertificate};

/// Certificates by the name of their Secret, each read once.
#[derive(Default)]
pub(super) struct Store(HashMap<Arc<str>, CachedCertificate>);

/// A certificate as it was read last, with the last good one of its name.
struct CachedCertificate {
    certificate: Arc<Certificate>,
    /// Why it cannot be used.
    fault: Option<String>,
    /// The last one of its name that could be.
    good: Option<Read>,
}

/// A claim with a certificate that can be used.
struct Usable<'m> {
    claim: &'m Claim,
    served: Arc<ServedCertificate>,
}

// === impl Store ===

impl Store {
    /// What a pattern's hosts present; nothing: the default.
    pub(super) fn choose(
        &mut self,
        pattern: &HostPattern,
        claims: &[Claim],
        now: i64,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Arc<[Presented]> {
        let mut usable = Vec::with_capacity(claims.len());
        for claim in claims {
            let served = self.load(&claim.certificate, now, diagnostics);
            usable.extend(served.map(|served| Usable { claim, served }));
        }
        diagnostics.extend(usable.iter().filter(|it| !it.covers(pattern)).map(|it| it.mismatch(pattern)));
        usable.retain(|it| it.served.dns_names.touches(pattern));
        let Some(winner) = winner(pattern, &usable) else {
            // Each for the names that it covers.
            return usable.iter().map(Usable::presented).collect();
        };
        for loser in usable.iter().filter(|it| it.covers(pattern) && it.is_against(winner)) {
            diagnostics.extend(conflict(pattern, &loser.claim.origin, winner));
        }
        let before = usable.iter().take_while(|it| !std::ptr::eq(*it, winner) && !it.covers(pattern));
        before.chain([winner]).map(Usable::presented).collect()
    }

    /// A certificate, or the last good one of its name.
    pub(super) fn load(
        &mut self,
        certificate: &Arc<Certificate>,
        now: i64,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Arc<ServedCertificate>> {
        let known = self.known(certificate);
        let good = known.good.as_ref();
        if let Some(fault) = &known.fault {
            let hint = match good {
                Some(_) => "the last good certificate stays in use",
                None => "another certificate of the host, else the default one, is presented",
            };
            let message = format!("certificate `{}`: {fault}", certificate.name);
            diagnostics.push(Diagnostic::error(Code::InvalidCertificate, &certificate.origin, message).hint(hint));
        } else if !certificate.is_invalid {
            diagnostics.extend(good.into_iter().flat_map(|read| judge(read, now)));
        }
        good.map(|read| Arc::clone(&read.served))
    }

    /// Forgets what the model has no more.
    pub(super) fn sweep(&mut self) {
        self.0.retain(|_, known| Arc::strong_count(&known.certificate) > 1);
    }

    fn known(&mut self, certificate: &Arc<Certificate>) -> &CachedCertificate {
        match self.0.entry(Arc::clone(&certificate.name)) {
            Entry::Occupied(entry) => {
                let known = entry.into_mut();
                known.renew(certificate);
                known
            }
            Entry::Vacant(entry) => entry.insert(CachedCertificate::new(certificate)),
        }
    }
}

// === impl CachedCertificate ===

impl CachedCertificate {
    fn new(certificate: &Arc<Certificate>) -> Self {
        let mut known = Self { certificate: Arc::clone(certificate), fault: None, good: None };
        known.read();
        known
    }

    fn renew(&mut self, certificate: &Arc<Certificate>) {
        if Arc::ptr_eq(&self.certificate, certificate) {
            return;
        }
        let is_same = self.certificate == *certificate;
        self.certificate = Arc::clone(certificate);
        if !is_same {
            self.read();
        }
    }

    fn read(&mut self) {
        self.fault = None;
        // Whoever found out that it is invalid has said so.
        if self.certificate.is_invalid {
            return;
        }
        match read(&self.certificate) {
            Ok(read) => self.good = Some(read),
            Err(fault) => self.fault = Some(fault),
        }
    }
}

// === impl Usable ===

impl Usable<'_> {
    fn covers(&self, pattern: &HostPattern) -> bool {
        self.served.dns_names.covers(pattern)
    }

    fn presented(&self) -> Presented {
        Presented { served: Arc::clone(&self.served), owner: self.claim.origin.clone() }
    }

    /// Whether it wants another certificate for the same name than the winner.
    fn is_against(&self, winner: &Self) -> bool {
        self.served.name != winner.served.name && !self.claim.by_wildcard
    }

    fn mismatch(&self, pattern: &HostPattern) -> Diagnostic {
        let names = self.served.dns_names.texts().join(", ");
        let message =
            format!("certificate `{}` does not cover host `{pattern}`, so it is not presented there", self.served.name);
        let hint =
            if names.is_empty() { "it has no DNS names".to_owned() } else { format!("its DNS names are: {names}") };
        Diagnostic::warning(Code::CertificateNameMismatch, &secret_name(&self.claim.origin), message).hint(hint)
    }
}

/// The first that covers all of a pattern. In its namespace, an entry that names the host comes before one that names
/// a wildcard above it.
fn winner<'u, 'm>(pattern: &HostPattern, usable: &'u [Usable<'m>]) -> Option<&'u Usable<'m>> {
    let covering = || usable.iter().filter(|it| it.covers(pattern));
    let first = covering().next()?;
    let namespace = &first.claim.origin.namespace;
    let named = |it: &&Usable<'_>| !it.claim.by_wildcard && it.claim.origin.namespace == *namespace;
    Some(covering().find(named).filter(|_| first.claim.by_wildcard).unwrap_or(first))
}

/// Says to both sides whose certificate is presented.
fn conflict(pattern: &HostPattern, loser: &Origin, winner: &Usable<'_>) -> Vec<Diagnostic> {
    let (secret, owner) = (&winner.served.name, &winner.claim.origin);
    let message = format!("host `{pattern}` already has Secret `{secret}` of {}", owner.object());
    let lost = Diagnostic::warning(Code::CertificateConflict, &secret_name(loser), message)
        .hint("the oldest object wins; name the same Secret in both");
    let message = format!("{} has another certificate for host `{pattern}`, which is not presented", loser.object());
    let told = Diagnostic::info(Code::HostNamedByOthers, &secret_name(owner), message);
    if loser.object() == owner.object() { vec![lost] } else { vec![lost, told] }
}

/// The field of the Secret in a `tls` entry.
fn secret_name(entry: &Origin) -> Origin {
    entry.at(format!("{}.secretName", entry.field))
}

/// What is to be said of a certificate that is presented all the same.
fn judge(read: &Read, now: i64) -> Vec<Diagnostic> {
    let served = &read.served;
    let warn = |code, message: String| {
        let message = format!("certificate `{}` {message}", served.name);
        Diagnostic::warning(code, &served.origin, message)
    };
    let mut found = Vec::new();
    if now > served.not_after {
        found.push(warn(Code::CertificateExpired, "has expired; clients will refuse it".to_owned()));
    }
    if now < read.not_before {
        found.push(warn(Code::CertificateNotYetValid, "is not valid yet; clients will refuse it".to_owned()));
    }
    found.extend(read.told.iter().cloned());
    found
}
