use std::time::{Duration, Instant};

use super::instance::Counters;
use super::*;
use http::{HeaderMap, HeaderValue};
use tidegate_plugin::{
    BackendFacts, Backends, BodyChunk, BodyFlow, BodyVerdict, ReasonCode, RequestFacts, ResponseContext, ResponseFlow,
    ResponseVerdict, RouteFacts, plugin,
};

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

#[plugin]
impl Plugin for Act {
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

    fn on_request_body(&self, _: &mut BodyChunk<'_>, _: &mut Shared) -> BodyFlow {
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
    RequestFacts::new(method, "a.test", "/")
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
        Outcome::Reply(given) => Some(given.reply.status.as_u16()),
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
fn an_answer_with_a_reason_is_counted_by_it_and_names_its_plugin() {
    const DENIED: ReasonCode = ReasonCode::new("denied");
    struct Denies;
    #[plugin]
    impl Plugin for Denies {
        fn on_request(&self, _: &mut RequestContext<'_>) -> Flow {
            Flow::Reply(Reply::new(StatusCode::FORBIDDEN).because(DENIED))
        }
    }
    let denies = Arc::new(Instance::new("denies", Stage::Access, Mode::Enforce, Arc::new(Denies)));
    let pipeline = Pipeline::new(vec![denies.clone(), instance(Stage::Observe, Mode::Enforce, Act::Continue)]);
    let (headers, route, mut shared) = (HeaderMap::new(), RouteFacts::default(), Shared::default());
    let mut cx = RequestContext::new(facts(&Method::GET), &headers, &route, &mut shared);
    let Outcome::Reply(given) = pipeline.on_request(&mut cx, &Passage::untimed()) else { panic!("passed") };
    assert_eq!((given.by, given.reply.reason), (Some(1), Some(DENIED)));
    assert_eq!(denies.reasons(), [("denied", 1)]);
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
    let (mut headers, route, mut shared) = (HeaderMap::new(), RouteFacts::default(), Shared::default());
    let mut bytes = None;
    let flow = pipeline.on_request_body(&mut BodyChunk::new(&mut bytes, true), &mut shared, &Passage::untimed());
    assert_eq!(flow, BodyOutcome::Abort(StatusCode::INTERNAL_SERVER_ERROR));
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

/// Says what it is told to, in the response hook, in the body hook and where it is asked for a way.
struct Says {
    response: fn(&mut ResponseContext<'_>) -> ResponseFlow,
    body: BodyFlow,
    choice: Choice,
}

const SILENT: Says = Says { response: |_| ResponseFlow::Continue, body: BodyFlow::Continue, choice: Choice::Pass };

#[plugin]
impl Plugin for Says {
    fn on_route(&self, _: &mut RouteContext<'_>) -> Choice {
        self.choice.clone()
    }

    fn on_request_body(&self, _: &mut BodyChunk<'_>, _: &mut Shared) -> BodyFlow {
        self.body
    }

    fn wait_request_body<'f>(
        &'f self,
        chunk: &'f mut BodyChunk<'_>,
        shared: &'f mut Shared,
    ) -> BoxFuture<'f, BodyVerdict> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            *chunk.bytes = chunk.bytes.take().map(|bytes| [&bytes[..], b"+"].concat().into());
            shared.put(1_u8);
            BodyVerdict::Continue
        })
    }

    fn on_response(&self, cx: &mut ResponseContext<'_>) -> ResponseFlow {
        (self.response)(cx)
    }

    fn wait_response<'f>(&'f self, _: &'f mut ResponseContext<'_>) -> BoxFuture<'f, ResponseVerdict> {
        Box::pin(async {
            tokio::task::yield_now().await;
            ResponseVerdict::Replace(Reply::new(StatusCode::GONE))
        })
    }
}

fn says(says: Says) -> Arc<Instance> {
    Arc::new(Instance::new("says", Stage::Transform, Mode::Enforce, Arc::new(says)))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The status that replaces the response, and whose it is.
fn respond(pipeline: &Pipeline, given_by: Option<usize>) -> Option<(u16, Option<usize>)> {
    let (route, mut shared, mut headers) = (RouteFacts::default(), Shared::default(), HeaderMap::new());
    let mut cx = ResponseContext::new(facts(&Method::GET), &route, &mut shared, StatusCode::OK, &mut headers);
    let passage = Passage::untimed();
    let outcome = match pipeline.on_response(given_by, &mut cx, &passage) {
        ResponseOutcome::Wait(index) => block_on(pipeline.wait_response(index, given_by, &mut cx, &passage)),
        outcome => outcome,
    };
    match outcome {
        ResponseOutcome::Continue => None,
        ResponseOutcome::Replace(given) => Some((given.reply.status.as_u16(), given.by)),
        ResponseOutcome::Wait(_) => panic!("`wait_response` never asks to wait again"),
    }
}

#[test]
fn a_response_is_replaced_once_by_the_last_plugin_that_wants_to_waiting_or_not() {
    let at_once = |_: &mut ResponseContext<'_>| ResponseFlow::Replace(Reply::new(StatusCode::NOT_FOUND));
    let waiting = |_: &mut ResponseContext<'_>| ResponseFlow::Wait;
    for (response, status) in [(at_once as fn(&mut ResponseContext<'_>) -> ResponseFlow, 404), (waiting, 410)] {
        let (first, second) = (says(Says { response: at_once, ..SILENT }), says(Says { response, ..SILENT }));
        let pipeline = Pipeline::new(vec![first.clone(), second.clone()]);
        assert_eq!(respond(&pipeline, None), Some((status, Some(1))));
        assert_eq!(respond(&pipeline, Some(1)), None, "another one does not take its place");
        assert_eq!((first.counters().broken, second.counters().replies), (1, 1));
    }
    let report = Instance::new("says", Stage::Transform, Mode::Report, Arc::new(Says { response: at_once, ..SILENT }));
    let report = Arc::new(report);
    assert_eq!(respond(&Pipeline::new(vec![report.clone()]), None), None);
    assert_eq!(report.counters().would_refuse, 1);
    let panics = |_: &mut ResponseContext<'_>| -> ResponseFlow { panic!("asked to") };
    let pipeline = Pipeline::new(vec![says(Says { response: panics, ..SILENT })]);
    assert_eq!(respond(&pipeline, None), None, "the request is marked as failed instead");
}

#[test]
fn a_body_hook_waits_and_the_rest_sees_what_it_made() {
    let waits = || says(Says { body: BodyFlow::Wait, ..SILENT });
    let pipeline = Pipeline::new(vec![waits(), says(SILENT), waits()]);
    let (mut bytes, mut shared, passage) = (Some("a".into()), Shared::default(), Passage::untimed());
    let mut chunk = BodyChunk::new(&mut bytes, true);
    let BodyOutcome::Wait(index) = pipeline.on_request_body(&mut chunk, &mut shared, &passage) else { panic!("waits") };
    let outcome = block_on(pipeline.wait_request_body(index, &mut chunk, &mut shared, &passage));
    assert_eq!((outcome, shared.get::<u8>()), (BodyOutcome::Continue, Some(&1)));
    assert_eq!(bytes.as_deref(), Some(&b"a++"[..]));
}

#[test]
fn the_first_plugin_that_chooses_does_and_one_that_fails_ends_the_request() {
    struct One;
    impl Backends for One {
        fn count(&self) -> usize {
            1
        }
        fn backend(&self, _: usize) -> Option<BackendFacts<'_>> {
            None
        }
    }
    let choose = |chain: Vec<Arc<Instance>>| {
        let (headers, route, mut shared) = (HeaderMap::new(), RouteFacts::default(), Shared::default());
        let mut cx = RouteContext::new(facts(&Method::GET), &headers, &route, &One, &mut shared);
        Pipeline::new(chain).on_route(&mut cx, &Passage::untimed())
    };
    let to = |choice| says(Says { choice, ..SILENT });
    assert_eq!(choose(vec![says(SILENT)]), Routed::Pass);
    assert_eq!(choose(vec![says(SILENT), to(Choice::Backend(1)), to(Choice::Backend(2))]), Routed::Backend(1));
    assert_eq!(choose(vec![to(Choice::Upstream("u".into()))]), Routed::Upstream("u".into()));
    struct Panics;
    #[plugin]
    impl Plugin for Panics {
        fn on_route(&self, _: &mut RouteContext<'_>) -> Choice {
            panic!("asked to")
        }
    }
    let panics = Arc::new(Instance::new("panics", Stage::Access, Mode::Enforce, Arc::new(Panics)));
    assert_eq!(choose(vec![panics, to(Choice::Backend(1))]), Routed::Failed);
}

#[test]
fn a_target_that_cannot_be_sent_fails_the_request_and_a_later_one_mends_it() {
    struct To(&'static [&'static str]);
    #[plugin]
    impl Plugin for To {
        fn on_upstream_request(&self, head: &mut UpstreamRequest<'_>, _: &Shared) {
            for path in self.0 {
                let _told = head.set_path(*path);
            }
        }
    }
    for (paths, sent) in [(&["/a/../b"][..], None), (&["//x", "/b"], Some("/b")), (&["/b"], Some("/b"))] {
        let one = Arc::new(Instance::new("to", Stage::Transform, Mode::Enforce, Arc::new(To(paths))));
        let (mut headers, route, shared) = (HeaderMap::new(), RouteFacts::default(), Shared::default());
        let mut head = UpstreamRequest::new(facts(&Method::GET), &route, &mut headers);
        Pipeline::new(vec![one.clone()]).on_upstream_request(&mut head, &shared, &Passage::untimed());
        assert_eq!((shared.has_failed(), one.counters().broken), (sent.is_none(), u64::from(sent.is_none())));
        assert_eq!(head.into_target().ok().and_then(|target| target.path).as_deref(), sent);
    }
}
