//! What the kernel is asked directly.

pub(crate) mod addresses;
pub(crate) mod listening;
pub(crate) mod names;
pub(crate) mod own;
