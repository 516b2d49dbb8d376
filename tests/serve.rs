//! The running proxy over real sockets: plain and TLS listeners, echo upstreams, manifests that change.

#[path = "serve/answers.rs"]
mod answers;
#[path = "serve/clients.rs"]
mod clients;
#[path = "serve/plugins.rs"]
mod plugins;
#[path = "serve/reload.rs"]
mod reload;
#[path = "serve/routing.rs"]
mod routing;
#[path = "serve/stop.rs"]
mod stop;
#[path = "serve/support.rs"]
mod support;
#[path = "serve/tell.rs"]
mod tell;
#[path = "serve/tls.rs"]
mod tls;
#[path = "serve/upstreams.rs"]
mod upstreams;
