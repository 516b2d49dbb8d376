//! From a route to an endpoint: which one, how it is spoken to, and what follows when it fails.

mod edit;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use self::edit::edit;
use super::context::{Context, Target};
use super::retry::{self, Lost, Refusal, Tries};
use crate::capacity::Limits;
use crate::endpoint::{Hold, NoPick, Pick, Upstream};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::upstream::{CaBundle, UpstreamConfig};

/// Tries that do not count, at most: those lost on kept connections whose other end had not processed the request.
pub(crate) const FREE_TRIES: usize = 3;

/// Where a try goes, and how the endpoint there is spoken to.
#[derive(Debug)]
pub(crate) struct Aim {
    pub(crate) address: SocketAddr,
    pub(crate) config: Arc<UpstreamConfig>,
    pub(crate) policy: Arc<Policy>,
}

/// How TLS to an endpoint is made.
#[derive(Debug, PartialEq)]
pub(crate) struct Tls<'a> {
    /// The server's name, or its address without brackets.
    pub(crate) name: &'a str,
    pub(crate) is_verified: bool,
    /// Whom certificates are to be of; `None`: the system's.
    pub(crate) authorities: Option<&'a CaBundle>,
}

/// What comes before a try.
pub(crate) enum Next {
    /// An endpoint is picked, or there is none, for this reason.
    Picked(Result<(), Reason>),
    /// All known ones refused: others are to be waited for, so long at most.
    Wait(Duration),
}

// === impl Aim ===

impl Aim {
    /// How TLS is made to the endpoint, for a request of that host; `None`: it is spoken to in clear.
    ///
    /// # Errors
    /// It is to be verified, and there is no name for it.
    pub(crate) fn tls<'a>(&'a self, host: &'a str) -> Result<Option<Tls<'a>>, Reason> {
        if !self.config.protocol.is_tls() {
            return Ok(None);
        }
        let tls = self.config.tls.as_ref();
        let name = tls.and_then(|tls| tls.server_name.as_deref()).unwrap_or(host).trim_matches(['[', ']']);
        let is_verified = tls.is_some_and(|tls| tls.verify);
        match is_verified && name.is_empty() {
            true => Err(Reason::UpstreamTls),
            false => Ok(Some(Tls { name, is_verified, authorities: tls.and_then(|tls| tls.ca.as_ref()) })),
        }
    }
}

// === public functions ===

/// Picks the first endpoint, before anything depends on it: without one the client's connection can stay.
///
/// # Errors
/// The backend is unusable, has its share of the requests under way, or nobody is ready.
pub(super) fn prepare(upstream: Arc<Upstream>, limits: Limits, target: &mut Target) -> Result<(), Reason> {
    let config = upstream.config();
    let hold = Hold::enter(upstream, config.protocol, limits);
    let picked = match (config.is_invalid, hold.is_refused()) {
        (true, _) => Err(Reason::InvalidBackend),
        (false, true) => Err(Reason::OverShare),
        (false, false) => pick(hold.upstream(), target),
    };
    target.upstream = Some(hold);
    picked
}

/// Picks the endpoint of the next try.
pub(crate) fn next(cx: &mut Context) -> Next {
    // The first endpoint was picked when the request was let through.
    if cx.upstream.tries.len() == 0 {
        return Next::Picked(Ok(()));
    }
    let picked = match upstream(&cx.upstream) {
        Some(upstream) if has_tries(cx) => pick(&upstream, &mut cx.upstream),
        _ => Err(last_outcome(&cx.upstream)),
    };
    match (picked, patience(cx)) {
        (Err(_), Some(limit)) => Next::Wait(limit),
        (picked, _) => Next::Picked(picked),
    }
}

/// Waits for other endpoints and picks one; all tries begin anew with it.
///
/// # Errors
/// None came.
pub(crate) async fn wait(limit: Duration, target: &mut Target) -> Result<(), Reason> {
    let Some(upstream) = upstream(target) else { return Err(Reason::Internal) };
    target.wait_until.get_or_insert_with(|| Instant::now() + limit);
    let pick = upstream.pick_changed(&mut target.tried, limit).await.map_err(|_| last_outcome(target))?;
    target.pick = Some(pick);
    target.tries_before = target.tries.len();
    Ok(())
}

/// Begins a try at the picked endpoint.
///
/// # Errors
/// There is none; the reason is in the context too.
pub(crate) fn aim(picked: Result<(), Reason>, cx: &mut Context) -> Result<Aim, Reason> {
    aimed(picked, cx).inspect_err(|reason| cx.reason = Some(*reason))
}

fn aimed(picked: Result<(), Reason>, cx: &mut Context) -> Result<Aim, Reason> {
    let (Some(route), Some(upstream)) = (&cx.route, cx.upstream.asked()) else { return Err(Reason::Internal) };
    picked?;
    let address = cx.upstream.pick.as_ref().map(Pick::address).ok_or(Reason::NoEndpoints)?;
    let aim = Aim { address, config: upstream.config(), policy: Arc::clone(&route.policy) };
    cx.upstream.is_h2 = aim.config.protocol.is_h2();
    cx.upstream.begin_try(address);
    Ok(aim)
}

fn upstream(target: &Target) -> Option<Arc<Upstream>> {
    target.upstream.as_ref().map(|hold| Arc::clone(hold.upstream()))
}

fn pick(upstream: &Arc<Upstream>, target: &mut Target) -> Result<(), Reason> {
    match upstream.pick(&mut target.tried) {
        Ok(pick) => target.pick = Some(pick),
        // The endpoint itself was never found wanting: it had closed a connection, or did not take up the request.
        Err(_) if target.is_blameless && target.pick.is_some() => {}
        Err(NoPick::Empty) if target.tries.len() == 0 => return Err(Reason::NoEndpoints),
        Err(_) => return Err(last_outcome(target)),
    }
    target.is_blameless = false;
    Ok(())
}

fn last_outcome(target: &Target) -> Reason {
    target.tries.as_slice().last().map_or(Reason::NoEndpoints, |last| last.outcome)
}

/// Whether endpoints that are known may still be tried.
fn has_tries(cx: &Context) -> bool {
    counted(cx) < allowed(cx)
}

/// Tries that count.
fn counted(cx: &Context) -> usize {
    let all = cx.upstream.tries.len().saturating_sub(cx.upstream.tries_before);
    all.saturating_sub(cx.upstream.free_tries)
}

/// Notes that the request was not taken up, which says nothing against the endpoint. A try at a kept connection that
/// was at its end does not count either, within bounds: who asks for one try asks for one that can come to something.
fn refused(refusal: Refusal, is_kept: bool, target: &mut Target) {
    target.is_blameless = true;
    if is_kept && refusal == Refusal::Connection && target.free_tries < FREE_TRIES {
        target.free_tries += 1;
    }
}

/// Tries that the route allows.
fn allowed(cx: &Context) -> usize {
    cx.route.as_ref().map_or(1, |route| usize::try_from(route.policy.attempts).unwrap_or(1))
}

/// How long other endpoints may be waited for: only while nobody can be connected to, which a rollout ends.
fn patience(cx: &Context) -> Option<Duration> {
    let limit = cx.route.as_ref()?.policy.timeouts.endpoints;
    let left = cx.upstream.wait_until.map_or(limit, |until| until.saturating_duration_since(Instant::now()));
    (last_outcome(&cx.upstream) == Reason::ConnectFailed && !left.is_zero()).then_some(left)
}

/// The whole request is sent: the head of the answer is awaited from now on.
pub(super) fn sent(cx: &mut Context) {
    let target = &mut cx.upstream;
    if target.is_answered || target.answer_due.is_some() {
        return;
    }
    let Some(route) = &cx.route else { return };
    // Without a body it was sent when the connection was there, so that nobody need look at the clock.
    let since = target.sent.filter(|_| !cx.known.has_body).unwrap_or_else(Instant::now);
    target.answer_due = since.checked_add(route.policy.timeouts.response_header);
    if let (Some(due), Some(connection)) = (target.answer_due, &cx.known.connection) {
        connection.answer_expected(due);
    }
}

/// The head of the answer is there.
pub(super) fn answered(cx: &mut Context) {
    cx.upstream.is_answered = true;
    if let Some(connection) = &cx.known.connection {
        connection.answer_arrived();
    }
}

/// A try found no connection. Says whether another is made: the next endpoint may be better, and nothing was sent.
/// `refusal`: it says nothing against the endpoint.
pub(crate) fn not_connected(reason: Reason, refusal: Option<Refusal>, cx: &mut Context) -> bool {
    cx.upstream.end_try(reason, Instant::now());
    if let Some(refusal) = refusal {
        // Kept or fresh is not said; a fresh one takes no stream only when GOAWAY is its first word.
        refused(refusal, true, &mut cx.upstream);
    }
    has_tries(cx) || patience(cx).is_some()
}

/// A try was lost on its connection. Says whether the request is sent again.
pub(crate) fn lost(lost: Lost<'_>, cx: &mut Context) -> bool {
    if let Some(connection) = &cx.known.connection {
        connection.answer_arrived();
    }
    cx.upstream.end_try(lost.reason, Instant::now());
    cx.upstream.is_blameless = lost.is_reused;
    if let Some(refusal) = lost.refusal {
        refused(refusal, lost.is_reused, &mut cx.upstream);
    }
    // What a plugin has made of a harmless method may do harm twice.
    let sent = cx.upstream.sent_as.as_ref().and_then(|sent| sent.method.as_ref());
    let lost = Lost { method: sent.filter(|method| !method.is_idempotent()).unwrap_or(lost.method), ..lost };
    let may_retry = retry::may_retry(lost, Tries { made: counted(cx), allowed: allowed(cx) });
    if may_retry {
        // The body is sent, and counted, again.
        cx.request_bytes = 0;
    }
    may_retry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Protocol, UpstreamTls};

    fn aim(protocol: Protocol, verify: bool, server_name: Option<&str>) -> Aim {
        let tls = UpstreamTls { verify, server_name: server_name.map(Into::into), ca: None };
        let config = UpstreamConfig { protocol, tls: Some(tls), ..UpstreamConfig::default() };
        Aim { address: ([127, 0, 0, 1], 1).into(), config: Arc::new(config), policy: Arc::default() }
    }

    #[test]
    fn tls_is_made_for_the_configured_name_or_the_host() {
        for (verify, name, host, expected) in [
            (true, None, "a.example", "a.example"),
            (true, Some("b.example"), "a", "b.example"),
            (true, None, "[::1]", "::1"),
            (false, None, "a", "a"),
            (false, None, "", ""),
        ] {
            let aim = aim(Protocol::Https, verify, name);
            let made = Tls { name: expected, is_verified: verify, authorities: None };
            assert_eq!(aim.tls(host), Ok(Some(made)), "{name:?} {host}");
        }
        assert_eq!(aim(Protocol::Http, true, None).tls("a"), Ok(None));
    }

    #[test]
    fn verification_without_a_name_is_refused() {
        assert_eq!(aim(Protocol::Https, true, Some("")).tls("a"), Err(Reason::UpstreamTls));
    }
}
