//! Who is never banned, and which line says so.
//!
//! An admin may have a hundred thousand entries, and each failure and each ban is held against them.
//! So a list is sorted once, when the configuration is read, and then only searched; what it holds
//! is shared by all jails that have it.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::core::net::Translators;

/// An entry that holds a shorter IPv4 prefix than this means the translator, and not all that is
/// behind it.
const WIDEST: u8 = 8;

/// A network that may never be banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ignored {
    /// The network, or the one address.
    pub(crate) network: IpNet,
    /// What says so: `FILE:LINE: ignoreip = "…"`, as a person may look it up.
    pub(crate) because: Cow<'static, str>,
}

/// A name whose addresses may never be banned; they have to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostName {
    /// The name.
    pub(crate) name: String,
    /// As in [`Ignored`].
    pub(crate) because: Cow<'static, str>,
}

impl From<IpNet> for Ignored {
    fn from(network: IpNet) -> Self {
        Self { network, because: Cow::Borrowed("ignoreip") }
    }
}

/// Networks that may never be banned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IgnoreList {
    /// What was named in one place each: a jail's own, and what it shares with other jails.
    parts: Vec<Arc<Part>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Part {
    /// In the order in which they were written.
    listed: Vec<Ignored>,
    /// Networks in order, none inside another, each with its place in `listed`. One that holds IPv4
    /// addresses is there in both forms.
    index: Vec<(IpNet, usize)>,
}

impl Part {
    fn new(listed: Vec<Ignored>, translators: &Translators) -> Self {
        let mut index: Vec<(IpNet, usize)> = Vec::with_capacity(listed.len());
        for (place, ignored) in listed.iter().enumerate() {
            let held = translators.held(ignored.network).filter(|held| held.prefix_len() >= WIDEST);
            index.push((ignored.network.trunc(), place));
            index.extend(held.map(|held| (held.into(), place)));
        }
        // A network comes before all that it contains.
        index.sort_unstable();
        index.dedup_by(|next, kept| kept.0.contains(&next.0));
        Self { listed, index }
    }

    /// The entry that holds a whole network.
    fn around(&self, network: IpNet) -> Option<&Ignored> {
        let behind = self.index.partition_point(|(listed, _)| *listed <= network);
        let (listed, place) = self.index.get(behind.checked_sub(1)?)?;
        if listed.contains(&network) { self.listed.get(*place) } else { None }
    }

    /// An entry that a network holds.
    fn inside(&self, network: IpNet) -> Option<&Ignored> {
        let first = self.index.partition_point(|(listed, _)| *listed < network);
        let (listed, place) = self.index.get(first)?;
        if network.contains(listed) { self.listed.get(*place) } else { None }
    }
}

impl IgnoreList {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.listed.len()).sum()
    }

    /// Whether there is no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// A list of these, with the IPv4 addresses that stand behind translators.
    pub(crate) fn new(entries: Vec<Ignored>, translators: &Translators) -> Self {
        let parts = if entries.is_empty() { Vec::new() } else { vec![Arc::new(Part::new(entries, translators))] };
        Self { parts }
    }

    /// This list and another one.
    #[must_use]
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self { parts: self.parts.iter().chain(&other.parts).map(Arc::clone).collect() }
    }

    /// The networks that are in only one of two lists.
    pub(crate) fn differing(&self, other: &Self) -> Vec<IpNet> {
        let networks = |list: &Self| list.iter().map(|ignored| ignored.network).collect::<BTreeSet<_>>();
        networks(self).symmetric_difference(&networks(other)).copied().collect()
    }

    /// All entries, as they were written.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Ignored> {
        self.parts.iter().flat_map(|part| &part.listed)
    }

    /// The entry that holds an address.
    pub(crate) fn holds(&self, address: IpAddr) -> Option<&Ignored> {
        self.parts.iter().find_map(|part| part.around(address.into()))
    }

    /// An entry that has an address in common with a network.
    pub(crate) fn overlaps(&self, network: IpNet) -> Option<&Ignored> {
        let network = network.trunc();
        self.parts.iter().find_map(|part| part.around(network).or_else(|| part.inside(network)))
    }

    /// Whether an entry lies inside a network, or is that network.
    pub(crate) fn has_within(&self, network: IpNet) -> bool {
        let network = network.trunc();
        self.parts.iter().any(|part| part.inside(network).is_some())
    }
}

impl FromIterator<Ignored> for IgnoreList {
    fn from_iter<T: IntoIterator<Item = Ignored>>(entries: T) -> Self {
        Self::new(entries.into_iter().collect(), &Translators::default())
    }
}

impl From<Vec<Ignored>> for IgnoreList {
    fn from(entries: Vec<Ignored>) -> Self {
        Self::new(entries, &Translators::default())
    }
}

/// RFC 1122 §3.2.1.3 and RFC 4291 §2.5.3.
pub(super) const LOOPBACK: [Ignored; 2] = [
    Ignored {
        network: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
        because: Cow::Borrowed("loopback is never banned"),
    },
    Ignored {
        network: IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
        because: Cow::Borrowed("loopback is never banned"),
    },
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(networks: &[IpNet]) -> IgnoreList {
        networks.iter().map(|network| Ignored::from(*network)).collect()
    }

    /// Networks that often lie in each other.
    fn network() -> impl Strategy<Value = IpNet> {
        let bits = prop::sample::select(vec![0_u128, 1, 2, 3, 7, 8, 9, 127, 128, 255]);
        (bits, 0_u8..9, any::<bool>()).prop_map(|(bits, short, old)| {
            let (address, longest) = if old {
                (IpAddr::from(Ipv4Addr::from(u32::try_from(bits).unwrap() << 24 | 1)), 32)
            } else {
                (IpAddr::from(Ipv6Addr::from(bits << 120 | 1)), 128)
            };
            let length = if short == 8 { longest } else { short + 1 };
            IpNet::new(address, length).unwrap().trunc()
        })
    }

    proptest! {
        #[test]
        fn a_search_finds_what_looking_at_each_entry_finds(
            one in prop::collection::vec(network(), 0..8),
            two in prop::collection::vec(network(), 0..3),
            asked in network(),
        ) {
            let both = list(&one).and(&list(&two));
            let all: Vec<IpNet> = one.iter().chain(&two).copied().collect();
            prop_assert_eq!(both.iter().map(|it| it.network).collect::<Vec<_>>(), all.clone());
            let address = asked.addr();
            let holding = both.holds(address);
            prop_assert_eq!(holding.is_some(), all.iter().any(|it| it.contains(&address)));
            prop_assert!(holding.is_none_or(|it| it.network.contains(&address)));
            let meets = |it: &IpNet| it.contains(&asked) || asked.contains(it);
            let overlapping = both.overlaps(asked);
            prop_assert_eq!(overlapping.is_some(), all.iter().any(meets));
            prop_assert!(overlapping.is_none_or(|it| meets(&it.network)));
            let within = all.iter().any(|it| asked.contains(it)) && !all.iter().any(|it| *it != asked && it.contains(&asked));
            prop_assert!(!within || both.has_within(asked));
            prop_assert!(!both.has_within(asked) || all.iter().any(|it| asked.contains(it)));
        }
    }

    #[test]
    fn the_line_that_says_so_is_kept() {
        let entry =
            |network: &str, line: &'static str| Ignored { network: network.parse().unwrap(), because: line.into() };
        let shared: IgnoreList = vec![entry("198.51.100.0/24", "a:1"), entry("203.0.113.7/32", "a:2")].into();
        let jail = shared.and(&vec![entry("192.0.2.1/32", "b:1"), entry("203.0.113.7/32", "b:2")].into());
        let because = |address: &str| jail.holds(address.parse().unwrap()).map(|ignored| &*ignored.because);
        assert_eq!(because("198.51.100.9"), Some("a:1"));
        assert_eq!(because("203.0.113.7"), Some("a:2"));
        assert_eq!(because("192.0.2.1"), Some("b:1"));
        assert_eq!(because("192.0.2.2"), None);
    }
}
