//! What other machines say is taken in, within their limits, so that the copies of their ledgers are theirs.

use std::{collections::BTreeSet, sync::Arc};

use ipnet::IpNet;

use super::{
    Seconds,
    fleet::{Fleet, Note, is_name},
    ledger::{Claim, Ledger},
    message::{Message, MessageError, Version},
    peer::{CLOCK_TOLERANCE, Peer},
    policy::{Excess, Refusal},
};

/// What a message costs that can't be read, and one that begins with a new epoch.
const COST_OF_JUNK: u64 = 200;
const COST_OF_EPOCH: u64 = 20;
/// A machine that has said nothing for so long may be gone: the time of three of its heartbeats.
const SILENT: Seconds = 900;

impl Fleet {
    /// Takes in a message of a machine; `live` if it was sent just now.
    pub fn receive(&mut self, machine: &str, bytes: &[u8], live: bool, now: Seconds) {
        self.entered.clear();
        if machine == &*self.me {
            return;
        }
        let Some(machine) = self.known(machine, now) else { return };
        let Some(mut peer) = self.peers.remove(&machine) else { return };
        if peer.muted_until.is_some() {
            self.refuse(&mut peer, "muted");
        } else {
            peer.last_word = now;
            if let Err(why) = self.hear(&machine, &mut peer, bytes, live, now) {
                self.mute(&machine, &mut peer, why, now);
            }
        }
        self.peers.insert(machine, peer);
    }

    /// The name of a machine, if it is known or may be.
    fn known(&mut self, machine: &str, now: Seconds) -> Option<Arc<str>> {
        if let Some((name, _)) = self.peers.get_key_value(machine) {
            return Some(Arc::clone(name));
        }
        if self.peers.len() >= self.policy.machines || !is_name(machine) {
            *self.refused.entry("machines").or_default() += 1;
            self.strangers += 1;
            if self.strangers == 1 {
                self.note(Note::Stranger(machine.chars().take(64).collect()));
            }
            return None;
        }
        let name: Arc<str> = machine.into();
        self.peers.insert(Arc::clone(&name), Peer::new(self.policy.burst(), now));
        Some(name)
    }

    /// An error if the machine exceeds its limits.
    fn hear(
        &mut self,
        machine: &Arc<str>,
        peer: &mut Peer,
        bytes: &[u8],
        live: bool,
        now: Seconds,
    ) -> Result<(), Excess> {
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => {
                if matches!(error, MessageError::Newer(_)) && !std::mem::replace(&mut peer.newer, true) {
                    self.note(Note::Newer(Arc::clone(machine)));
                }
                self.refuse(peer, "malformed");
                peer.complaint = Some(format!("A message could not be used: {error}."));
                return self.pay(peer, COST_OF_JUNK, now, Excess::Junk);
            }
        };
        self.newcomer |= live && message.version.epoch > peer.seen.epoch;
        let skew = peer.skew;
        if live && let Some(by) = peer.clock(message.now, now) {
            self.note(Note::Clock { machine: Arc::clone(machine), by });
        }
        if peer.skew.abs_diff(skew) > CLOCK_TOLERANCE {
            // What it has said before ends at another time than was believed.
            self.touched.extend(peer.ledger.bans().keys());
        }
        let cost = if message.version.epoch == peer.seen.epoch { 1 } else { COST_OF_EPOCH };
        self.pay(peer, cost, now, Excess::Messages)?;
        if message.whole { self.document(machine, peer, &message, now) } else { self.news(machine, peer, message, now) }
    }

    fn news(&mut self, machine: &Arc<str>, peer: &mut Peer, message: Message, now: Seconds) -> Result<(), Excess> {
        let version = message.version;
        if version < peer.seen || version < peer.version {
            // It comes again, or over another broker.
            return Ok(());
        }
        peer.seen = peer.seen.max(version);
        let follows = peer.verified
            && version.epoch == peer.version.epoch
            && peer.version.n.checked_add(1) == Some(version.n)
            && message.entries() > 0;
        if version == peer.version {
            self.expire(machine, peer, message.now);
            if peer.verified && !peer.partial && peer.ledger.sum() != message.sum {
                peer.verified = false;
                self.gaps += 1;
            }
            return Ok(());
        }
        if !follows {
            self.gaps += 1;
            return Ok(());
        }
        self.pay(peer, message.entries() as u64, now, Excess::Bans)?;
        self.expire(machine, peer, message.now);
        for source in message.ended {
            self.strike(machine, peer, source);
        }
        for (source, until) in message.pardons {
            self.pardoned(peer, source, until);
        }
        for (source, claim) in message.bans {
            self.enter(machine, peer, source, claim, now)?;
        }
        peer.version = version;
        if !peer.partial && peer.ledger.sum() != message.sum {
            peer.verified = false;
            self.gaps += 1;
        }
        Ok(())
    }

    fn document(&mut self, machine: &Arc<str>, peer: &mut Peer, message: &Message, now: Seconds) -> Result<(), Excess> {
        if message.version < peer.version || (message.version == peer.version && peer.verified) {
            return Ok(());
        }
        if message.bans.len() + message.pardons.len() > self.policy.machine_voices {
            return Err(Excess::Document);
        }
        let mut ledger = Ledger::default();
        for (source, claim) in &message.bans {
            ledger.ban(*source, claim.clone());
        }
        for (source, until) in &message.pardons {
            ledger.pardon(*source, *until);
        }
        if ledger.sum() != message.sum {
            self.refuse(peer, "malformed");
            peer.complaint = Some("The digest of a document did not match its entries.".to_owned());
            return self.pay(peer, COST_OF_JUNK, now, Excess::Digests);
        }
        let gone: Vec<IpNet> =
            peer.ledger.bans().keys().filter(|source| !ledger.bans().contains_key(source)).copied().collect();
        let fresh: Vec<(IpNet, Claim)> = ledger
            .bans()
            .iter()
            .filter(|(source, claim)| peer.ledger.bans().get(*source) != Some(*claim))
            .map(|(source, claim)| (*source, claim.clone()))
            .collect();
        let cost = (gone.len() + fresh.len()) as u64;
        self.pay(peer, cost, now, Excess::Changes)?;
        let pardons: BTreeSet<IpNet> = peer.ledger.pardons().keys().chain(ledger.pardons().keys()).copied().collect();
        self.touched.extend(pardons);
        // The pardons are those of the document; a ledger has no other way to lose one.
        self.entries -= peer.ledger.len();
        let mut copy = Ledger::default();
        for (source, claim) in peer.ledger.bans() {
            copy.ban(*source, claim.clone());
        }
        for (source, until) in ledger.pardons() {
            copy.pardon(*source, *until);
        }
        peer.ledger = copy;
        self.entries += peer.ledger.len();
        peer.partial = false;
        for source in gone {
            self.strike(machine, peer, source);
        }
        for (source, claim) in fresh {
            self.enter(machine, peer, source, claim, now)?;
        }
        peer.version = message.version;
        peer.seen = peer.seen.max(message.version);
        peer.verified = true;
        Ok(())
    }

    /// Takes in a ban of a machine.
    fn enter(
        &mut self,
        machine: &Arc<str>,
        peer: &mut Peer,
        source: IpNet,
        claim: Claim,
        now: Seconds,
    ) -> Result<(), Excess> {
        let refusal = self.policy.refusal(&source, &claim.jail, &self.never);
        if !peer.ledger.bans().contains_key(&source) {
            if peer.ledger.len() >= self.policy.machine_voices {
                return Err(Excess::InForce);
            }
            if self.entries >= self.policy.voices {
                peer.partial = true;
                self.refuse(peer, "voices");
                if !std::mem::replace(&mut self.crowded, true) {
                    self.note(Note::Crowded);
                }
                return Ok(());
            }
            self.entries += 1;
        }
        peer.ledger.ban(source, claim);
        peer.heard.insert(source, now);
        self.touched.insert(source);
        match refusal {
            None => {
                self.entered.push(source);
                self.index.entry(source).or_default().insert(Arc::clone(machine));
            }
            Some(why) => {
                self.unindex(machine, &source);
                self.refuse(peer, why.word());
                peer.complaint = Some(match why {
                    Refusal::Network => format!("It names {source}, which is wider than a source."),
                    Refusal::Jail => "It names a jail that is not in 'jails'.".to_owned(),
                    Refusal::Never => format!("It names {source}, which is never banned by the fleet."),
                });
                if why != Refusal::Jail {
                    self.note(Note::Refused { machine: Arc::clone(machine), source, why });
                }
            }
        }
        Ok(())
    }

    fn pardoned(&mut self, peer: &mut Peer, source: IpNet, until: Seconds) {
        if !peer.ledger.pardons().contains_key(&source) {
            if peer.ledger.len() >= self.policy.machine_voices || self.entries >= self.policy.voices {
                peer.partial = true;
                return;
            }
            self.entries += 1;
        }
        peer.ledger.pardon(source, until);
        self.touched.insert(source);
    }

    /// Strikes a ban of a machine out.
    fn strike(&mut self, machine: &Arc<str>, peer: &mut Peer, source: IpNet) {
        if peer.ledger.unban(&source).is_some() {
            self.entries -= 1;
            peer.heard.remove(&source);
            self.unindex(machine, &source);
            self.touched.insert(source);
        }
    }

    fn unindex(&mut self, machine: &Arc<str>, source: &IpNet) {
        if let Some(machines) = self.index.get_mut(source) {
            machines.remove(machine);
            if machines.is_empty() {
                self.index.remove(source);
            }
        }
    }

    /// Strikes out what has ended by the clock of the machine.
    pub(super) fn expire(&mut self, machine: &Arc<str>, peer: &mut Peer, theirs: Seconds) {
        let before = peer.ledger.len();
        for source in peer.ledger.expire(theirs) {
            if !peer.ledger.bans().contains_key(&source) {
                peer.heard.remove(&source);
                self.unindex(machine, &source);
            }
            self.touched.insert(source);
        }
        self.entries -= before - peer.ledger.len();
    }

    fn pay(&self, peer: &mut Peer, tokens: u64, now: Seconds, why: Excess) -> Result<(), Excess> {
        let enough = peer.bucket.take(tokens, self.policy.burst(), self.policy.machine_rate, now);
        if enough { Ok(()) } else { Err(why) }
    }

    fn refuse(&mut self, peer: &mut Peer, why: &'static str) {
        peer.refused += 1;
        *self.refused.entry(why).or_default() += 1;
    }

    /// Nothing that a machine says counts for a while.
    fn mute(&mut self, machine: &Arc<str>, peer: &mut Peer, why: Excess, now: Seconds) {
        self.clear(machine, peer);
        self.refuse(peer, "limit");
        let until = now.saturating_add(self.policy.mute);
        peer.muted_until = Some(until);
        peer.complaint = Some(format!("Muted because {why}."));
        self.note(Note::Muted { machine: Arc::clone(machine), why, until });
    }

    fn clear(&mut self, machine: &Arc<str>, peer: &mut Peer) {
        let sources: Vec<IpNet> = peer.ledger.bans().keys().chain(peer.ledger.pardons().keys()).copied().collect();
        for source in sources {
            self.unindex(machine, &source);
            self.touched.insert(source);
        }
        self.entries -= peer.ledger.len();
        peer.ledger = Ledger::default();
        peer.heard.clear();
        peer.version = Version::default();
        peer.seen = Version::default();
        (peer.verified, peer.partial) = (false, false);
    }

    /// A machine has no document, so it has no voice. What it may say is limited as before. But one that was
    /// heard lately lives: then the broker has lost the document, and the machine is about to put it again.
    pub(crate) fn left(&mut self, machine: &str, now: Seconds) {
        if let Some((machine, mut peer)) = self.peers.remove_entry(machine) {
            if peer.muted_until.is_none() && now > peer.last_word.saturating_add(SILENT) {
                let seen = peer.seen;
                self.clear(&machine, &mut peer);
                peer.seen = seen;
            }
            self.peers.insert(machine, peer);
        }
    }
}
