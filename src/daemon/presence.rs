//! Which addresses are those of people who are logged in.
//!
//! logind says who is there ([`crate::systemd::logind`]), by address or, with sshd's `UseDNS yes`, by the
//! process that has let them in. The engine knows the address of a login by its process, as it has
//! read the record; for a login of before the engine's time the journal is asked. If nobody knows,
//! that is a problem to report: whoever is logged in there is not spared.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
};

use tokio::task::JoinHandle;

use super::{
    health::{Kind, Problem},
    run::Daemon,
};
use crate::{
    core::{
        cursor::Moment,
        filter::{Counts, Filter},
        record::{Fields, Record},
        time::{USEC_PER_SEC, Usec},
    },
    journal::{Position, Reader, Step, Where},
    systemd::logind::{Named, Present},
    util::time::now,
};

/// How long before its session a login is written at the most: what PAM does in between may take
/// its time.
const BEFORE: Usec = 300 * USEC_PER_SEC;
/// By then the record of a login that has just been made is here.
const SETTLED: Usec = 5 * USEC_PER_SEC;
/// The most records that are looked at for a login.
const MOST_RECORDS: usize = 100_000;

/// A login that was found in the journal.
pub(super) struct Found {
    moment: Option<Moment>,
    process: u32,
    address: IpAddr,
    time: Usec,
}

/// Who is there, and whose address is being looked for.
#[derive(Default)]
pub(super) struct Presence {
    present: Present,
    /// What the engine was told last.
    told: Option<BTreeSet<IpAddr>>,
    /// Logins whose address is not known (yet).
    nameless: Vec<(u32, Named)>,
    /// The journal was asked for these.
    asked: HashSet<u32>,
    search: Option<JoinHandle<Vec<Found>>>,
}

impl Presence {
    /// Whether the journal is being asked.
    pub(super) fn searches(&self) -> bool {
        self.search.is_some()
    }

    /// Whether a record may bring an address that is looked for.
    pub(super) fn waits(&self) -> bool {
        !self.nameless.is_empty()
    }

    /// What was found in the journal; never, if nothing is looked for.
    pub(super) async fn found(&mut self) -> Vec<Found> {
        let Some(search) = self.search.as_mut() else { return std::future::pending().await };
        let found = search.await.unwrap_or_default();
        self.search = None;
        found
    }
}

impl Daemon {
    /// logind has others than before.
    pub(super) fn meet(&mut self, present: Present) {
        let named = |process: &u32| present.named.contains_key(process);
        self.presence.asked.retain(named);
        let opened = present.opened.saturating_sub(self.presence.present.opened);
        self.presence.present = present;
        self.blind.see_logins(opened, now());
        self.recognize();
    }

    /// Tells the engine who is there, as far as their addresses are known.
    pub(super) fn recognize(&mut self) {
        let mut addresses = self.presence.present.addresses.clone();
        self.presence.nameless.clear();
        for (process, named) in &self.presence.present.named {
            match self.engine.let_in_by(*process, named.since.saturating_sub(BEFORE)) {
                Some(address) => drop(addresses.insert(address)),
                None => self.presence.nameless.push((*process, named.clone())),
            }
        }
        self.engine.keep_leaders(self.presence.present.named.keys().copied().collect());
        if self.presence.told.as_ref() != Some(&addresses) {
            self.engine.logged_in(&addresses, now());
            self.presence.told = Some(addresses);
            self.saving.touch();
        }
        if self.presence.nameless.is_empty() {
            self.health.report(Kind::Logins, None);
        }
    }

    /// Looks into the journal for the logins that the engine has not read, each once; and reports
    /// those that are not there.
    pub(super) fn search_logins(&mut self) {
        if self.presence.search.is_some() {
            return;
        }
        let settled = now().saturating_sub(SETTLED);
        let due = self.presence.nameless.iter().filter(|(_, named)| named.since <= settled);
        let (asked, new): (Vec<_>, Vec<_>) =
            due.cloned().partition(|(process, _)| self.presence.asked.contains(process));
        if let Some((_, Named { host, .. })) = asked.first() {
            self.health.report(
                Kind::Logins,
                Some(Problem {
                    what: format!(
                        "Somebody is logged in from '{host}', and no record of sshd says which address that is, so \
                         it may be banned all the same."
                    ),
                    mend:
                        "Set UseDNS to no in sshd_config(5), and add the address to ignoreip until they log in again."
                            .to_owned(),
                }),
            );
        }
        if new.is_empty() {
            return;
        }
        self.presence.asked.extend(new.iter().map(|(process, _)| *process));
        let filters: Vec<Arc<Filter>> = self.engine.jails().map(|jail| jail.filter.clone()).collect();
        let fields = Arc::clone(&self.fields);
        self.presence.search = Some(tokio::task::spawn_blocking(move || {
            new.iter().filter_map(|(process, named)| search(&filters, &fields, *process, named.since)).collect()
        }));
    }

    /// These were in the journal.
    pub(super) fn take_in_logins(&mut self, found: Vec<Found>) {
        for Found { moment, process, address, time } in found {
            self.engine.let_in(moment, process, address, time);
        }
        self.recognize();
    }
}

/// The record of the login by which a session came to be. A journal that can't be read has none.
fn search(filters: &[Arc<Filter>], fields: &Arc<Fields>, process: u32, since: Usec) -> Option<Found> {
    let mut reader = Reader::open(&Where::System, filters.to_vec(), Arc::clone(fields)).ok()?;
    reader.seek(&Position::Since(since.saturating_sub(BEFORE))).ok()?;
    let (mut record, mut found) = (Record::default(), None);
    for _ in 0..MOST_RECORDS {
        match reader.next(&mut record).ok()? {
            Step::Record if record.time > since.saturating_add(SETTLED) => break,
            Step::Record => {}
            Step::Lost(_) => continue,
            Step::End => break,
        }
        for filter in filters {
            if filter.process(&record) == Some(process)
                && let Some(sighting) = filter.read(&record)
                && filter.rule(sighting.rule).counts == Counts::Success
                && let Some(address) = sighting.address
            {
                found = Some(Found { moment: record.moment, process, address, time: record.time });
            }
        }
    }
    found
}
