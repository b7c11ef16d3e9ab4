//! What outlives the daemon: the engine's state, and where it is kept.

mod saving;
mod snapshot;

pub(crate) use self::saving::Saving;
pub use self::snapshot::Snapshot;
pub(crate) use self::snapshot::{SaveError, Store, check};
