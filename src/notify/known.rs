//! What a handler has received already, so that it receives it once.
//!
//! wardend that was killed writes some of its records again, with the same facts; their keys say so.
//! A problem is reported when it begins, when it changes and when it is solved, and not at each restart
//! at which it is still there. Pure: no clock, no file.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fmt::Write as _,
};

use serde::{Deserialize, Serialize};

use super::event::{Event, Meaning, SERVICE, gone_with_restart};
use crate::{
    contract::{
        event::COMES_BACK,
        journal::{BAN, LIST_TAKEN},
    },
    core::time::Usec,
    journal::own_records::{OwnRecord, STARTED},
    util::fnv,
};

/// The number of keys that are remembered.
const MOST: usize = 10_000;
/// The bans of a list that is no longer than this are reported one by one, as somebody gave them to
/// wardenctl.
const SHORT: u64 = 20;

/// The last keys, as hashes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Keys {
    order: VecDeque<u64>,
    set: HashSet<u64>,
}

impl Keys {
    /// Remembers a key. False, if it was known.
    pub(crate) fn add(&mut self, key: &str) -> bool {
        self.add_hash(fnv::add(fnv::START, key.as_bytes()))
    }

    fn add_hash(&mut self, hash: u64) -> bool {
        if !self.set.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }

    /// As text: 16 digits each.
    pub(crate) fn pack(&self) -> String {
        self.order.iter().fold(String::new(), |mut text, hash| {
            let _ = write!(text, "{hash:016x}");
            text
        })
    }

    /// Of what [`Self::pack`] has written; what is not a hash is left out.
    pub(crate) fn unpack(text: &str) -> Self {
        let mut keys = Self::default();
        for chunk in text.as_bytes().chunks(16) {
            if let Some(hash) = std::str::from_utf8(chunk).ok().and_then(|hash| u64::from_str_radix(hash, 16).ok()) {
                keys.add_hash(hash);
            }
        }
        keys
    }
}

/// The bans of a list, which is one event: wardend writes a record for the list, and after it one for each
/// ban that begins with it, all of the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lists {
    left: u64,
    origin: String,
    since: Option<u64>,
}

impl Lists {
    /// Whether a record is not to be reported: one about a ban of a list, or about a list that is so short
    /// that its bans are.
    pub(crate) fn covers(&mut self, record: &OwnRecord) -> bool {
        match record.get("MESSAGE_ID") {
            LIST_TAKEN => {
                let left = record.number("WARDEND_BANS").unwrap_or(0);
                let is_short = (1..=SHORT).contains(&left);
                let left = if is_short { 0 } else { left };
                *self = Self { left, origin: record.get("WARDEND_ORIGIN").to_owned(), since: None };
                is_short
            }
            // What was not written before wardend ended comes no more.
            STARTED => {
                *self = Self::default();
                false
            }
            BAN if self.left > 0 && record.get("WARDEND_ORIGIN") == self.origin => {
                let since = record.number("WARDEND_SINCE");
                if self.since.is_some() && self.since != since {
                    *self = Self::default();
                    return false;
                }
                (self.since, self.left) = (since, self.left - 1);
                true
            }
            _ => false,
        }
    }
}

/// A problem that was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    what: String,
    /// wardend has been restarted then, and has not said since that the problem is there.
    doubtful: Option<Usec>,
}

/// The problems that were told and not yet solved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problems(BTreeMap<String, Told>);

impl Problems {
    /// What there is to tell of a record; nothing, if it was told.
    pub(crate) fn filter(&mut self, meaning: Meaning, time: Usec) -> Option<Event> {
        match meaning {
            Meaning::None => None,
            Meaning::Event(event) => Some(event),
            Meaning::Failed(_) if self.0.contains_key(SERVICE) => None,
            Meaning::Failed(event) => self.filter(Meaning::Problem(SERVICE.to_owned(), event), time),
            Meaning::Problem(kind, event) => {
                let what = event.fields.get("message").and_then(|text| text.as_str()).unwrap_or_default().to_owned();
                let known = self.0.insert(kind, Told { what: what.clone(), doubtful: None });
                known.is_none_or(|known| known.what != what).then_some(event)
            }
            Meaning::Solved(kind, event) => self.0.remove(&kind).map(|_| event),
            Meaning::Started(event) => {
                let over = self.0.remove(SERVICE);
                for told in self.0.values_mut() {
                    told.doubtful = Some(time);
                }
                over.map(|_| event)
            }
        }
    }

    /// The problems that a restart of wardend has solved: all has been read up to `now`.
    pub(crate) fn gone(&mut self, now: Usec) -> Vec<Event> {
        let gone = |told: &Told| told.doubtful.is_some_and(|since| now.saturating_sub(since) >= COMES_BACK);
        let kinds: Vec<String> = self.0.iter().filter(|(_, told)| gone(told)).map(|(kind, _)| kind.clone()).collect();
        kinds
            .into_iter()
            .map(|kind| {
                self.0.remove(&kind);
                gone_with_restart(&kind, now)
            })
            .collect()
    }

    /// When [`Self::gone`] may have something to say at the earliest.
    pub(crate) fn next(&self) -> Option<Usec> {
        self.0.values().filter_map(|told| told.doubtful).min().map(|since| since + COMES_BACK)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        contract::journal::{PROBLEM, PROBLEM_GONE, REFUSED},
        journal::own_records::FAILED,
        notify::event::meaning,
    };

    fn read(problems: &mut Problems, id: &str, message: &str, time: Usec) -> bool {
        let fields = [("MESSAGE_ID", id), ("MESSAGE", message), ("WARDEND_PROBLEM", "journal")];
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        problems.filter(meaning(&OwnRecord { time, fields }, false), time).is_some()
    }

    #[test]
    fn a_problem_is_reported_when_it_begins_changes_and_ends_and_not_at_a_restart() {
        let mut problems = Problems::default();
        assert!(read(&mut problems, PROBLEM, "The journal can't be read.", 1));
        assert!(!read(&mut problems, STARTED, "Started.", 2));
        assert!(!read(&mut problems, PROBLEM, "The journal can't be read.", 3));
        assert!(problems.gone(4 + 10 * COMES_BACK).is_empty(), "it has come back");
        assert!(read(&mut problems, PROBLEM, "The journal is gone.", 5));
        assert!(read(&mut problems, PROBLEM_GONE, "Solved.", 6));
        assert!(!read(&mut problems, PROBLEM_GONE, "Solved.", 7), "nobody knew of it");
        assert!(read(&mut problems, PROBLEM, "The journal is gone.", 8), "it has begun again");
    }

    #[test]
    fn that_wardend_does_not_run_is_reported_once_with_its_reason_and_so_is_that_it_runs_again() {
        let mut problems = Problems::default();
        assert!(!read(&mut problems, STARTED, "Started.", 1), "nobody thought otherwise");
        assert!(read(&mut problems, FAILED, "Failed with result 'signal'.", 2));
        assert!(read(&mut problems, REFUSED, "It can't start.", 3), "now there is a reason");
        for time in 4..8 {
            assert!(!read(&mut problems, FAILED, "Failed with result 'exit-code'.", time));
            assert!(!read(&mut problems, REFUSED, "It can't start.", time));
        }
        assert!(read(&mut problems, STARTED, "Started.", 9) && !read(&mut problems, STARTED, "Started.", 10));
    }

    #[test]
    fn a_problem_that_a_restart_has_solved_is_reported_as_solved() {
        let mut problems = Problems::default();
        read(&mut problems, PROBLEM, "The journal can't be read.", 1);
        read(&mut problems, STARTED, "Started.", 2);
        assert_eq!(problems.next(), Some(2 + COMES_BACK));
        assert!(problems.gone(1 + COMES_BACK).is_empty());
        let gone = problems.gone(2 + COMES_BACK);
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].fields["event"], "healthy");
        assert!(problems.gone(3 + COMES_BACK).is_empty() && problems.next().is_none());
    }

    #[test]
    fn the_bans_of_a_list_are_one_event_and_others_are_not_among_them() {
        let record = |id: &str, origin: &str, since: &str, bans: &str| {
            let fields =
                [("MESSAGE_ID", id), ("WARDEND_ORIGIN", origin), ("WARDEND_SINCE", since), ("WARDEND_BANS", bans)];
            let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            OwnRecord { time: 1, fields }
        };
        let mut lists = Lists::default();
        assert!(!lists.covers(&record(BAN, "admin", "1", "")));
        assert!(!lists.covers(&record(LIST_TAKEN, "admin", "", "21")));
        assert!(!lists.covers(&record(BAN, "jail", "2", "")), "a jail bans meanwhile");
        assert!((0..21).all(|_| lists.covers(&record(BAN, "admin", "3", ""))));
        assert!(!lists.covers(&record(BAN, "admin", "3", "")), "the list is over");
        lists.covers(&record(LIST_TAKEN, "admin", "", "50"));
        assert!(lists.covers(&record(BAN, "admin", "4", "")) && !lists.covers(&record(BAN, "admin", "5", "")));
        assert!(!lists.covers(&record(BAN, "admin", "4", "")), "another ban has come, so the rest does not");
        lists.covers(&record(LIST_TAKEN, "admin", "", "50"));
        lists.covers(&record(STARTED, "", "", ""));
        assert!(!lists.covers(&record(BAN, "admin", "6", "")));
        assert!(lists.covers(&record(LIST_TAKEN, "admin", "", "3")), "its bans are reported instead");
        assert!(!lists.covers(&record(BAN, "admin", "7", "")));
    }

    proptest! {
        #[test]
        fn keys_are_reported_once_and_survive_packing(texts in proptest::collection::vec("[a-z]{1,3}", 0..300)) {
            let mut keys = Keys::default();
            let mut model = std::collections::BTreeSet::new();
            for text in &texts {
                prop_assert_eq!(keys.add(text), model.insert(text.clone()));
            }
            let mut again = Keys::unpack(&keys.pack());
            prop_assert_eq!(&again, &keys);
            prop_assert!(texts.iter().all(|text| !again.add(text)));
        }
    }

    #[test]
    fn keys_are_bounded_and_the_oldest_goes_first() {
        let mut keys = Keys::default();
        for number in 0..=MOST {
            assert!(keys.add(&number.to_string()));
        }
        assert_eq!((keys.order.len(), keys.set.len()), (MOST, MOST));
        assert!(!keys.add(&MOST.to_string()) && keys.add("0"));
    }
}
