//! Which process has let somebody in from where.
//!
//! logind knows who is logged in, but with sshd's `UseDNS yes` only the name of where they came
//! from. The record of the login has the address, and is from the process that logind calls the
//! session's leader. So the address of each login is kept here by that process, for as long as
//! somebody is known to be logged in by it, and beyond that for the latest ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use crate::core::{cursor::Moment, time::Usec};

/// The most logins that are kept. Where only names are known, each is asked for within seconds.
const MOST: usize = 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leaders {
    /// In hexadecimal digits. Process numbers mean something in one boot only.
    boot: Box<str>,
    /// The address and the time of a login, by process.
    logins: BTreeMap<u32, (IpAddr, Usec)>,
    /// Somebody is logged in by these.
    live: BTreeSet<u32>,
}

impl Leaders {
    /// A process has let somebody in.
    pub(super) fn enter(&mut self, moment: Option<Moment>, process: u32, address: IpAddr, time: Usec) {
        let boot = moment.map(|moment| format!("{:032x}", moment.boot)).unwrap_or_default();
        if *self.boot != *boot {
            *self = Self { boot: boot.into(), ..Self::default() };
        }
        self.logins.insert(process, (address, time));
        if self.logins.len() > MOST + self.live.len() {
            let past = self.logins.iter().filter(|(process, _)| !self.live.contains(process));
            if let Some(oldest) = past.min_by_key(|(_, (_, time))| *time).map(|(process, _)| *process) {
                self.logins.remove(&oldest);
            }
        }
    }

    /// By these processes somebody is logged in, and by no others.
    pub(super) fn keep(&mut self, live: BTreeSet<u32>) {
        self.live = live;
        self.live.retain(|process| self.logins.contains_key(process));
    }

    /// From where a process has let somebody in, not before `since`.
    pub(super) fn address(&self, process: u32, since: Usec) -> Option<IpAddr> {
        self.logins.get(&process).filter(|(_, time)| *time >= since).map(|(address, _)| *address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: u128) -> Moment {
        Moment { boot, monotonic: 1 }
    }

    #[test]
    fn whoever_is_logged_in_is_remembered_however_many_came_later() {
        let mut leaders = Leaders::default();
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        leaders.enter(Some(at(1)), 7, address(7), 5);
        leaders.keep([7].into());
        for number in 8..5000 {
            leaders.enter(Some(at(1)), number, address(number), number.into());
        }
        assert_eq!(leaders.address(7, 5), Some(address(7)));
        assert_eq!(leaders.address(7, 6), None, "an earlier process of this number");
        assert_eq!(leaders.address(8, 0), None);
        assert_eq!(leaders.address(4999, 0), Some(address(4999)));
        assert!(leaders.logins.len() <= MOST + 1);
        leaders.keep(BTreeSet::new());
        leaders.enter(Some(at(1)), 5000, address(5000), 5000);
        assert_eq!(leaders.address(7, 0), None);

        leaders.enter(Some(at(2)), 9, address(9), 6000);
        assert_eq!(leaders.address(4999, 0), None, "the machine was started again");
    }
}
