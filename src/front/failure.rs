//! Why a handshake failed.

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeFailure {
    /// It was not complete in time.
    Timeout,
    /// The client closed the connection before its ClientHello was complete.
    Closed,
    /// What came is no ClientHello.
    NotTls,
    /// The ClientHello is larger than 64 KiB.
    TooLarge,
    /// Client and listener do not agree, or the client refused the certificate.
    Refused,
}

// === impl HandshakeFailure ===

impl HandshakeFailure {
    /// Every reason, in declared order.
    pub(crate) const ALL: [Self; 5] = [Self::Timeout, Self::Closed, Self::NotTls, Self::TooLarge, Self::Refused];

    /// The reason as it stands in logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
        }
    }
}
