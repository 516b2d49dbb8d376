use std::time::{Duration, Instant};

use super::instance::Counters;
use super::*;
use http::{HeaderMap, HeaderValue};
use tidegate_plugin::{BoxFuture, RequestFacts, RouteFacts};

enum Act {
    Continue,
    /// Goes on when the clock has.
    Tick,
    Reply(u16),
    Content,
    WaitThenReply(u16),
    WaitThenPanic,
    Panic,
}

impl Plugin for Act {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST | Hooks::REQUEST_BODY | Hooks::UPSTREAM_REQUEST
    }

    fn on_request(&self, _: &mut RequestContext<'_>) -> Flow {
        match self {
            Self::Continue => Flow::Continue,
            Self::Tick => {
                let start = Instant::now();
                while start.elapsed().is_zero() {}
                Flow::Continue
            }
            Self::Reply(status) => Flow::reply(StatusCode::from_u16(*status).unwrap()),
            Self::Content => Flow::Reply(Reply::new(StatusCode::OK).body("content")),
            Self::WaitThenReply(_) | Self::WaitThenPanic => Flow::Wait,
            Self::Panic => panic!("asked to"),
        }
    }

    fn wait<'f>(&'f self, _: &'f mut RequestContext<'_>) -> BoxFuture<'f, Verdict> {
        Box::pin(async move {
            match self {
                Self::WaitThenReply(status) => Verdict::Reply(Reply::new(StatusCode::from_u16(*status).unwrap())),
                _ => panic!("asked to"),
            }
        })
    }

    fn on_request_body(&self, _: &mut BodyChunk<'_>, _: &Shared) -> BodyFlow {
        panic!("asked to")
    }

    fn on_upstream_request(&self, _: &mut UpstreamRequest<'_>, _: &Shared) {
        panic!("asked to")
    }
}

const STAGES: [Stage; 6] =
    [Stage::Observe, Stage::Access, Stage::Authenticate, Stage::Limit, Stage::Transform, Stage::Route];

fn instance(stage: Stage, mode: Mode, act: Act) -> Arc<Instance> {
    Arc::new(Instance::new("one", stage, mode, Arc::new(act)))
}

fn facts(method: &Method) -> RequestFacts<'_> {
    RequestFacts {
        method,
        scheme: "http",
        host: "a.test",
        path: "/",
        query: None,
        client: [10, 0, 0, 1].into(),
        request_id: "1",
        tls: None,
    }
}

/// The status that ends the request; `None`: it goes on.
fn run(pipeline: &Pipeline, method: &Method) -> Option<u16> {
    run_with(pipeline, method, &HeaderMap::new())
}

fn run_with(pipeline: &Pipeline, method: &Method, headers: &HeaderMap) -> Option<u16> {
    let (route, mut shared) = (RouteFacts::default(), Shared::default());
    let mut cx = RequestContext::new(facts(method), headers, &route, &mut shared);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = match pipeline.on_request(&mut cx, &Passage::untimed()) {
        Outcome::Wait(index) => runtime.block_on(pipeline.wait(index, &mut cx, &Passage::untimed())),
        outcome => outcome,
    };
    match outcome {
        Outcome::Reply(reply) => Some(reply.status.as_u16()),
        Outcome::Continue => None,
        Outcome::Wait(_) => panic!("`wait` never asks to wait again"),
    }
}

#[test]
fn no_pair_of_stages_skips_authentication_with_content() {
    for early in STAGES {
        for late in STAGES {
            for act in [|| Act::Reply(200), || Act::WaitThenReply(200)] {
                let one = instance(early, Mode::Enforce, act());
                let pipeline = Pipeline::new(vec![one.clone(), instance(late, Mode::Enforce, Act::Reply(401))]);
                let skips = early < Stage::Authenticate && late == Stage::Authenticate;
                let expected = if skips {
                    500
                } else if early <= late {
                    200
                } else {
                    401
                };
                // An earlier `late` plugin refuses first, which every stage may.
                assert_eq!(run(&pipeline, &Method::GET), Some(expected), "{early:?} before {late:?}");
                assert_eq!(one.counters().broken, u64::from(skips));
            }
        }
    }
}

/// A preflight's fields (Fetch standard, "CORS-preflight request").
fn preflight() -> HeaderMap {
    let fields = [(header::ORIGIN, "https://a.test"), (header::ACCESS_CONTROL_REQUEST_METHOD, "PUT")];
    fields.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

#[test]
fn an_early_stage_may_refuse_redirect_and_answer_a_preflight() {
    let (plain, asking) = (HeaderMap::new(), preflight());
    let cases = [
        (Act::Reply(403), Method::GET, &plain, 403),
        (Act::Reply(302), Method::GET, &plain, 302),
        (Act::Reply(308), Method::POST, &plain, 308),
        // These say something of the content: what there is to choose from, and that it is as it was.
        (Act::Reply(300), Method::GET, &plain, 500),
        (Act::Reply(304), Method::GET, &plain, 500),
        (Act::Reply(204), Method::OPTIONS, &asking, 204),
        (Act::Reply(200), Method::OPTIONS, &asking, 200),
        (Act::Reply(204), Method::OPTIONS, &plain, 500),
        (Act::Reply(204), Method::GET, &asking, 500),
        (Act::Content, Method::OPTIONS, &asking, 500),
    ];
    for (act, method, headers, expected) in cases {
        let auth = instance(Stage::Authenticate, Mode::Enforce, Act::Reply(401));
        let pipeline = Pipeline::new(vec![auth, instance(Stage::Access, Mode::Enforce, act)]);
        assert_eq!(run_with(&pipeline, &method, headers), Some(expected), "{method} {headers:?}");
    }
}

#[test]
fn report_mode_counts_and_lets_the_request_pass() {
    for act in [Act::Reply(403), Act::WaitThenReply(403)] {
        let one = instance(Stage::Access, Mode::Report, act);
        assert_eq!(run(&Pipeline::new(vec![one.clone()]), &Method::GET), None);
        assert_eq!(one.counters(), Counters { would_refuse: 1, ..Counters::default() });
    }
}

#[test]
fn a_panic_answers_500_in_every_mode_and_is_counted() {
    for mode in [Mode::Enforce, Mode::Report] {
        for act in [Act::Panic, Act::WaitThenPanic] {
            let one = instance(Stage::Transform, mode, act);
            assert_eq!(run(&Pipeline::new(vec![one.clone()]), &Method::GET), Some(500));
            assert_eq!(one.counters(), Counters { panics: 1, ..Counters::default() });
        }
    }
}

#[test]
fn a_panic_in_hooks_without_answer_ends_the_request_too() {
    let pipeline = Pipeline::new(vec![instance(Stage::Transform, Mode::Enforce, Act::Continue)]);
    let (mut headers, route, shared) = (HeaderMap::new(), RouteFacts::default(), Shared::default());
    let mut bytes = None;
    let flow =
        pipeline.on_request_body(&mut BodyChunk { bytes: &mut bytes, is_last: true }, &shared, &Passage::untimed());
    assert_eq!(flow, BodyFlow::Abort(StatusCode::INTERNAL_SERVER_ERROR));
    pipeline.on_upstream_request(
        &mut UpstreamRequest::new(facts(&Method::GET), &route, &mut headers),
        &shared,
        &Passage::untimed(),
    );
    assert!(shared.has_failed());
}

#[test]
fn times_are_kept_when_somebody_reads_them() {
    let pipeline = Pipeline::new(vec![instance(Stage::Transform, Mode::Enforce, Act::Tick)]);
    let (headers, route) = (HeaderMap::new(), RouteFacts::default());
    for (passage, is_timed) in [(Passage::timed(), true), (Passage::untimed(), false)] {
        let mut shared = Shared::default();
        let mut cx = RequestContext::new(facts(&Method::GET), &headers, &route, &mut shared);
        assert!(matches!(pipeline.on_request(&mut cx, &passage), Outcome::Continue));
        assert_eq!(passage.times().next().is_some_and(|took| !took.is_zero()), is_timed);
    }
}

#[test]
fn a_time_has_room_for_the_longest_wait() {
    let passage = Passage::timed();
    let hour = Duration::from_secs(3600);
    passage.add(1, hour);
    passage.add(Passage::KEPT, hour);
    assert_eq!(passage.times().collect::<Vec<_>>()[..3], [Duration::ZERO, hour, Duration::ZERO]);
}
