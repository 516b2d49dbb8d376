//! What the command line shows.

pub mod report;
