//! Sets, adds and removes header fields of requests to the upstream and of answers to the client.
//!
//! Values are read once: constant ones become header values when the plugin is built, variables become tokens.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin::{
    BuildContext, BuildError, Define, Editable, Hooks, Plugin, RequestFacts, ResponseContext, ResponseFlow, RouteFacts,
    Shared, Stage, UpstreamRequest, plugin,
};

/// What is changed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Changes of the request that the upstream gets.
    pub request: Changes,
    /// Changes of the answer that the client gets.
    pub response: Changes,
}

/// Changes of one head: removed first, then set, then added. Values may hold variables: `${client.ip}`; `$$` is `$`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Changes {
    /// Fields put in place of all of their name.
    pub set: BTreeMap<String, String>,
    /// Fields added to those of their name.
    pub add: BTreeMap<String, String>,
    /// Names of fields that are removed.
    pub remove: Vec<String>,
}

/// The plugin.
#[derive(Debug)]
pub struct Headers {
    request: Plan,
    response: Plan,
}

#[derive(Debug, Default)]
struct Plan {
    remove: Box<[HeaderName]>,
    set: Box<[(HeaderName, Value)]>,
    add: Box<[(HeaderName, Value)]>,
}

#[derive(Debug)]
enum Value {
    Constant(HeaderValue),
    Template(Box<[Token]>),
}

#[derive(Debug)]
enum Token {
    Text(Box<str>),
    Variable(Variable),
}

type Variable = for<'a> fn(&Source<'a>) -> std::borrow::Cow<'a, str>;

struct Source<'a> {
    facts: RequestFacts<'a>,
    route: &'a RouteFacts,
    shared: &'a Shared,
}

const VARIABLES: &[(&str, Variable)] = &[
    ("client.ip", |s| s.facts.client.to_string().into()),
    ("request.id", |s| s.facts.request_id.into()),
    ("request.host", |s| s.facts.host.into()),
    ("request.method", |s| s.facts.method.as_str().into()),
    ("request.path", |s| s.facts.path.into()),
    ("request.scheme", |s| s.facts.scheme.into()),
    ("route.kind", |s| s.route.kind.into()),
    ("route.name", |s| (&*s.route.name).into()),
    ("route.namespace", |s| (&*s.route.namespace).into()),
    ("route.service", |s| (&*s.route.service).into()),
    ("identity.name", |s| s.shared.identity.as_ref().map_or("", |identity| &identity.name).into()),
    ("tls.version", |s| s.facts.tls.map_or("", |tls| tls.version).into()),
    ("tls.serverName", |s| s.facts.tls.and_then(|tls| tls.server_name.as_deref()).unwrap_or("").into()),
];

/// Framing and hop-by-hop fields, which belong to the proxy (RFC 9110 7.6.1), and `Host`, by which it routes.
const REFUSED: &[HeaderName] = &[
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

impl Define for Headers {
    const NAME: &'static str = "headers";
    const STAGE: Stage = Stage::Transform;
    type Config = Config;

    fn build(config: Config, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        Ok(Self { request: plan("request", &config.request)?, response: plan("response", &config.response)? })
    }
}

#[plugin]
impl Plugin for Headers {
    fn idle(&self) -> Hooks {
        let idle = |plan: &Plan, hook| if plan.is_empty() { hook } else { Hooks::NONE };
        idle(&self.request, Hooks::UPSTREAM_REQUEST) | idle(&self.response, Hooks::RESPONSE)
    }

    fn on_upstream_request(&self, head: &mut UpstreamRequest<'_>, cx: &Shared) {
        let source = Source { facts: *head.facts(), route: head.route(), shared: cx };
        self.request.apply(&mut head.headers, &source);
    }

    fn on_response(&self, cx: &mut ResponseContext<'_>) -> ResponseFlow {
        let source = Source { facts: *cx.facts(), route: cx.route(), shared: cx.shared };
        self.response.apply(&mut cx.headers, &source);
        ResponseFlow::Continue
    }
}

// === impl Plan, Value ===

impl Plan {
    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    fn apply(&self, fields: &mut Editable<'_>, source: &Source<'_>) {
        self.remove.iter().for_each(|name| fields.remove(name));
        for (name, value) in &self.set {
            match value.render(source) {
                Some(value) => fields.set(name.clone(), value),
                // What the client sent must not stand where a value of ours was promised.
                None => fields.remove(name),
            }
        }
        for (name, value) in &self.add {
            if let Some(value) = value.render(source) {
                fields.append(name.clone(), value);
            }
        }
    }
}

impl Value {
    /// The value for this request; `None` when a variable holds bytes that no field may carry.
    fn render(&self, source: &Source<'_>) -> Option<HeaderValue> {
        match self {
            Self::Constant(value) => Some(value.clone()),
            Self::Template(tokens) => {
                let mut text = String::new();
                for token in tokens {
                    match token {
                        Token::Text(part) => text.push_str(part),
                        Token::Variable(variable) => text.push_str(&variable(source)),
                    }
                }
                HeaderValue::try_from(text).ok()
            }
        }
    }
}

// === private functions ===

fn plan(side: &str, changes: &Changes) -> Result<Plan, BuildError> {
    let pairs = |kind: &str, map: &BTreeMap<String, String>| {
        let read = |(key, text): (&String, &String)| {
            let field = format!("{side}.{kind}.{key}");
            Ok((name(&field, key)?, value(&field, text)?))
        };
        map.iter().map(read).collect::<Result<Box<[_]>, BuildError>>()
    };
    let removed = changes.remove.iter().enumerate();
    Ok(Plan {
        remove: removed.map(|(i, key)| name(&format!("{side}.remove[{i}]"), key)).collect::<Result<_, _>>()?,
        set: pairs("set", &changes.set)?,
        add: pairs("add", &changes.add)?,
    })
}

fn name(field: &str, text: &str) -> Result<HeaderName, BuildError> {
    let name: HeaderName =
        text.parse().map_err(|_| BuildError::invalid(field, format!("`{text}` is not a header name")))?;
    let is_refused = REFUSED.contains(&name) || matches!(name.as_str(), "keep-alive" | "proxy-connection");
    if is_refused {
        return Err(BuildError::invalid(field, format!("`{text}` belongs to the proxy and cannot be changed")));
    }
    Ok(name)
}

fn value(field: &str, text: &str) -> Result<Value, BuildError> {
    let mut tokens = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            plain.push('$');
            rest = after;
            continue;
        }
        let inner = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let (variable, after) =
            inner.ok_or_else(|| BuildError::invalid(field, "`$` begins `${name}`; write `$$` for a `$`"))?;
        if !plain.is_empty() {
            tokens.push(Token::Text(std::mem::take(&mut plain).into()));
        }
        tokens.push(Token::Variable(find(field, variable)?));
        rest = after;
    }
    plain.push_str(rest);
    let last: HeaderValue =
        plain.parse().map_err(|_| BuildError::invalid(field, "not a header value: it holds control characters"))?;
    if tokens.is_empty() {
        return Ok(Value::Constant(last));
    }
    tokens.push(Token::Text(plain.into()));
    Ok(Value::Template(tokens.into()))
}

fn find(field: &str, wanted: &str) -> Result<Variable, BuildError> {
    if let Some((_, variable)) = VARIABLES.iter().find(|(name, _)| *name == wanted) {
        return Ok(*variable);
    }
    let shared = |name: &str| name.bytes().zip(wanted.bytes()).take_while(|(a, b)| a == b).count();
    let nearest = VARIABLES.iter().max_by_key(|(name, _)| shared(name)).map_or("", |(name, _)| name);
    Err(BuildError::invalid(field, format!("no variable is called `{wanted}` (did you mean `{nearest}`?)")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode};
    use serde_json::json;
    use tidegate_plugin::testing::{Answer, Request};

    fn build(config: serde_json::Value) -> Result<Headers, BuildError> {
        let cx = BuildContext::new("h", "", std::path::Path::new("."));
        tidegate_plugin::build(&config, &cx)
    }

    #[test]
    fn requests_get_fields_set_added_and_removed() {
        let plugin = build(json!({"request": {
            "set": {"X-From": "ip=${client.ip} $$1", "X-User": "${identity.name}"},
            "add": {"X-Tag": "b"}, "remove": ["X-Debug"] }}))
        .unwrap();
        assert_eq!((&plugin as &dyn Plugin).hooks(), Hooks::UPSTREAM_REQUEST);
        let request = Request::get("/").from("10.0.0.1").identity("ann");
        let request = request.header("x-debug", "1").header("x-tag", "a").header("x-user", "forged");
        let headers = request.upstream_headers(&plugin);
        assert_eq!(headers["x-from"], "ip=10.0.0.1 $1");
        assert_eq!(headers["x-user"], "ann");
        assert_eq!(headers.get_all("x-tag").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(!headers.contains_key("x-debug"));
    }

    #[test]
    fn answers_get_fields_set_and_removed() {
        let plugin = build(json!({"response": {"set": {"X-Host": "${request.host}"}, "remove": ["Server"]}})).unwrap();
        let upstream = HeaderMap::from_iter([(header::SERVER, HeaderValue::from_static("old"))]);
        let Answer::Passed(_, headers) = Request::get("/").host("a.test").response(&plugin, StatusCode::OK, upstream)
        else {
            panic!("another answer");
        };
        assert_eq!(headers["x-host"], "a.test");
        assert!(!headers.contains_key(header::SERVER));
    }

    #[test]
    fn refuses_unknown_variables_framing_fields_and_bad_values() {
        let cases = [
            (json!({"request": {"set": {"X": "${client.iq}"}}}), "did you mean `client.ip`?"),
            (json!({"request": {"set": {"X": "$client"}}}), "write `$$`"),
            (json!({"request": {"set": {"X": "a\nb"}}}), "control characters"),
            (json!({"request": {"remove": ["Transfer-Encoding"]}}), "belongs to the proxy"),
            (json!({"response": {"set": {"content-length": "1"}}}), "belongs to the proxy"),
            (json!({"response": {"add": {"a b": "1"}}}), "not a header name"),
        ];
        for (config, expected) in cases {
            let error = build(config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
