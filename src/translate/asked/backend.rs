//! Settings of backends that differ from what their Service and the conf say.

use crate::model::{Balance, HealthCheck, Probe, Protocol};
use crate::quantity::Duration;

/// What is asked of backends.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BackendPatch {
    pub protocol: Option<Protocol>,
    pub balance: Option<Balance>,
    pub health_check: Option<HealthCheck>,
    /// Whether requests go to the Service's address, and whoever stands behind that balances.
    pub service_upstream: bool,
}

// === impl BackendPatch ===

impl BackendPatch {
    /// This one, and where it asks for nothing, another.
    #[must_use]
    pub(crate) fn or(&self, other: Self) -> Self {
        Self {
            protocol: self.protocol.or(other.protocol),
            balance: self.balance.or(other.balance),
            health_check: self.health_check.clone().or(other.health_check),
            service_upstream: self.service_upstream || other.service_upstream,
        }
    }

    /// The text that tells these settings from others; the same text means the same settings.
    pub(crate) fn variant(&self) -> String {
        let mut parts = Vec::new();
        if let Some(protocol) = self.protocol {
            parts.push(protocol_name(protocol).to_owned());
        }
        if let Some(balance) = self.balance {
            parts.push(balance_name(balance).to_owned());
        }
        if self.service_upstream {
            parts.push("service-upstream".to_owned());
        }
        if let Some(check) = &self.health_check {
            parts.push(health_check_text(check));
        }
        parts.join("+")
    }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Https => "https",
        Protocol::H2c => "h2c",
        Protocol::H2 => "h2",
    }
}

fn balance_name(balance: Balance) -> &'static str {
    match balance {
        Balance::RoundRobin => "round-robin",
        Balance::LeastRequest => "least-request",
    }
}

fn health_check_text(check: &HealthCheck) -> String {
    let probe = match &check.probe {
        Probe::Tcp => "tcp",
        Probe::Http { path, .. } => path,
    };
    let (interval, timeout) = (Duration(check.interval), Duration(check.timeout));
    let (healthy, unhealthy) = (check.healthy_threshold, check.unhealthy_threshold);
    format!("check({probe},{interval},{timeout},{healthy},{unhealthy})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_settings_have_different_variants() {
        let check = |probe| HealthCheck {
            probe,
            interval: std::time::Duration::from_secs(10),
            timeout: std::time::Duration::from_secs(1),
            healthy_threshold: 1,
            unhealthy_threshold: 2,
        };
        let http = |path: &str| Probe::Http { path: path.into(), host: None, statuses: Vec::new() };
        let protocols = [None, Some(Protocol::Http), Some(Protocol::Https), Some(Protocol::H2c), Some(Protocol::H2)];
        let balances = [None, Some(Balance::RoundRobin), Some(Balance::LeastRequest)];
        let checks = [None, Some(check(Probe::Tcp)), Some(check(http("/a"))), Some(check(http("/tcp")))];
        let mut variants = std::collections::BTreeSet::new();
        for protocol in protocols {
            for balance in balances {
                for health_check in checks.clone() {
                    for service_upstream in [false, true] {
                        let health_check = health_check.clone();
                        let overrides = BackendPatch { protocol, balance, health_check, service_upstream };
                        assert!(variants.insert(overrides.variant()), "{overrides:?} has the variant of another");
                    }
                }
            }
        }
        assert_eq!(BackendPatch::default().variant(), "");
    }

    #[test]
    fn one_patch_comes_before_another_where_it_asks_for_something() {
        let one = BackendPatch { protocol: Some(Protocol::H2), ..BackendPatch::default() };
        let other = BackendPatch { protocol: Some(Protocol::Http), service_upstream: true, ..BackendPatch::default() };
        assert_eq!(one.or(other.clone()), BackendPatch { protocol: Some(Protocol::H2), ..other.clone() });
        assert_eq!(BackendPatch::default().or(other.clone()), other);
    }
}
