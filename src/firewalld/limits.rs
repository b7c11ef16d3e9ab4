//! Where one way of bringing bans into firewalld ends and another begins ([`super::next_call`]).

/// The limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The number of bans up to which the first ipset has them all, where an admin looks for them.
    pub(super) few: usize,
    /// Among few, fewer additions than these are not worth a list; among many, these wait for no
    /// further ones.
    pub(super) bulk: usize,
    /// From this size on an ipset gets no further additions, if another can take them.
    pub(super) full: usize,
    /// The most entries that are written at once, unless there is less room: others wait meanwhile.
    pub(super) chunk: usize,
    /// How long additions wait for further ones, in ms, if not as long as [`super::costs`] has it.
    pub(super) spacing: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { few: 1000, bulk: 8, full: 512, chunk: 2500, spacing: None }
    }
}
