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
    message::Version,
    peer::Peer,
    policy::{Excess, Policy, Refusal, Single},
};

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
pub(crate) enum Note {
    /// A machine exceeds its limits, and is not heard until then.
    Muted {
        /// The machine.
        machine: Arc<str>,
        /// Which limit.
        why: Excess,
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
    Suspect(Seconds),
    /// It is banned until then.
    Ban(Seconds),
}

/// The ban of one machine, as it counts here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voice {
    /// The machine.
    pub(crate) machine: Arc<str>,
    /// What it says.
    pub(crate) claim: Claim,
    /// When that was heard.
    pub(crate) heard: Seconds,
    /// Until when it counts.
    pub(crate) until: Seconds,
    /// Why it does not.
    pub(crate) refusal: Option<Refusal>,
}

/// What is known of another machine.
#[derive(Clone, Debug)]
pub(crate) struct PeerView {
    /// The machine.
    pub(crate) machine: Arc<str>,
    /// When it last said anything.
    pub(crate) last_word: Seconds,
    /// The version of the copy of its ledger.
    pub(crate) version: Version,
    /// The digest of the copy.
    pub(crate) sum: u64,
    /// The number of its bans.
    pub(crate) voices: usize,
    /// The copy is what it last said.
    pub(crate) in_step: bool,
    /// Until when it is not heard.
    pub(crate) muted_until: Option<Seconds>,
    /// The number of messages and entries that did not count.
    pub(crate) refused: u64,
    /// What was last wrong with it.
    pub(crate) complaint: Option<String>,
    /// By how many seconds its clock is ahead.
    pub(crate) skew: i64,
}

/// All machines but this one.
#[derive(Debug)]
pub struct Fleet {
    pub(super) me: Arc<str>,
    pub(super) policy: Policy,
    pub(super) never: BTreeSet<IpAddr>,
    pub(super) peers: BTreeMap<Arc<str>, Peer>,
    /// The machines that have a voice against a source.
    pub(super) index: HashMap<IpNet, BTreeSet<Arc<str>>>,
    /// The bans of this machine, which are voices as well.
    pub(super) own: BTreeMap<IpNet, Seconds>,
    /// The pardons of this machine.
    pub(super) pardons: BTreeMap<IpNet, Seconds>,
    pub(super) touched: BTreeSet<IpNet>,
    /// What the last message has reported.
    pub(super) entered: Vec<IpNet>,
    pub(super) notes: Vec<Note>,
    pub(super) entries: usize,
    pub(super) crowded: bool,
    pub(super) strangers: u64,
    pub(super) refused: BTreeMap<&'static str, u64>,
    pub(super) gaps: u64,
    /// A machine has said its first word since a start of it.
    pub(super) newcomer: bool,
    pub(super) swept: Seconds,
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
            entered: Vec::new(),
            notes: Vec::new(),
            entries: 0,
            crowded: false,
            strangers: 0,
            refused: BTreeMap::new(),
            gaps: 0,
            newcomer: false,
            swept: 0,
        }
    }

    /// The name of this machine.
    pub(crate) fn me(&self) -> &str {
        &self.me
    }

    /// The policy.
    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The addresses that no voice may name: of brokers, gateways and resolvers.
    pub(crate) fn set_never(&mut self, never: BTreeSet<IpAddr>) {
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

    pub(super) fn note(&mut self, note: Note) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push(note);
        }
    }

    /// These are all bans of this machine itself.
    pub(crate) fn replace_own(&mut self, all: &BTreeMap<IpNet, Seconds>) {
        let gone: Vec<IpNet> = self.own.keys().filter(|source| !all.contains_key(source)).copied().collect();
        for source in gone {
            self.own(source, None);
        }
        for (source, until) in all {
            self.own(*source, Some(*until));
        }
    }

    /// A ban of this machine itself begins, or ends (none).
    pub(crate) fn own(&mut self, source: IpNet, until: Option<Seconds>) {
        let changed = match until {
            Some(until) => self.own.insert(source, until) != Some(until),
            None => self.own.remove(&source).is_some(),
        };
        if changed && self.index.contains_key(&source) {
            self.touched.insert(source);
        }
    }

    /// No voice against this source counts here until then.
    pub(crate) fn pardon(&mut self, source: IpNet, until: Seconds) {
        self.pardons.insert(source, until);
        self.touched.insert(source);
    }

    /// The pardons of this machine, each with its end.
    pub(crate) fn pardons(&self) -> &BTreeMap<IpNet, Seconds> {
        &self.pardons
    }

    /// The clock here was set by this number of seconds. Those of the others were not, so they differ by that now.
    pub(crate) fn shift(&mut self, by: i64) {
        self.own
            .values_mut()
            .chain(self.pardons.values_mut())
            .for_each(|until| *until = until.saturating_add_signed(by));
        self.peers.values_mut().for_each(|peer| peer.shift(by));
        self.swept = 0;
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

    /// The sources whose bans the last message has reported, as far as they are new.
    pub(crate) fn entered(&self) -> &[IpNet] {
        &self.entered
    }

    /// These are to be decided again.
    pub(crate) fn touch(&mut self, sources: impl IntoIterator<Item = IpNet>) {
        self.touched.extend(sources);
    }

    /// Everything is to be decided again.
    pub(crate) fn touch_all(&mut self) {
        self.touched.extend(self.index.keys().copied());
    }

    /// Whether a machine was started since the last call, and has said so.
    pub(crate) fn take_newcomer(&mut self) -> bool {
        std::mem::take(&mut self.newcomer)
    }

    /// What an administrator should know since the last call.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Who pardons a source, and until when.
    pub(crate) fn pardon_of(&self, source: &IpNet, now: Seconds) -> Option<(Arc<str>, Seconds)> {
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
            Single::Suspect => Decision::Suspect(last),
            Single::Nothing => Decision::Nothing,
            Single::Ban => {
                let end = last.min(first_heard.saturating_add(self.policy.single_bantime));
                if end > now { Decision::Ban(end) } else { Decision::Nothing }
            }
        }
    }

    /// All other machines.
    pub(crate) fn machines(&self) -> impl Iterator<Item = PeerView> {
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
    pub(crate) fn sources(&self) -> usize {
        self.index.len()
    }

    /// The number of entries of all machines.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// What did not count, by reason, since the start.
    pub(crate) fn refused(&self) -> &BTreeMap<&'static str, u64> {
        &self.refused
    }

    /// How often a copy was found not to be in step.
    pub(crate) fn gaps(&self) -> u64 {
        self.gaps
    }
}

/// Whether a text can be the name of a machine, as a broker has it in subjects.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.len() <= 64 && text.bytes().all(fits)
}
