//! Lets those in who know a password (RFC 7617).
//!
//! Passwords are verified beside the serving threads, at most so many at once; a password that was right is remembered
//! and costs no hash again. A name that nobody has costs what a wrong password costs, so that time tells no names.
//! Wrong passwords are counted by client address, and whoever has given too many may try no other for a while.

mod cache;
mod credentials;
mod failures;
mod hash;
mod users;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin::{
    Blocking, BoxFuture, BuildContext, BuildError, Define, Flow, Hooks, Identity, NotDone, Plugin, ReasonCode, Reply,
    RequestContext, Shared, Source, Stage, UpstreamRequest, Verdict, plugin,
};

use self::cache::Cache;
use self::credentials::Credentials;
use self::failures::Counted;
pub use self::failures::{FailureLimit, Failures, Off};
use self::hash::Hash;
pub use self::hash::HashCost;
use self::users::Users;

/// Who may come in, and what the others are asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Where users and hashes stand: a key of a Secret (default `auth`) or a file, with lines `user:hash` as `htpasswd`
    /// writes them. Hashes: bcrypt, SHA-crypt, apr1, MD5-crypt, {SHA}, {SSHA}.
    pub users: Source,
    /// How a Secret is read. Default `list`.
    #[serde(default)]
    pub form: Form,
    /// What browsers show when they ask. Default `Restricted`.
    #[serde(default = "restricted")]
    pub realm: String,
    /// Whether the upstream gets the `Authorization` field. Default true.
    #[serde(default = "yes")]
    pub forward: bool,
    /// Wrong passwords that a client's address (an IPv6 client's /64) may give; over it: 429 until it may try again.
    /// Passwords that were right before still pass. Default 20 at once and 20 a minute; `off` for no limit.
    #[serde(default)]
    pub failures: Failures,
    /// The dearest hashes that are verified. A user whose hash is dearer cannot come in, which is told as a warning;
    /// where nobody else can, the routes are closed. Default: `defaults.maxHashCost` of the conf, else bcrypt 12 and
    /// 100000 rounds.
    #[serde(default)]
    pub max_hash_cost: HashCost,
}

/// How a Secret is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One key has lines `user:hash`.
    #[default]
    List,
    /// Each key is a user and its value the hash.
    Map,
}

/// The plugin.
pub struct BasicAuth {
    name: Arc<str>,
    users: Arc<Users>,
    /// What strangers are measured by.
    stranger: Hash,
    challenge: HeaderValue,
    forward: bool,
    cache: Arc<Cache>,
    failures: Option<Arc<Counted>>,
    blocking: Blocking,
}

/// What became of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checked {
    Right,
    Wrong,
    /// It was not looked at; seconds until one would be.
    TooMany(u64),
}

fn restricted() -> String {
    "Restricted".to_owned()
}

fn yes() -> bool {
    true
}

impl Define for BasicAuth {
    const NAME: &'static str = "basic-auth";
    const STAGE: Stage = Stage::Authenticate;
    type Config = Config;

    fn build(config: Config, cx: &BuildContext<'_>) -> Result<Self, BuildError> {
        let users = read_users(&config, cx)?;
        let realm = &config.realm;
        if !realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            return Err(BuildError::invalid("realm", "must be printable ASCII without `\"` and `\\`"));
        }
        let challenge = HeaderValue::try_from(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
        // The costliest: a name that answers sooner than a stranger's would be known to exist.
        let stranger = users
            .values()
            .flatten()
            .max_by_key(|hash| hash.cost())
            .cloned()
            .ok_or_else(|| BuildError::invalid("users", "names nobody"))?;
        Ok(Self {
            name: cx.instance.into(),
            users: Arc::new(users),
            stranger,
            challenge: challenge.map_err(|error| BuildError::invalid("realm", error))?,
            forward: config.forward,
            cache: Arc::default(),
            failures: Counted::start(&config.failures, cx.clock())?.map(Arc::new),
            blocking: cx.blocking(),
        })
    }
}

#[plugin]
impl Plugin for BasicAuth {
    fn idle(&self) -> Hooks {
        if self.forward { Hooks::UPSTREAM_REQUEST } else { Hooks::NONE }
    }

    fn on_request(&self, cx: &mut RequestContext<'_>) -> Flow {
        let mut buffer = credentials::buffer();
        let Some(given) = credentials::read(cx.headers(), &mut buffer) else { return Flow::Reply(self.refusal()) };
        if self.cache.has(self.cache.digest(given.user, given.password)) {
            self.identify(cx, given.user);
            return Flow::Continue;
        }
        match self.failures.as_ref().map_or(Ok(()), |failures| failures.check(cx.client_addr())) {
            Ok(()) => Flow::Wait,
            Err(seconds) => Flow::Reply(too_many(seconds)),
        }
    }

    fn wait<'f>(&'f self, cx: &'f mut RequestContext<'_>) -> BoxFuture<'f, Verdict> {
        Box::pin(async move {
            let mut buffer = credentials::buffer();
            let Some(given) = credentials::read(cx.headers(), &mut buffer) else {
                return Verdict::Reply(self.refusal());
            };
            match self.blocking.run(cx, self.check(&given, cx.client_addr())).await {
                Ok(Checked::Right) => {
                    self.identify(cx, given.user);
                    Verdict::Continue
                }
                Ok(Checked::Wrong) => Verdict::Reply(self.refusal()),
                Ok(Checked::TooMany(seconds)) => Verdict::Reply(too_many(seconds)),
                Err(error) => Verdict::Reply(unchecked(error)),
            }
        })
    }

    fn on_upstream_request(&self, head: &mut UpstreamRequest<'_>, _: &Shared) {
        head.headers.remove(&AUTHORIZATION);
    }
}

// === impl BasicAuth ===

impl BasicAuth {
    fn refusal(&self) -> Reply {
        Reply::new(StatusCode::UNAUTHORIZED).header(WWW_AUTHENTICATE, self.challenge.clone())
    }

    /// The work of finding out whether a password is right.
    fn check(&self, given: &Credentials<'_>, client: IpAddr) -> impl FnOnce() -> Checked + Send + use<> {
        let (cache, digest) = (Arc::clone(&self.cache), self.cache.digest(given.user, given.password));
        let (known, failures) = (self.users.get(given.user).and_then(Option::as_ref), self.failures.clone());
        let (hash, is_known) = (known.unwrap_or(&self.stranger).clone(), known.is_some());
        let password: Box<str> = given.password.into();
        move || {
            // A browser asks many times at once, and the first one has found it out meanwhile.
            if cache.has(digest) {
                return Checked::Right;
            }
            // Others of the same client may have been wrong while this one waited.
            if let Some(Err(seconds)) = failures.as_ref().map(|failures| failures.check(client)) {
                return Checked::TooMany(seconds);
            }
            if hash.verifies(&password) && is_known {
                cache.put(digest);
                return Checked::Right;
            }
            if let Some(failures) = failures {
                failures.count(client);
            }
            Checked::Wrong
        }
    }

    fn identify(&self, cx: &mut RequestContext<'_>, user: &str) {
        cx.shared().identity = Some(Identity::new(user, Arc::clone(&self.name)));
    }
}

// === private functions ===

fn read_users(config: &Config, cx: &BuildContext<'_>) -> Result<Users, BuildError> {
    let max = config.max_hash_cost.check()?;
    let read = match (config.form, &config.users) {
        (Form::List, source) => users::read_list(cx.contents(source, "auth")?, max)?,
        (Form::Map, Source::Secret(secret)) => users::read_map(cx.secret(secret)?, max)?,
        (Form::Map, _) => return Err(BuildError::invalid("form", "a file has lines: `list`")),
    };
    if let Some(finding) = read.finding() {
        cx.warn("users", finding);
    }
    Ok(read.users)
}

fn too_many(seconds: u64) -> Reply {
    let reply = Reply::new(StatusCode::TOO_MANY_REQUESTS).because(ReasonCode::TOO_MANY_FAILURES);
    reply.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}

/// Fails closed.
fn unchecked(error: NotDone) -> Reply {
    let reply = Reply::new(StatusCode::SERVICE_UNAVAILABLE).header(RETRY_AFTER, HeaderValue::from_static("1"));
    match error {
        NotDone::Refused => reply.because(ReasonCode::WORK_REFUSED),
        NotDone::Lost => reply,
    }
}

#[cfg(test)]
mod tests;
