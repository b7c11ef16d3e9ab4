//! A window over the bans: those that somebody looks for, in an order, and of these some.

use std::ops::Range;

use ipnet::IpNet;

use crate::core::{
    bans::Ban,
    net::{parse_network, text_of},
    time::Usec,
};

/// Which bans are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) jail: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) matching: Option<Match>,
    /// Only those that began at this time or later, in µs.
    pub(crate) since: Option<Usec>,
    pub(crate) order: ListOrder,
    pub(crate) descending: bool,
    /// The number of bans to leave out at the beginning.
    pub(crate) offset: usize,
    /// The most bans; 0 for all.
    pub(crate) limit: usize,
}

/// By what bans are put in order; those that are alike in it, by their source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListOrder {
    #[default]
    Source,
    Since,
    Until,
    Failures,
}

impl ListOrder {
    /// Each with its word.
    pub(crate) const WORDS: [(&str, Self); 4] =
        [("source", Self::Source), ("since", Self::Since), ("until", Self::Until), ("failures", Self::Failures)];
}

/// What the source of a ban must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// It holds this address, or this network, or is inside of it.
    Network(IpNet),
    /// Its text begins with this.
    Text(String),
    /// Either: `2001:db8::` is an address, and the beginning of others.
    Both(IpNet, String),
}

impl Match {
    /// Reads what somebody looks for.
    pub(crate) fn read(text: &str) -> Self {
        match parse_network(text) {
            Ok(network) if text.ends_with(':') => Self::Both(network, text.to_lowercase()),
            Ok(network) => Self::Network(network),
            Err(_) => Self::Text(text.to_lowercase()),
        }
    }

    fn holds(&self, source: IpNet) -> bool {
        let meets = |network: &IpNet| source.contains(network) || network.contains(&source);
        match self {
            Self::Network(network) => meets(network),
            Self::Text(text) => text_of(source).starts_with(text.as_str()),
            Self::Both(network, text) => meets(network) || text_of(source).starts_with(text.as_str()),
        }
    }
}

/// What a window may take in an answer, about, in bytes: the bus takes no message of more than 32 MiB.
const LONGEST: usize = 16 << 20;
/// What a ban takes of that, without its reason.
const ROW: usize = 384;

impl Listing {
    /// The bans of the window, and the number of all that were looked for. `bans` come in the order of
    /// their sources. Of a long window, only the beginning is returned.
    pub(crate) fn of<'b>(&self, bans: impl Iterator<Item = &'b Ban>) -> (Vec<&'b Ban>, usize) {
        let found: Vec<&Ban> = bans.filter(|ban| self.is_wanted(ban)).collect();
        let total = found.len();
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let end = self.offset.saturating_add(limit).min(total);
        let window = self.offset.min(end)..end;
        let mut room = LONGEST;
        let places = self.places(&found, window).into_iter();
        let window = places.map(|place| found[place]).take_while(|ban| {
            let fits = room > 0;
            room = room.saturating_sub(ROW + ban.reason.as_deref().map_or(0, str::len));
            fits
        });
        (window.collect(), total)
    }

    /// Where in `found` the bans of a window are. The others are left out of order: somebody who looks at a
    /// hundred thousand bans sees fifty of them.
    fn places(&self, found: &[&Ban], window: Range<usize>) -> Vec<usize> {
        // A permanent ban ends last.
        let key = |ban: &Ban| match self.order {
            ListOrder::Source => 0,
            ListOrder::Since => ban.since,
            ListOrder::Until => ban.until.unwrap_or(Usec::MAX),
            ListOrder::Failures => ban.failures.kinds().0 as Usec,
        };
        match (self.order, self.descending) {
            (ListOrder::Source, false) => return window.collect(),
            (ListOrder::Source, true) => return window.map(|place| found.len() - 1 - place).collect(),
            _ => {}
        }
        let ranked = found.iter().map(|ban| if self.descending { !key(ban) } else { key(ban) });
        let mut ranked: Vec<(Usec, usize)> = ranked.zip(0..).collect();
        if window.end < ranked.len() {
            ranked.select_nth_unstable(window.end);
            ranked.truncate(window.end);
        }
        if window.start < ranked.len() {
            ranked.select_nth_unstable(window.start);
        }
        let wanted = &mut ranked[window.start..];
        wanted.sort_unstable();
        wanted.iter().map(|(_, place)| *place).collect()
    }

    fn is_wanted(&self, ban: &Ban) -> bool {
        self.jail.as_ref().is_none_or(|jail| **jail == *ban.jail)
            && self.origin.as_ref().is_none_or(|origin| *origin == ban.origin.word())
            && self.since.is_none_or(|since| ban.since >= since)
            && self.matching.as_ref().is_none_or(|matching| matching.holds(ban.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{bans::Origin, failure::Failures};

    #[test]
    fn a_window_is_no_longer_than_an_answer_may_be() {
        let ban = Ban { reason: Some("x".repeat(1024).into()), ..bans().remove(0) };
        let all = vec![ban; 20_000];
        let (mut listed, mut pages) = (0, 0);
        while listed < all.len() {
            let (window, total) = Listing { offset: listed, ..Listing::default() }.of(all.iter());
            assert_eq!(total, all.len());
            assert!(!window.is_empty() && window.len() * (ROW + 1024) <= LONGEST + ROW + 1024);
            (listed, pages) = (listed + window.len(), pages + 1);
        }
        assert_eq!((listed, pages), (all.len(), 2));
    }

    fn bans() -> Vec<Ban> {
        let ban = |source: &str, jail: &str, since, until, origin| Ban {
            jail: jail.into(),
            source: parse_network(source).unwrap(),
            since,
            until,
            count: 1,
            failures: Failures::default(),
            reason: None,
            origin,
            ordered: None,
            despite: None,
            suspected: false,
        };
        vec![
            ban("198.51.100.0/24", "sshd", 3, None, Origin::Admin),
            ban("203.0.113.7", "sshd", 1, Some(30), Origin::Jail),
            ban("203.0.113.70", "fleet", 2, Some(20), Origin::Fleet),
            ban("2001:db8::/64", "sshd", 4, Some(10), Origin::Jail),
            ban("2001:db8:0:1::/64", "sshd", 4, Some(10), Origin::Jail),
        ]
    }

    fn found(listing: &Listing) -> (Vec<String>, usize) {
        let bans = bans();
        let (window, total) = listing.of(bans.iter());
        (window.into_iter().map(|ban| text_of(ban.source)).collect(), total)
    }

    #[test]
    fn a_search_finds_what_holds_an_address_what_is_in_a_network_and_what_begins_alike() {
        for (text, sources) in [
            ("203.0.113.7", &["203.0.113.7"][..]),
            ("198.51.100.9", &["198.51.100.0/24"]),
            ("203.0.113.0/24", &["203.0.113.7", "203.0.113.70"]),
            ("198.51.0.0/16", &["198.51.100.0/24"]),
            ("203.0.113.", &["203.0.113.7", "203.0.113.70"]),
            ("203.0.113.71", &[]),
            ("2001:DB8:", &["2001:db8::/64", "2001:db8:0:1::/64"]),
            ("2001:db8::", &["2001:db8::/64"]),
            ("2001:db8:0:1::7", &["2001:db8:0:1::/64"]),
            ("::ffff:203.0.113.7", &["203.0.113.7"]),
            ("", &["198.51.100.0/24", "203.0.113.7", "203.0.113.70", "2001:db8::/64", "2001:db8:0:1::/64"]),
        ] {
            let listing = Listing { matching: Some(Match::read(text)), ..Listing::default() };
            assert_eq!(found(&listing).0, sources, "{text}");
        }
    }

    #[test]
    fn each_window_is_a_part_of_the_whole_order() {
        let ban = bans().remove(0);
        let all: Vec<Ban> = (0..97u64)
            .map(|number| Ban {
                since: number * 31 % 10,
                until: (number % 7 > 0).then_some(number * 17 % 5),
                count: u32::try_from(number).unwrap(),
                ..ban.clone()
            })
            .collect();
        for order in ListOrder::WORDS.map(|(_, order)| order) {
            for descending in [false, true] {
                let listing = |offset, limit| Listing { order, descending, offset, limit, ..Listing::default() };
                let (whole, _) = listing(0, 0).of(all.iter());
                // Bans that are alike in the order are in that of their sources, whatever its direction.
                let key = |ban: &Ban| match order {
                    ListOrder::Since => ban.since,
                    ListOrder::Until => ban.until.unwrap_or(Usec::MAX),
                    ListOrder::Source | ListOrder::Failures => 0,
                };
                let mut naive: Vec<&Ban> = all.iter().collect();
                match (order, descending) {
                    (ListOrder::Source, true) => naive.reverse(),
                    (_, true) => naive.sort_by_key(|ban| std::cmp::Reverse(key(ban))),
                    (_, false) => naive.sort_by_key(|ban| key(ban)),
                }
                assert_eq!(whole, naive, "{order:?} {descending}");
                for (offset, limit) in
                    [(0, 1), (0, 50), (50, 50), (96, 1), (96, 50), (97, 5), (200, 5), (3, 94), (90, 0)]
                {
                    let (window, total) = listing(offset, limit).of(all.iter());
                    let end = if limit == 0 { 97 } else { (offset + limit).min(97) };
                    assert_eq!((&*window, total), (&whole[offset.min(end)..end], 97), "{order:?} {offset} {limit}");
                }
            }
        }
    }

    #[test]
    fn a_window_has_an_order_and_says_how_many_there_are() {
        let by = |order, descending| found(&Listing { order, descending, limit: 2, ..Listing::default() });
        assert_eq!(by(ListOrder::Source, false), (vec!["198.51.100.0/24".to_owned(), "203.0.113.7".to_owned()], 5));
        assert_eq!(by(ListOrder::Since, false).0, ["203.0.113.7", "203.0.113.70"]);
        assert_eq!(by(ListOrder::Until, true).0, ["198.51.100.0/24", "203.0.113.7"]);
        assert_eq!(by(ListOrder::Until, false).0, ["2001:db8::/64", "2001:db8:0:1::/64"]);
        let last = Listing { offset: 4, ..Listing::default() };
        assert_eq!(found(&last), (vec!["2001:db8:0:1::/64".to_owned()], 5));
        let of_jail = Listing { jail: Some("fleet".to_owned()), ..Listing::default() };
        assert_eq!(found(&of_jail), (vec!["203.0.113.70".to_owned()], 1));
        let of_admins = Listing { origin: Some("admin".to_owned()), since: Some(3), ..Listing::default() };
        assert_eq!(found(&of_admins), (vec!["198.51.100.0/24".to_owned()], 1));
        assert_eq!(found(&Listing { since: Some(5), offset: 9, ..Listing::default() }), (vec![], 0));
    }
}
