//! Tools that know nothing of bans: any room may use them, and they use no other room.

pub(crate) mod files;
pub(crate) mod fnv;
pub(crate) mod packed;
pub(crate) mod rate;
pub(crate) mod stream;
pub(crate) mod suggest;
pub(crate) mod text;
pub(crate) mod time;
