//! stub: replaced by the router owner
use crate::host::HostPattern;
/// From host to value.
#[derive(Debug, Clone)]
pub struct HostMap<T>(Vec<(HostPattern, T)>);
impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}
impl<T: Clone> HostMap<T> {
    /// Finds the value of the most specific pattern that matches a canonical host (lower case, no port, no trailing dot).
    pub fn find(&self, host: &str) -> Option<&T> {
        self.0.iter().find(|(pattern, _)| pattern.matches(host)).map(|(_, value)| value)
    }
    /// The value of exactly this pattern.
    pub fn get(&self, pattern: &HostPattern) -> Option<&T> {
        self.0.iter().find(|(p, _)| p == pattern).map(|(_, value)| value)
    }
    /// A copy with changes; what is not named is shared with the original.
    pub fn with(&self, changes: impl IntoIterator<Item = (HostPattern, Option<T>)>) -> Self {
        let mut new = self.clone();
        for (pattern, value) in changes {
            new.0.retain(|(p, _)| *p != pattern);
            new.0.extend(value.map(|value| (pattern, value)));
        }
        new.0.sort_by(|a, b| a.0.cmp(&b.0));
        new
    }
    /// All patterns with their values, in order of precedence.
    pub fn iter(&self) -> impl Iterator<Item = (&HostPattern, &T)> {
        self.0.iter().map(|(p, v)| (p, v))
    }
}
