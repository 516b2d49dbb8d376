//! Clients that speak HTTP/1.0: they know no chunks and no informational answers, and what has no length ends with the
//! connection (RFC 9112 sections 6.1 and 7.1, RFC 9110 section 15.2).
//!
//! The engine makes chunks of whatever has no length, for everybody, and from an HTTP/2 upstream after every hook. So
//! the field is taken away in a module, the last one to see a head. The test that tells when the module can go:
//! `clients_of_http10_get_no_chunks` passes without it once the engine asks for the client's version.

use std::any::Any;

use async_trait::async_trait;
use http::header;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module};
use pingora_proxy::Session;

/// Takes chunks away from answers.
struct NoChunks;

/// A request of HTTP/1.0 begins.
pub(super) fn begin(session: &mut Session) {
    session.set_ignore_info_resp(true);
    let mut modules = HttpModules::new();
    modules.add_module(Box::new(NoChunks));
    session.downstream_modules_ctx = modules.build_ctx();
}

impl HttpModuleBuilder for NoChunks {
    fn init(&self) -> Module {
        Box::new(Self)
    }
}

#[async_trait]
impl HttpModule for NoChunks {
    async fn response_header_filter(&mut self, head: &mut ResponseHeader, _: bool) -> Result<()> {
        head.remove_header(&header::TRANSFER_ENCODING);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
