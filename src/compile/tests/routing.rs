//! The router against the rules of path types and precedence.

use http::{HeaderMap, HeaderName, Method};
use proptest::prelude::*;

use super::fixtures::{codes, exact, full, host, model, prefix, regex, route};
use crate::host::HostPattern;
use crate::model::{HeaderMatch, Model, PathMatch, QueryMatch, Route, TextMatch, VirtualHost};
use crate::snapshot::Snapshot;
use crate::snapshot::router::{RequestView, Verdict, Via};

/// A request that owns its parts.
#[derive(Clone, Debug)]
struct Request {
    host: String,
    path: String,
    query: Option<String>,
    method: Method,
    headers: HeaderMap,
}

impl Request {
    fn get(host: &str, path: &str) -> Self {
        let (host, path) = (host.to_owned(), path.to_owned());
        Self { host, path, query: None, method: Method::GET, headers: HeaderMap::new() }
    }

    fn view(&self) -> RequestView<'_> {
        let Self { host, path, query, method, headers } = self;
        RequestView { host, path, query: query.as_deref(), method, headers }
    }
}

fn found(snapshot: &Snapshot, request: &Request) -> Option<String> {
    snapshot.common.router.find(&request.view()).map(|found| found.route.facts.name.to_string())
}

// === The reference: every rule, one by one, slowly ===

fn text_fits(test: &TextMatch, value: &str) -> bool {
    match test {
        TextMatch::Present => true,
        TextMatch::Exact(text) => **text == *value,
        TextMatch::Regex(pattern) => regex::Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap().is_match(value),
    }
}

fn path_fits(test: &PathMatch, path: &str) -> bool {
    match test {
        PathMatch::Exact(text) => **text == *path,
        PathMatch::Prefix(prefix) => {
            let elements =
                |text: &str| -> Vec<String> { text.trim_end_matches('/').split('/').map(str::to_owned).collect() };
            let wanted = elements(prefix);
            // Only the prefix loses its closing slashes; the path may have empty elements that count.
            let given: Vec<String> = path.split('/').map(str::to_owned).collect();
            given.len() >= wanted.len() && given[..wanted.len()] == wanted[..]
        }
        PathMatch::Regex(pattern) => regex::Regex::new(&format!(r"\A(?:{pattern})")).unwrap().is_match(path),
    }
}

fn parameters(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| text.replace('+', " ").replace("%20", " ").replace("%61", "a");
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect()
}

fn fits(route: &Route, request: &Request) -> bool {
    let matcher = &route.matcher;
    let header = |it: &HeaderMatch| {
        let name = HeaderName::from_bytes(it.name.as_bytes()).unwrap();
        let fields: Vec<&str> = request.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect();
        !fields.is_empty() && text_fits(&it.value, &fields.join(","))
    };
    let query = |it: &QueryMatch| {
        let parameters = parameters(request.query.as_deref().unwrap_or(""));
        parameters.iter().find(|(key, _)| **key == *it.name).is_some_and(|(_, value)| text_fits(&it.value, value))
    };
    path_fits(&matcher.path, &request.path)
        && (matcher.methods.is_empty() || matcher.methods.iter().any(|m| m == request.method.as_str()))
        && matcher.headers.iter().all(header)
        && matcher.query.iter().all(query)
}

/// Smaller wins.
fn precedence(route: &Route) -> impl Ord + use<> {
    let matcher = &route.matcher;
    let (kind, len) = match &matcher.path {
        PathMatch::Exact(path) => (0, path.len()),
        PathMatch::Regex(path) => (1, path.len()),
        PathMatch::Prefix(path) => (2, path.trim_end_matches('/').len()),
    };
    let more = |count: usize| -(count as i64);
    let asked = (matcher.methods.is_empty(), more(matcher.headers.len()), more(matcher.query.len()));
    (kind, more(len), asked, route.rank.clone())
}

fn host_precedence(pattern: &HostPattern) -> impl Ord + use<> {
    match pattern {
        HostPattern::Exact(_) => (0, 0, None),
        HostPattern::Wildcard { suffix, labels } => (1, -(suffix.len() as i64), Some(*labels)),
        HostPattern::Any => (2, 0, None),
    }
}

fn reference(model: &Model, request: &Request) -> Option<String> {
    let mut hosts: Vec<&VirtualHost> = model.hosts.values().map(|host| &**host).collect();
    hosts.sort_by_key(|host| host_precedence(&host.pattern));
    let host = hosts.into_iter().find(|host| host.pattern.matches(&request.host))?;
    let fitting = host.routes.iter().filter(|route| fits(route, request));
    fitting.min_by_key(|route| precedence(route)).or(host.fallback.as_ref()).map(|route| route.name.to_string())
}

// === Random tables over small alphabets ===

fn any_path() -> impl Strategy<Value = String> {
    let segments = prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", ""]), 1..5);
    segments.prop_map(|segments| format!("/{}", segments.join("/")))
}

fn any_path_match() -> impl Strategy<Value = PathMatch> {
    let patterns = vec!["/a", "/a.*", "/a/[ab]+", "/ab?", "/b|/a", "a", "/.*/b$", "(?i)/A", "/[^/]*/a"];
    prop_oneof![
        any_path().prop_map(|path| exact(&path)),
        any_path().prop_map(|path| prefix(&path)),
        any_path().prop_map(|path| prefix(&path)),
        prop::sample::select(patterns).prop_map(regex),
    ]
}

fn any_text() -> impl Strategy<Value = TextMatch> {
    prop_oneof![
        Just(TextMatch::Present),
        prop::sample::select(vec!["a", "b", "a,b", "a b"]).prop_map(|text| TextMatch::Exact(text.into())),
        prop::sample::select(vec!["a.*", "[ab]", "a|b,a"]).prop_map(|text| TextMatch::Regex(text.into())),
    ]
}

fn any_route() -> impl Strategy<Value = Route> {
    let methods = prop::collection::vec(prop::sample::select(vec!["GET", "POST"]).prop_map(str::to_owned), 0..2);
    let name = prop::sample::select(vec!["a", "x-b"]);
    let header = (name, any_text()).prop_map(|(name, value)| HeaderMatch { name: name.into(), value });
    let name = prop::sample::select(vec!["a", "b"]);
    let query = (name, any_text()).prop_map(|(name, value)| QueryMatch { name: name.into(), value });
    let headers = prop::collection::vec(header, 0..2);
    let query = prop::collection::vec(query, 0..2);
    (any_path_match(), methods, headers, query).prop_map(|(path, methods, headers, query)| {
        let mut route = route("", path);
        (route.matcher.methods, route.matcher.headers, route.matcher.query) = (methods, headers, query);
        route
    })
}

const PATTERNS: [&str; 7] = ["", "*.t", "**.t", "a.t", "*.a.t", "**.a.t", "b.a.t"];

fn any_model(routes: usize) -> impl Strategy<Value = Model> {
    let routes = prop::collection::vec(any_route(), 0..routes);
    let any_host = (prop::sample::select(PATTERNS.to_vec()), routes, any::<bool>());
    prop::collection::vec(any_host, 1..6).prop_map(|hosts| {
        let hosts = hosts.into_iter().enumerate().map(|(index, (pattern, mut routes, has_fallback))| {
            for (position, route) in routes.iter_mut().enumerate() {
                // Ranks against the order of writing, so that sorting is seen.
                route.name = format!("{index}-{position}").into();
                route.rank.index = 1000 - u32::try_from(position).unwrap();
            }
            let mut host = host(pattern, routes);
            host.fallback = has_fallback.then(|| route(&format!("{index}-fallback"), prefix("/")).into());
            host
        });
        model(hosts.collect())
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    let hosts = vec!["a.t", "b.a.t", "c.b.a.t", "c.a.t", "c.t", "t", "d.c.t", "z", ".t", "a.", ""];
    let value = prop::sample::select(vec!["a", "b", "a b", "ba"]);
    let headers = prop::collection::vec((prop::sample::select(vec!["a", "x-b"]), value), 0..3);
    let query = prop::sample::select(vec!["a=a", "%61=a+b&a=b", "b=a%20b&a", "b", "&=&a=a,b", "c=1"]);
    let method = prop::sample::select(vec![Method::GET, Method::POST, Method::PUT]);
    let host = prop::sample::select(hosts);
    (host, any_path(), prop::option::of(query), method, headers).prop_map(|(host, path, query, method, fields)| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        Request { host: host.to_owned(), path, query: query.map(str::to_owned), method, headers }
    })
}

fn check(model: &Model, requests: &[Request]) -> Result<(), TestCaseError> {
    let (snapshot, _) = full(model);
    for request in requests {
        let found = found(&snapshot, request);
        prop_assert_eq!(&found, &reference(model, request), "{:?}", request);
        let explanation = snapshot.common.router.explain(&request.view());
        prop_assert_eq!(explanation.found.map(|found| found.route.facts.name.to_string()), found);
        let winners = explanation.candidates.iter().filter(|it| it.verdict == Verdict::Won).count();
        let by_fallback = explanation.fallback == Some(Verdict::Won);
        prop_assert_eq!(winners + usize::from(by_fallback), usize::from(explanation.found.is_some()));
        let routes = explanation.host.map_or(0, |host| model.hosts[&host].routes.len());
        prop_assert_eq!(explanation.candidates.len(), routes, "every route is explained");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn the_router_agrees_with_the_rules_on_small_tables(
        model in any_model(8), requests in prop::collection::vec(any_request(), 20)
    ) {
        check(&model, &requests)?;
    }
}

#[test]
fn a_prefix_fits_whole_elements_and_ignores_its_closing_slash() {
    let (snapshot, _) =
        full(&model(vec![host("a.t", vec![route("foo", prefix("/foo/")), route("root", prefix("/"))])]));
    let found = |path: &str| found(&snapshot, &Request::get("a.t", path));
    for path in ["/foo", "/foo/", "/foo/x"] {
        assert_eq!(found(path).as_deref(), Some("foo"), "{path}");
    }
    for path in ["/foobar", "/FOO", "/"] {
        assert_eq!(found(path).as_deref(), Some("root"), "{path}");
    }
}

#[test]
fn the_host_is_picked_first_and_no_other_is_asked() {
    let hosts = vec![host("a.t", vec![route("x", exact("/x"))]), host("*.t", vec![route("wild", prefix("/"))])];
    let (snapshot, _) = full(&model(hosts));
    assert_eq!(found(&snapshot, &Request::get("a.t", "/y")), None);
    assert_eq!(found(&snapshot, &Request::get("b.t", "/y")).as_deref(), Some("wild"));
}

#[test]
fn the_way_of_a_match_is_told() {
    let routes = vec![
        route("e", exact("/e/")),
        route("p", prefix("/p/q")),
        route("r", regex("/r[0-9]+")),
        route("root", prefix("/")),
    ];
    let (snapshot, _) = full(&model(vec![host("", routes)]));
    let found = |path: &str| {
        let request = Request::get("any", path);
        snapshot.common.router.find(&request.view()).map(|found| found.via)
    };
    assert_eq!(found("/e/"), Some(Via::Exact));
    assert_eq!(found("/p/q/x"), Some(Via::Prefix));
    assert_eq!(found("/r12/x"), Some(Via::Regex));
    assert_eq!(found("/x"), Some(Via::Prefix));
}

#[test]
fn explain_says_why_each_route_lost() {
    let mut get = route("get", prefix("/foo"));
    get.matcher.methods = vec!["POST".into()];
    let mut header = route("header", prefix("/foo"));
    header.matcher.headers = vec![HeaderMatch { name: "x-a".into(), value: TextMatch::Present }];
    let routes =
        vec![get, header, route("foo", prefix("/foo")), route("root", prefix("/")), route("bar", exact("/bar"))];
    let (snapshot, _) = full(&model(vec![host("a.t", routes)]));
    let request = Request::get("a.t", "/foo/x");
    let explanation = snapshot.common.router.explain(&request.view());
    let told =
        explanation.candidates.iter().map(|it| (it.entry.route().facts.name.to_string(), it.verdict.to_string()));
    let told: Vec<(String, String)> = told.collect();
    let want = [
        ("bar", "the path does not fit"),
        ("get", "the method does not fit"),
        ("header", "header `x-a` is missing"),
        ("foo", "won"),
        ("root", "`foo` with path `/foo` comes before it"),
    ];
    assert_eq!(told, want.map(|(name, verdict)| (name.to_owned(), verdict.to_owned())));
    assert_eq!(explanation.hosts_tried, [("a.t".to_owned(), true)]);
}

#[test]
fn a_bad_regex_loses_its_route_only() {
    let bad = ["/a(", "/a)|(?:/b", "(?P<n>a", "a{1000}{1000}"];
    for pattern in bad {
        let routes = vec![route("bad", regex(pattern)), route("good", prefix("/"))];
        let (snapshot, compiler) = full(&model(vec![host("a.t", routes)]));
        assert_eq!(codes(&compiler), ["InvalidRegex"], "{pattern}");
        assert_eq!(found(&snapshot, &Request::get("a.t", "/a")).as_deref(), Some("good"), "{pattern}");
        let without = full(&model(vec![host("a.t", vec![route("good", prefix("/"))])])).0;
        let same = |snapshot: &Snapshot| snapshot.describe()["hosts"].clone();
        assert_eq!(same(&snapshot), same(&without), "a bad route is as if it had never been there");
    }
}

#[test]
fn a_regex_diagnostic_names_the_column() {
    let (_, compiler) = full(&model(vec![host("a.t", vec![route("bad", regex("/a(b"))])]));
    assert_eq!(compiler.diagnostics()[0].message, "regex `/a(b`: unclosed group at column 3");
}

#[test]
fn refuses_long_patterns_and_more_than_a_hundred_of_a_host() {
    let mut routes: Vec<Route> = (0..102).map(|n| route(&format!("r{n:03}"), regex(&format!("/r{n}")))).collect();
    routes.push(route("long", regex(&"a".repeat(1025))));
    let (snapshot, compiler) = full(&model(vec![host("a.t", routes)]));
    assert_eq!(codes(&compiler), ["InvalidRegex"; 3]);
    assert!(found(&snapshot, &Request::get("a.t", "/r99")).is_some());
    assert_eq!(found(&snapshot, &Request::get("a.t", "/s")), None);
    let served = snapshot.common.router.hosts().next().map(|(_, routes)| routes.entries().len());
    assert_eq!(served, Some(100), "the first hundred by rank are served");
}

#[cfg(feature = "slow-tests")]
mod slow_tests {
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn the_router_agrees_with_the_rules_on_large_tables(
            model in any_model(40), requests in prop::collection::vec(any_request(), 20)
        ) {
            check(&model, &requests)?;
        }
    }
}
