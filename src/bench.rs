//! What benches and integration tests reach of the inside, by the names of the modules it stands in.

pub mod admission {
    pub use crate::admission::review;
}
pub mod compile {
    pub use crate::compile::{Compiler, CompilerParts, RouteMetricsSource, load_certificate};
}
pub mod endpoint {
    pub use crate::endpoint::{Address, Balance, Table, Tried, UpstreamConfig};
}
pub mod host {
    pub use crate::host::HostPattern;
}
pub mod model {
    pub use crate::model::*;
}
pub mod origin {
    pub use crate::origin::Origin;
}
pub mod path {
    pub use crate::path::canonical_path;
}
pub mod proxy {
    pub use crate::proxy::{Engine, Proxy, forwarded::believed, guard};
}
pub mod resources {
    pub use crate::resources::conf::Conf;
    pub use crate::resources::{Batch, Event, Kind, Object, ObjectName, Resources, Strings};
}
pub mod snapshot {
    pub use crate::snapshot::Snapshot;
    pub use crate::snapshot::edge::claims::Claims;
    pub use crate::snapshot::pipeline::{Instance, Mode, Outcome, Passage, Pipeline};
    pub use crate::snapshot::router::{RequestView, Via};
}
pub mod source {
    pub use crate::source::files::Files;
    pub use crate::source::kubernetes::client::connect;
    pub use crate::source::kubernetes::{Demand, Kubernetes, Reads, Running, Scope};
}
pub mod telemetry {
    pub use crate::telemetry::access_log::{Destination, Format, NginxFormat};
    pub use crate::telemetry::process_log::{self, Form, ProcessLog};
    pub use crate::telemetry::vitals::Pulse;
    pub use crate::telemetry::{AccessLog, Metrics, Recorder, RequestRecord, Telemetry, Try};
}
pub mod translate {
    pub use crate::translate::ingress::annotations::{ANNOTATIONS, Asks, PROTECTIONS, Protection, Support};
    pub use crate::translate::{Translation, Translator, translate};
}
