//! The addresses of the machine itself, which are never counted, banned or cut.
//!
//! Any local user can fail as often as they like from one of them, and a ban would hit the machine:
//! over IPv6 its whole network, gateway included. The list comes from outside and changes
//! while the daemon runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::Ignored;

/// The addresses, each with what says that it is never banned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own(BTreeMap<IpAddr, Ignored>);

impl Own {
    pub(crate) fn new(addresses: &BTreeSet<IpAddr>) -> Self {
        let of = |address: &IpAddr| {
            let because = format!("{address} is an address of this machine").into();
            (*address, Ignored { network: (*address).into(), because })
        };
        Self(addresses.iter().map(of).collect())
    }

    /// What says that an address is the machine's.
    pub(super) fn get(&self, address: IpAddr) -> Option<&Ignored> {
        self.0.get(&address)
    }

    /// What says that the network holds an address of the machine.
    pub(crate) fn inside(&self, network: IpNet) -> Option<&Ignored> {
        self.0.range(network.network()..=network.broadcast()).next().map(|(_, ignored)| ignored)
    }
}
