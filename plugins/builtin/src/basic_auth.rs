//! Lets those in who know a password (RFC 7617).
//!
//! Passwords are verified beside the serving threads, at most so many at once; a password that was right is remembered
//! and costs no hash again. A name that nobody has costs what a wrong password costs, so that time tells no names.

mod cache;
mod hash;
mod users;

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin::{
    Blocking, BoxFuture, BuildContext, BuildError, Define, Flow, Hooks, Identity, Plugin, Reply, RequestContext,
    Shared, Source, Stage, UpstreamRequest, Verdict,
};

use self::cache::Cache;
use self::hash::Hash;
use self::users::Users;

/// Who may come in, and what the others are asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Where users and hashes stand: a key of a Secret (default `auth`) or a file, with lines `user:hash` as `htpasswd`
    /// writes them. Hashes: bcrypt, SHA-crypt, apr1, MD5-crypt, {SHA}.
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
    cache: Cache,
    blocking: Blocking,
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
        let users = match (config.form, &config.users) {
            (Form::List, source) => users::read_list(cx.contents(source, "auth")?)?,
            (Form::Map, Source::Secret(secret)) => users::read_map(cx.secret(secret)?)?,
            (Form::Map, Source::File(_)) => return Err(BuildError::invalid("form", "a file has lines: `list`")),
        };
        let realm = &config.realm;
        if !realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            return Err(BuildError::invalid("realm", "must be printable ASCII without `\"` and `\\`"));
        }
        let challenge = HeaderValue::try_from(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
        // Any user's will do: hashes of one list usually cost the same.
        let stranger = users.values().next().cloned().ok_or_else(|| BuildError::invalid("users", "names nobody"))?;
        Ok(Self {
            name: cx.instance.into(),
            users: Arc::new(users),
            stranger,
            challenge: challenge.map_err(|error| BuildError::invalid("realm", error))?,
            forward: config.forward,
            cache: Cache::new(),
            blocking: cx.blocking(),
        })
    }
}

impl Plugin for BasicAuth {
    fn hooks(&self) -> Hooks {
        if self.forward { Hooks::REQUEST } else { Hooks::REQUEST | Hooks::UPSTREAM_REQUEST }
    }

    fn on_request(&self, cx: &mut RequestContext<'_>) -> Flow {
        let Some((user, password)) = credentials(cx.headers()) else { return Flow::Reply(self.refusal()) };
        if !self.cache.has(self.cache.digest(&user, &password)) {
            return Flow::Wait;
        }
        self.identify(cx, &user);
        Flow::Continue
    }

    fn wait<'f>(&'f self, cx: &'f mut RequestContext<'_>) -> BoxFuture<'f, Verdict> {
        Box::pin(async move {
            let Some((user, password)) = credentials(cx.headers()) else { return Verdict::Reply(self.refusal()) };
            let digest = self.cache.digest(&user, &password);
            let known = self.users.get(&*user);
            let (hash, is_known) = (known.unwrap_or(&self.stranger).clone(), known.is_some());
            match self.blocking.run(move || hash.verifies(&password) && is_known).await {
                Ok(true) => {
                    self.cache.put(digest);
                    self.identify(cx, &user);
                    Verdict::Continue
                }
                Ok(false) => Verdict::Reply(self.refusal()),
                Err(_) => Verdict::Reply(Reply::new(StatusCode::SERVICE_UNAVAILABLE)),
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

    fn identify(&self, cx: &mut RequestContext<'_>, user: &str) {
        cx.shared().identity = Some(Identity { name: user.into(), source: self.name.clone() });
    }
}

/// User and password of the only `Authorization` field; what cannot be read is as good as nothing.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (field, None) = (fields.next()?, fields.next()) else { return None };
    let (scheme, encoded) = field.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim_matches(' ')).ok()?).ok()?;
    // A user's name has no colon, so the first one ends it.
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests;
