//! Testing a plugin without a proxy.
