//! The settings of a jail, and what follows from them alone: who is never banned, and what an address
//! is counted and banned as.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;

use super::{
    ignore::{self, HostName, IgnoreList, Ignored},
    licence::{self, Limit},
    own::Own,
    subnet::{Rules, Width},
    window::LATE,
};
use crate::core::{
    filter::Filter,
    net::{Prefixes, Translators, source_of},
    scope::Scope,
    time::Usec,
};

/// The settings of a jail, checked.
#[derive(Clone, Debug)]
pub(crate) struct JailSettings {
    /// Its name, as in `[jail.NAME]`.
    pub(crate) name: String,
    /// The filter that it reads with.
    pub(crate) filter: Arc<Filter>,
    /// The classes of rules that it counts.
    pub(crate) classes: Vec<String>,
    /// The number of failures that lead to a ban.
    pub(crate) maxretry: u32,
    /// The time window in which they count, in µs.
    pub(crate) findtime: Usec,
    /// The duration of the first ban, in µs; none if permanent.
    pub(crate) bantime: Option<Usec>,
    /// The factor by which each further ban of a source lasts longer.
    pub(crate) bantime_factor: u32,
    /// The upper limit of that, in µs.
    pub(crate) bantime_max: Option<Usec>,
    /// The most that is added at random, in µs, so that nobody knows when to come back.
    pub(crate) bantime_jitter: Usec,
    /// The time in µs without a ban after which the history of a source is forgotten.
    pub(crate) forget: Usec,
    /// Never banned.
    pub(crate) ignoreip: IgnoreList,
    /// Names whose addresses are never banned; the caller resolves them.
    pub(crate) names: Arc<[HostName]>,
    /// What the names mean at the moment.
    pub(crate) resolved: IgnoreList,
    /// Never banned for as long as an admin has ordered it; the engine provides them.
    pub(crate) excepted: IgnoreList,
    /// Banned for their first failure; the engine provides them.
    pub(crate) suspected: IgnoreList,
    /// The addresses of the machine itself; the caller provides them.
    pub(crate) own: Arc<Own>,
    /// The time, in µs, for which a source is not banned after a login from there.
    pub(crate) spare_logins: Option<Usec>,
    /// The number of failures for other names that end that; none for no limit.
    pub(crate) spare_maxretry: Option<u32>,
    /// What a banned source has open is closed.
    pub(crate) cut: bool,
    /// Each record matters at once, not only while a next failure may have somebody banned.
    pub(crate) low_latency: bool,
    /// What counts as one source.
    pub(crate) prefixes: Prefixes,
    /// The translators whose addresses stand for an IPv4 host each.
    pub(crate) translators: Translators,
    /// When a whole network is banned, if ever.
    pub(crate) subnet: Option<Subnet>,
    /// The wider IPv6 networks that are banned when their sources hop, the narrowest first.
    pub(crate) hopping: Vec<Width>,
    /// The most sources that are counted at a time.
    pub(crate) max_sources: usize,
    /// What its bans close, and how.
    pub(crate) scope: Arc<Scope>,
}

/// When a network is banned as a whole: a distributed attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subnet {
    /// The number of its sources that are banned or have failed within `findtime`.
    pub(crate) maxretry: u32,
    /// How wide it is.
    pub(crate) prefixes: Prefixes,
}

impl JailSettings {
    /// Whether the address may never be banned.
    pub(crate) fn ignores(&self, address: IpAddr) -> bool {
        self.ignored(address).is_some()
    }

    /// What says that the address may never be banned.
    pub(crate) fn ignored(&self, address: IpAddr) -> Option<&Ignored> {
        let loopback = ignore::LOOPBACK.iter().find(|ignored| ignored.network.contains(&address));
        let listed =
            |address| self.never_banned().find_map(|list| list.holds(address)).or_else(|| self.own.get(address));
        let held = || self.translators.held(address.into()).and_then(|held| listed(held.addr().into()));
        loopback.or_else(|| listed(address)).or_else(held)
    }

    /// What says that somebody in the network may never be banned.
    pub(crate) fn ignored_within(&self, network: IpNet) -> Option<&Ignored> {
        let overlaps = |other: &IpNet| network.contains(other) || other.contains(&network);
        let loopback = ignore::LOOPBACK.iter().find(|ignored| overlaps(&ignored.network));
        let listed =
            |network| self.never_banned().find_map(|list| list.overlaps(network)).or_else(|| self.own.inside(network));
        let held = || self.translators.held(network).and_then(|held| listed(held.into()));
        loopback.or_else(|| listed(network)).or_else(held)
    }

    /// What it counts, as one and as several.
    pub(crate) fn counted(&self) -> (&'static str, &'static str) {
        if self.filter.counts_bans() { ("ban", "bans") } else { ("failure", "failures") }
    }

    /// The number of failures that lead to a ban of a source, or of the source of an address: one, if
    /// somebody in it is suspected.
    pub(crate) fn maxretry_of(&self, source: IpNet) -> usize {
        if self.suspected_within(source).is_some() { 1 } else { self.maxretry as usize }
    }

    /// Whether an address is suspected.
    pub(crate) fn suspects(&self, address: IpAddr) -> bool {
        self.suspected_within(address.into()).is_some()
    }

    /// What says that somebody in the network is suspected.
    pub(crate) fn suspected_within(&self, network: IpNet) -> Option<&Ignored> {
        if self.suspected.is_empty() {
            return None;
        }
        let held = || self.translators.held(network).and_then(|held| self.suspected.overlaps(held.into()));
        self.suspected.overlaps(network).or_else(held)
    }

    /// All lists of who may never be banned, beside loopback.
    fn never_banned(&self) -> impl Iterator<Item = &IgnoreList> {
        [&self.ignoreip, &self.resolved, &self.excepted].into_iter()
    }

    /// Takes in what the names mean now.
    pub(crate) fn resolve(&mut self, addresses: &BTreeMap<String, Vec<IpAddr>>) {
        let of = |name: &HostName| {
            let because = name.because.clone();
            let addresses = addresses.get(&name.name).into_iter().flatten();
            addresses.map(move |address| Ignored { network: (*address).into(), because: because.clone() })
        };
        self.resolved = IgnoreList::new(self.names.iter().flat_map(of).collect(), &self.translators);
    }

    /// What an address is counted and banned as. If somebody in its network may never be banned,
    /// the address stands for itself.
    pub(crate) fn source(&self, address: IpAddr) -> IpNet {
        let source = source_of(address, self.prefixes, &self.translators);
        let shared = self.never_banned().any(|list| list.has_within(source)) || self.own.inside(source).is_some();
        if shared { address.into() } else { source }
    }

    /// Networks that hold every source which is another one, or is treated otherwise, if what is said of
    /// these networks changes.
    pub(crate) fn regions(&self, concerned: &[IpNet]) -> BTreeSet<IpNet> {
        let mut regions = BTreeSet::new();
        for network in concerned {
            let held = self.translators.held(*network);
            for network in [Some(*network), held.map(IpNet::from)].into_iter().flatten() {
                let width = if matches!(network, IpNet::V4(_)) { self.prefixes.ipv4 } else { self.prefixes.ipv6 };
                let region = IpNet::new(network.addr(), network.prefix_len().min(width));
                regions.insert(region.map_or(network, |region| region.trunc()));
            }
            if held.is_some() || matches!(network, IpNet::V4(_)) {
                regions.extend(self.translators.networks());
            }
        }
        regions
    }

    /// The network that a source would be banned with in a distributed attack.
    pub(crate) fn subnet_of(&self, source: IpNet) -> Option<(IpNet, usize)> {
        let subnet = self.subnet?;
        let network = source_of(source.addr(), subnet.prefixes, &self.translators);
        let least = self.translators.least(source.addr(), self.prefixes.ipv4);
        (least..source.prefix_len()).contains(&network.prefix_len()).then_some((network, subnet.maxretry as usize))
    }

    /// Whether what a source does counts towards wider networks: an IPv6 customer's, and not that of
    /// an address which stands for itself.
    pub(crate) fn may_hop(&self, source: IpNet) -> bool {
        let link_local = matches!(source.addr(), IpAddr::V6(address) if address.is_unicast_link_local());
        !self.hopping.is_empty()
            && matches!(source, IpNet::V6(_))
            && source.prefix_len() == self.prefixes.ipv6
            && self
                .hopping
                .iter()
                .all(|width| width.prefix >= self.translators.least(source.addr(), self.prefixes.ipv4))
            && !link_local
    }

    /// The width of a network that is banned when its sources hop.
    pub(crate) fn width_of(&self, network: IpNet) -> Option<Width> {
        let narrow = network.prefix_len() < self.prefixes.ipv6 && matches!(network, IpNet::V6(_));
        self.hopping.iter().find(|width| narrow && width.prefix == network.prefix_len()).copied()
    }

    /// When a source is no longer spared.
    pub(super) fn licence(&self) -> Option<Limit> {
        let others = self.spare_maxretry?.max(self.maxretry) as usize;
        Some(Limit { others, span: self.findtime.max(licence::SPAN) })
    }

    pub(super) fn rules(&self) -> Rules<'_> {
        Rules { widths: &self.hopping, maxretry: self.maxretry, findtime: self.findtime, most: self.max_sources }
    }

    /// How long a failure is remembered.
    pub(super) fn kept(&self) -> Usec {
        self.findtime.saturating_add(LATE)
    }
}
