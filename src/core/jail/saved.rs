//! The counters of a jail in a snapshot.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    Jail,
    admitted::Admitted,
    licence::{Licences, Names},
    logins::MOST_LOGINS,
    process::{Processes, SavedProcesses},
    subnet::{SavedSubnets, Subnets},
    window::Tally,
};
use crate::core::{
    session::{SavedSessions, Sessions},
    time::Usec,
};

/// The counters of a jail in a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedJail {
    sessions: SavedSessions,
    #[serde(default)]
    processes: SavedProcesses,
    sources: Vec<(IpNet, Tally)>,
    #[serde(default)]
    subnets: SavedSubnets,
    #[serde(default)]
    users: Names,
    #[serde(default)]
    licences: Licences,
    logins: Vec<(IpAddr, Usec)>,
    #[serde(default)]
    present: BTreeSet<IpAddr>,
    #[serde(default)]
    admitted: Admitted,
}

impl Jail {
    pub(crate) fn save(&self) -> SavedJail {
        SavedJail {
            sessions: self.sessions.save(),
            processes: self.processes.save(),
            sources: self.sources.iter().map(|(source, tally)| (*source, tally.clone())).collect(),
            subnets: self.subnets.save(),
            users: self.users.clone(),
            licences: self.licences.clone(),
            logins: self.logins.iter().map(|(address, login)| (*address, *login)).collect(),
            present: self.present.clone(),
            admitted: self.admitted.clone(),
        }
    }

    pub(crate) fn load(&mut self, saved: SavedJail) {
        self.sessions = Sessions::load(saved.sessions);
        self.processes = Processes::load(saved.processes);
        self.sources = saved.sources.into_iter().filter(|(_, tally)| !tally.failures().is_empty()).collect();
        self.subnets = Subnets::load(&saved.subnets, self.settings.max_sources);
        self.users = saved.users;
        self.licences = saved.licences;
        self.logins = saved.logins.into_iter().take(MOST_LOGINS).collect();
        self.present = saved.present;
        self.admitted = saved.admitted;
        // The configuration may be another than the one that the state was saved under.
        let settings = self.settings.clone();
        self.adapt(settings);
    }
}
