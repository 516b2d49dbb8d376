//! An upstream that answers as planned and takes nothing for a request that is none.

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What nobody asked for.
const EXTRA: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Id: poison\r\n\r\npoison";

pub(super) async fn start(protocol: &'static str, has_plugin: bool, book: Arc<Book>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = crate::support::tls::acceptor(if protocol == "h2" { b"h2" } else { b"http/1.1" });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (book, acceptor) = (book.clone(), acceptor.clone());
            tokio::spawn(serve(stream, protocol, has_plugin, book, acceptor));
        }
    });
    address
}

async fn serve(
    stream: TcpStream,
    protocol: &str,
    has_plugin: bool,
    book: Arc<Book>,
    acceptor: tokio_rustls::TlsAcceptor,
) {
    stream.set_nodelay(true).unwrap();
    match protocol {
        "http" => h1(stream, has_plugin, &book).await,
        "h2c" => h2(stream, has_plugin, &book).await,
        _ => {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            match protocol {
                "https" => h1(stream, has_plugin, &book).await,
                _ => h2(stream, has_plugin, &book).await,
            }
        }
    }
}

// === HTTP/1 ===

async fn h1(stream: impl AsyncRead + AsyncWrite + Unpin, has_plugin: bool, book: &Book) {
    let mut peer = Peer { stream, buffer: Vec::new() };
    loop {
        let end = loop {
            if let Some(at) = peer.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !peer.more().await {
                if !peer.buffer.is_empty() {
                    book.fault(format!("a cut head: {:?}", String::from_utf8_lossy(&peer.buffer)));
                }
                return;
            }
        };
        let head: Vec<u8> = peer.buffer.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let Some(plan) = planned(&head, book) else {
            return book.fault(format!("taken for a request: {head:?}"));
        };
        let Some(length) = framing(&head) else { return book.fault(format!("framed in no clear way: {head:?}")) };
        if peer.exchange(&plan, length, has_plugin, book).await.is_none() {
            return;
        }
        if plan.answer.has_extra {
            // Looked at and found wanting, or the answer belongs to nobody knows whom.
            if peer.more().await {
                book.fault(format!("used again after it was dirty: {plan:?}"));
            }
            return;
        }
    }
}

/// The plan of a request whose first line is beyond doubt.
fn planned(head: &str, book: &Book) -> Option<Plan> {
    let words: Vec<&str> = head.split("\r\n").next()?.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return None };
    book.plan(target).filter(|plan| plan.method == method)
}

/// The length of the body; `None` in it: it comes in chunks.
fn framing(head: &str) -> Option<Option<usize>> {
    let values = |name: &str| -> Vec<String> {
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    match (&lengths[..], &codings[..]) {
        ([], []) => Some(Some(0)),
        ([length], []) => length.parse().ok().map(Some),
        ([], [coding]) if coding == "chunked" => Some(None),
        _ => None,
    }
}

struct Peer<S> {
    stream: S,
    buffer: Vec<u8>,
}

// === impl Peer ===

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.buffer).await.is_ok_and(|count| count > 0)
    }

    /// Reads the body and answers, in the planned order; `None`: the connection is over.
    async fn exchange(&mut self, plan: &Plan, length: Option<usize>, has_plugin: bool, book: &Book) -> Option<()> {
        let answer = answer(plan, has_plugin);
        if plan.answer.is_early {
            self.say(&answer).await?;
        }
        if plan.expects && !plan.answer.is_early {
            self.say(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = match length {
            Some(length) => self.take(length).await?,
            None => match self.chunks().await? {
                Ok(body) => body,
                Err(line) => {
                    book.fault(format!("{plan:?}\n  no chunk: {line:?}"));
                    return None;
                }
            },
        };
        book.seen.lock().unwrap().insert(plan.id, body);
        if !plan.answer.is_early {
            self.say(&answer).await?;
        }
        if ends(plan) {
            let _ = self.stream.shutdown().await;
            return None;
        }
        Some(())
    }

    async fn say(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).await.ok()?;
        self.stream.flush().await.ok()
    }

    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.more().await {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }

    async fn chunks(&mut self) -> Option<Result<Vec<u8>, String>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                    break at;
                }
                if !self.more().await {
                    return None;
                }
            };
            let line = self.take(end + 2).await?;
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            let Ok(size) = usize::from_str_radix(&line, 16) else { return Some(Err(line)) };
            body.extend(self.take(size).await?);
            match self.take(2).await?.as_slice() {
                b"\r\n" if size == 0 => return Some(Ok(body)),
                b"\r\n" => {}
                other => return Some(Err(format!("{other:?}"))),
            }
        }
    }
}

/// Whether the connection ends with the answer.
fn ends(plan: &Plan) -> bool {
    plan.answer.closes || (plan.answer.framing == Framing::Close && !plan.is_bodiless())
}

fn answer(plan: &Plan, has_plugin: bool) -> Vec<u8> {
    let Answer { status, framing, interim, has_trailers, has_extra, .. } = plan.answer;
    let mut out = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(interim);
    out += &format!("HTTP/1.1 {status} Status\r\nX-Id: {}\r\n", plan.id);
    let mut rng = Rng::with_seed(plan.id as u64);
    let body = dashed(&plan.answer.body, has_plugin, &mut rng);
    match framing {
        _ if status == 204 => {}
        Framing::Length => out += &format!("Content-Length: {}\r\n", body.len()),
        Framing::Chunks => out += "Transfer-Encoding: chunked\r\n",
        Framing::Close => {}
    }
    out += if ends(plan) { "Connection: close\r\n\r\n" } else { "\r\n" };
    let mut out = out.into_bytes();
    match framing {
        _ if plan.is_bodiless() => {}
        Framing::Length | Framing::Close => out.extend(body),
        Framing::Chunks => {
            for part in body.chunks(piece(body.len(), &mut rng)) {
                out.extend(format!("{:x}\r\n", part.len()).bytes());
                out.extend(part);
                out.extend(b"\r\n");
            }
            out.extend(if has_trailers { &b"0\r\nX-Trailer: 1\r\n\r\n"[..] } else { b"0\r\n\r\n" });
        }
    }
    if has_extra {
        out.extend(EXTRA);
    }
    out
}

// === HTTP/2 ===

async fn h2(stream: impl AsyncRead + AsyncWrite + Unpin, has_plugin: bool, book: &Arc<Book>) {
    let Ok(mut connection) = ::h2::server::handshake(stream).await else {
        return book.fault("a handshake of HTTP/2 failed");
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let plan = book.plan(request.uri().path()).filter(|plan| plan.method == *request.method());
        let Some(plan) = plan else {
            book.fault(format!("taken for a request: {request:?}"));
            continue;
        };
        tokio::spawn(stream_of(request.into_body(), respond, plan, has_plugin, book.clone()));
    }
}

async fn stream_of(
    mut upload: ::h2::RecvStream,
    mut respond: ::h2::server::SendResponse<Bytes>,
    plan: Plan,
    has_plugin: bool,
    book: Arc<Book>,
) {
    if plan.answer.is_early {
        h2_answer(&mut respond, &plan, has_plugin);
    }
    let mut body = Vec::new();
    while let Some(piece) = upload.data().await {
        // A client that has gone.
        let Ok(piece) = piece else { return };
        let _ = upload.flow_control().release_capacity(piece.len());
        body.extend(piece);
    }
    book.seen.lock().unwrap().insert(plan.id, body);
    if !plan.answer.is_early {
        h2_answer(&mut respond, &plan, has_plugin);
    }
}

fn h2_answer(respond: &mut ::h2::server::SendResponse<Bytes>, plan: &Plan, has_plugin: bool) {
    let mut rng = Rng::with_seed(plan.id as u64);
    let body = dashed(&plan.answer.body, has_plugin, &mut rng);
    let mut head = Response::builder().status(plan.answer.status).header("x-id", plan.id);
    if plan.answer.framing == Framing::Length && plan.answer.status != 204 {
        head = head.header("content-length", body.len());
    }
    let head = head.body(()).unwrap();
    let ends_with_head = plan.is_bodiless() || (body.is_empty() && rng.bool());
    // Whoever has gone takes nothing.
    let Ok(mut stream) = respond.send_response(head, ends_with_head) else { return };
    if ends_with_head {
        return;
    }
    for part in body.chunks(piece(body.len(), &mut rng)) {
        let _ = stream.send_data(Bytes::copy_from_slice(part), false);
        if rng.u8(..6) == 0 {
            let _ = stream.send_data(Bytes::new(), false);
        }
    }
    let trailer = (HeaderName::from_static("x-trailer"), HeaderValue::from_static("1"));
    let _ = match plan.answer.has_trailers {
        true => stream.send_trailers(HeaderMap::from_iter([trailer])),
        false => stream.send_data(Bytes::new(), true),
    };
}
