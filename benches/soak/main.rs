//! Both sides of a soak: an origin that also misbehaves, and clients of every protocol that also leave early.
//!
//! `soak origin ADDRESS…` serves until it is ended.
//! `soak clients PLAIN TLS SECONDS` asks the proxy there and prints what came of it as JSON, a key for each kind of client.
//! `benches/soak/run.py` runs both around a proxy and says whether that one came back to where it was.

mod aborts;
mod clients;
mod orderly;
mod origin;
mod proxy;
#[path = "../../tests/serve/support/tls.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the tests' own client: what it takes for granted holds here"
)]
mod tls;

use std::error::Error;
use std::time::Duration;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words.as_slice() {
        ["origin", addresses @ ..] if !addresses.is_empty() => runtime.block_on(origin::serve(addresses)),
        ["clients", plain, tls, seconds] => {
            let seen =
                runtime.block_on(clients::run(plain.parse()?, tls.parse()?, Duration::from_secs(seconds.parse()?)))?;
            println!("{seen}");
            Ok(())
        }
        _ => Err("usage: soak origin ADDRESS… | soak clients PLAIN TLS SECONDS".into()),
    }
}
