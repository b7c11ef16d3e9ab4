//! Another machine: the copy of its ledger, and how it behaves.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Seconds, ledger::Ledger, message::Version, rate::Bucket};

/// The shortest and the longest time between two requests for the same document.
const ASK_AGAIN: Seconds = 2;
const ASK_AT_LEAST: Seconds = 60;
/// A clock that differs by less is right.
pub(super) const CLOCK_TOLERANCE: u64 = 60;

/// By how much a clock is wrong that differs by this.
fn wrong(by: i64) -> i64 {
    if by.unsigned_abs() > CLOCK_TOLERANCE { by } else { 0 }
}

#[derive(Debug)]
pub(super) struct Peer {
    /// The version of the copy.
    pub(super) version: Version,
    /// The latest version that it has mentioned.
    pub(super) seen: Version,
    /// The digest of the copy was that of the machine.
    pub(super) verified: bool,
    /// There was no room for all that it says.
    pub(super) partial: bool,
    pub(super) ledger: Ledger,
    /// When each ban was heard of.
    pub(super) heard: BTreeMap<IpNet, Seconds>,
    /// When it has last said anything.
    pub(super) last_word: Seconds,
    /// By how much its clock is ahead.
    pub(super) skew: i64,
    pub(super) bucket: Bucket,
    pub(super) muted_until: Option<Seconds>,
    /// The number of messages and entries of it that did not count.
    pub(super) refused: u64,
    /// What was last wrong with it.
    pub(super) complaint: Option<String>,
    /// It was reported that it speaks a later version of the protocol.
    pub(super) newer: bool,
    asked: Option<Seconds>,
    wait: Seconds,
}

impl Peer {
    pub(super) fn new(capacity: u64, now: Seconds) -> Self {
        Self {
            version: Version::default(),
            seen: Version::default(),
            verified: false,
            partial: false,
            ledger: Ledger::default(),
            heard: BTreeMap::new(),
            last_word: now,
            skew: 0,
            bucket: Bucket::full(capacity, now),
            muted_until: None,
            refused: 0,
            complaint: None,
            newer: false,
            asked: None,
            wait: ASK_AGAIN,
        }
    }

    /// The copy is what the machine last said.
    pub(super) fn in_step(&self) -> bool {
        self.verified && self.version >= self.seen
    }

    /// Whether its document is to be asked for now. Whoever does not come into step is asked less and less.
    pub(super) fn ask(&mut self, now: Seconds) -> bool {
        if self.in_step() || self.muted_until.is_some() {
            self.wait = ASK_AGAIN;
            return false;
        }
        if self.asked.is_some_and(|asked| now >= asked && now < asked + self.wait) {
            return false;
        }
        if self.asked.is_some() {
            self.wait = (self.wait * 2).min(ASK_AT_LEAST);
        }
        self.asked = Some(now);
        true
    }

    /// A live message gives its time; says by how much its clock differs if that is news.
    pub(super) fn clock(&mut self, theirs: Seconds, now: Seconds) -> Option<i64> {
        let by = i64::try_from(i128::from(theirs) - i128::from(now)).unwrap_or(i64::MAX);
        let was = self.skew;
        self.skew = wrong(by);
        ((was == 0) != (self.skew == 0)).then_some(by)
    }

    /// Our clock was set by this number of seconds.
    pub(super) fn shift(&mut self, by: i64) {
        let shift = |time: &mut Seconds| *time = time.saturating_add_signed(by);
        self.heard
            .values_mut()
            .chain([&mut self.last_word])
            .chain(&mut self.muted_until)
            .chain(&mut self.asked)
            .for_each(shift);
        self.skew = wrong(self.skew.saturating_sub(by));
    }

    /// A time of its clock, by ours.
    pub(super) fn ours(&self, theirs: Seconds) -> Seconds {
        if self.skew >= 0 {
            theirs.saturating_sub(self.skew.unsigned_abs())
        } else {
            theirs.saturating_add(self.skew.unsigned_abs())
        }
    }

    /// A time of our clock, by its.
    pub(super) fn theirs(&self, ours: Seconds) -> Seconds {
        if self.skew >= 0 {
            ours.saturating_add(self.skew.unsigned_abs())
        } else {
            ours.saturating_sub(self.skew.unsigned_abs())
        }
    }

    /// The end of a ban of it here.
    pub(super) fn end(&self, source: &IpNet, longest: Seconds) -> Option<Seconds> {
        let claim = self.ledger.bans().get(source)?;
        let heard = self.heard.get(source).copied().unwrap_or(0);
        Some(self.ours(claim.until).min(heard.saturating_add(longest)))
    }
}
