//! Which values of an annotation ask for protection.

mod snippet;

/// Condition under which an annotation asks for protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Never: at most it softens something, or protects against load.
    No,
    /// Whatever its value.
    Always,
    /// Unless its value is one of these.
    Unless(&'static [&'static str]),
    /// Unless it lets everybody pass: cert-manager opens the solvers of its challenges by that.
    UnlessEverybody,
    /// Unless there is nothing in it.
    UnlessBlank,
    /// When the nginx configuration in it has a rule of access.
    AccessRule,
}

// === impl Security ===

impl Security {
    /// Whether a value asks for protection.
    pub fn asks(self, value: &str) -> bool {
        let value = value.trim();
        match self {
            Self::No => false,
            Self::Always => true,
            Self::Unless(none) => !none.iter().any(|off| value.eq_ignore_ascii_case(off)),
            Self::UnlessEverybody => !allows_everybody(value),
            Self::UnlessBlank => !value.is_empty(),
            Self::AccessRule => snippet::has_access_rule(value),
        }
    }
}

fn allows_everybody(ranges: &str) -> bool {
    ["0.0.0.0/0", "::/0"].iter().all(|all| ranges.split(',').any(|range| range.trim() == *all))
}
