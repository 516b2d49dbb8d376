//! Who says what: from a host, backend or Secret to the contributions that name it.

pub(crate) mod names;
pub(crate) mod users;
