//! What an admin has ordered for a time, beside the settings: addresses that are ignored or suspected,
//! and jails that are paused.
//!
//! None of it is in the journal, so it is in the snapshot. Each exception ends at its own µs, as a ban
//! does, and what belongs to a jail that is gone ends with the jail.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::core::{net::text_of, time::Usec};

/// The most exceptions of one kind.
pub(crate) const MOST: usize = 4096;

/// What is otherwise than the settings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExceptionKind {
    /// An address or a network is never banned.
    Ignored,
    /// A jail bans nobody.
    Paused,
    /// The first failure from an address or a network has its source banned.
    Suspected,
}

/// Why an exception has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExceptionEnd {
    /// Its time was over.
    Expired,
    /// An admin with this user ID, if that is known, has ended it.
    Command(Option<u32>),
    /// Its jail is gone from the configuration.
    JailGone,
}

/// What one order says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exception {
    /// What is otherwise.
    pub(crate) kind: ExceptionKind,
    /// For whom; none for a jail that is paused.
    pub(crate) network: Option<IpNet>,
    /// In which jail; none for all of them.
    pub(crate) jail: Option<Arc<str>>,
    /// Since when, in µs.
    pub(crate) since: Usec,
    /// Until when, in µs; none until it is ended.
    pub(crate) until: Option<Usec>,
    /// What the admin gave as the reason.
    pub(crate) reason: Box<str>,
    /// Whose decision it was, as the caller says.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub(crate) origin: Box<str>,
    /// The user ID of who gave the order, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<u32>,
}

/// Of each kind there is one exception for a network and a jail.
type Key = (ExceptionKind, Option<IpNet>, Option<Arc<str>>);

impl Exception {
    fn key(&self) -> Key {
        (self.kind, self.network, self.jail.clone())
    }

    /// Whether it is about a jail.
    pub(crate) fn concerns(&self, jail: &str) -> bool {
        self.jail.as_deref().is_none_or(|own| own == jail)
    }

    /// For whom, in canonical text; empty for a jail that is paused.
    pub(crate) fn source(&self) -> String {
        self.network.map_or_else(String::new, text_of)
    }
}

/// There are too many of a kind already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// All exceptions in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exceptions {
    all: BTreeMap<Key, Exception>,
    ends: BTreeSet<(Usec, Key)>,
}

impl Exceptions {
    /// Adds one, in place of an earlier one for the same.
    pub(crate) fn put(&mut self, exception: Exception) -> Result<(), Full> {
        let key = exception.key();
        if !self.all.contains_key(&key) && self.of(exception.kind).count() >= MOST {
            return Err(Full);
        }
        self.take(exception.kind, exception.network, exception.jail.as_deref());
        if let Some(until) = exception.until {
            self.ends.insert((until, key.clone()));
        }
        self.all.insert(key, exception);
        Ok(())
    }

    /// Takes one away.
    pub(crate) fn take(
        &mut self,
        kind: ExceptionKind,
        network: Option<IpNet>,
        jail: Option<&str>,
    ) -> Option<Exception> {
        let key = (kind, network, jail.map(Arc::from));
        let exception = self.all.remove(&key)?;
        if let Some(until) = exception.until {
            self.ends.remove(&(until, key));
        }
        Some(exception)
    }

    /// The one for exactly this network and jail.
    pub(crate) fn get(&self, kind: ExceptionKind, network: Option<IpNet>, jail: Option<&str>) -> Option<&Exception> {
        self.all.get(&(kind, network, jail.map(Arc::from)))
    }

    /// All of a kind, in the order of their networks.
    pub(crate) fn of(&self, kind: ExceptionKind) -> impl Iterator<Item = &Exception> {
        self.all.range((kind, None, None)..).map(|(_, exception)| exception).take_while(move |it| it.kind == kind)
    }

    /// Those for jails that are not to be kept.
    pub(crate) fn take_gone(&mut self, kept: impl Fn(&str) -> bool) -> Vec<Exception> {
        let gone = |exception: &&Exception| exception.jail.as_deref().is_some_and(|jail| !kept(jail));
        let gone: Vec<Key> = self.all.values().filter(gone).map(Exception::key).collect();
        gone.into_iter().filter_map(|(kind, network, jail)| self.take(kind, network, jail.as_deref())).collect()
    }

    /// Takes one away that has ended at the time `now`, the one that ended first.
    pub(crate) fn next_ended(&mut self, now: Usec) -> Option<Exception> {
        let (until, _) = self.ends.first()?;
        if *until > now {
            return None;
        }
        let (_, key) = self.ends.pop_first()?;
        self.all.remove(&key)
    }

    /// When the next one ends.
    pub(crate) fn deadline(&self) -> Option<Usec> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// Moves every time along with a clock that was set.
    pub(crate) fn shift(&mut self, by: i64) {
        for exception in self.all.values_mut() {
            exception.since = exception.since.saturating_add_signed(by);
            exception.until = exception.until.map(|until| until.saturating_add_signed(by));
        }
        self.ends = self.all.iter().filter_map(|(key, it)| Some((it.until?, key.clone()))).collect();
    }

    /// The list in a snapshot.
    pub(crate) fn save(&self) -> Vec<Exception> {
        self.all.values().cloned().collect()
    }

    /// As it was saved; what no engine writes is left out.
    pub(crate) fn load(saved: Vec<Exception>) -> Self {
        let mut list = Self::default();
        for mut exception in saved {
            exception.network = exception.network.map(|network| network.trunc());
            let complete = match exception.kind {
                ExceptionKind::Paused => exception.network.is_none() && exception.jail.is_some(),
                ExceptionKind::Ignored | ExceptionKind::Suspected => exception.network.is_some(),
            };
            if complete {
                // Beyond the bound there is no more: an engine writes no such list.
                let _ = list.put(exception);
            }
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(host: u32, jail: Option<&str>, until: Option<Usec>) -> Exception {
        Exception {
            kind: ExceptionKind::Ignored,
            network: Some(std::net::IpAddr::from(host.to_be_bytes()).into()),
            jail: jail.map(Arc::from),
            since: 0,
            until,
            reason: "".into(),
            origin: "".into(),
            uid: None,
        }
    }

    #[test]
    fn exceptions_end_in_the_order_of_time_and_the_later_order_counts() {
        let mut list = Exceptions::default();
        list.put(ignored(1, None, Some(30))).unwrap();
        list.put(ignored(1, Some("sshd"), Some(20))).unwrap();
        list.put(ignored(2, None, None)).unwrap();
        list.put(ignored(1, None, Some(10))).unwrap();
        assert_eq!(list.deadline(), Some(10));
        list.shift(5);
        assert_eq!(list.next_ended(14), None);
        assert_eq!(list.next_ended(40).and_then(|it| it.until), Some(15));
        assert_eq!(list.next_ended(40).and_then(|it| it.jail), Some("sshd".into()));
        assert_eq!((list.next_ended(Usec::MAX), list.deadline()), (None, None));
        assert_eq!(Exceptions::load(list.save()).save(), list.save());
        assert_eq!(list.of(ExceptionKind::Ignored).count(), 1);
        assert_eq!(list.of(ExceptionKind::Paused).count() + list.of(ExceptionKind::Suspected).count(), 0);
    }

    #[test]
    fn there_is_a_bound_and_what_is_there_can_still_be_changed() {
        let mut list = Exceptions::default();
        let most = u32::try_from(MOST).unwrap();
        (0..most).for_each(|host| list.put(ignored(host, None, Some(9))).unwrap());
        assert_eq!(list.put(ignored(most, None, None)), Err(Full));
        assert_eq!(list.put(ignored(0, None, None)), Ok(()));
        let gone = list.take_gone(|_| false);
        assert!(gone.is_empty(), "they are for all jails");
        assert_eq!(list.all.len(), MOST);
    }
}
