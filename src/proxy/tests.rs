//! Requests decided by hand, as an engine asks.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use tidegate_plugin::{
    BodyChunk, BodyFlow, BodyVerdict, BoxFuture, Flow, Plugin, Reply, RequestContext, ResponseContext, ResponseFlow,
    ResponseVerdict, Shared, Stage, UpstreamRequest, Verdict, plugin,
};

use super::context::Context;
use super::finish::{Ended, Failing};
use super::head::PlainHead;
use super::reply::Answer;
use super::request::{Arrival, Decision, Follows};
use super::response::{After, Passed};
use super::retry::{Lost, Refusal};
use super::testing::{edge, route, snapshot, target};
use super::upstream::Next;
use super::{Proxy, body, finish, request, response, upstream};
use crate::connection::{Announced, ConnectionInfo, Protocol};
use crate::listener::Serves;
use crate::reason::Reason;
use crate::snapshot::pipeline::{Instance, Mode, Pipeline};
use crate::snapshot::route::Route;
use crate::telemetry::record::{Recorder, RequestRecord, SessionRecord};

/// What was recorded: status, reason, path, and how tries ended.
type Told = (u16, Reason, String, Vec<Reason>);

#[derive(Default)]
struct Book(Mutex<Vec<Told>>);

impl Recorder for Book {
    fn record(&self, record: &RequestRecord<'_>) {
        let tries = record.attempts.iter().map(|one| one.outcome).collect();
        self.0.lock().unwrap().push((record.status, record.reason, record.path.to_owned(), tries));
    }

    fn record_session(&self, _: &SessionRecord<'_>) {}
}

/// An engine without sockets.
struct Hand {
    proxy: Proxy,
    book: Arc<Book>,
}

impl Hand {
    fn new(route: Route) -> Self {
        let book = Arc::<Book>::default();
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot(1, Some(Arc::new(route)), edge())));
        Self { proxy: Proxy::new(snapshot, book.clone()), book }
    }

    /// A request whose head has come.
    fn arrived(&self, head: Parts, follows: Follows) -> (Parts, Context) {
        self.arrived_on(None, head, follows)
    }

    /// The same on a connection of the front.
    fn arrived_on(
        &self,
        connection: Option<Arc<ConnectionInfo>>,
        mut head: Parts,
        follows: Follows,
    ) -> (Parts, Context) {
        let mut cx = self.proxy.begin();
        let target = head.uri.to_string();
        let arrival = Arrival {
            head: &head,
            target: target.as_bytes(),
            has_both_lengths: false,
            connection,
            peer: Some(([192, 0, 2, 1], 4711).into()),
            is_tls: false,
        };
        let changes = request::begin(arrival, &mut cx);
        request::apply(changes, &mut PlainHead(&mut head), &mut cx);
        request::expect(follows, Some(100), &head, &mut cx);
        (head, cx)
    }

    fn told(&self) -> Vec<Told> {
        std::mem::take(&mut self.book.0.lock().unwrap())
    }
}

fn head(method: Method, target: &str) -> Parts {
    let request = http::Request::builder().method(method).uri(target).version(Version::HTTP_11);
    request.header(header::HOST, "A.Example").body(()).unwrap().into_parts().0
}

fn endpoints(ports: &[u16]) -> Vec<SocketAddr> {
    ports.iter().map(|port| ([192, 0, 2, 9], *port).into()).collect()
}

/// The endpoint of the next try.
fn tried(cx: &mut Context) -> SocketAddr {
    let Next::Picked(picked) = upstream::next(cx) else { panic!("nobody else is waited for") };
    upstream::aim(picked, cx).expect("an endpoint").address
}

#[test]
fn a_request_is_decided_from_its_head_to_its_record() {
    let [endpoint] = endpoints(&[1])[..] else { panic!() };
    let hand = Hand::new(route(target(&[endpoint])));
    let (head, mut cx) = hand.arrived(head(Method::GET, "/a/../b?c"), Follows::Nothing);
    assert_eq!(head.uri, "/b?c");
    assert_eq!(head.headers[header::HOST], "a.example");
    assert!(request::route(&head, &mut cx).is_none(), "nothing is said before plugins are asked");
    assert!(matches!(request::take(&head, &mut cx), Decision::Forward));
    assert_eq!(tried(&mut cx), endpoint);
    cx.upstream.connected(None);

    let mut sent = head.clone();
    upstream::edit(&head, &mut PlainHead(&mut sent), &mut cx).unwrap();
    assert_eq!(sent.headers["x-forwarded-for"], "192.0.2.1");
    body::on_request(false, &mut None, true, &mut cx).unwrap();

    let mut fields = HeaderMap::from_iter([(header::CONNECTION, HeaderValue::from_static("close"))]);
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from_static("2"));
    let passed = response::on_head(&head, StatusCode::OK, &mut fields, &mut cx);
    assert_eq!(passed, Ok(Passed::Final { status: StatusCode::OK, after: After::Next }));
    assert_eq!(
        (fields.get(header::CONNECTION), &fields[header::SERVER]),
        (None, &HeaderValue::from_static("tidegate"))
    );
    body::on_response(&mut Some(Bytes::from_static(b"ok")), true, &mut cx).unwrap();

    let ended = Ended { status: Some(StatusCode::OK), response_bytes: 2, failure: None };
    finish::record(&head, &ended, &mut cx, hand.proxy.recorder());
    assert_eq!(hand.told(), [(200, Reason::Upstream, "/b".to_owned(), vec![Reason::Upstream])]);
}

#[tokio::test]
async fn what_is_lost_goes_elsewhere_as_often_as_the_route_allows() {
    let hand = Hand::new(route(target(&endpoints(&[1, 2]))));
    let (head, mut cx) = hand.arrived(head(Method::POST, "/"), Follows::Body);
    assert!(request::route(&head, &mut cx).is_none() && matches!(request::take(&head, &mut cx), Decision::Forward));
    let first = tried(&mut cx);
    assert!(upstream::not_connected(Reason::ConnectFailed, None, &mut cx), "there is another one");
    let second = tried(&mut cx);
    assert_ne!(first, second);
    let lost = |reason, refusal| Lost {
        method: &head.method,
        reason,
        refusal,
        is_reused: false,
        is_answered: false,
        has_whole_body: true,
    };
    assert!(upstream::lost(lost(Reason::UpstreamRefused, Some(Refusal::Stream)), &mut cx), "it was not taken up");
    tried(&mut cx);
    assert!(!upstream::lost(lost(Reason::UpstreamReset, None), &mut cx), "it may have been");
    let Failing::Answer(answer) = finish::fail(Reason::UpstreamReset, StatusCode::BAD_GATEWAY, false, &head, &mut cx)
    else {
        panic!("nothing was said yet")
    };
    let mut fields = HeaderMap::new();
    let mut answer = answer;
    assert_eq!(response::compose(&mut answer, &head, &mut fields, &mut cx).await, StatusCode::BAD_GATEWAY);
    assert_eq!(fields[header::CONTENT_LENGTH].to_str().unwrap(), answer.body.len().to_string());
    assert_eq!(response::after(&answer, &head, &cx), After::Linger, "the client may still send");
    let failure = Some((Reason::UpstreamReset, "reset"));
    let ended = Ended { status: Some(StatusCode::BAD_GATEWAY), response_bytes: 0, failure };
    finish::record(&head, &ended, &mut cx, hand.proxy.recorder());
    let tries = vec![Reason::ConnectFailed, Reason::UpstreamRefused, Reason::UpstreamReset];
    assert_eq!(hand.told(), [(502, Reason::UpstreamReset, "/".to_owned(), tries)]);
}

/// Counts how often it is asked, and has each request wait for ever.
struct Waiting(Arc<AtomicUsize>);

#[plugin]
impl Plugin for Waiting {
    fn on_request(&self, _: &mut RequestContext<'_>) -> Flow {
        self.0.fetch_add(1, Ordering::Relaxed);
        Flow::Wait
    }

    fn wait<'f>(&'f self, _: &'f mut RequestContext<'_>) -> BoxFuture<'f, Verdict> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_request_can_be_handed_over_until_it_is_taken() {
    let asked = Arc::<AtomicUsize>::default();
    let instance = Instance::new("one", Stage::Access, Mode::Enforce, Arc::new(Waiting(asked.clone())));
    let pipeline = Arc::new(Pipeline::new(vec![Arc::new(instance)]));
    let hand = Hand::new(Route { pipeline, ..route(target(&endpoints(&[1]))) });
    let (head, mut cx) = hand.arrived(head(Method::GET, "/"), Follows::Nothing);
    assert!(request::route(&head, &mut cx).is_none() && cx.route.is_some());
    assert_eq!(asked.load(Ordering::Relaxed), 0, "no plugin has run");
    let Decision::Wait(index) = request::take(&head, &mut cx) else { panic!("it waits") };
    let gone = std::future::ready(());
    assert!(matches!(request::wait(index, gone, &head, &mut cx).await, Decision::Leave));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_refused_needs_no_route() {
    let hand = Hand::new(route(target(&endpoints(&[1]))));
    for (method, target, reason) in [(Method::TRACE, "/", Reason::BadMethod), (Method::GET, "/a%2Fb", Reason::BadPath)]
    {
        let (head, mut cx) = hand.arrived(head(method, target), Follows::Nothing);
        let answer = request::route(&head, &mut cx).expect("an answer");
        assert_eq!((answer.reason, cx.route.is_some()), (reason, false));
    }
}

#[test]
fn what_follows_a_response_of_tidegate_s_own() {
    let hand = Hand::new(route(target(&[])));
    for (follows, expects, closes, expected) in [
        (Follows::Nothing, false, false, After::Next),
        (Follows::Nothing, false, true, After::Linger),
        (Follows::Nothing, true, false, After::Next),
        (Follows::Body, false, false, After::Next),
        (Follows::Body, true, false, After::EndAtOnce),
        (Follows::Tunnel, false, false, After::End),
    ] {
        let mut head = head(Method::GET, "/");
        if expects {
            head.headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        }
        let (head, cx) = hand.arrived(head, follows);
        let answer = Answer { closes, ..Answer::empty(Reason::DirectResponse, StatusCode::OK) };
        assert_eq!(response::after(&answer, &head, &cx), expected, "{follows:?} {expects} {closes}");
    }
}

#[test]
fn what_is_done_about_a_failure_depends_on_who_is_to_blame() {
    let hand = Hand::new(route(target(&[])));
    let (head, mut cx) = hand.arrived(head(Method::GET, "/"), Follows::Nothing);
    for (reason, is_answered, expected) in [
        (Reason::UpstreamReset, true, "break off"),
        (Reason::UpstreamReset, false, "answer"),
        (Reason::BodyTooLarge, true, "leave"),
        (Reason::BodyTooLarge, false, "answer"),
        (Reason::ClientClosed, true, "leave"),
        (Reason::ClientClosed, false, "leave"),
        // The client has all that it asked for.
        (Reason::Upstream, true, "leave"),
    ] {
        let done = match finish::fail(reason, StatusCode::BAD_GATEWAY, is_answered, &head, &mut cx) {
            Failing::BreakOff => "break off",
            Failing::Leave => "leave",
            Failing::Answer(answer) if answer.closes => "answer",
            Failing::Answer(_) => "answer, and go on",
        };
        assert_eq!((done, cx.reason), (expected, Some(reason)), "{reason} {is_answered}");
    }
}

#[test]
fn an_endpoint_may_neither_switch_unasked_nor_talk_without_end() {
    let hand = Hand::new(route(target(&endpoints(&[1]))));
    let (head, mut cx) = hand.arrived(head(Method::GET, "/"), Follows::Nothing);
    let at = |status: StatusCode, cx: &mut Context| {
        response::on_head(&head, status, &mut HeaderMap::new(), cx).map_err(|fault| fault.reason)
    };
    assert_eq!(at(StatusCode::SWITCHING_PROTOCOLS, &mut cx), Err(Reason::UpstreamProtocol));
    let hints = (0..33).map(|_| at(StatusCode::EARLY_HINTS, &mut cx)).collect::<Vec<_>>();
    assert_eq!(hints.first(), Some(&Ok(Passed::Informational)));
    assert_eq!(hints.last(), Some(&Err(Reason::UpstreamProtocol)));
    assert_eq!(cx.reason, Some(Reason::UpstreamProtocol));
}

/// Client, peer and listener of what was recorded.
#[derive(Default)]
struct Addresses(Mutex<Vec<(IpAddr, SocketAddr, String)>>);

impl Recorder for Addresses {
    fn record(&self, record: &RequestRecord<'_>) {
        self.0.lock().unwrap().push((record.client, record.peer, record.listener.to_owned()));
    }

    fn record_session(&self, _: &SessionRecord<'_>) {}
}

#[test]
fn the_record_tells_the_announced_client_and_the_peer_of_the_socket() {
    let client = SocketAddr::from(([198, 51, 100, 1], 1));
    let socket_peer = SocketAddr::from(([203, 0, 113, 2], 2));
    let announced = Announced { peer: client, socket_peer };
    let connection =
        ConnectionInfo::new("web".into(), Serves::Common, announced, Instant::now(), None, Protocol::Http1);
    let hand = Hand::new(route(target(&endpoints(&[1]))));
    let (head, mut cx) = hand.arrived_on(Some(Arc::new(connection)), head(Method::GET, "/"), Follows::Nothing);
    let addresses = Addresses::default();
    let ended = Ended { status: Some(StatusCode::OK), response_bytes: 0, failure: None };
    finish::record(&head, &ended, &mut cx, &addresses);
    assert_eq!(*addresses.0.lock().unwrap(), [(client.ip(), socket_peer, "web".to_owned())]);
}

/// Asks for something else, and has every piece and every head wait; then gives another response.
struct Other;

#[plugin]
impl Plugin for Other {
    fn on_upstream_request(&self, head: &mut UpstreamRequest<'_>, _: &Shared) {
        head.set_path("/other").unwrap();
        head.set_query(None).unwrap();
        head.set_host("Other.example").unwrap();
        head.set_method(Method::POST).unwrap();
    }

    fn on_request_body(&self, _: &mut BodyChunk<'_>, _: &mut Shared) -> BodyFlow {
        BodyFlow::Wait
    }

    fn wait_request_body<'f>(&'f self, chunk: &'f mut BodyChunk<'_>, _: &'f mut Shared) -> BoxFuture<'f, BodyVerdict> {
        *chunk.bytes = Some(Bytes::from_static(b"waited"));
        Box::pin(std::future::ready(BodyVerdict::Continue))
    }

    fn on_response(&self, _: &mut ResponseContext<'_>) -> ResponseFlow {
        ResponseFlow::Wait
    }

    fn wait_response<'f>(&'f self, _: &'f mut ResponseContext<'_>) -> BoxFuture<'f, ResponseVerdict> {
        let page = Reply::new(StatusCode::IM_A_TEAPOT).body("another page");
        Box::pin(std::future::ready(ResponseVerdict::Replace(page)))
    }
}

#[tokio::test]
async fn plugins_say_what_is_asked_for_wait_and_give_another_response() {
    let instance = Instance::new("one", Stage::Transform, Mode::Enforce, Arc::new(Other));
    let pipeline = Arc::new(Pipeline::new(vec![Arc::new(instance)]));
    let hand = Hand::new(Route { pipeline, ..route(target(&endpoints(&[1]))) });
    let (head, mut cx) = hand.arrived(head(Method::GET, "/a?b"), Follows::Nothing);
    assert!(request::route(&head, &mut cx).is_none() && matches!(request::take(&head, &mut cx), Decision::Forward));
    tried(&mut cx);

    let mut sent = head.clone();
    upstream::edit(&head, &mut PlainHead(&mut sent), &mut cx).unwrap();
    let told = (sent.method.as_str(), sent.uri.to_string(), sent.headers[header::HOST].to_str().unwrap());
    assert_eq!(told, ("POST", "/other".to_owned(), "other.example"));
    assert_eq!(sent.headers[header::CONTENT_LENGTH], "0", "what is sent says that it has no body");

    let mut piece = None;
    let index = body::on_request(false, &mut piece, true, &mut cx).unwrap().expect("it waits");
    assert!(cx.upstream.answer_due.is_none(), "not all is sent");
    body::wait(index, &mut piece, true, &mut cx).await.unwrap();
    assert_eq!((piece.as_deref(), cx.upstream.answer_due.is_some()), (Some(&b"waited"[..]), true));

    let mut fields = HeaderMap::new();
    let passed = response::on_head(&head, StatusCode::OK, &mut fields, &mut cx);
    let Ok(Passed::Wait(asked)) = passed else { panic!("it waits: {passed:?}") };
    let fault = response::wait(asked, &head, &mut fields, &mut cx).await.unwrap_err();
    assert_eq!((fault.reason, fault.status), (Reason::Plugin, StatusCode::IM_A_TEAPOT));
    let lost = Lost {
        method: &head.method,
        reason: Reason::UpstreamReset,
        refusal: None,
        is_reused: true,
        is_answered: false,
        has_whole_body: true,
    };
    assert!(!upstream::lost(lost, &mut cx), "what was made of a read may do harm twice");
    let Failing::Answer(mut answer) = finish::fail(fault.reason, fault.status, false, &head, &mut cx) else {
        panic!("the client has no response yet")
    };
    let status = response::compose(&mut answer, &head, &mut HeaderMap::new(), &mut cx).await;
    assert_eq!((status, answer.body.as_ref(), answer.closes), (StatusCode::IM_A_TEAPOT, &b"another page"[..], true));
    assert_eq!(cx.answered_by, Some((0, None)));
}
