//! The jails, with what is known of all of them at one place: which may read a record, and when each has
//! something to do next.
//!
//! Of many jails, one has an interest in a record, and few have something to do. To ask each for it takes
//! few instructions, but touches memory of each for every record.

use std::{collections::HashMap, net::IpAddr, ops::Deref};

use crate::core::{
    filter::RecordMatch,
    jail::Jail,
    record::{FieldId, Record},
    time::Usec,
};

/// All jails, in their order.
#[derive(Debug, Default)]
pub(super) struct Jails {
    all: Vec<Jail>,
    /// When each has something to do next, [`NEVER`] if nothing; none, if it may have changed.
    due: Vec<Option<Usec>>,
    interests: Interests,
}

/// Later than anything.
const NEVER: Usec = Usec::MAX;

impl Jails {
    /// Mutable access to one of them.
    pub(super) fn at(&mut self, index: usize) -> &mut Jail {
        self.due[index] = None;
        &mut self.all[index]
    }

    /// Mutable access to all.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Jail> {
        self.due.fill(None);
        self.all.iter_mut()
    }

    /// Those whose bans others decide. They learn from the others who has logged in.
    pub(super) fn that_read_nothing(&mut self) -> impl Iterator<Item = &mut Jail> {
        self.all.iter_mut().filter(|jail| jail.settings.filter.is_none())
    }

    /// Tells those that read nothing who has logged in, as far as the others know.
    pub(super) fn share_logins(&mut self) {
        let logins: Vec<(IpAddr, Usec)> = self.all.iter().flat_map(Jail::logins).collect();
        for jail in self.that_read_nothing() {
            for (address, time) in &logins {
                jail.log_in(*address, *time);
            }
        }
    }

    pub(super) fn into_vec(self) -> Vec<Jail> {
        self.all
    }

    /// Puts the places of those into `asked` that may read a record.
    pub(super) fn interested(&self, record: &Record, asked: &mut Vec<usize>) {
        self.interests.of(record, asked);
    }

    /// When one of them has something to do next.
    pub(super) fn due(&mut self) -> Option<Usec> {
        for (due, jail) in self.due.iter_mut().zip(&self.all) {
            due.get_or_insert_with(|| jail.deadline().unwrap_or(NEVER));
        }
        self.due.iter().flatten().copied().min().filter(|due| *due < NEVER)
    }

    /// Whether one of them has something to do by `now`.
    pub(super) fn is_due(&self, index: usize, now: Usec) -> bool {
        self.due[index].or_else(|| self.all[index].deadline()).is_some_and(|due| due <= now)
    }
}

impl Deref for Jails {
    type Target = [Jail];

    fn deref(&self) -> &[Jail] {
        &self.all
    }
}

impl From<Vec<Jail>> for Jails {
    fn from(all: Vec<Jail>) -> Self {
        Self { due: vec![None; all.len()], interests: Interests::of_all(&all), all }
    }
}

/// The values of a field, each with the jails that read it.
type Readers = HashMap<Box<[u8]>, Vec<usize>>;

/// Which jails may read a record, by the value of one field.
#[derive(Debug, Default)]
struct Interests {
    /// By a field that each record of a kind must hold: its values, with the jails that read them.
    by_field: Vec<(FieldId, Readers)>,
    /// To be asked in any case.
    always: Vec<usize>,
}

impl Interests {
    fn of_all(jails: &[Jail]) -> Self {
        // A single one finds it out by itself as soon.
        if let [_] = jails {
            return Self { always: vec![0], ..Self::default() };
        }
        let mut interests = Self::default();
        for (index, jail) in jails.iter().enumerate() {
            let kinds: Option<Vec<_>> = jail.settings.filter.records.kinds().map(RecordMatch::telling).collect();
            let Some(kinds) = kinds else {
                interests.always.push(index);
                continue;
            };
            for (field, values) in kinds {
                for value in values {
                    interests.add(field, value, index);
                }
            }
        }
        interests
    }

    fn add(&mut self, field: FieldId, value: &str, index: usize) {
        let place = self.by_field.iter().position(|(known, _)| *known == field).unwrap_or_else(|| {
            self.by_field.push((field, Readers::new()));
            self.by_field.len() - 1
        });
        self.by_field[place].1.entry(value.as_bytes().into()).or_default().push(index);
    }

    fn of(&self, record: &Record, asked: &mut Vec<usize>) {
        asked.extend(&self.always);
        let values = self.by_field.iter().filter_map(|(field, known)| known.get(record.get(*field)?));
        values.for_each(|jails| asked.extend(jails));
        // Those of several kinds come more than once.
        asked.sort_unstable();
        asked.dedup();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        config::Settings,
        core::{
            cursor::Cursor,
            filter::{Claim, Filter, FilterText},
            record::Fields,
        },
    };

    /// Jails with filters of these `[records]`.
    fn jails(records: &[&str], fields: &mut Fields) -> Jails {
        let settings = Settings::load(&[]).unwrap();
        let jail = |(number, records): (usize, &&str)| {
            let text = format!(
                "{records}\n[message]\nsession = ['_BOOT_ID', '_PID']\n[modes]\nnormal = ['auth']\n[[rule]]\n\
                 name = 'failed'\nclass = 'auth'\ncounts = 'failure'\npattern = 'Failed from <ADDR>'\n"
            );
            let filter = Filter::load("test", &[FilterText::new("test.toml", text)], fields).unwrap();
            let mut settings = settings.jails[0].clone();
            settings.name = number.to_string();
            settings.filter = Arc::new(filter);
            Jail::new(settings)
        };
        records.iter().enumerate().map(jail).collect::<Vec<_>>().into()
    }

    #[test]
    fn all_are_asked_that_claim_a_record_and_few_others() {
        let mut fields = Fields::default();
        let jails = jails(
            &[
                "[records]\n_UID = ['0']\nSYSLOG_IDENTIFIER = ['one', 'both']\nunits = ['one.service']",
                "[records]\n_UID = ['0']\nSYSLOG_IDENTIFIER = ['two', 'both']\nunits = ['two.service']",
                "[records]\n_SYSTEMD_UNIT = ['three@*.service']\n_TRANSPORT = ['syslog']",
                "[records]\n_UID = ['0']\n[records.first]\nSYSLOG_IDENTIFIER = ['four']\nunits = ['four.service']\n\
                 [records.second]\n_COMM = ['four']\nSYSLOG_IDENTIFIER = ['both']\nunits = ['four.service']",
                "[records]\n_SYSTEMD_UNIT = ['five@*.service']",
            ],
            &mut fields,
        );
        let asked = |values: &[(&str, &str)]| {
            let record = Record::with(&fields, 1, Cursor::from("c"), values.iter().copied());
            let mut asked = Vec::new();
            jails.interested(&record, &mut asked);
            for (index, jail) in jails.iter().enumerate() {
                let claims = jail.settings.filter.records.claim(&record) != Claim::No;
                assert!(!claims || asked.contains(&index), "{index} claims {values:?}");
            }
            asked
        };
        let of = |name| [("SYSLOG_IDENTIFIER", name), ("_UID", "0"), ("_COMM", "four")];
        assert_eq!(asked(&of("one")), [0, 4], "a filter of which only a glob is known is always asked");
        assert_eq!(asked(&of("two")), [1, 4]);
        assert_eq!(asked(&of("four")), [3, 4]);
        assert_eq!(asked(&of("both")), [0, 1, 3, 4]);
        assert_eq!(asked(&of("none")), [4]);
        assert_eq!(asked(&[("_SYSTEMD_UNIT", "three@1.service"), ("_TRANSPORT", "syslog")]), [2, 4]);
        assert_eq!(asked(&[("_SYSTEMD_UNIT", "five@1.service"), ("_TRANSPORT", "journal")]), [4]);
        assert_eq!(asked(&[]), [4]);
    }

    #[test]
    fn what_is_due_is_found_out_again_of_those_that_may_have_changed() {
        let mut fields = Fields::default();
        let records = "[records]\n_UID = ['0']\nSYSLOG_IDENTIFIER = ['one']\nunits = ['one.service']";
        let mut jails = jails(&[records, records], &mut fields);
        assert_eq!(jails.due(), None);
        let values = [("SYSLOG_IDENTIFIER", "one"), ("_UID", "0"), ("_SYSTEMD_UNIT", "one.service"), ("_PID", "7")];
        let values = values.into_iter().chain([("_BOOT_ID", "b"), ("MESSAGE", "Failed from 192.0.2.1")]);
        let record = Record::with(&fields, 1_000, Cursor::from("c"), values);
        assert!(jails.at(1).observe(&record, &Cursor::default, 1_000, 1_000, &mut Vec::new()));
        let due = jails.due();
        assert!(due.is_some() && due == jails[1].deadline());
        assert!(jails.is_due(1, due.unwrap()) && !jails.is_due(0, due.unwrap()));
        jails.iter_mut().for_each(|jail| jail.shift(500));
        assert_eq!(jails.due(), due.map(|due| due + 500));
    }
}
