//! What outlives the daemon: the engine's state, and where it is kept.

mod saving;
mod snapshot;

pub(crate) use self::saving::Saving;
pub use self::snapshot::{SaveError, Snapshot, Store, check};
