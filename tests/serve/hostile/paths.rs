//! Spellings of a closed path, in front of an upstream that reads paths leniently.
//!
//! `;` is an ordinary character of a path (RFC 3986 section 3.3) and is forwarded as it came, but servlet containers
//! cut segments there. So a path that they would take to another route than tidegate does is refused.

use super::*;

const ROUTES: &str = "  - { paths: [ { prefix: /admin } ], respond: { status: 403 } }\n  - { paths: [ { prefix: / } ], backends: [ { upstream: a } ] }\n";

/// Other spellings of `/admin`, and what some reader could take for it.
const SPELLINGS: &[&str] = &[
    "/admin",
    "/admin/",
    "/admin/x",
    "/admin?x",
    "/admin?",
    "/admin#x",
    "/admin/?x",
    "//admin",
    "///admin",
    "//admin//",
    "/./admin",
    "/././admin",
    "/admin/.",
    "/admin/./",
    "/x/../admin",
    "/x/..//admin",
    "/x/y/../../admin",
    "/admin/../admin",
    "/admin/x/..",
    "/../admin",
    "/x/../../admin",
    "/.//admin",
    "/x//../admin",
    "/%61dmin",
    "/%61%64%6d%69%6e",
    "/%61%64%6D%69%6E",
    "/adm%69n",
    "/admi%6E",
    "/%2561dmin",
    "/%252e/admin",
    "/%2e/admin",
    "/%2E/admin",
    "/x/%2e%2e/admin",
    "/x/.%2e/admin",
    "/x/%2e./admin",
    "/x/%2E%2E/admin",
    "/%2e%2e/admin",
    "/x/%252e%252e/admin",
    "/%2fadmin",
    "/%2Fadmin",
    "/x%2f..%2fadmin",
    "/x/..%2fadmin",
    "/x%2f../admin",
    "/admin%2f",
    "/admin%2Fx",
    "/%5cadmin",
    "/\\admin",
    "\\admin",
    "/x\\..\\admin",
    "/x/..\\admin",
    "/x/..%5cadmin",
    "/admin%00",
    "/admin%00.html",
    "/%00admin",
    "/admin\\",
    "/admin%5c",
    "/admin;",
    "/admin;x",
    "/admin;x=1",
    "/admin;/",
    "/admin;x/y",
    "/;/admin",
    "/;x/admin",
    "/;x=1/admin",
    "/x/..;/admin",
    "/..;/admin",
    "/x/..;a=b/admin",
    "/.;/admin",
    "/x/;/../admin",
    "/x;/../admin",
    "/admin%3b",
    "/admin%3bx",
    "/admin%3B",
    "/%3b/admin",
    "/%3B/admin",
    "/x/..%3b/admin",
    "/x/%2e%2e;/admin",
    "/x/%2e%2e%3b/admin",
    "/%61dmin;x",
    "/admin;%2f",
    "/admin%3b%00",
    "//;//admin",
    "/;;/admin",
    "/;/;/admin",
    "/admin;;",
    "/x;y/..;/admin;z",
    "/admin\t",
    "/admin%09",
    "/admin%20",
    "/admin ",
    "/admin%0a",
    "/admin%0d%0a",
    "/admin.",
    "/admin..",
    "/admin/..;/admin",
    "/ADMIN",
    "/Admin",
    "/admin%c0%af",
    "/%c0%afadmin",
    "/x/%c0%ae%c0%ae/admin",
    "/\u{ff0f}admin",
    "/%u0061dmin",
    "/admin%",
    "/admin%2",
    "/admin%zz",
    "http://a.test/admin",
    "http://a.test//admin",
    "http://a.test/./admin",
    "http://a.test/%61dmin",
    "http://a.test/;/admin",
    "http://a.test:80/admin",
    "http://b.test/admin",
    "/x?/../admin",
    "/x?a=/admin",
    "/x#/../admin",
    "/*/../admin",
    "/admin*",
    "/~/../admin",
    "/ad%6din/%2e",
    "/a/b/c/../../../admin",
    "/a/%2e%2e/b/%2e%2e/admin",
    "/a/./../admin",
    "/.../admin",
    "/....//admin",
    "/x/...//../admin",
    "/%%36%31dmin",
    "/%61dmin%3bx",
    "/x/%2e%2e%2fadmin",
    "/admin;jsessionid=1?x",
];

/// The path as lenient servers read it: cut at `;`, decoded once, cut again, backslashes turned, dots resolved.
fn lenient(target: &str, cuts_first: bool) -> String {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let cut = |path: &str| {
        path.split('/')
            .map(|segment| segment.split(';').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
            .join("/")
    };
    let path = if cuts_first { cut(path) } else { path.to_owned() };
    let mut decoded = Vec::new();
    let bytes = path.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let triplet = path
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(triplet.unwrap_or(bytes[at]));
        at += if triplet.is_some() { 3 } else { 1 };
    }
    let path = cut(&latin1(&decoded).replace('\\', "/"));
    let path = path.split('\0').next().unwrap_or_default();
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

fn is_admin(target: &str) -> bool {
    [true, false].iter().any(|cuts_first| {
        let path = lenient(target, *cuts_first);
        path == "/admin" || path.starts_with("/admin/")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_a_closed_path_reaches_the_upstream() {
    assert!(SPELLINGS.len() >= 80 && is_admin("/x/..;/%61dmin;y") && !is_admin("/Admin"));
    let (proxy, recorder) = start(ROUTES).await;
    let mut faults = Vec::new();
    for spelling in SPELLINGS {
        let before = recorder.seen().len();
        let answer =
            request(proxy.http(), &format!("GET {spelling} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"))
                .await;
        let seen = recorder.whole_since(before);
        let is_right = match answer.status {
            200 => seen.len() == 1 && !is_admin(&seen[0].target()) && seen[0].fault().is_none(),
            400 | 403 => seen.is_empty(),
            _ => false,
        };
        if !is_right {
            faults.push(format!(
                "{spelling:?}: {}, upstream saw {:?}",
                answer.status,
                seen.iter().map(Seen::target).collect::<Vec<_>>()
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn path_parameters_that_change_nothing_pass_as_they_came() {
    let (proxy, recorder) = start(ROUTES).await;
    for target in ["/shop/cart;jsessionid=1", "/a;v=1/b", "/a%3Bb", "/x;/y?z=;"] {
        let before = recorder.seen().len();
        assert_eq!(get(proxy.http(), "a.test", target).await.status, 200, "{target}");
        assert_eq!(recorder.whole_since(before)[0].target(), target);
    }
    let closed = |target: &'static str| async { get(proxy.http(), "a.test", target).await.status };
    assert_eq!(closed("/admin/x;y").await, 403, "under the closed path, it is the closed path's");
    assert_eq!(closed("/admin;x").await, 400);
}

/// Servlet containers take these for dot segments, so they lead elsewhere within one route as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dot_segments_with_parameters_are_refused_within_one_route_too() {
    let (proxy, recorder) = start(OPEN).await;
    for target in [
        "/public/..;/admin",
        "/public/..;x=y/admin",
        "/public/..%3B/admin",
        "/public/..%3bx/admin",
        "/public/.;/admin",
        "/public/.%3b/admin",
        "/public/%2e%2e;/admin",
        "/public/%2E.%3B/admin",
        "/a/..;",
        "/a/.;x",
        "/..;",
        "/..;/..;/a",
        "//..;//a",
        "/a/..;?x",
        "http://a.test/a/..;/b",
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        assert_eq!(request(proxy.http(), &head).await.status, 400, "{target}");
    }
    assert!(recorder.whole_since(0).is_empty());
    for target in ["/shop/cart;jsessionid=1", "/a/...;/b", "/a/.b;/c", "/a..;/b", "/;x/a", "/a?x=/..;/"] {
        let before = recorder.seen().len();
        assert_eq!(get(proxy.http(), "a.test", target).await.status, 200, "{target}");
        assert_eq!(recorder.whole_since(before)[0].target(), target);
    }
}
