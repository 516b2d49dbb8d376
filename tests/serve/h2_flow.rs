//! Streams of HTTP/2 do not wait for one another (RFC 9113 section 5.2), and frames may be as small as they like.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::support::frames::*;
use crate::support::*;

/// The stream's window where the conf says nothing.
const STREAM: u32 = 64 * 1024;
/// Streams at once on a connection, on either side.
const STREAMS: u32 = 100;

fn conf(upstream: SocketAddr, protocol: &str) -> String {
    format!(
        "upstreams: {{ a: {{ endpoints: [ {{ address: \"{upstream}\" }} ], protocol: {protocol} }} }}\nroutes: [ {{ backends: [ {{ upstream: a }} ] }} ]\n"
    )
}

fn head(method: &'static str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "https"), (":authority", "a.test"), (":path", path)])
}

// === answers ===

/// What a feeding upstream tells of itself, over all its connections.
#[derive(Clone, Default, Debug)]
struct Fed {
    connections: usize,
    /// The window of a stream, and all that a connection was granted at its start.
    windows: (u32, u32),
    /// Streams whose window is used up.
    stalled: usize,
    goaway: Option<u32>,
}

/// An upstream that answers on its first streams with `much`, on others with a little, in frames of that size.
async fn feeder(much: u32, piece: u32, first: usize) -> (SocketAddr, watch::Receiver<Fed>) {
    let (fed, told) = watch::channel(Fed::default());
    let fed = Arc::new(fed);
    let address = raw_server(move |stream| {
        let fed = fed.clone();
        async move {
            if let Some(raw) = Frames::server(stream, &[]).await {
                fed.send_modify(|fed| fed.connections += 1);
                feed(raw, &fed, (much, piece, first)).await;
            }
        }
    })
    .await;
    (address, told)
}

async fn feed(
    mut raw: Frames<tokio::net::TcpStream>,
    fed: &watch::Sender<Fed>,
    (much, piece, first): (u32, u32, usize),
) {
    // Of each stream: what is left to send, and its window.
    let mut streams: BTreeMap<u32, (u32, i64)> = BTreeMap::new();
    let (mut connection, mut initial, mut count) = (65_535_i64, 65_535_i64, 0);
    while let Some((kind, flags, id, payload)) = raw.next().await {
        let increment = |payload: &[u8]| i64::from(u32::from_be_bytes(payload[..4].try_into().unwrap()));
        match kind {
            SETTINGS if flags == 0 => {
                initial = setting(&payload, 4).map_or(initial, i64::from);
                raw.frame(SETTINGS, 1, 0, &[]).await;
            }
            HEADERS => {
                fed.send_modify(|fed| {
                    let window = u32::try_from(connection).unwrap();
                    fed.windows = (u32::try_from(initial).unwrap(), fed.windows.1.max(window));
                });
                let size = if count < first { much } else { 20_000 };
                count += 1;
                streams.insert(id, (size, initial));
                raw.frame(HEADERS, END_HEADERS, id, &[0x88]).await;
            }
            WINDOW if id == 0 => connection += increment(&payload),
            WINDOW => _ = streams.entry(id).and_modify(|(_, window)| *window += increment(&payload)),
            GOAWAY => fed.send_modify(|fed| fed.goaway = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()))),
            RST => _ = streams.remove(&id),
            _ => {}
        }
        let mut out = Vec::new();
        for (id, (left, window)) in &mut streams {
            while *left > 0 && *window > 0 && connection > 0 {
                let size = i64::from(piece.min(*left)).min(*window).min(connection);
                (*window, connection) = (*window - size, connection - size);
                *left -= u32::try_from(size).unwrap();
                out.extend(frame(DATA, u8::from(*left == 0), *id, &vec![b'z'; usize::try_from(size).unwrap()]));
            }
        }
        if !out.is_empty() && !raw.write(&out).await {
            return;
        }
        let stalled = streams.values().filter(|(left, window)| *left > 0 && *window <= 0).count();
        fed.send_if_modified(|fed| std::mem::replace(&mut fed.stalled, stalled) != stalled);
    }
}

/// Waits until the upstream tells something.
async fn until(told: &mut watch::Receiver<Fed>, what: impl FnMut(&Fed) -> bool) -> Fed {
    tokio::time::timeout(PATIENCE, told.wait_for(what)).await.expect("it comes so far").unwrap().clone()
}

/// Opens one after the other so many streams whose answers are not read, each stalled before the next.
async fn stall(proxy: &Proxy, told: &mut watch::Receiver<Fed>, count: u32) -> Raw {
    let mut raw = Raw::open(proxy, &[(4, 0)]).await;
    for number in 0..count {
        raw.frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * number, &head("GET", "/big")).await;
        let expected = usize::try_from(number).unwrap() + 1;
        until(told, |fed| fed.stalled == expected).await;
    }
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_an_upstream_do_not_block_others() {
    let (address, mut told) = feeder(1 << 25, 16_384, 20).await;
    let proxy = Proxy::start(&conf(address, "h2c"), &[]).await;
    let _stalled = stall(&proxy, &mut told, 20).await;
    for _ in 0..3 {
        let answer = get(proxy.http(), "a.test", "/small").await;
        assert_eq!((answer.status, answer.body.len(), answer.is_whole), (200, 20_000, true));
    }
    let fed = told.borrow().clone();
    assert_eq!((fed.connections, fed.windows.0, fed.goaway), (1, STREAM, None), "{fed:?}");
    assert!(fed.windows.1 >= STREAMS * STREAM, "room for all streams: {fed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_frames_of_an_upstream_end_nothing() {
    // More than a window and what is on its way to the client.
    small_frames(10, 2, 100_000).await;
}

async fn small_frames(piece: u32, slow: usize, much: u32) {
    let (address, mut told) = feeder(much, piece, slow).await;
    let proxy = Proxy::start(&conf(address, "h2c"), &[]).await;
    let mut stalled = stall(&proxy, &mut told, u32::try_from(slow).unwrap()).await;
    for _ in 0..2 {
        let answer = get(proxy.http(), "a.test", "/small").await;
        assert_eq!((answer.status, answer.body.len()), (200, 20_000), "{piece}");
    }
    // Who waits gets all of it.
    let mut left = vec![usize::try_from(much).unwrap(); slow];
    stalled.frame(WINDOW, 0, 0, &(1u32 << 30).to_be_bytes()).await;
    for number in 0..slow {
        stalled.frame(WINDOW, 0, u32::try_from(1 + 2 * number).unwrap(), &(1u32 << 20).to_be_bytes()).await;
    }
    while left.iter().any(|left| *left > 0) {
        let (kind, _, id, payload) = stalled.soon().await.expect("the connection stays");
        assert!(!matches!(kind, GOAWAY | RST), "{kind} {payload:?}");
        if kind == DATA {
            left[usize::try_from(id / 2).unwrap()] -= payload.len();
        }
    }
    assert_eq!((told.borrow().connections, told.borrow().goaway), (1, None), "{piece}");
}

/// Empty frames that end nothing are bounded: an upstream that floods with them loses its connection, nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_frames_of_an_upstream_without_end_are_ended() {
    let (sent, mut told) = watch::channel(None);
    let sent = Arc::new(sent);
    let address = raw_server(move |stream| {
        let sent = sent.clone();
        async move {
            let Some(mut raw) = Frames::server(stream, &[]).await else { return };
            while raw.next().await.is_some_and(|frame| frame.0 != HEADERS) {}
            raw.frame(HEADERS, END_HEADERS, 1, &[0x88]).await;
            let empty = frame(DATA, 0, 1, &[]).repeat(100);
            let mut count = 0;
            while count < 1_000_000 && raw.write(&empty).await {
                count += 100;
            }
            sent.send_replace(Some(count));
        }
    })
    .await;
    let proxy = Proxy::start(&conf(address, "h2c"), &[]).await;
    let answer = get(proxy.http(), "a.test", "/").await;
    assert!(answer.status == 502 || !answer.is_whole, "{answer:?}");
    let count = tokio::time::timeout(PATIENCE, told.wait_for(Option::is_some)).await.expect("an end").unwrap().unwrap();
    assert!(count < 1_000_000, "the connection is ended");
}

// === requests ===

/// An upstream that takes no bytes of bodies until it is told so, except on streams behind the first ones. Answers
/// with 200 once a body is whole; counts its connections and requests.
async fn miser(first: usize, released: watch::Receiver<bool>) -> (SocketAddr, watch::Receiver<(usize, usize)>) {
    let (count, counted) = watch::channel((0, 0));
    let count = Arc::new(count);
    let address = raw_server(move |stream| {
        let (mut released, count) = (released.clone(), count.clone());
        async move {
            count.send_modify(|count| count.0 += 1);
            let Some(mut raw) = Frames::server(stream, &[(4, 0)]).await else { return };
            raw.frame(WINDOW, 0, 0, &(1u32 << 30).to_be_bytes()).await;
            let grant = (1u32 << 30).to_be_bytes();
            let mut held = Vec::new();
            let mut seen = 0;
            loop {
                let frame = tokio::select! {
                    changed = released.changed(), if !held.is_empty() => match changed {
                        Ok(()) => None,
                        Err(_) => return,
                    },
                    frame = raw.next() => Some(frame),
                };
                let (kind, flags, id, _) = match frame {
                    Some(Some(frame)) => frame,
                    Some(None) => return,
                    None => {
                        for id in std::mem::take(&mut held) {
                            raw.frame(WINDOW, 0, id, &grant).await;
                        }
                        continue;
                    }
                };
                if kind == HEADERS {
                    seen += 1;
                    count.send_modify(|count| count.1 += 1);
                    match seen > first {
                        true => _ = raw.frame(WINDOW, 0, id, &grant).await,
                        false => held.push(id),
                    }
                }
                if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                    raw.frame(HEADERS, END_HEADERS | END_STREAM, id, &[0x88]).await;
                }
            }
        }
    })
    .await;
    (address, counted)
}

/// A client that knows what it may send: the windows of a stream and of the connection.
async fn sender(proxy: &Proxy) -> (Raw, u32, u32) {
    let mut raw = Raw::open(proxy, &[]).await;
    let (mut stream, mut connection) = (None, 65_535);
    while stream.is_none() || connection == 65_535 {
        let (kind, flags, id, payload) = raw.soon().await.expect("settings");
        match kind {
            SETTINGS if flags == 0 => {
                stream = setting(&payload, 4);
                // Only what is acknowledged holds.
                raw.frame(SETTINGS, 1, 0, &[]).await;
            }
            WINDOW if id == 0 => connection += u32::from_be_bytes(payload[..4].try_into().unwrap()),
            _ => {}
        }
    }
    (raw, stream.unwrap(), connection)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_uploads_block_no_other_stream() {
    let (release, released) = watch::channel(false);
    let (address, mut counted) = miser(20, released).await;
    let proxy = Proxy::start(&conf(address, "h2c"), &[]).await;
    let (mut raw, stream, connection) = sender(&proxy).await;
    assert_eq!(stream, STREAM);
    assert!(connection >= STREAMS * STREAM, "room for all streams: {connection}");
    let whole = vec![b'x'; usize::try_from(STREAM).unwrap()];
    // One after the other, so that they share a connection to the upstream.
    for number in 0..20 {
        let id = 1 + 2 * number;
        let mut bytes = frame(HEADERS, END_HEADERS, id, &head("POST", "/up"));
        whole.chunks(16_384).for_each(|piece| bytes.extend(frame(DATA, 0, id, piece)));
        raw.write(&bytes).await;
        let seen = counted.wait_for(|(_, requests)| *requests > usize::try_from(number).unwrap());
        tokio::time::timeout(PATIENCE, seen).await.expect("it comes to the upstream").unwrap();
    }
    // What comes behind goes through, on this connection and on the upstream's.
    let mut bytes = frame(HEADERS, END_HEADERS, 41, &head("POST", "/up"));
    whole[..60_000].chunks(16_000).for_each(|piece| bytes.extend(frame(DATA, 0, 41, piece)));
    bytes.extend(frame(DATA, END_STREAM, 41, b""));
    raw.write(&bytes).await;
    assert_eq!(raw.outcome(41).await, Got::Status("200".into()));
    assert_eq!(*counted.borrow(), (1, 21));
    // And what stalled goes on.
    release.send_replace(true);
    for number in 0..20 {
        raw.frame(DATA, END_STREAM, 1 + 2 * number, b"").await;
    }
    let mut answered = 0;
    while answered < 20 {
        let (kind, _, _, payload) = raw.soon().await.expect("the connection stays");
        assert!(!matches!(kind, GOAWAY | RST), "{kind} {payload:?}");
        answered += usize::from(kind == HEADERS);
    }
}

/// Small frames are lawful, however many come at once (RFC 9113 sections 6.1 and 6.9).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_frames_of_a_client_end_nothing() {
    let (release, released) = watch::channel(false);
    let (stalling, _) = miser(usize::MAX, released).await;
    let echo = Echo::start("a").await;
    let conf = format!(
        "upstreams: {{ a: {{ endpoints: [ {{ address: \"{}\" }} ] }}, b: {{ endpoints: [ {{ address: \"{stalling}\" }} ], protocol: h2c }} }}\nroutes: [ {{ paths: [ {{ prefix: /stall }} ], backends: [ {{ upstream: b }} ] }}, {{ backends: [ {{ upstream: a }} ] }} ]\n",
        echo.address
    );
    let proxy = Proxy::start(&conf, &[]).await;
    for (streams, count, size) in [(1, 150, 10), (1, 6_000, 10), (1, 20_000, 1), (4, 6_000, 10), (1, 1_500, 0x20)] {
        let (mut raw, _, _) = sender(&proxy).await;
        let ids: Vec<u32> = (0..streams).map(|number| 1 + 2 * number).collect();
        let mut bytes = Vec::new();
        // Nobody reads these: all of their frames wait.
        for id in &ids {
            bytes.extend(frame(HEADERS, END_HEADERS, *id, &head("POST", "/stall")));
            bytes.extend(frame(DATA, 0, *id, &vec![b'x'; size]).repeat(count));
        }
        let next = ids.len() * 2 + 1;
        let next = u32::try_from(next).unwrap();
        bytes.extend(frame(HEADERS, END_HEADERS, next, &head("POST", "/read")));
        bytes.extend(frame(DATA, 0, next, &vec![b'x'; size]).repeat(count / 3));
        bytes.extend(frame(DATA, END_STREAM, next, b""));
        raw.write(&bytes).await;
        assert_eq!(raw.outcome(next).await, Got::Status("200".into()), "{streams} streams, {count} of {size} bytes");
        drop(raw);
    }
    drop(release);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_frames_of_a_client_without_end_are_ended() {
    let (_release, released) = watch::channel(false);
    let (address, _) = miser(0, released).await;
    let proxy = Proxy::start(&conf(address, "h2c"), &[]).await;
    let (mut raw, _, _) = sender(&proxy).await;
    raw.frame(HEADERS, END_HEADERS, 1, &head("POST", "/up")).await;
    let empty = frame(DATA, 0, 1, &[]).repeat(1_000);
    let mut count = 0;
    while count < 1_000_000 && raw.write(&empty).await {
        count += 1_000;
    }
    assert!(count < 1_000_000, "the connection is ended");
    assert_eq!(get(proxy.http(), "a.test", "/").await.status, 200);
}

// === conf ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_window_of_the_conf_is_told_on_both_sides_and_changes_live() {
    let (address, mut told) = feeder(0, 16_384, 0).await;
    let limits = |window: &str| format!("defaults: {{ limits: {{ h2Window: {window} }}, timeouts: {{ idle: 0s }} }}\n");
    let proxy = Proxy::start(&(limits("32KiB") + &conf(address, "h2c")), &[]).await;
    let (_raw, stream, _) = sender(&proxy).await;
    assert_eq!(stream, 32 << 10);
    assert_eq!(get(proxy.http(), "a.test", "/").await.status, 200);
    until(&mut told, |fed| fed.windows.0 == 32 << 10).await;

    let file = proxy.folder.path().join("tidegate.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let new = proxy.folder.path().join("new.yaml");
    std::fs::write(&new, text.replace("32KiB", "1MiB")).unwrap();
    std::fs::rename(new, &file).unwrap();
    let changed = async {
        loop {
            let (_raw, stream, connection) = sender(&proxy).await;
            if stream == 1 << 20 {
                return connection;
            }
        }
    };
    let connection = tokio::time::timeout(PATIENCE, changed).await.expect("new clients are told the new window");
    assert!(connection >= STREAMS << 20, "{connection}");
    // Kept connections keep their windows; this one is not kept.
    let asking = async {
        while told.borrow().windows.0 != 1 << 20 {
            assert_eq!(get(proxy.http(), "a.test", "/").await.status, 200);
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("new connections have the new window");
}

#[cfg(feature = "slow-tests")]
mod slow_tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn smaller_frames_for_more_slow_readers_end_nothing() {
        small_frames(10, 10, 100_000).await;
        small_frames(1, 1, 70_000).await;
    }
}
