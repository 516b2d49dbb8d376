//! Host names and the patterns that match them.
//!
//! A leaf module shared by model and snapshot. Names are lower case, without port and trailing dot.
//! Source: Ingress v1 `spec.rules[].host`, Gateway API `Hostname`, RFC 1123 section 2.1.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Which hosts a virtual host or certificate is for.
///
/// The order of the variants is the order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// One name: `a.example`.
    Exact(Arc<str>),
    /// `*.example`: the suffix is kept without `*.`.
    Wildcard {
        /// What follows `*.`.
        suffix: Arc<str>,
        /// How many labels the star stands for.
        labels: Labels,
    },
    /// Every host.
    Any,
}

/// How many labels a wildcard stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Labels {
    /// Exactly one, as in Ingress and in certificates (RFC 6125).
    One,
    /// One or more, as in Gateway API and in conf routes written `**.example`.
    Many,
}

/// Set of names and wildcards of one label that is matched by names: of a certificate, or of `tls` entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSet {
    names: BTreeSet<Arc<str>>,
    suffixes: BTreeSet<Arc<str>>,
}

/// Why a text is not a host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Longer than DNS allows.
    #[error("longer than 253 characters")]
    TooLong,
    /// A label is empty, too long, or has a character that DNS names do not.
    #[error("`{0}` is not a DNS label")]
    BadLabel(String),
    /// A star anywhere but as the whole first label.
    #[error("a wildcard must be the whole first label, as in `*.example`")]
    BadWildcard,
    /// An address where a name is wanted.
    #[error("an IP address is not a host name")]
    Address,
}

// === impl HostPattern ===

impl HostPattern {
    /// Parses `a.example`, `*.example` (one label), `**.example` (one or more); empty means any.
    ///
    /// # Errors
    /// Anything that is not a DNS name or such a wildcard, and IP addresses.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Ok(Self::Any);
        }
        let text = text.to_ascii_lowercase();
        if let Some(suffix) = text.strip_prefix("**.") {
            check_name(suffix)?;
            return Ok(Self::Wildcard { suffix: suffix.into(), labels: Labels::Many });
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            check_name(suffix)?;
            return Ok(Self::Wildcard { suffix: suffix.into(), labels: Labels::One });
        }
        if text.contains('*') {
            return Err(HostError::BadWildcard);
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Err(HostError::Address);
        }
        check_name(&text)?;
        Ok(Self::Exact(text.as_str().into()))
    }

    /// Parses as [`HostPattern::parse`] does; a name that is canonical already is shared.
    ///
    /// # Errors
    /// As there.
    pub fn parse_shared(text: &Arc<str>) -> Result<Self, HostError> {
        match Self::parse(text)? {
            Self::Exact(name) if name == *text => Ok(Self::Exact(Arc::clone(text))),
            pattern => Ok(pattern),
        }
    }

    /// The wildcard of one label that matches an exact name; nothing for other patterns.
    pub fn wildcard_above(&self) -> Option<Self> {
        let Self::Exact(name) = self else { return None };
        let (label, suffix) = name.split_once('.')?;
        (!label.is_empty()).then(|| Self::Wildcard { suffix: suffix.into(), labels: Labels::One })
    }

    /// Patterns that match everything which this one matches, the most specific first, without itself.
    pub fn above(&self) -> Vec<Self> {
        let many = |suffix: &str| Self::Wildcard { suffix: suffix.into(), labels: Labels::Many };
        let (mut found, mut suffix) = match self {
            Self::Exact(_) => match self.wildcard_above() {
                Some(Self::Wildcard { suffix, labels }) => {
                    (vec![Self::Wildcard { suffix: Arc::clone(&suffix), labels }, many(&suffix)], suffix)
                }
                _ => return vec![Self::Any],
            },
            Self::Wildcard { suffix, labels: Labels::One } => (vec![many(suffix)], Arc::clone(suffix)),
            Self::Wildcard { suffix, labels: Labels::Many } => (Vec::new(), Arc::clone(suffix)),
            Self::Any => return Vec::new(),
        };
        while let Some((_, parent)) = suffix.split_once('.') {
            found.push(many(parent));
            suffix = parent.into();
        }
        found.push(Self::Any);
        found
    }

    /// Says whether a canonical host matches.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Any => true,
            Self::Wildcard { suffix, labels } => {
                let Some(label) = host.strip_suffix(&**suffix).and_then(|h| h.strip_suffix('.')) else { return false };
                !label.is_empty() && (*labels == Labels::Many || !label.contains('.'))
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard { suffix, labels: Labels::One } => write!(f, "*.{suffix}"),
            Self::Wildcard { suffix, labels: Labels::Many } => write!(f, "**.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl HostSet ===

impl HostSet {
    /// Says whether a canonical host is in it.
    pub fn contains(&self, host: &str) -> bool {
        self.names.contains(host)
            || host.split_once('.').is_some_and(|(label, suffix)| !label.is_empty() && self.suffixes.contains(suffix))
    }

    /// Says whether all that a pattern matches is in it. A star stands for one label, so `**.` is covered in part at
    /// best; nothing covers every host.
    pub fn covers(&self, pattern: &HostPattern) -> bool {
        match pattern {
            HostPattern::Exact(name) => self.contains(name),
            HostPattern::Wildcard { suffix, labels: Labels::One } => self.suffixes.contains(suffix),
            HostPattern::Wildcard { labels: Labels::Many, .. } | HostPattern::Any => false,
        }
    }

    /// Says whether anything that a pattern matches is in it.
    pub fn touches(&self, pattern: &HostPattern) -> bool {
        self.covers(pattern) || self.names.iter().any(|name| pattern.matches(name))
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.suffixes.is_empty()
    }

    /// What is in it, as people write it.
    fn texts(&self) -> impl Iterator<Item = String> {
        let wildcards = self.suffixes.iter().map(|suffix| format!("*.{suffix}"));
        self.names.iter().map(|name| name.to_string()).chain(wildcards)
    }
}

impl FromIterator<HostPattern> for HostSet {
    /// Patterns of other kinds than names and wildcards of one label are left out.
    fn from_iter<I: IntoIterator<Item = HostPattern>>(patterns: I) -> Self {
        let mut set = Self::default();
        for pattern in patterns {
            match pattern {
                HostPattern::Exact(name) => drop(set.names.insert(name)),
                HostPattern::Wildcard { suffix, labels: Labels::One } => drop(set.suffixes.insert(suffix)),
                HostPattern::Wildcard { labels: Labels::Many, .. } | HostPattern::Any => {}
            }
        }
        set
    }
}

impl Serialize for HostSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.texts())
    }
}

fn check_name(name: &str) -> Result<(), HostError> {
    if name.len() > 253 {
        return Err(HostError::TooLong);
    }
    for label in name.split('.') {
        let bytes = label.as_bytes();
        let edges = bytes.first().zip(bytes.last());
        let good = bytes.len() <= 63
            && edges.is_some_and(|(a, z)| *a != b'-' && *z != b'-')
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-' || *b == b'_');
        if !good {
            return Err(HostError::BadLabel(label.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_one_label_wildcard_matches_exactly_one_label() {
        let pattern = HostPattern::parse("*.Foo.com").unwrap();
        assert!(pattern.matches("bar.foo.com"));
        assert!(!pattern.matches("baz.bar.foo.com"));
        assert!(!pattern.matches("foo.com"));
        assert!(!pattern.matches(".foo.com"));
        assert!(!pattern.matches("xfoo.com"));
    }

    #[test]
    fn a_many_label_wildcard_matches_one_or_more_labels() {
        let pattern = HostPattern::parse("**.foo.com").unwrap();
        assert!(pattern.matches("bar.foo.com"));
        assert!(pattern.matches("baz.bar.foo.com"));
        assert!(!pattern.matches("foo.com"));
    }

    #[test]
    fn what_stands_above_a_pattern_matches_all_that_it_matches() {
        let above = |text: &str| -> Vec<String> {
            HostPattern::parse(text).unwrap().above().iter().map(ToString::to_string).collect()
        };
        assert_eq!(above("a.b.c"), ["*.b.c", "**.b.c", "**.c", "*"]);
        assert_eq!(above("*.b.c"), ["**.b.c", "**.c", "*"]);
        assert_eq!(above("**.b.c"), ["**.c", "*"]);
        assert_eq!(above("c"), ["*"]);
        assert_eq!(above(""), [""; 0]);
    }

    #[test]
    fn a_set_has_its_names_and_one_label_under_its_wildcards() {
        let pattern = |text: &str| HostPattern::parse(text).unwrap();
        let set: HostSet = ["a.t", "x.w.t", "*.b.t"].map(pattern).into_iter().collect();
        let has = ["a.t", "x.w.t", "c.b.t"];
        assert!(has.iter().all(|host| set.contains(host)));
        assert!(!["b.t", "d.c.b.t", ".b.t", "w.t", "y.w.t", ""].iter().any(|host| set.contains(host)));
        assert!(["a.t", "x.b.t", "*.b.t"].iter().all(|text| set.covers(&pattern(text))));
        assert!(!["**.b.t", "*.w.t", "", "*.t"].iter().any(|text| set.covers(&pattern(text))));
        assert!(["*.w.t", "**.w.t", "*.t", "", "*.b.t"].iter().all(|text| set.touches(&pattern(text))));
        assert!(!["b.t", "*.v.t", "*.a.t"].iter().any(|text| set.touches(&pattern(text))));
    }

    #[test]
    fn refuses_what_is_no_dns_name() {
        assert_eq!(HostPattern::parse("10.0.0.1"), Err(HostError::Address));
        assert_eq!(HostPattern::parse("*"), Err(HostError::BadWildcard));
        assert_eq!(HostPattern::parse("a.*.b"), Err(HostError::BadWildcard));
        assert_eq!(HostPattern::parse("a..b"), Err(HostError::BadLabel(String::new())));
        assert_eq!(HostPattern::parse("-a.b"), Err(HostError::BadLabel("-a".into())));
        assert_eq!(HostPattern::parse("a b"), Err(HostError::BadLabel("a b".into())));
        assert!(HostPattern::parse(&"a.".repeat(200)).is_err());
    }
}
