//! Timeouts, body size and attempts.

use std::time::Duration;

use super::super::row::{Annotation, Dialect, Support};
use super::super::security::Security;
use super::super::value::{FamilyAnnotations, Refusal, Value};
use crate::policy::{Change, MAX_ATTEMPTS, Wait};
use crate::quantity;
use crate::translate::asked::Asked;

pub(crate) const TABLE: &[Annotation] =
    &[PROXY_CONNECT_TIMEOUT, PROXY_READ_TIMEOUT, PROXY_SEND_TIMEOUT, PROXY_BODY_SIZE, PROXY_NEXT_UPSTREAM_TRIES];

/// Who asked for a limit has one: that of ingress-nginx where nothing is said.
const UNREADABLE_BODY: u64 = 1 << 20;

const TIMEOUT_GRAMMAR: &str = "seconds (`30`), or under `tidegate.io/` a duration (`30s`)";

const PROXY_CONNECT_TIMEOUT: Annotation = Annotation {
    name: "proxy-connect-timeout",
    aliases: &[],
    grammar: TIMEOUT_GRAMMAR,
    doc: "Timeout of the TCP and TLS handshake with an endpoint. Default: `defaults.timeouts.connect`.",
    support: Support::Both,
    on_service: false,
    security: Security::No,
};

const PROXY_READ_TIMEOUT: Annotation = Annotation {
    name: "proxy-read-timeout",
    aliases: &[],
    grammar: TIMEOUT_GRAMMAR,
    doc: "Longest time without a byte from the endpoint while its response is awaited. Default: `defaults.timeouts.read`.",
    support: Support::Both,
    on_service: false,
    security: Security::No,
};

const PROXY_SEND_TIMEOUT: Annotation = Annotation {
    name: "proxy-send-timeout",
    aliases: &[],
    grammar: TIMEOUT_GRAMMAR,
    doc: "Longest time in which the endpoint reads nothing of the request. Default: `defaults.timeouts.send`.",
    support: Support::Both,
    on_service: false,
    security: Security::No,
};

const PROXY_BODY_SIZE: Annotation = Annotation {
    name: "proxy-body-size",
    aliases: &["max-body"],
    grammar: "a size (`8m`, `512k`, `1g`, bytes; under `tidegate.io/` also `8MiB`) or `0` for unlimited",
    doc: "Largest request body; larger ones are answered 413. An invalid value counts as 1 MiB. Default: `defaults.limits.body`.",
    support: Support::Both,
    on_service: false,
    security: Security::No,
};

const PROXY_NEXT_UPSTREAM_TRIES: Annotation = Annotation {
    name: "proxy-next-upstream-tries",
    aliases: &["attempts"],
    grammar: "a number from 1 to 10, or `0` for the default",
    doc: "Attempts for a request, the first included; those after it are retries. Default: `defaults.attempts`.",
    support: Support::Both,
    on_service: false,
    security: Security::No,
};

pub(crate) fn finish(given: FamilyAnnotations<'_>, asked: &mut Asked) {
    let waits =
        [(&PROXY_CONNECT_TIMEOUT, Wait::Connect), (&PROXY_READ_TIMEOUT, Wait::Read), (&PROXY_SEND_TIMEOUT, Wait::Send)];
    for (row, wait) in waits {
        given.read(row, asked, |value, asked| {
            asked.policy.set(Change::Wait(wait, timeout(value)?), value.origin.clone());
            Ok(())
        });
    }
    given.read(&PROXY_BODY_SIZE, asked, |value, asked| {
        let bytes = nginx_size(value.text).or_else(|| own_size(value));
        let limit = bytes.map_or(Some(UNREADABLE_BODY), |bytes| (bytes > 0).then_some(bytes));
        asked.policy.set(Change::Body(limit), value.origin.clone());
        bytes.ok_or_else(|| Refusal(format!("`{}` is not a size; the limit is 1 MiB", value.text)))
    });
    given.read(&PROXY_NEXT_UPSTREAM_TRIES, asked, |value, asked| match value.text.parse::<u32>() {
        Ok(0) => Ok(()),
        Ok(attempts @ 1..=MAX_ATTEMPTS) => {
            asked.policy.set(Change::Attempts(attempts), value.origin.clone());
            Ok(())
        }
        _ => Err(Refusal(format!("`{}` is not a number of attempts", value.text))),
    });
}

fn timeout(value: Value<'_>) -> Result<Duration, Refusal> {
    let seconds = value.text.parse::<u32>().ok().map(|seconds| Duration::from_secs(u64::from(seconds)));
    let own = || (value.dialect == Dialect::Own).then(|| value.text.parse::<quantity::Duration>().ok()).flatten();
    let duration = seconds.or_else(|| own().map(|duration| duration.0)).filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| Refusal(format!("`{}` is not a timeout over 0", value.text)))
}

/// A size as nginx reads it: bytes, or with `k`, `m`, `g` in powers of 1024.
fn nginx_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.get(digits.len()..)? {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    digits
        .bytes()
        .all(|digit| digit.is_ascii_digit())
        .then(|| digits.parse::<u64>().ok()?.checked_mul(factor))
        .flatten()
}

fn own_size(value: Value<'_>) -> Option<u64> {
    (value.dialect == Dialect::Own).then(|| value.text.parse::<quantity::ByteSize>().ok()).flatten().map(|size| size.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_nginx() {
        for (text, expected) in
            [("8m", Some(8 << 20)), ("0", Some(0)), ("10", Some(10)), ("1G", Some(1 << 30)), ("512k", Some(512 << 10))]
        {
            assert_eq!(nginx_size(text), expected, "{text}");
        }
        assert!(
            ["", "m", "8mb", "+8", "-1", "8 m", "99999999999999999999g"].iter().all(|text| nginx_size(text).is_none())
        );
    }
}
