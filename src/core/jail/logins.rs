//! Who has logged in from where, and what that spares.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{Jail, licence::Spent};
use crate::core::{
    failure::{Failure, Failures},
    time::Usec,
};

/// The most addresses whose last login is remembered.
pub(super) const MOST_LOGINS: usize = 4096;

impl Jail {
    /// When somebody was last logged in from a network, if that spares it at the time `at`.
    pub(crate) fn login_in(&self, network: IpNet, at: Usec) -> Option<Usec> {
        let span = self.settings.spare_logins?;
        let inside = network.network()..=network.broadcast();
        if self.present.range(inside.clone()).next().is_some() {
            return Some(at);
        }
        let inside = self.logins.range(inside);
        inside.map(|(_, login)| *login).filter(|login| login.saturating_add(span) >= at).max()
    }

    /// Somebody has logged in from there.
    pub(crate) fn log_in(&mut self, address: IpAddr, time: Usec) {
        let Some(span) = self.settings.spare_logins else { return };
        let login = self.logins.entry(address).or_default();
        *login = time.max(*login);
        if self.logins.len() > MOST_LOGINS {
            self.logins.retain(|_, login| login.saturating_add(span) >= time);
            while self.logins.len() > MOST_LOGINS
                && let Some(oldest) = self.logins.iter().map(|(address, login)| (*login, *address)).min()
            {
                self.logins.remove(&oldest.1);
            }
            let (logins, present) = (&self.logins, &self.present);
            self.users.retain(|address| logins.contains_key(address) || present.contains(address));
        }
    }

    /// From where somebody has logged in, and when they did last.
    pub(crate) fn logins(&self) -> impl Iterator<Item = (IpAddr, Usec)> {
        self.logins.iter().map(|(address, login)| (*address, *login))
    }

    /// From where somebody is logged in.
    pub(crate) fn present(&self) -> &BTreeSet<IpAddr> {
        &self.present
    }

    /// From these addresses, and from no others, somebody is logged in at the time `now`.
    pub(crate) fn logged_in(&mut self, addresses: &BTreeSet<IpAddr>, now: Usec) {
        for address in std::mem::replace(&mut self.present, addresses.clone()).difference(addresses) {
            self.log_in(*address, now);
        }
    }

    /// What a spared source has done, if that is too much.
    pub(super) fn end_of_licence(
        &mut self,
        source: IpNet,
        failure: &Failure,
        login: Option<Usec>,
        at: Usec,
    ) -> Option<Failures> {
        let limit = self.settings.licence().filter(|_| login.is_some());
        let Some(limit) = limit else {
            self.licences.forget(source);
            return None;
        };
        let users = &self.users;
        self.licences.add(source, failure, at, limit, |name| users.have_come_from(source, name))
    }

    /// What a source has done while it was spared, as far as that adds up at the time `at`, and how
    /// much of it may be for other names; none without a limit.
    pub(crate) fn licence_of(&self, source: IpNet, at: Usec) -> Option<(Spent, usize)> {
        let limit = self.settings.licence()?;
        let is_own = |name: &str| self.users.have_come_from(source, name);
        Some((self.licences.standing(source, at, limit.span, is_own), limit.others))
    }
}
