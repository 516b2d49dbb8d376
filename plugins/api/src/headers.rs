//! Editing header fields without knowing who holds them.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// A set of header fields that a plugin may read and edit. Implemented by the proxy for its engine's
/// messages, and by [`HeaderMap`] for tests.
pub trait Headers: Send {
    /// The fields as they are.
    fn map(&self) -> &HeaderMap;
    /// Puts one field in place of all of its name.
    fn set(&mut self, name: HeaderName, value: HeaderValue);
    /// Adds a field, keeping others of its name.
    fn append(&mut self, name: HeaderName, value: HeaderValue);
    /// Removes all fields of a name.
    fn remove(&mut self, name: &HeaderName);
}

/// Fields that a plugin edits. Those by which a message is framed, or that are about one connection (RFC 9110 7.6.1), and
/// `Host`, by which requests are routed, belong to the proxy: what is done to them here has no effect.
pub struct Editable<'a>(&'a mut dyn Headers);

/// What belongs to the proxy.
static OWN: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

// === impl Editable ===

impl<'a> Editable<'a> {
    /// These fields.
    pub fn new(fields: &'a mut dyn Headers) -> Self {
        Self(fields)
    }

    /// The fields as they are.
    pub fn map(&self) -> &HeaderMap {
        self.0.map()
    }

    /// Puts one field in place of all of its name.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        if !OWN.contains(&name) {
            self.0.set(name, value);
        }
    }

    /// Adds a field, keeping others of its name.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        if !OWN.contains(&name) {
            self.0.append(name, value);
        }
    }

    /// Removes all fields of a name.
    pub fn remove(&mut self, name: &HeaderName) {
        if !OWN.contains(name) {
            self.0.remove(name);
        }
    }
}

// === impl HeaderMap ===

impl Headers for HeaderMap {
    fn map(&self) -> &HeaderMap {
        self
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.insert(name, value);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        HeaderMap::append(self, name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        HeaderMap::remove(self, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_stays_as_it_is() {
        let value = HeaderValue::from_static("1");
        let mut fields: HeaderMap = OWN.iter().map(|name| (name.clone(), value.clone())).collect();
        let mut editable = Editable::new(&mut fields);
        for name in &OWN {
            editable.set(name.clone(), HeaderValue::from_static("2"));
            editable.append(name.clone(), HeaderValue::from_static("3"));
            editable.remove(name);
        }
        editable.set(header::SERVER, value.clone());
        assert_eq!(fields.remove(header::SERVER), Some(value.clone()));
        assert!(fields.len() == OWN.len() && fields.values().all(|kept| kept == value), "{fields:?}");
    }
}
