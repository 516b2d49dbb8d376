//! A plugin of one's own: closes a route for maintenance, for everybody but those who do it.

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_plugin::{
    BuildContext, BuildError, Define, Flow, GrpcStatus, Plugin, ReasonCode, Reply, RequestContext, ResponseContext,
    ResponseFlow, Stage, plugin,
};

/// Who still gets in, and what the others are told. These comments are the manual: `edge schema maintenance`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Networks in CIDR form whose clients pass, for instance `10.0.0.0/8`.
    pub allow: Vec<String>,
    /// Seconds until clients should come again; none says nothing about it.
    pub retry_after: Option<u32>,
    /// What the others read. Default: the status text.
    pub message: String,
}

/// The plugin: what can be computed once is computed when it is built.
#[derive(Debug)]
pub struct Maintenance {
    allow: Vec<IpNet>,
    refusal: Reply,
}

/// Why requests are refused: in the log, and in `tidegate_plugin_replies_total`.
const CLOSED: ReasonCode = ReasonCode::new("maintenance");

const HEADER: HeaderName = HeaderName::from_static("x-maintenance");

impl Define for Maintenance {
    const NAME: &'static str = "maintenance";
    /// Refusing by address is access control; it comes before authentication.
    const STAGE: Stage = Stage::Access;
    type Config = Config;

    fn build(config: Config, _: &BuildContext<'_>) -> Result<Self, BuildError> {
        let network = |(index, text): (usize, &String)| {
            text.parse().map_err(|error| BuildError::invalid(format!("allow[{index}]"), format!("`{text}`: {error}")))
        };
        let allow = config.allow.iter().enumerate().map(network).collect::<Result<_, _>>()?;
        let mut refusal = Reply::new(StatusCode::SERVICE_UNAVAILABLE).because(CLOSED).body(config.message);
        refusal = refusal.grpc(GrpcStatus::Unavailable);
        if let Some(seconds) = config.retry_after {
            refusal = refusal.header(RETRY_AFTER, HeaderValue::from(seconds));
        }
        Ok(Self { allow, refusal })
    }
}

/// Left for the response hook: this client passed.
struct Passed;

#[plugin]
impl Plugin for Maintenance {
    fn on_request(&self, cx: &mut RequestContext<'_>) -> Flow {
        let client = cx.client_addr();
        if !self.allow.iter().any(|network| network.contains(&client)) {
            return Flow::Reply(self.refusal.clone());
        }
        cx.shared().put(Passed);
        Flow::Continue
    }

    fn on_response(&self, cx: &mut ResponseContext<'_>) -> ResponseFlow {
        if cx.shared.get::<Passed>().is_some() {
            cx.headers.set(HEADER, HeaderValue::from_static("on"));
        }
        ResponseFlow::Continue
    }
}

/// The plugin that the manual begins with compiles too.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/plugins.md")]
pub struct Manual;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::HeaderMap;
    use serde_json::json;
    use tidegate_plugin::testing::{Answer, Outcome, Request};

    use super::*;

    fn build(config: serde_json::Value) -> Result<Maintenance, BuildError> {
        let cx = BuildContext::new("test", "", Path::new("."));
        tidegate_plugin::build(&config, &cx)
    }

    #[test]
    fn strangers_are_told_to_come_again() {
        let plugin = build(json!({"allow": ["10.0.0.0/8"], "retryAfter": 600, "message": "back at ten"})).unwrap();
        let Outcome::Reply(reply) = Request::get("/").from("192.0.2.1").run(&plugin) else { panic!("passed") };
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (503, &b"back at ten"[..]));
        assert_eq!((&reply.headers[RETRY_AFTER], reply.reason), (&HeaderValue::from_static("600"), Some(CLOSED)));
    }

    #[test]
    fn those_who_do_it_pass_and_see_that_it_is_on() {
        let plugin = build(json!({"allow": ["10.0.0.0/8"]})).unwrap();
        let mut request = Request::get("/").from("10.1.2.3");
        assert!(matches!(request.run(&plugin), Outcome::Continue));
        let Answer::Passed(_, headers) = request.response(&plugin, StatusCode::OK, HeaderMap::new()) else {
            panic!("another answer");
        };
        assert_eq!(headers[HEADER], "on");
    }

    #[test]
    fn a_network_that_is_none_says_which() {
        let error = build(json!({"allow": ["10.0.0.0/8", "everybody"]})).unwrap_err();
        assert!(error.to_string().contains("allow[1]"), "{error}");
    }

    #[test]
    fn a_field_that_is_none_is_refused_by_the_framework() {
        let error = build(json!({"alow": ["10.0.0.0/8"]})).unwrap_err();
        assert!(matches!(&error, BuildError::UnknownField { field, .. } if field == "alow"), "{error}");
    }
}
