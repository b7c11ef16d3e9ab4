//! The connections on which somebody has logged in: address and port.
//!
//! How a login ends, sshd writes in the words that it has for a client that never logged in, from
//! another process, without a name: `Connection closed by ADDRESS port PORT`. Only the line of the
//! login tells the two apart. A connection is remembered until its end has been seen, and the number of
//! them is bounded: the end of most is written with the user's rights and never read.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

/// The most connections that are remembered.
const MOST: usize = 4096;

/// Connections with a login, the latest last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(IpAddr, u16)>", into = "Vec<(IpAddr, u16)>")]
pub(super) struct Admitted {
    /// With the number of its login.
    known: BTreeMap<(IpAddr, u16), u64>,
    /// Numbers and their connections; one that has ended, or has begun again since, may still be listed here.
    order: VecDeque<(u64, (IpAddr, u16))>,
    next: u64,
}

impl Admitted {
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Somebody has logged in on this connection.
    pub(super) fn enter(&mut self, address: IpAddr, port: u16) {
        self.known.insert((address, port), self.next);
        self.order.push_back((self.next, (address, port)));
        self.next += 1;
        while self.order.len() > MOST {
            if let Some((number, connection)) = self.order.pop_front()
                && self.known.get(&connection) == Some(&number)
            {
                self.known.remove(&connection);
            }
        }
    }

    /// This connection has ended. True if somebody had logged in on it; where no port is known, on any
    /// from the address.
    pub(super) fn leave(&mut self, address: IpAddr, port: Option<u16>) -> bool {
        let connection = match port {
            Some(port) => Some((address, port)),
            None => self.known.range((address, 0)..=(address, u16::MAX)).next().map(|(connection, _)| *connection),
        };
        connection.is_some_and(|connection| self.known.remove(&connection).is_some())
    }
}

impl From<Vec<(IpAddr, u16)>> for Admitted {
    fn from(list: Vec<(IpAddr, u16)>) -> Self {
        let mut admitted = Self::default();
        for (address, port) in list {
            admitted.enter(address, port);
        }
        admitted
    }
}

impl From<Admitted> for Vec<(IpAddr, u16)> {
    fn from(admitted: Admitted) -> Self {
        let known = &admitted.known;
        let live = admitted.order.iter().filter(|(number, connection)| known.get(connection) == Some(number));
        live.map(|(_, connection)| *connection).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));

    #[test]
    fn the_end_of_a_login_is_known_once_and_only_of_its_connection() {
        let mut admitted = Admitted::default();
        admitted.enter(HOME, 4242);
        assert!(!admitted.leave(HOME, Some(4243)) && !admitted.leave([203, 0, 113, 8].into(), Some(4242)));
        assert!(admitted.leave(HOME, Some(4242)));
        assert!(!admitted.leave(HOME, Some(4242)), "whoever comes from there next has not logged in");
        admitted.enter(HOME, 4242);
        assert!(admitted.leave(HOME, None) && !admitted.leave(HOME, None));
    }

    #[test]
    fn it_is_bounded_and_outlives_a_restart() {
        let mut admitted = Admitted::default();
        for port in 0..=u16::try_from(MOST).unwrap() {
            admitted.enter(HOME, port);
        }
        admitted.enter(HOME, 5);
        let saved: Vec<(IpAddr, u16)> = admitted.clone().into();
        assert!(saved.len() < MOST && admitted.order.len() == MOST);
        let mut loaded = Admitted::from(saved);
        assert!(!loaded.leave(HOME, Some(0)), "the oldest had to go");
        assert!(loaded.leave(HOME, Some(5)) && loaded.leave(HOME, Some(4096)));
    }
}
