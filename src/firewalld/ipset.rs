//! One of the ipsets of a pool, and what firewalld is believed to hold in it.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{entry::parse, layout::Family, nets::Nets};

/// What is to become of an ipset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// It holds bans.
    #[default]
    Open,
    /// What is in force in it moves to another ipset, and then it is emptied.
    Emptying,
    /// What firewalld lists of it need not be in force. It is emptied as well, but what it should
    /// hold counts as missing.
    Broken,
}

/// One ipset.
#[derive(Debug, Default)]
pub(super) struct Ipset {
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

impl Ipset {
    /// How many of its entries are needed.
    pub(super) fn needed(&self) -> usize {
        self.held.len().saturating_sub(self.surplus.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.len() == 0 && self.junk.is_empty()
    }

    /// Whether these are its entries.
    pub(super) fn is(&self, family: Family, entries: &[String]) -> bool {
        let known = |entry: &String| match parse(family, entry) {
            Some(net) => self.held.contains(&net),
            None => self.junk.contains(entry),
        };
        entries.len() == self.held.len() + self.junk.len() && entries.iter().all(known)
    }

    /// Whether calls for it do what they say.
    pub(super) fn is_sound(&self, now: u64) -> bool {
        self.mode == Mode::Open && self.junk.is_empty() && self.settles <= now
    }

    /// An entry of it that firewalld would not take `net` beside.
    pub(super) fn overlap(&self, net: &IpNet) -> Option<IpNet> {
        self.held.cover(net).or_else(|| self.held.within(net).next())
    }
}
