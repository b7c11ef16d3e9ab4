//! What this machine tells the others: its own ledger, and the news of it.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;

use super::{
    Seconds,
    ledger::{Claim, Ledger},
    message::{LONGEST_DOCUMENT, LONGEST_NEWS, Message, Version, size_of_ban, size_of_source},
};

/// What a message takes besides its entries.
const FRAME: usize = 256;
/// The most pardons that are sent.
pub(crate) const MOST_PARDONS: usize = 100;

/// A change that was not sent yet.
#[derive(Clone, Debug)]
enum Change {
    Ban(Claim),
    End,
    Pardon(Seconds),
}

/// The own ledger.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    version: Version,
    /// What was sent.
    ledger: Ledger,
    /// What is to be sent; the last change of a source counts.
    changes: BTreeMap<IpNet, Change>,
    /// The bans that there are; those that have no place in a document are only here.
    all: BTreeMap<IpNet, Claim>,
}

impl Own {
    /// An empty one, of an agent that was started at `epoch`, in µs.
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            version: Version { epoch, n: 0 },
            ledger: Ledger::default(),
            changes: BTreeMap::new(),
            all: BTreeMap::new(),
        }
    }

    /// A later start than the own document says that there was: the clock was set back.
    pub(crate) fn overtake(&mut self, epoch: u64) {
        if epoch >= self.version.epoch {
            self.version = Version { epoch: epoch.saturating_add(1), n: 0 };
        }
    }

    /// The clock was set by this number of seconds: all that was said is said again, with its end by the clock of now.
    pub(crate) fn shift(&mut self, by: i64) {
        for (source, claim) in &mut self.all {
            claim.until = claim.until.saturating_add_signed(by);
            self.changes.insert(*source, Change::Ban(claim.clone()));
        }
        for (source, until) in self.ledger.pardons() {
            self.changes.entry(*source).or_insert(Change::Pardon(until.saturating_add_signed(by)));
        }
    }

    /// A ban has begun, or its end has changed.
    pub(crate) fn ban(&mut self, source: IpNet, until: Seconds, jail: &str, count: u32) {
        let claim = Claim { until, jail: Arc::from(jail), count };
        if self.all.get(&source) != Some(&claim) {
            self.all.insert(source, claim.clone());
            self.changes.insert(source, Change::Ban(claim));
        }
    }

    /// A ban was ended before its time.
    pub(crate) fn unban(&mut self, source: IpNet) {
        if self.all.remove(&source).is_some() {
            self.changes.insert(source, Change::End);
        }
    }

    /// Everybody who trusts this machine is to release this source. Says whether there is room for it.
    pub(crate) fn pardon(&mut self, source: IpNet, until: Seconds) -> bool {
        if self.ledger.pardons().len() >= MOST_PARDONS && !self.ledger.pardons().contains_key(&source) {
            return false;
        }
        self.all.remove(&source);
        self.changes.insert(source, Change::Pardon(until));
        true
    }

    /// These are all bans that there are; what is not among them has ended.
    pub(crate) fn replace(&mut self, all: &BTreeMap<IpNet, Claim>) {
        let gone: Vec<IpNet> = self.all.keys().filter(|source| !all.contains_key(source)).copied().collect();
        for source in gone {
            self.unban(source);
        }
        for (source, claim) in all {
            self.ban(*source, claim.until, &claim.jail, claim.count);
        }
    }

    /// Something is to be sent.
    pub(crate) fn has_news(&self) -> bool {
        !self.changes.is_empty()
    }

    /// The version that was sent last.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// What was sent.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The live bans of this machine.
    #[cfg(test)]
    pub(crate) fn bans(&self) -> &BTreeMap<IpNet, Claim> {
        &self.all
    }

    /// The number of bans that have no place in the document.
    pub(crate) fn left_out(&self) -> usize {
        self.all.len().saturating_sub(self.ledger.bans().len())
    }

    /// Strikes out what has ended.
    pub(crate) fn expire(&mut self, now: Seconds) {
        self.all.retain(|_, claim| claim.until > now);
        self.changes.retain(|_, change| !matches!(change, Change::Ban(claim) if claim.until <= now));
        self.ledger.expire(now);
    }

    /// The news of all changes, each with its number. A heartbeat, which has no change, is
    /// [`Self::heartbeat`].
    pub(crate) fn news(&mut self, now: Seconds) -> Vec<Vec<u8>> {
        self.expire(now);
        self.make_room();
        let mut sent = Vec::new();
        let mut message = self.frame(now);
        let mut size = FRAME;
        for (source, change) in std::mem::take(&mut self.changes) {
            let more = match &change {
                Change::Ban(claim) => size_of_ban(&source, claim),
                Change::End | Change::Pardon(_) => 2 * size_of_source(&source),
            };
            if size + more > LONGEST_NEWS && message.entries() > 0 {
                sent.push(self.close(std::mem::replace(&mut message, self.frame(now))));
                size = FRAME;
            }
            let changed = match change {
                Change::Ban(claim) => {
                    let changed = self.ledger.ban(source, claim.clone());
                    if changed {
                        message.bans.push((source, claim));
                    }
                    changed
                }
                Change::End => {
                    let changed = self.ledger.unban(&source).is_some();
                    if changed {
                        message.ended.push(source);
                    }
                    changed
                }
                Change::Pardon(until) => {
                    if self.ledger.unban(&source).is_some() {
                        message.ended.push(source);
                    }
                    let changed = self.ledger.pardon(source, until);
                    if changed {
                        message.pardons.push((source, until));
                    }
                    changed
                }
            };
            if changed {
                size += more;
            }
        }
        if message.entries() > 0 {
            sent.push(self.close(message));
        }
        sent
    }

    fn frame(&self, now: Seconds) -> Message {
        Message {
            version: self.version,
            now,
            bans: Vec::new(),
            ended: Vec::new(),
            pardons: Vec::new(),
            sum: self.ledger.sum(),
            whole: false,
        }
    }

    fn close(&mut self, mut message: Message) -> Vec<u8> {
        self.version.n += 1;
        message.version = self.version;
        message.sum = self.ledger.sum();
        message.write()
    }

    /// A document has bounds: the bans that last longest are in it.
    fn make_room(&mut self) {
        let pardons: usize = self.ledger.pardons().keys().map(size_of_source).sum::<usize>()
            + self
                .changes
                .iter()
                .filter(|(_, change)| matches!(change, Change::Pardon(_)))
                .map(|(source, _)| size_of_source(source))
                .sum::<usize>();
        let room = LONGEST_DOCUMENT - FRAME - pardons.min(LONGEST_DOCUMENT / 4);
        let mut size: usize = self.all.iter().map(|(source, claim)| size_of_ban(source, claim)).sum();
        if size <= room {
            // What had no place before may have one now.
            let back = self.all.iter().filter(|(source, claim)| self.ledger.bans().get(*source) != Some(*claim));
            let back: Vec<_> = back.map(|(source, claim)| (*source, Change::Ban(claim.clone()))).collect();
            self.changes.extend(back);
            return;
        }
        let mut by_end: Vec<(Seconds, IpNet)> = self.all.iter().map(|(source, claim)| (claim.until, *source)).collect();
        by_end.sort_unstable();
        for (_, source) in by_end {
            let Some(claim) = self.all.get(&source) else { continue };
            if size > room {
                size -= size_of_ban(&source, claim);
                if self.ledger.bans().contains_key(&source) {
                    self.changes.insert(source, Change::End);
                } else {
                    self.changes.remove(&source);
                }
            } else if self.ledger.bans().get(&source) != Some(claim) {
                self.changes.insert(source, Change::Ban(claim.clone()));
            }
        }
    }

    /// News without a change: this machine lives, and this is its digest.
    pub(crate) fn heartbeat(&mut self, now: Seconds) -> Vec<u8> {
        self.expire(now);
        self.frame(now).write()
    }

    /// All that was sent, as one document.
    pub(crate) fn document(&mut self, now: Seconds) -> Vec<u8> {
        self.expire(now);
        Message::of_all(&self.ledger, self.version, now).write()
    }
}
