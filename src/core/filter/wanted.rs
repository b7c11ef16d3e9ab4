//! What all filters together want of a record, by the beginning of its message.
//!
//! Every message is looked up here once, however many filters there are. To ask each filter takes few
//! instructions, but touches memory of each.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{Counts, Filter};

/// What will be wanted to be known of a record, as far as the beginning of its message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wants {
    /// When it was written: no rule reads it.
    Nothing,
    /// The fields that the filters ask for.
    Fields,
    /// These, and its cursor if several records may have its time: it announces what may be a failure.
    Announcement,
    /// These, and its cursor: it may show a failure.
    Evidence,
}

/// What a message begins with, and what is wanted of it then.
type Beginning = (Box<[u8]>, Wants);

/// What is wanted by the filter that wants most.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// For each first byte: the beginnings, those first of which most is wanted.
    by_first: Box<[Vec<Beginning>; 256]>,
    /// Of any message, also the empty one.
    any: Wants,
}

impl Wanted {
    /// By these filters.
    pub(crate) fn by<'f>(filters: impl IntoIterator<Item = &'f Filter>) -> Self {
        let mut most: BTreeMap<&[u8], Wants> = BTreeMap::new();
        for filter in filters {
            let rules =
                filter.dispatch.beginnings().map(|(beginning, rule)| (beginning, of(filter.rules[rule].counts)));
            let signs = filter.signs.iter().map(|sign| (&**sign, Wants::Fields));
            for (beginning, wants) in rules.chain(signs) {
                let known = most.entry(beginning).or_insert(wants);
                *known = wants.max(*known);
            }
        }
        let mut all = Self { by_first: Box::new([const { Vec::new() }; 256]), any: Wants::Nothing };
        for (beginning, wants) in most {
            match beginning.first() {
                Some(first) => all.by_first[usize::from(*first)].push((beginning.into(), wants)),
                None => all.any = wants,
            }
        }
        all.by_first.iter_mut().for_each(|list| list.sort_by_key(|(_, wants)| Reverse(*wants)));
        all
    }

    /// Of a record with this message.
    pub(crate) fn of(&self, message: &[u8]) -> Wants {
        let listed = message.first().map_or(&[][..], |first| &self.by_first[usize::from(*first)]);
        let found = listed.iter().find(|(beginning, _)| message.starts_with(beginning));
        found.map_or(self.any, |(_, wants)| self.any.max(*wants))
    }
}

/// Of a record that a rule reads.
fn of(counts: Counts) -> Wants {
    match counts {
        Counts::Failure | Counts::Evidence | Counts::Refusal => Wants::Evidence,
        Counts::Pending => Wants::Announcement,
        Counts::Success | Counts::Pardon | Counts::Nothing => Wants::Fields,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{filter::FilterText, record::Fields};

    fn filter(rules: &[(&str, &str)]) -> Filter {
        let mut text = "[records]\n_TRANSPORT = ['syslog']\n_UID = ['0']\nSYSLOG_IDENTIFIER = ['a']\n\
                        units = ['a.service']\n[message]\nsession = ['_BOOT_ID', '_PID']\n[modes]\nnormal = ['auth']\n"
            .to_owned();
        for (counts, pattern) in rules {
            let class = if ["failure", "evidence", "pending"].contains(counts) { "class = 'auth'\n" } else { "" };
            text += &format!("[[rule]]\nname = '{counts}'\n{class}counts = '{counts}'\npattern = '{pattern}'\n");
        }
        Filter::load("a", &[FilterText::new("filter.toml", text)], &mut Fields::default()).unwrap()
    }

    #[test]
    fn what_is_wanted_of_a_message_is_what_the_filter_wants_that_wants_most() {
        let one = filter(&[("failure", "Login from <ADDR> failed"), ("success", "Log in of <ADDR>")]);
        let two = filter(&[("success", "Login from <ADDR> allowed"), ("failure", "Bad <ADDR>")]);
        let (both, first) = (Wanted::by([&one, &two]), Wanted::by([&one]));
        for (message, of_both, of_first) in [
            ("Login from 192.0.2.1 allowed", Wants::Evidence, Wants::Evidence),
            ("Log in of 192.0.2.1", Wants::Fields, Wants::Fields),
            ("Bad 192.0.2.1", Wants::Evidence, Wants::Nothing),
            ("Lo", Wants::Nothing, Wants::Nothing),
            ("", Wants::Nothing, Wants::Nothing),
        ] {
            assert_eq!((both.of(message.as_bytes()), first.of(message.as_bytes())), (of_both, of_first), "{message}");
        }
        assert_eq!(Wanted::by([]).of(b"Bad 192.0.2.1"), Wants::Nothing);
    }

    #[test]
    fn less_is_wanted_of_a_message_that_only_announces_a_failure() {
        let rules = [("pending", "Checking <ADDR>"), ("failure", "Failed <ADDR>"), ("evidence", "Bad <ADDR>")];
        let wanted = Wanted::by([&filter(&rules)]);
        let of = ["Checking 192.0.2.1", "Failed 192.0.2.1", "Bad 192.0.2.1"].map(|it| wanted.of(it.as_bytes()));
        assert_eq!(of, [Wants::Announcement, Wants::Evidence, Wants::Evidence]);
    }

    #[test]
    fn a_longer_beginning_of_which_less_is_wanted_hides_no_shorter_one() {
        let (short, long) =
            (filter(&[("failure", "User <USER> at <ADDR>")]), filter(&[("success", "User is at <ADDR>")]));
        for order in [[&short, &long], [&long, &short]] {
            assert_eq!(Wanted::by(order).of(b"User is at 192.0.2.1"), Wants::Evidence);
        }
    }
}
