//! Settings of backends that differ from what their Service and the conf say.

use crate::quantity::Duration;
use crate::upstream::{Balance, HealthCheck, Protocol, UpstreamConfig};

/// Settings that are asked for backends.
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

    /// Settings with what is asked for, and where nothing is, those that hold without.
    ///
    /// Pods have certificates of their own making, if any: as ingress-nginx does, they are not verified unless told to.
    #[must_use]
    pub(crate) fn over(&self, base: UpstreamConfig) -> UpstreamConfig {
        let protocol = self.protocol.unwrap_or(base.protocol);
        UpstreamConfig {
            protocol,
            tls: protocol.is_tls().then(|| base.tls.unwrap_or_default()),
            balance: self.balance.unwrap_or(base.balance),
            health_check: self.health_check.clone().or(base.health_check),
            ..base
        }
    }

    /// The text that tells these settings from others; the same text means the same settings.
    pub(crate) fn variant(&self) -> String {
        let mut parts = Vec::new();
        if let Some(protocol) = self.protocol {
            parts.push(protocol.as_str().to_owned());
        }
        if let Some(balance) = self.balance {
            parts.push(balance.as_str().to_owned());
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

fn health_check_text(check: &HealthCheck) -> String {
    let probe = check.http.as_ref().map_or("tcp", |http| &http.path);
    let (interval, timeout) = (check.interval, Duration(check.timeout()));
    let (healthy, unhealthy) = (check.healthy_threshold, check.unhealthy_threshold);
    format!("check({probe},{interval},{timeout},{healthy},{unhealthy})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::HttpProbe;

    #[test]
    fn different_settings_have_different_variants() {
        let check = |http| HealthCheck { http, ..HealthCheck::default() };
        let http = |path: &str| Some(HttpProbe { path: path.into(), host: None, statuses: Vec::new() });
        let protocols = [None, Some(Protocol::Http), Some(Protocol::Https), Some(Protocol::H2c), Some(Protocol::H2)];
        let balances = [None, Some(Balance::RoundRobin), Some(Balance::LeastRequest)];
        let checks = [None, Some(check(None)), Some(check(http("/a"))), Some(check(http("/tcp")))];
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
    fn what_is_asked_for_is_laid_over_what_holds_without() {
        let base = UpstreamConfig { balance: Balance::LeastRequest, ..UpstreamConfig::default() };
        assert_eq!(BackendPatch::default().over(base.clone()), base);
        let check = Some(HealthCheck::default());
        let patch = BackendPatch {
            protocol: Some(Protocol::H2),
            balance: Some(Balance::RoundRobin),
            health_check: check.clone(),
            service_upstream: false,
        };
        let (protocol, balance, tls) =
            (Protocol::H2, Balance::RoundRobin, Some(crate::upstream::UpstreamTls::default()));
        assert_eq!(patch.over(base.clone()), UpstreamConfig { protocol, balance, tls, health_check: check, ..base });
    }

    #[test]
    fn one_patch_comes_before_another_where_it_asks_for_something() {
        let one = BackendPatch { protocol: Some(Protocol::H2), ..BackendPatch::default() };
        let other = BackendPatch { protocol: Some(Protocol::Http), service_upstream: true, ..BackendPatch::default() };
        assert_eq!(one.or(other.clone()), BackendPatch { protocol: Some(Protocol::H2), ..other.clone() });
        assert_eq!(BackendPatch::default().or(other.clone()), other);
    }
}
