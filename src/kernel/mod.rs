//! What the kernel is asked directly.

pub(crate) mod addresses;
pub(crate) mod connections;
pub(crate) mod listening;
pub(crate) mod names;
mod netlink;
pub(crate) mod own;
