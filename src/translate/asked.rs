//! What any dialect asks for: one vocabulary.

pub(crate) mod policy;
