//! What a replay finds: a source in a jail, with its failures and bans. The output of
//! `wardenctl replay`, and what two replays are compared by.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use ipnet::IpNet;
use serde::Serialize;

use crate::core::{failure::Failure, net::text_of, record::Cursor, time::Usec};

/// The most records that are shown of each source: the latest, so that a long journal takes no
/// more memory than a short one.
pub(super) const MOST_EVIDENCE: usize = 16;

/// One ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Period {
    pub(super) since_usec: Usec,
    /// None if it is permanent.
    pub(super) until_usec: Option<Usec>,
    pub(super) count: u32,
}

/// What is known of one source in one jail: a line of the output.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) jail: String,
    pub(super) source: String,
    /// That of the latest failure; none yet if it is unspecified.
    pub(super) address: IpAddr,
    pub(super) failures: u64,
    pub(super) bans: u64,
    pub(super) first_usec: Usec,
    pub(super) last_usec: Usec,
    pub(super) banned_at_usec: Option<Usec>,
    pub(super) periods: Vec<Period>,
    pub(super) users: BTreeSet<String>,
    /// It has tried others as well.
    #[serde(skip)]
    pub(super) more_users: bool,
    pub(super) rules: BTreeMap<Arc<str>, u64>,
    /// Of the latest failures.
    pub(super) evidence: VecDeque<Cursor>,
}

impl Finding {
    pub(super) fn new(jail: String, source: IpNet) -> Self {
        Self {
            jail,
            source: text_of(source),
            address: Ipv4Addr::UNSPECIFIED.into(),
            failures: 0,
            bans: 0,
            first_usec: Usec::MAX,
            last_usec: 0,
            banned_at_usec: None,
            periods: Vec::new(),
            users: BTreeSet::new(),
            more_users: false,
            rules: BTreeMap::new(),
            evidence: VecDeque::new(),
        }
    }

    /// Takes in who, when and where of a failure.
    pub(super) fn show(&mut self, failure: &Failure) {
        self.address = failure.address;
        self.first_usec = self.first_usec.min(failure.time);
        self.last_usec = self.last_usec.max(failure.time);
        if self.evidence.len() == MOST_EVIDENCE {
            self.evidence.pop_front();
        }
        self.evidence.push_back(failure.cursor.clone());
    }
}
