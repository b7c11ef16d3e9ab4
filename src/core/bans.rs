//! The list of bans: who is locked out, by which jail, until when, and how often before.
//!
//! Pure: times come in, bans go out. Several jails may ban one source. The
//! history makes each further ban of a source longer, until the source has behaved for long
//! enough to be forgotten.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::core::{
    failure::Failures,
    net::{canonical, inside},
    time::Usec,
};

/// The most bans in force: an ipset of firewalld holds more than that.
pub(crate) const MOST_BANS: usize = 100_000;
/// The most sources whose earlier bans are remembered.
const MOST_HISTORY: usize = 200_000;

/// Whose decision a ban was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) enum Origin {
    /// Its jail's, by its failures.
    #[default]
    Jail,
    /// An admin's.
    Admin,
    /// It was taken over from somewhere else.
    Import,
    /// Another machine's.
    Fleet,
    /// Somebody else's, by this word.
    Other(Box<str>),
}

impl Origin {
    /// Its word, on the bus, in the journal and in the state.
    pub(crate) fn word(&self) -> &str {
        match self {
            Self::Jail => "jail",
            Self::Admin => "admin",
            Self::Import => "import",
            Self::Fleet => "fleet",
            Self::Other(word) => word,
        }
    }
}

impl From<String> for Origin {
    fn from(word: String) -> Self {
        match word.as_str() {
            "jail" => Self::Jail,
            "admin" => Self::Admin,
            "import" => Self::Import,
            "fleet" => Self::Fleet,
            _ => Self::Other(word.into()),
        }
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.word().to_owned()
    }
}

/// One ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ban {
    /// The jail that decided, or that an admin named.
    pub(crate) jail: Arc<str>,
    /// Who is locked out.
    pub(crate) source: IpNet,
    /// Since when, in µs: the time of the record that decided, or of the order.
    pub(crate) since: Usec,
    /// Until when, in µs; none if it is permanent.
    pub(crate) until: Option<Usec>,
    /// Which ban of this source it is; 1 for the first.
    pub(crate) count: u32,
    /// The failures that led to it, oldest first; none for a ban by hand.
    pub(crate) failures: Failures,
    /// What was given as the reason of a ban that was ordered; none if the jail decided.
    pub(crate) reason: Option<Box<str>>,
    /// Whose decision it was.
    #[serde(default, skip_serializing_if = "is_the_jails")]
    pub(crate) origin: Origin,
    /// When it was ordered, in µs, if it began before: it was taken over from somewhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ordered: Option<Usec>,
    /// Somebody was logged in from there at this time, in µs, and what was done was too much to spare
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) despite: Option<Usec>,
    /// It was suspected, so fewer failures were enough than the jail's maxretry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) suspected: bool,
}

impl Ban {
    /// Since when wardend has it enforced, in µs.
    pub(crate) fn enforced_since(&self) -> Usec {
        self.ordered.unwrap_or(self.since)
    }

    /// Whether it came over the bus, and not of what its source has done here.
    pub(crate) fn is_ordered(&self) -> bool {
        self.origin != Origin::Jail || self.ordered.is_some()
    }
}

fn is_the_jails(origin: &Origin) -> bool {
    *origin == Origin::Jail
}

/// Bans of one source are distinguished by their jail.
type Key = (IpNet, Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct History {
    count: u32,
    /// When the last ban ended or will end; for one without an end, when it began.
    last: Usec,
}

/// All bans in force, and the history of those that were.
#[derive(Clone, Debug, Default)]
pub(crate) struct BanList {
    active: BTreeMap<Key, Ban>,
    ends: BTreeSet<(Usec, Key)>,
    history: HashMap<Key, History>,
    /// How many active bans there are of each prefix length.
    lengths: BTreeMap<u8, usize>,
    /// How many active bans each jail has.
    jails: BTreeMap<Arc<str>, usize>,
}

impl BanList {
    /// The ban of a source by a jail, if it is in force.
    pub(crate) fn get(&self, source: IpNet, jail: &str) -> Option<&Ban> {
        self.active.get(&(source, jail.into()))
    }

    /// The ban of a jail that locks a source out: its own, or one of a network around it.
    pub(crate) fn covering(&self, source: IpNet, jail: &str) -> Option<&Ban> {
        self.around(source).find_map(|network| self.get(network, jail))
    }

    /// All bans that lock a source out, of whatever jail.
    pub(crate) fn all_covering(&self, source: IpNet) -> impl Iterator<Item = &Ban> {
        self.around(source).flat_map(|network| self.of(network))
    }

    /// A source and the networks around it that could be banned, the widest first.
    fn around(&self, source: IpNet) -> impl Iterator<Item = IpNet> {
        let lengths = self.lengths.keys().filter(move |length| **length <= source.prefix_len());
        lengths.filter_map(move |length| IpNet::new(source.addr(), *length).ok()).map(|network| network.trunc())
    }

    /// The bans of a jail inside a network, and of it.
    pub(crate) fn inside(&self, network: IpNet, jail: &str) -> impl Iterator<Item = &Ban> {
        let keys = inside(network);
        let range = (*keys.start(), "".into())..=(*keys.end(), "\u{10ffff}".into());
        self.active
            .range(range)
            .map(|(_, ban)| ban)
            .filter(move |ban| *ban.jail == *jail && network.contains(&ban.source))
    }

    /// All bans, in the order of their sources.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Ban> {
        self.active.values()
    }

    /// All sources that are banned by some jail, each once.
    pub(crate) fn sources(&self) -> Vec<IpNet> {
        let mut sources: Vec<IpNet> = self.active.keys().map(|(source, _)| *source).collect();
        sources.dedup();
        sources
    }

    pub(crate) fn len(&self) -> usize {
        self.active.len()
    }

    /// How many bans a jail has in force.
    pub(crate) fn count_of(&self, jail: &str) -> usize {
        self.jails.get(jail).copied().unwrap_or(0)
    }

    /// The number that the next ban would have; 1 for the first.
    pub(crate) fn next_count(&self, source: IpNet, jail: &str, now: Usec, forget: Usec) -> u32 {
        match self.history.get(&(source, jail.into())) {
            Some(history) if history.last.saturating_add(forget) > now => history.count.saturating_add(1),
            _ => 1,
        }
    }

    /// The number of earlier bans that are remembered.
    pub(crate) fn earlier(&self, source: IpNet, jail: &str, now: Usec, forget: Usec) -> u32 {
        self.next_count(source, jail, now, forget) - 1
    }

    /// Adds a ban, in place of an earlier one of the same source and jail.
    pub(crate) fn add(&mut self, ban: Ban) {
        let key = (ban.source, ban.jail.clone());
        self.history.insert(key.clone(), History { count: ban.count, last: ban.until.unwrap_or(ban.since) });
        if self.history.len() > MOST_HISTORY {
            self.forget_oldest();
        }
        if let Some(before) = self.active.remove(&key) {
            self.drop_indices(&key, &before);
        }
        if let Some(until) = ban.until {
            self.ends.insert((until, key.clone()));
        }
        *self.lengths.entry(ban.source.prefix_len()).or_default() += 1;
        *self.jails.entry(ban.jail.clone()).or_default() += 1;
        self.active.insert(key, ban);
    }

    /// Takes a ban away, at the time `now`.
    pub(crate) fn remove(&mut self, source: IpNet, jail: &str, now: Usec) -> Option<Ban> {
        let key = (source, jail.into());
        let ban = self.active.remove(&key)?;
        self.drop_indices(&key, &ban);
        if let Some(history) = self.history.get_mut(&key) {
            history.last = history.last.min(now);
        }
        Some(ban)
    }

    fn drop_indices(&mut self, key: &Key, ban: &Ban) {
        if let Some(until) = ban.until {
            self.ends.remove(&(until, key.clone()));
        }
        subtract_one(&mut self.lengths, &ban.source.prefix_len());
        subtract_one(&mut self.jails, &ban.jail);
    }

    /// Where there are too many bans: the one that would end first, or, if none ends, the oldest.
    pub(crate) fn surplus(&self) -> Option<(IpNet, Arc<str>)> {
        if self.active.len() <= MOST_BANS {
            return None;
        }
        match self.ends.first() {
            Some((_, key)) => Some(key.clone()),
            None => self.active.values().min_by_key(|ban| ban.since).map(|ban| (ban.source, ban.jail.clone())),
        }
    }

    /// Forgets a quarter of the history: what ended longest ago.
    fn forget_oldest(&mut self) {
        let mut oldest: Vec<(Usec, Key)> =
            self.history.iter().map(|(key, history)| (history.last, key.clone())).collect();
        oldest.sort_unstable();
        for (_, key) in oldest.into_iter().take(MOST_HISTORY / 4) {
            self.history.remove(&key);
        }
    }

    /// Moves every time along with a clock that was set.
    pub(crate) fn shift(&mut self, by: i64) {
        for ban in self.active.values_mut() {
            ban.since = ban.since.saturating_add_signed(by);
            ban.until = ban.until.map(|until| until.saturating_add_signed(by));
            ban.ordered = ban.ordered.map(|ordered| ordered.saturating_add_signed(by));
            ban.failures.shift(by);
        }
        for history in self.history.values_mut() {
            history.last = history.last.saturating_add_signed(by);
        }
        self.ends = self.active.iter().filter_map(|(key, ban)| Some((ban.until?, key.clone()))).collect();
    }

    /// A ban that has ended at the time `now`, if there is one; the one that ended first.
    pub(crate) fn next_ended(&self, now: Usec) -> Option<(IpNet, Arc<str>, Usec)> {
        let (until, (source, jail)) = self.ends.first()?;
        (*until <= now).then(|| (*source, jail.clone(), *until))
    }

    /// When the next ban ends.
    pub(crate) fn deadline(&self) -> Option<Usec> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// Forgets the history of a source: an admin has unbanned it.
    pub(crate) fn forget(&mut self, source: IpNet, jail: &str) {
        self.history.remove(&(source, jail.into()));
    }

    /// The bans of exactly this source, by whatever jail.
    pub(crate) fn of(&self, source: IpNet) -> impl Iterator<Item = &Ban> {
        self.active.range((source, "".into())..).take_while(move |((it, _), _)| *it == source).map(|(_, ban)| ban)
    }
}

fn subtract_one<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The list in a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedBans {
    active: Vec<Ban>,
    history: Vec<(IpNet, Arc<str>, History)>,
}

impl BanList {
    pub(crate) fn save(&self) -> SavedBans {
        SavedBans {
            active: self.active.values().cloned().collect(),
            history: self.history.iter().map(|((source, jail), history)| (*source, jail.clone(), *history)).collect(),
        }
    }

    pub(crate) fn load(saved: SavedBans) -> Self {
        let mut list = Self::default();
        // Earlier versions took IPv4-mapped networks as IPv6 ones.
        let canonical = |source| canonical(source).filter(|source| source.prefix_len() > 0).unwrap_or(source);
        for mut ban in saved.active.into_iter().filter(|ban| ban.source.prefix_len() > 0) {
            ban.source = canonical(ban.source);
            // Earlier versions knew only those of admins, by their reason.
            if ban.reason.is_some() && ban.origin == Origin::Jail {
                ban.origin = Origin::Admin;
            }
            list.add(ban);
        }
        // Those of the bans are reported again, as they were when the state was saved.
        let history = saved.history.into_iter().take(MOST_HISTORY);
        list.history.extend(history.map(|(source, jail, history)| ((canonical(source), jail), history)));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_network_of_an_earlier_version_is_the_ipv4_one_that_it_means() {
        let mut list = BanList::default();
        list.add(ban("203.0.113.0/28", "sshd", Some(7)));
        let saved = serde_json::to_string(&list.save()).unwrap();
        assert_eq!(saved.matches("203.0.113.0/28").count(), 2, "a ban and its history: {saved}");
        let old = saved.replace("203.0.113.0/28", "::ffff:203.0.113.0/124");
        let loaded = BanList::load(serde_json::from_str(&old).unwrap());
        assert_eq!(serde_json::to_string(&loaded.save()).unwrap(), saved);
    }

    fn ban(source: &str, jail: &str, until: Option<Usec>) -> Ban {
        Ban {
            jail: jail.into(),
            source: source.parse().unwrap(),
            since: 0,
            until,
            count: 1,
            failures: Failures::default(),
            reason: None,
            origin: Origin::Jail,
            ordered: None,
            despite: None,
            suspected: false,
        }
    }

    #[test]
    fn a_state_without_origins_has_bans_of_jails_and_of_admins() {
        let mut list = BanList::default();
        list.add(ban("203.0.113.7/32", "sshd", Some(7)));
        list.add(Ban { reason: Some("scanners".into()), origin: Origin::Admin, ..ban("203.0.113.8/32", "sshd", None) });
        list.add(Ban { reason: Some("".into()), origin: Origin::Import, ..ban("203.0.113.9/32", "sshd", None) });
        let saved = serde_json::to_string(&list.save()).unwrap();
        let loaded = BanList::load(serde_json::from_str(&saved).unwrap());
        let origins = |list: &BanList| list.iter().map(|ban| ban.origin.clone()).collect::<Vec<_>>();
        assert_eq!(origins(&loaded), [Origin::Jail, Origin::Admin, Origin::Import]);
        let old = saved.replace(r#","origin":"admin""#, "").replace(r#","origin":"import""#, "");
        assert!(!old.contains("origin"), "{old}");
        let loaded = BanList::load(serde_json::from_str(&old).unwrap());
        assert_eq!(origins(&loaded), [Origin::Jail, Origin::Admin, Origin::Admin]);
    }

    #[test]
    fn two_jails_may_ban_one_source() {
        let mut list = BanList::default();
        let source = "203.0.113.7/32".parse().unwrap();
        list.add(ban("203.0.113.7/32", "sshd", Some(10)));
        list.add(ban("203.0.113.7/32", "slow", Some(20)));
        assert_eq!(list.sources(), [source]);
        assert_eq!(list.of(source).count(), 2);
        list.add(ban("203.0.113.7/32", "slow", Some(30)));
        assert_eq!((list.count_of("sshd"), list.count_of("slow"), list.count_of("other")), (1, 1, 0));
        assert!(list.remove(source, "sshd", 5).is_some());
        assert!(list.remove(source, "slow", 5).is_some());
        assert!(list.remove(source, "slow", 5).is_none());
        assert_eq!((list.count_of("sshd"), list.count_of("slow")), (0, 0));
        assert_eq!(list.deadline(), None);
    }

    #[test]
    fn a_longer_ban_in_place_of_an_earlier_one_moves_its_end() {
        let mut list = BanList::default();
        list.add(ban("203.0.113.7/32", "sshd", Some(10)));
        list.add(ban("203.0.113.7/32", "sshd", Some(30)));
        assert_eq!(list.deadline(), Some(30));
        list.add(ban("203.0.113.7/32", "sshd", None));
        assert_eq!(list.deadline(), None);
    }

    #[test]
    fn a_source_that_behaved_for_long_enough_starts_again() {
        let mut list = BanList::default();
        let source = "203.0.113.7/32".parse().unwrap();
        list.add(ban("203.0.113.7/32", "sshd", Some(10)));
        assert_eq!(list.next_count(source, "sshd", 10, 100), 2);
        assert_eq!(list.next_count(source, "sshd", 110, 100), 1);
        list.forget(source, "sshd");
        assert_eq!(list.next_count(source, "sshd", 10, 100), 1);
    }
}
