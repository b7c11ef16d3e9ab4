//! All other machines, and what follows from what they say.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;

use super::{
    Seconds,
    ledger::{Claim, Ledger},
    message::{Message, MessageError, Version},
    peer::Peer,
    policy::{Policy, Refusal, Single},
};

/// What a message costs that can't be read, and one that begins with a new epoch.
const COST_OF_JUNK: u64 = 200;
const COST_OF_EPOCH: u64 = 20;
/// How often everything is looked at for what has ended.
const SWEEP: Seconds = 10;
/// A machine that has nothing in force and was silent for so long is forgotten.
const FORGET: Seconds = 86_400;
/// How long a copy keeps what has ended by our clock: the clock of its owner may be a little behind, and the
/// digest counts by that one.
const LINGER: Seconds = 120;
/// The most notes that wait for somebody to take them.
const MOST_NOTES: usize = 1000;

/// Something that an administrator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A machine exceeds its limits, and is not heard until then.
    Muted {
        /// The machine.
        machine: Arc<str>,
        /// The end of a sentence.
        why: String,
        /// Until when.
        until: Seconds,
    },
    /// It is heard again.
    Unmuted(Arc<str>),
    /// The clock of a machine is wrong, or right again.
    Clock {
        /// The machine.
        machine: Arc<str>,
        /// By how many seconds it is ahead.
        by: i64,
    },
    /// There are more entries than the policy allows; new ones are not taken.
    Crowded,
    /// There are more machines than the policy allows; this one is not heard.
    Stranger(String),
    /// A machine speaks a later version of the protocol.
    Newer(Arc<str>),
    /// A voice does not count.
    Refused {
        /// The machine.
        machine: Arc<str>,
        /// Whom it names.
        source: IpNet,
        /// Why it does not count.
        why: Refusal,
    },
}

/// What is to be done about a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Nothing,
    /// The first failure results in a ban.
    Watch(Seconds),
    /// It is banned until then.
    Ban(Seconds),
}

/// The ban of one machine, as it counts here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voice {
    /// The machine.
    pub machine: Arc<str>,
    /// What it says.
    pub claim: Claim,
    /// When that was heard.
    pub heard: Seconds,
    /// Until when it counts.
    pub until: Seconds,
    /// Why it does not.
    pub refusal: Option<Refusal>,
}

/// What is known of another machine.
#[derive(Clone, Debug)]
pub struct PeerView {
    /// The machine.
    pub machine: Arc<str>,
    /// When it last said anything.
    pub last_word: Seconds,
    /// The version of the copy of its ledger.
    pub version: Version,
    /// The digest of the copy.
    pub sum: u64,
    /// The number of its bans.
    pub voices: usize,
    /// The copy is what it last said.
    pub in_step: bool,
    /// Until when it is not heard.
    pub muted_until: Option<Seconds>,
    /// The number of messages and entries that did not count.
    pub refused: u64,
    /// What was last wrong with it.
    pub complaint: Option<String>,
    /// By how many seconds its clock is ahead.
    pub skew: i64,
}

/// All machines but this one.
#[derive(Debug)]
pub struct Fleet {
    me: Arc<str>,
    policy: Policy,
    never: BTreeSet<IpAddr>,
    peers: BTreeMap<Arc<str>, Peer>,
    /// The machines that have a voice against a source.
    index: HashMap<IpNet, BTreeSet<Arc<str>>>,
    /// The bans of this machine, which are voices as well.
    own: BTreeMap<IpNet, Seconds>,
    /// The pardons of this machine.
    pardons: BTreeMap<IpNet, Seconds>,
    touched: BTreeSet<IpNet>,
    notes: Vec<Note>,
    entries: usize,
    crowded: bool,
    strangers: u64,
    refused: BTreeMap<&'static str, u64>,
    gaps: u64,
    swept: Seconds,
}

impl Fleet {
    /// Nobody is known yet.
    pub fn new(me: &str, policy: Policy) -> Self {
        Self {
            me: me.into(),
            policy,
            never: BTreeSet::new(),
            peers: BTreeMap::new(),
            index: HashMap::new(),
            own: BTreeMap::new(),
            pardons: BTreeMap::new(),
            touched: BTreeSet::new(),
            notes: Vec::new(),
            entries: 0,
            crowded: false,
            strangers: 0,
            refused: BTreeMap::new(),
            gaps: 0,
            swept: 0,
        }
    }

    /// The name of this machine.
    pub fn me(&self) -> &str {
        &self.me
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The addresses that no voice may name: of brokers, gateways and resolvers.
    pub fn set_never(&mut self, never: BTreeSet<IpAddr>) {
        if never == self.never {
            return;
        }
        self.never = never;
        // What was refused before may count now, and the other way round.
        self.index.clear();
        for (machine, peer) in &self.peers {
            for (source, claim) in peer.ledger.bans() {
                self.touched.insert(*source);
                if self.policy.refusal(source, &claim.jail, &self.never).is_none() {
                    self.index.entry(*source).or_default().insert(Arc::clone(machine));
                }
            }
        }
    }

    /// Takes in a message of a machine; `live` if it was sent just now.
    pub fn receive(&mut self, machine: &str, bytes: &[u8], live: bool, now: Seconds) {
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
    ) -> Result<(), String> {
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => {
                if matches!(error, MessageError::Newer(_)) && !std::mem::replace(&mut peer.newer, true) {
                    self.note(Note::Newer(Arc::clone(machine)));
                }
                self.refuse(peer, "malformed");
                peer.complaint = Some(format!("A message could not be used: {error}."));
                return self.pay(peer, COST_OF_JUNK, now, "it sends messages that can't be read");
            }
        };
        if live && let Some(by) = peer.clock(message.now, now) {
            self.note(Note::Clock { machine: Arc::clone(machine), by });
        }
        let cost = if message.version.epoch == peer.seen.epoch { 1 } else { COST_OF_EPOCH };
        self.pay(peer, cost, now, "it sends too many messages")?;
        if message.whole { self.document(machine, peer, &message, now) } else { self.news(machine, peer, message, now) }
    }

    fn news(&mut self, machine: &Arc<str>, peer: &mut Peer, message: Message, now: Seconds) -> Result<(), String> {
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
        self.pay(peer, message.entries() as u64, now, "it reports too many bans")?;
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

    fn document(&mut self, machine: &Arc<str>, peer: &mut Peer, message: &Message, now: Seconds) -> Result<(), String> {
        if message.version < peer.version || (message.version == peer.version && peer.verified) {
            return Ok(());
        }
        if message.bans.len() + message.pardons.len() > self.policy.machine_voices {
            return Err("its document has more entries than machine-voices allows".to_owned());
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
            return self.pay(peer, COST_OF_JUNK, now, "its documents do not match their digests");
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
        self.pay(peer, cost, now, "its document changes too fast")?;
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
    ) -> Result<(), String> {
        let refusal = self.policy.refusal(&source, &claim.jail, &self.never);
        if !peer.ledger.bans().contains_key(&source) {
            if peer.ledger.len() >= self.policy.machine_voices {
                return Err("it has more bans in force than machine-voices allows".to_owned());
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
    fn expire(&mut self, machine: &Arc<str>, peer: &mut Peer, theirs: Seconds) {
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

    fn pay(&self, peer: &mut Peer, tokens: u64, now: Seconds, why: &str) -> Result<(), String> {
        let enough = peer.bucket.take(tokens, self.policy.burst(), self.policy.machine_rate, now);
        if enough { Ok(()) } else { Err(why.to_owned()) }
    }

    fn refuse(&mut self, peer: &mut Peer, why: &'static str) {
        peer.refused += 1;
        *self.refused.entry(why).or_default() += 1;
    }

    fn note(&mut self, note: Note) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push(note);
        }
    }

    /// Nothing that a machine says counts for a while.
    fn mute(&mut self, machine: &Arc<str>, peer: &mut Peer, why: String, now: Seconds) {
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

    /// A machine has no document, so it has no voice. What it may say is limited as before.
    pub fn left(&mut self, machine: &str) {
        if let Some((machine, mut peer)) = self.peers.remove_entry(machine) {
            if peer.muted_until.is_none() {
                let seen = peer.seen;
                self.clear(&machine, &mut peer);
                peer.seen = seen;
            }
            self.peers.insert(machine, peer);
        }
    }

    /// These are all bans of this machine itself.
    pub fn replace_own(&mut self, all: &BTreeMap<IpNet, Seconds>) {
        let gone: Vec<IpNet> = self.own.keys().filter(|source| !all.contains_key(source)).copied().collect();
        for source in gone {
            self.own(source, None);
        }
        for (source, until) in all {
            self.own(*source, Some(*until));
        }
    }

    /// A ban of this machine itself begins, or ends (none).
    pub fn own(&mut self, source: IpNet, until: Option<Seconds>) {
        let changed = match until {
            Some(until) => self.own.insert(source, until) != Some(until),
            None => self.own.remove(&source).is_some(),
        };
        if changed && self.index.contains_key(&source) {
            self.touched.insert(source);
        }
    }

    /// No voice against this source counts here until then.
    pub fn pardon(&mut self, source: IpNet, until: Seconds) {
        self.pardons.insert(source, until);
        self.touched.insert(source);
    }

    /// The pardons of this machine, each with its end.
    pub fn pardons(&self) -> &BTreeMap<IpNet, Seconds> {
        &self.pardons
    }

    /// Time passes: what has ended is struck out.
    pub fn tick(&mut self, now: Seconds) {
        if now >= self.swept && now < self.swept.saturating_add(SWEEP) {
            return;
        }
        self.swept = now;
        let longest = self.policy.bantime_max;
        let names: Vec<Arc<str>> = self.peers.keys().cloned().collect();
        for machine in names {
            let Some(mut peer) = self.peers.remove(&machine) else { continue };
            // A clock that was set back does not make a mute longer.
            if peer.muted_until.is_some_and(|until| now >= until || until > now.saturating_add(self.policy.mute)) {
                peer.muted_until = None;
                self.note(Note::Unmuted(Arc::clone(&machine)));
            }
            let theirs = peer.theirs(now).saturating_sub(LINGER);
            self.expire(&machine, &mut peer, theirs);
            let capped =
                peer.ledger.bans().keys().filter(|source| peer.end(source, longest).is_some_and(|end| end <= now));
            self.touched.extend(capped.copied());
            if peer.partial && self.entries < self.policy.voices / 10 * 9 {
                peer.verified = false;
            }
            let silent =
                peer.ledger.is_empty() && peer.muted_until.is_none() && now > peer.last_word.saturating_add(FORGET);
            if !silent {
                self.peers.insert(machine, peer);
            }
        }
        if self.entries < self.policy.voices / 10 * 9 {
            self.crowded = false;
        }
        if self.peers.len() < self.policy.machines {
            self.strangers = 0;
        }
        let mut ended: Vec<IpNet> = Vec::new();
        for kept in [&mut self.pardons, &mut self.own] {
            kept.retain(|source, until| {
                if *until <= now {
                    ended.push(*source);
                }
                *until > now
            });
        }
        self.touched.extend(ended);
    }

    /// The machines whose documents are to be read now, because their copies are not in step.
    pub fn wanted(&mut self, now: Seconds) -> Vec<Arc<str>> {
        self.peers.iter_mut().filter_map(|(machine, peer)| peer.ask(now).then(|| Arc::clone(machine))).collect()
    }

    /// The sources for which the decision may have changed, at most this number.
    pub fn take_touched(&mut self, most: usize) -> Vec<IpNet> {
        if self.touched.len() <= most {
            return std::mem::take(&mut self.touched).into_iter().collect();
        }
        let taken: Vec<IpNet> = self.touched.iter().take(most).copied().collect();
        for source in &taken {
            self.touched.remove(source);
        }
        taken
    }

    /// The sources for which the decision may have changed.
    pub fn touched(&self) -> impl Iterator<Item = &IpNet> {
        self.touched.iter()
    }

    /// These are to be decided again.
    pub fn touch(&mut self, sources: impl IntoIterator<Item = IpNet>) {
        self.touched.extend(sources);
    }

    /// Everything is to be decided again.
    pub fn touch_all(&mut self) {
        self.touched.extend(self.index.keys().copied());
    }

    /// What an administrator should know since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Who pardons a source, and until when.
    pub fn pardon_of(&self, source: &IpNet, now: Seconds) -> Option<(Arc<str>, Seconds)> {
        let own = self.pardons.get(source).map(|until| (Arc::clone(&self.me), *until));
        let others = self.policy.pardon_from.iter().filter_map(|machine| {
            let (machine, peer) = self.peers.get_key_value(machine.as_str())?;
            Some((Arc::clone(machine), peer.ours(*peer.ledger.pardons().get(source)?)))
        });
        own.into_iter().chain(others).filter(|(_, until)| *until > now).max_by_key(|(_, until)| *until)
    }

    /// The voices of other machines against a source, also those that do not count.
    pub fn voices(&self, source: &IpNet) -> Vec<Voice> {
        let voice = |(machine, peer): (&Arc<str>, &Peer)| {
            let claim = peer.ledger.bans().get(source)?.clone();
            Some(Voice {
                machine: Arc::clone(machine),
                heard: peer.heard.get(source).copied().unwrap_or(0),
                until: peer.end(source, self.policy.bantime_max)?,
                refusal: self.policy.refusal(source, &claim.jail, &self.never),
                claim,
            })
        };
        self.peers.iter().filter_map(voice).collect()
    }

    /// What is to be done about a source.
    pub fn decide(&self, source: &IpNet, now: Seconds) -> Decision {
        let Some(machines) = self.index.get(source) else { return Decision::Nothing };
        if self.pardon_of(source, now).is_some() {
            return Decision::Nothing;
        }
        let mut ends = Vec::with_capacity(machines.len() + 1);
        let mut first_heard = Seconds::MAX;
        for machine in machines {
            let Some(peer) = self.peers.get(machine) else { continue };
            if let Some(end) = peer.end(source, self.policy.bantime_max).filter(|end| *end > now) {
                ends.push(end);
                first_heard = first_heard.min(peer.heard.get(source).copied().unwrap_or(now));
            }
        }
        let Some(last) = ends.iter().max().copied() else { return Decision::Nothing };
        ends.extend(self.own.get(source).copied().filter(|end| *end > now));
        ends.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(end) = ends.get(self.policy.quorum.max(1) - 1) {
            return Decision::Ban(*end);
        }
        match self.policy.single {
            Single::Watch => Decision::Watch(last),
            Single::Nothing => Decision::Nothing,
            Single::Ban => {
                let end = last.min(first_heard.saturating_add(self.policy.single_bantime));
                if end > now { Decision::Ban(end) } else { Decision::Nothing }
            }
        }
    }

    /// All other machines.
    pub fn machines(&self) -> impl Iterator<Item = PeerView> {
        self.peers.iter().map(|(machine, peer)| PeerView {
            machine: Arc::clone(machine),
            last_word: peer.last_word,
            version: peer.version,
            sum: peer.ledger.sum(),
            voices: peer.ledger.bans().len(),
            in_step: peer.in_step(),
            muted_until: peer.muted_until,
            refused: peer.refused,
            complaint: peer.complaint.clone(),
            skew: peer.skew,
        })
    }

    /// The copy of the ledger of another machine.
    pub fn ledger(&self, machine: &str) -> Option<&Ledger> {
        self.peers.get(machine).map(|peer| &peer.ledger)
    }

    /// The number of sources against which a voice counts.
    pub fn sources(&self) -> usize {
        self.index.len()
    }

    /// The number of entries of all machines.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// What did not count, by reason, since the start.
    pub fn refused(&self) -> &BTreeMap<&'static str, u64> {
        &self.refused
    }

    /// How often a copy was found not to be in step.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }
}

/// Whether a text can be the name of a machine, as a broker has it in subjects.
pub fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.len() <= 64 && text.bytes().all(fits)
}
