//! A client of HTTP/1.1 that sends requests in a row, in odd pieces, and reads strictly.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::net::TcpStream;

use super::*;

/// How long a row of requests may take; long, because nothing here is about speed.
const STUCK: Duration = Duration::from_secs(20);

/// Both ends of a connection, whatever lies under it.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A kept connection, and what was read of it too much.
struct Kept {
    stream: Box<dyn Io>,
    buffer: Vec<u8>,
}

pub(super) async fn client(address: SocketAddr, kind: &str, upstream: &Upstream, book: &Book, mut rng: Rng) {
    let mut kept: Option<Kept> = None;
    for _ in 0..ROUNDS {
        let batch = batch(&mut rng, upstream, book);
        let connection = match kept.take() {
            Some(connection) => connection,
            None => open(address, kind, upstream).await,
        };
        let round = round(connection, &batch, upstream, book, &mut rng);
        kept = tokio::time::timeout(STUCK, round).await.unwrap_or_else(|_| {
            book.fault(format!("{kind} to {}: never ended: {batch:?}", upstream.host()));
            None
        });
    }
}

async fn open(address: SocketAddr, kind: &str, upstream: &Upstream) -> Kept {
    let stream: Box<dyn Io> = match kind {
        "h1" => {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            Box::new(stream)
        }
        _ => Box::new(tls(address, &upstream.host(), &["http/1.1"]).await.unwrap()),
    };
    Kept { stream, buffer: Vec::new() }
}

/// Requests that are sent without waiting for answers. One that ends the connection is the last.
fn batch(rng: &mut Rng, upstream: &Upstream, book: &Book) -> Vec<Plan> {
    let mut batch = Vec::new();
    for _ in 0..rng.usize(1..5) {
        let next = plan(rng, upstream);
        let is_alone = next.expects;
        if is_alone && !batch.is_empty() {
            continue;
        }
        let is_last = is_alone || next.leaves || next.closes || next.upgrades;
        batch.push(book.add(next));
        if is_last {
            break;
        }
    }
    batch
}

/// Sends a batch while reading its answers; gives the connection back if it is kept.
async fn round(connection: Kept, batch: &[Plan], upstream: &Upstream, book: &Book, rng: &mut Rng) -> Option<Kept> {
    let Kept { stream, buffer } = connection;
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = Reader { read, buffer };
    let mut bytes = Vec::new();
    for plan in batch {
        if plan.expects {
            write.write_all(&head(plan, upstream)).await.ok()?;
            write.flush().await.ok()?;
            let first = reader.go_or_final().await;
            if first.as_ref().is_none_or(|first| first.status != 100) {
                let first = first.or_else(|| fault(book, plan, "no answer to Expect"))?;
                reader.answer(first, plan, book).await;
                return None;
            }
            bytes.extend(body(plan, upstream, rng));
            continue;
        }
        let request = [head(plan, upstream), body(plan, upstream, rng)].concat();
        let end = if plan.leaves { request.len() - plan.body.len() / 2 } else { request.len() };
        bytes.extend(&request[..end]);
        if rng.u8(..6) == 0 && !plan.leaves {
            bytes.extend(b"\r\n");
        }
    }
    let cuts = cuts(bytes.len(), rng);
    let writing = async {
        for (from, to) in cuts {
            // Whoever is told that the connection ends may find that it has.
            if write.write_all(&bytes[from..to]).await.is_err() || write.flush().await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let (is_kept, ()) = tokio::join!(answers(&mut reader, batch, book), writing);
    let Reader { read, buffer } = reader;
    is_kept.then(|| Kept { stream: read.unsplit(write), buffer })
}

fn fault<T>(book: &Book, plan: &Plan, text: &str) -> Option<T> {
    book.fault(format!("{plan:?}\n  {text}"));
    None
}

/// Reads the answers to a batch in order; whether the connection is kept after them.
async fn answers(reader: &mut Reader, batch: &[Plan], book: &Book) -> bool {
    for plan in batch {
        if plan.leaves {
            // What matters is what the upstream sees.
            return false;
        }
        let Some(first) = reader.last_head().await else {
            let text = format!("the connection ended without a word; in a row: {batch:?}");
            return fault::<()>(book, plan, &text).is_some();
        };
        let says_close = reader.answer(first, plan, book).await;
        if says_close {
            while reader.more().await {}
        }
        if says_close && !reader.buffer.is_empty() {
            let start = String::from_utf8_lossy(&reader.buffer[..reader.buffer.len().min(60)]).into_owned();
            return fault::<()>(book, plan, &format!("{start:?} came behind the last answer")).is_some();
        }
        if says_close {
            return false;
        }
        if plan.closes || plan.upgrades {
            return fault::<()>(book, plan, "the connection should end").is_some();
        }
    }
    if !reader.buffer.is_empty() {
        book.fault(format!("{:?} came behind the answers to {batch:?}", String::from_utf8_lossy(&reader.buffer)));
    }
    true
}

/// Where the bytes are cut into writes.
fn cuts(length: usize, rng: &mut Rng) -> Vec<(usize, usize)> {
    let mut cuts = vec![0, length];
    if rng.bool() {
        cuts.extend((0..rng.usize(..6)).map(|_| rng.usize(..=length)));
    }
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

fn head(plan: &Plan, upstream: &Upstream) -> Vec<u8> {
    let mut head = format!("{} /{} HTTP/1.1\r\nHost: {}\r\n", plan.method, plan.id, upstream.host());
    match (plan.is_open, plan.body.is_empty()) {
        _ if plan.upgrades => head += UPGRADE,
        (true, _) => head += "Transfer-Encoding: chunked\r\n",
        (false, true) if matches!(plan.method, "GET" | "HEAD" | "DELETE") => {}
        (false, _) => head += &format!("Content-Length: {}\r\n", length_of(plan, upstream)),
    }
    head += if plan.expects { "Expect: 100-continue\r\n" } else { "" };
    head += if plan.closes && !plan.upgrades { "Connection: close\r\n" } else { "" };
    (head + "\r\n").into_bytes()
}

/// What follows the head.
fn body(plan: &Plan, upstream: &Upstream, rng: &mut Rng) -> Vec<u8> {
    if plan.upgrades {
        // A number that nobody knows: it must not be asked for.
        return b"GET /999999999 HTTP/1.1\r\nHost: http.test\r\n\r\n".to_vec();
    }
    if !plan.is_open {
        return sent(plan, upstream);
    }
    let whole = sent(plan, upstream);
    let mut rest = &whole[..];
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(piece(whole.len(), rng).min(rest.len()));
        let extension = *rng.choice(&["", "", ";a", ";a=b", ";a=\"b c\""]).unwrap();
        let size = if rng.bool() { format!("{:x}", part.len()) } else { format!("00{:X}", part.len()) };
        out.extend(format!("{size}{extension}\r\n").bytes());
        out.extend(part);
        out.extend(b"\r\n");
        rest = behind;
    }
    out.extend(if plan.has_trailers { &b"0\r\nX-Trailer: 1\r\nX-Other: 2\r\n\r\n"[..] } else { b"0\r\n\r\n" });
    out
}

/// The body as it is sent; the same whenever it is asked for.
fn sent(plan: &Plan, upstream: &Upstream) -> Vec<u8> {
    dashed(&plan.body, upstream.has_plugin, &mut Rng::with_seed(plan.id as u64))
}

fn length_of(plan: &Plan, upstream: &Upstream) -> usize {
    sent(plan, upstream).len()
}

/// Reads answers.
struct Reader {
    read: ReadHalf<Box<dyn Io>>,
    buffer: Vec<u8>,
}

/// The head of an answer.
struct Head {
    status: u16,
    fields: Vec<(String, String)>,
}

// === impl Head ===

impl Head {
    fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

// === impl Reader ===

impl Reader {
    /// Whether more came.
    async fn more(&mut self) -> bool {
        self.read.read_buf(&mut self.buffer).await.is_ok_and(|count| count > 0)
    }

    async fn head(&mut self) -> Option<Head> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if !self.more().await {
                return None;
            }
        };
        let text = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let mut lines = text.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let fields = lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.to_owned()));
        Some(Head { status, fields: fields.collect() })
    }

    /// The next head that is not informational.
    async fn last_head(&mut self) -> Option<Head> {
        loop {
            match self.head().await {
                Some(head) if (100..200).contains(&head.status) => {}
                other => return other,
            }
        }
    }

    /// The next head that lets a body follow, or is the last word.
    async fn go_or_final(&mut self) -> Option<Head> {
        loop {
            match self.head().await {
                Some(head) if (101..200).contains(&head.status) => {}
                other => return other,
            }
        }
    }

    /// Reads the body that belongs to a head, and compares both with the plan; whether the connection is to end.
    async fn answer(&mut self, head: Head, plan: &Plan, book: &Book) -> bool {
        let says_close = head.value("connection") == Some("close");
        let bodiless = plan.method == "HEAD" || matches!(head.status, 204 | 304);
        let length = head.value("content-length").and_then(|value| value.parse::<usize>().ok());
        let body = match (bodiless, head.value("transfer-encoding"), length) {
            (true, ..) => Some(Vec::new()),
            (_, Some("chunked"), None) => self.chunks().await,
            (_, None, Some(length)) => self.take(length).await,
            (_, framing, length) => fault(book, plan, &format!("framed by {framing:?} and {length:?}")),
        };
        match body {
            Some(body) => book.check(plan, head.status, head.value("x-id"), &body),
            None => {
                let (fields, left) = (&head.fields, self.buffer.len());
                book.fault(format!("{plan:?}\n  an answer was cut, {left} bytes unread: {fields:?}"));
            }
        }
        says_close
    }

    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.more().await {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(at) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                    break at;
                }
                if !self.more().await {
                    return None;
                }
            };
            let size = String::from_utf8_lossy(&self.take(line + 2).await?).trim().to_owned();
            let size = usize::from_str_radix(&size, 16).ok()?;
            body.extend(self.take(size).await?);
            if self.take(2).await? != b"\r\n" {
                return None;
            }
            if size == 0 {
                return Some(body);
            }
        }
    }
}
