//! What is looked at or measured by hand, and is no test.

pub(crate) mod demo;
pub(crate) mod latency;
pub(crate) mod live;
pub(crate) mod recordings;
pub(crate) mod scale;
pub(crate) mod shell;
