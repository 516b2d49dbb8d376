//! A client of HTTP/2 whose bodies come in odd frames and end in every way.

use ::h2::client::SendRequest;
use ::h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::*;

pub(super) async fn client(address: SocketAddr, upstream: &Upstream, book: &Book, mut rng: Rng) {
    let stream = tls(address, &upstream.host(), &["h2"]).await.unwrap();
    let (send, connection) = ::h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..ROUNDS {
        let plans: Vec<Plan> = (0..rng.usize(1..5)).map(|_| book.add(h2_plan(&mut rng, upstream))).collect();
        let asking = plans.iter().map(|plan| ask(send.clone(), plan, upstream, book, rng.fork()));
        futures::future::join_all(asking).await;
    }
}

/// HTTP/2 has neither upgrades nor `Connection`.
fn h2_plan(rng: &mut Rng, upstream: &Upstream) -> Plan {
    Plan { upgrades: false, closes: false, expects: false, ..plan(rng, upstream) }
}

async fn ask(send: SendRequest<Bytes>, plan: &Plan, upstream: &Upstream, book: &Book, mut rng: Rng) {
    let body = dashed(&plan.body, upstream.has_plugin, &mut rng);
    let mut request = Request::builder().method(plan.method).uri(format!("https://{}/{}", upstream.host(), plan.id));
    if !plan.is_open {
        request = request.header("content-length", body.len());
    }
    let mut send = send.ready().await.expect("the connection is kept");
    let ends_with_head = body.is_empty() && rng.bool();
    let (answer, stream) = send.send_request(request.body(()).unwrap(), ends_with_head).unwrap();
    let (answer, ()) = tokio::join!(answer, async {
        if !ends_with_head {
            upload(stream, plan, &body, &mut rng).await;
        }
    });
    if plan.leaves {
        return;
    }
    match answer {
        Ok(answer) => take(answer, plan, book).await,
        Err(error) => book.fault(format!("{plan:?}\n  no answer: {error}")),
    }
}

/// Sends a body in pieces, some of them empty; its end is on the last one, on an empty one, or on trailers.
async fn upload(mut stream: SendStream<Bytes>, plan: &Plan, body: &[u8], rng: &mut Rng) {
    let mut rest = if plan.leaves { &body[..body.len() / 2] } else { body };
    let ends_with_piece = !plan.has_trailers && rng.bool();
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(piece(body.len(), rng).min(rest.len()));
        rest = behind;
        let is_end = rest.is_empty() && ends_with_piece && !plan.leaves;
        // Whoever was answered already need not listen.
        if stream.send_data(Bytes::copy_from_slice(part), is_end).is_err() || is_end {
            return;
        }
        if rng.u8(..4) == 0 && stream.send_data(Bytes::new(), false).is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
    if plan.leaves {
        return stream.send_reset(Reason::CANCEL);
    }
    let _ = match plan.has_trailers {
        true => stream.send_trailers(HeaderMap::from_iter([(
            HeaderName::from_static("x-trailer"),
            HeaderValue::from_static("1"),
        )])),
        false => stream.send_data(Bytes::new(), true),
    };
}

async fn take(answer: http::Response<::h2::RecvStream>, plan: &Plan, book: &Book) {
    let (head, mut stream) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        match piece {
            Ok(piece) => {
                let _ = stream.flow_control().release_capacity(piece.len());
                body.extend(piece);
            }
            Err(error) => return book.fault(format!("{plan:?}\n  an answer was cut: {error}")),
        }
    }
    let id = head.headers.get("x-id").and_then(|value| value.to_str().ok());
    book.check(plan, head.status.as_u16(), id, &body);
}
