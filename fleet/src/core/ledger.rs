//! What one machine says: whom it has banned, and whom it pardons, with a digest of all of it.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;

use super::Seconds;

/// A ban of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Until when, by the clock of the machine.
    pub(crate) until: Seconds,
    /// The jail that decided.
    pub(crate) jail: Arc<str>,
    /// Which ban of the source it is there; 1 for the first.
    pub(crate) count: u32,
}

/// The live bans and pardons of one machine.
///
/// The digest is a sum over the entries, so it does not depend on their order, and a change costs as much as
/// the change. It finds what was lost or mistaken, and is no protection: who could forge it is the author.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    bans: BTreeMap<IpNet, Claim>,
    pardons: BTreeMap<IpNet, Seconds>,
    sum: u64,
    /// No entry ends before this.
    soonest: Seconds,
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_STEP: u64 = 0x0100_0000_01b3;

/// FNV-1a, mixed at the end: sums of it must not cancel out.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = FNV_START;
    for part in parts {
        for byte in (part.len() as u64).to_le_bytes().iter().chain(*part) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(FNV_STEP);
        }
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn bytes_of(source: &IpNet) -> [u8; 18] {
    let mut bytes = [0; 18];
    match source {
        IpNet::V4(net) => {
            bytes[0] = 4;
            bytes[1..5].copy_from_slice(&net.addr().octets());
        }
        IpNet::V6(net) => {
            bytes[0] = 6;
            bytes[1..17].copy_from_slice(&net.addr().octets());
        }
    }
    bytes[17] = source.prefix_len();
    bytes
}

fn hash_of_ban(source: &IpNet, claim: &Claim) -> u64 {
    let (until, count) = (claim.until.to_le_bytes(), claim.count.to_le_bytes());
    hash(&[b"ban", &bytes_of(source), &until, claim.jail.as_bytes(), &count])
}

fn hash_of_pardon(source: &IpNet, until: Seconds) -> u64 {
    hash(&[b"pardon", &bytes_of(source), &until.to_le_bytes()])
}

impl Ledger {
    /// Enters a ban in place of the one there was; says whether that changes anything.
    pub(crate) fn ban(&mut self, source: IpNet, claim: Claim) -> bool {
        if self.bans.get(&source) == Some(&claim) {
            return false;
        }
        self.unban(&source);
        self.sum = self.sum.wrapping_add(hash_of_ban(&source, &claim));
        self.soonest = self.soonest.min(claim.until);
        self.bans.insert(source, claim);
        true
    }

    /// Strikes a ban out.
    pub(crate) fn unban(&mut self, source: &IpNet) -> Option<Claim> {
        let claim = self.bans.remove(source)?;
        self.sum = self.sum.wrapping_sub(hash_of_ban(source, &claim));
        Some(claim)
    }

    /// Enters a pardon in place of the one there was; says whether that changes anything.
    pub(crate) fn pardon(&mut self, source: IpNet, until: Seconds) -> bool {
        if self.pardons.get(&source) == Some(&until) {
            return false;
        }
        if let Some(before) = self.pardons.insert(source, until) {
            self.sum = self.sum.wrapping_sub(hash_of_pardon(&source, before));
        }
        self.sum = self.sum.wrapping_add(hash_of_pardon(&source, until));
        self.soonest = self.soonest.min(until);
        true
    }

    /// Strikes out what has ended, and returns its sources.
    pub(crate) fn expire(&mut self, now: Seconds) -> Vec<IpNet> {
        if self.soonest > now || self.is_empty() {
            return Vec::new();
        }
        let mut ended = Vec::new();
        let mut sum = self.sum;
        self.bans.retain(|source, claim| {
            let lives = claim.until > now;
            if !lives {
                sum = sum.wrapping_sub(hash_of_ban(source, claim));
                ended.push(*source);
            }
            lives
        });
        self.pardons.retain(|source, until| {
            let lives = *until > now;
            if !lives {
                sum = sum.wrapping_sub(hash_of_pardon(source, *until));
                ended.push(*source);
            }
            lives
        });
        self.sum = sum;
        let ends = self.bans.values().map(|claim| claim.until).chain(self.pardons.values().copied());
        self.soonest = ends.min().unwrap_or(Seconds::MAX);
        ended
    }

    /// The digest of all entries; 0 if there is none.
    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }

    /// The bans, by source.
    pub(crate) fn bans(&self) -> &BTreeMap<IpNet, Claim> {
        &self.bans
    }

    /// The pardons, each with its end.
    pub(crate) fn pardons(&self) -> &BTreeMap<IpNet, Seconds> {
        &self.pardons
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.bans.len() + self.pardons.len()
    }

    /// There is no entry.
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty() && self.pardons.is_empty()
    }
}
