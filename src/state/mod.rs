//! What outlives the daemon: the engine's state, and where it is kept.

mod snapshot;

pub use self::snapshot::{Snapshot, Store, check};
