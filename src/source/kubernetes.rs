//! Objects of a cluster: lists and watches what routing needs, and delivers it as every source does.

pub mod client;
