//! stub: replaced by the telemetry owner
/// Counters of one route.
#[derive(Debug, Default)]
pub struct RouteMetrics {}
