use super::*;
use http::HeaderMap;
use tidegate_plugin::{BoxFuture, RequestFacts, RouteFacts};

enum Act {
    Continue,
    Reply(u16),
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
            Self::Reply(status) => Flow::reply(StatusCode::from_u16(*status).unwrap()),
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
    let (headers, route, mut shared) = (HeaderMap::new(), RouteFacts::default(), Shared::default());
    let mut cx = RequestContext::new(facts(method), &headers, &route, &mut shared);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = match pipeline.on_request(&mut cx, &Times::default()) {
        Outcome::Wait(index) => runtime.block_on(pipeline.wait(index, &mut cx, &Times::default())),
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

#[test]
fn an_early_stage_may_refuse_redirect_and_answer_a_preflight() {
    let cases =
        [(403, Method::GET, 403), (302, Method::GET, 302), (204, Method::OPTIONS, 204), (204, Method::GET, 500)];
    for (status, method, expected) in cases {
        let auth = instance(Stage::Authenticate, Mode::Enforce, Act::Reply(401));
        let pipeline = Pipeline::new(vec![auth, instance(Stage::Access, Mode::Enforce, Act::Reply(status))]);
        assert_eq!(run(&pipeline, &method), Some(expected), "{status} for {method}");
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
        pipeline.on_request_body(&mut BodyChunk { bytes: &mut bytes, is_last: true }, &shared, &Times::default());
    assert_eq!(flow, BodyFlow::Abort(StatusCode::INTERNAL_SERVER_ERROR));
    pipeline.on_upstream_request(
        &mut UpstreamRequest::new(facts(&Method::GET), &route, &mut headers),
        &shared,
        &Times::default(),
    );
    assert!(shared.has_failed());
}
