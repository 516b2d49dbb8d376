//! A client that asks at a steady rate whatever the answers do, so that its latencies are those that users would see.
//!
//! `steady ADDRESS HOST PATH RATE SECONDS CONNECTIONS [RANGE]`: prints JSON with requests, failures and latencies in
//! microseconds from the moment a request was due. With RANGE, `#` in HOST and PATH stands for a number below it that
//! changes with each request.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

#[derive(Clone)]
struct Plan {
    address: SocketAddr,
    host: String,
    path: String,
    interval: Duration,
    requests: u32,
    range: u32,
}

#[derive(Default)]
struct Seen {
    latencies: Vec<u64>,
    failed: u64,
}

const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    const USAGE: &str = "usage: steady ADDRESS HOST PATH RATE SECONDS CONNECTIONS [RANGE]";
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or(USAGE);
    let (address, host, path) = (next()?.parse()?, next()?, next()?);
    let (rate, seconds, connections): (u32, u32, u32) = (next()?.parse()?, next()?.parse()?, next()?.parse()?);
    let range = next().map_or(Ok(1), |text| text.parse())?;
    let interval = Duration::from_secs(1) * connections / rate;
    let plan = Plan { address, host, path, interval, requests: rate * seconds / connections, range };
    let start = Instant::now() + Duration::from_millis(100);
    let tasks: Vec<_> =
        (0..connections).map(|n| tokio::spawn(one(plan.clone(), start + interval * n / connections, n))).collect();
    let mut all = Seen::default();
    for task in tasks {
        let seen = task.await?;
        all.latencies.extend(seen.latencies);
        all.failed += seen.failed;
    }
    all.latencies.sort_unstable();
    let at =
        |share: f64| all.latencies.get(((all.latencies.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(0);
    println!(
        "{{\"requests\": {}, \"failed\": {}, \"p50\": {}, \"p90\": {}, \"p99\": {}, \"p999\": {}}}",
        all.latencies.len(),
        all.failed,
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999)
    );
    Ok(())
}

async fn one(plan: Plan, start: Instant, seed: u32) -> Seen {
    let mut seen = Seen::default();
    let mut stream = None;
    let mut buffer = Vec::with_capacity(16 * 1024);
    for turn in 0..plan.requests {
        let due = start + plan.interval * turn;
        sleep_until(due).await;
        let number = (turn.wrapping_mul(7919).wrapping_add(seed * 104_729) % plan.range).to_string();
        let (host, path) = (plan.host.replace('#', &number), plan.path.replace('#', &number));
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        match timeout(PATIENCE, ask(&mut stream, plan.address, request.as_bytes(), &mut buffer)).await {
            Ok(Some(())) => seen.latencies.push(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX)),
            _ => {
                seen.failed += 1;
                stream = None;
            }
        }
    }
    seen
}

/// One request on the kept connection; `None`: no whole answer of status 200.
async fn ask(stream: &mut Option<TcpStream>, address: SocketAddr, request: &[u8], buffer: &mut Vec<u8>) -> Option<()> {
    if stream.is_none() {
        let made = TcpStream::connect(address).await.ok()?;
        made.set_nodelay(true).ok()?;
        *stream = Some(made);
    }
    let stream = stream.as_mut()?;
    stream.write_all(request).await.ok()?;
    buffer.clear();
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(buffer.get(..head)?).to_ascii_lowercase();
    let length: usize = text.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    while buffer.len() < head + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    text.starts_with("http/1.1 200").then_some(())
}
