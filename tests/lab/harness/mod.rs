//! What a scenario stands on: machines, their network, what is on them before they boot, and attackers.

pub(crate) mod attack;
pub(crate) mod browser;
pub(crate) mod fleet;
pub(crate) mod host;
pub(crate) mod machine;
pub(crate) mod network;
pub(crate) mod peer;
pub(crate) mod plan;
