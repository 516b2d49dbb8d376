//! The validating admission webhook: says of an Ingress, before it is stored, what `check` would say of it.
//!
//! [`review`] is pure and sees one object, the classes, the conf and the hosts that are live, so that its cost does
//! not depend on the size of the cluster. [`server`] speaks `admission.k8s.io/v1` over HTTPS, [`certificate`] has
//! what it serves with. It must not know how objects come in or where certificates are kept.

pub(crate) mod certificate;
pub mod review;
pub(crate) mod server;
