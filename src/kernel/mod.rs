//! What the kernel is asked directly.

pub(crate) mod addresses;
