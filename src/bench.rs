//! What benches and integration tests reach of the inside, by the names of the modules it stands in.

pub mod admission {
    pub use crate::admission::review;
}
pub mod compile {
    pub use crate::compile::{Compiler, CompilerParts, RouteMetricsSource, load_certificate};
}
pub mod endpoint {
    pub use crate::endpoint::{Address, Table, Tried};
    pub use crate::upstream::{Balance, UpstreamConfig};
}
pub mod engine {
    pub use crate::engine::Engine;
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
    pub use crate::proxy::{Proxy, forwarded::believed, guard};
}
pub mod resources {
    pub use crate::resources::conf::Conf;
    pub use crate::resources::{Batch, Event, Kind, Object, ObjectName, Resources};
}
pub mod snapshot {
    pub use crate::snapshot::Snapshot;
    pub use crate::snapshot::edge::claims::Claims;
    pub use crate::snapshot::pipeline::{BodyOutcome, Instance, Mode, Outcome, Passage, Pipeline, ResponseOutcome};
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
    pub use crate::telemetry::{AccessLog, Attempt, Metrics, Recorder, RequestRecord, Telemetry};
}
pub mod translate {
    pub use crate::translate::ingress::annotations::row::{Annotation, Support};
    pub use crate::translate::ingress::annotations::security::Security;
    pub use crate::translate::ingress::annotations::table::ANNOTATIONS;
    pub use crate::translate::{Translation, Translator, translate};

    use crate::resources::Object;
    use crate::translate::ingress::annotations;
    use crate::translate::ingress::annotations::family::{FAMILIES, Family};
    use crate::translate::ingress::annotations::row::Holder;
    use crate::translate::ingress::annotations::table::Lookup;

    /// Reads annotations of Ingresses as translation does, with further rows in the table that nobody looks at; says
    /// whether there was nothing to say about them.
    pub fn annotation_reader(further: &'static [Annotation]) -> impl Fn(&Object) -> bool {
        let further = Family { table: further, finish: |_, _| {} };
        let lookup = Lookup::new(FAMILIES.iter().copied().chain([further]).collect());
        move |object| {
            let Object::Ingress(ingress) = object else { return false };
            let (annotations, origin) = (&ingress.object.annotations, ingress.origin());
            let foreign = "nginx.ingress.kubernetes.io";
            let asked = annotations::read_with(&lookup, Holder::Ingress, annotations, foreign, &origin);
            asked.diagnostics.is_empty()
        }
    }
}
