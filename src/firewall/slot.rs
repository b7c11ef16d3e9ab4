//! One of the sets that share a list of bans: what firewalld is believed to hold in it, and what an
//! operation on it costs.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::nets::Nets;

/// What is to become of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// It holds bans.
    #[default]
    Open,
    /// What is in force in it moves to another set, and then it is emptied.
    Emptying,
    /// What firewalld lists of it need not be in force. It is emptied as well, but what it should
    /// hold counts as missing.
    Broken,
}

/// One set.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) held: Nets,
    /// Those of `held` that nothing needs here.
    pub(super) surplus: BTreeSet<IpNet>,
    /// Those of `held` that let somebody through.
    pub(super) doubted: BTreeSet<IpNet>,
    /// Entries in a spelling of somebody else's; they can only be removed word for word.
    pub(super) junk: BTreeSet<String>,
    /// Entries whose removal has failed, or who came back after it.
    pub(super) tried: BTreeSet<String>,
    pub(super) mode: Mode,
    /// Until then a list that was written may not be in the kernel yet, in ms.
    pub(super) settles: u64,
}

impl Slot {
    /// How many of its entries are needed.
    pub(super) fn needed(&self) -> usize {
        self.held.len().saturating_sub(self.surplus.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.len() == 0 && self.junk.is_empty()
    }

    /// Whether operations on it do what they say.
    pub(super) fn is_sound(&self, now: u64) -> bool {
        self.mode == Mode::Open && self.junk.is_empty() && self.settles <= now
    }

    /// An entry of it that firewalld would not take `net` beside.
    pub(super) fn overlap(&self, net: &IpNet) -> Option<IpNet> {
        self.held.cover(net).or_else(|| self.held.within(net).next())
    }

    pub(super) fn adding(&self) -> u64 {
        cost(1_500, 8, self.held.len())
    }

    pub(super) fn removing(&self) -> u64 {
        cost(1_200, 2, self.held.len())
    }

    pub(super) fn clearing(&self) -> u64 {
        cost(2_000, 25, self.held.len())
    }
}

/// What it costs to write a whole set.
pub(super) fn writing(entries: usize) -> u64 {
    cost(2_000, 60, entries)
}

/// firewalld's CPU time in µs: so much for the call, and so much for each entry. Measured with 1.3
/// and 2.3 on a small virtual machine; only the ratios matter here.
fn cost(call: u64, each: u64, entries: usize) -> u64 {
    call + each * u64::try_from(entries).unwrap_or(u64::MAX / 128)
}
