//! Tests of the compiler, and of the router through it.

mod certificates;
mod fixtures;
mod incremental;
mod owners;
mod routing;
