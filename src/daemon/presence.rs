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
    time::Duration,
};

use tokio::{task::JoinHandle, time::timeout};

use super::health::Health;
use crate::{
    contract::problem::{Kind, Problem},
    core::{
        cursor::Moment,
        engine::Engine,
        filter::{Counts, Filter},
        record::{Fields, Record},
        time::{USEC_PER_SEC, Usec},
    },
    journal::{Position, Reader, Step, Where},
    systemd::logind::{Logins, Named, Present},
    util::time::now,
};

/// How long before its session a login is written at the most: what PAM does in between may take
/// its time.
const BEFORE: Usec = 300 * USEC_PER_SEC;
/// By then the record of a login that has just been made is here.
const SETTLED: Usec = 5 * USEC_PER_SEC;
/// How long the start waits for logind, and for what the journal has of those who are logged in.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// The most records that are looked at for a login.
const MOST_RECORDS: usize = 100_000;

/// A login that was found in the journal.
pub(super) struct Found {
    moment: Option<Moment>,
    process: u32,
    address: IpAddr,
    time: Usec,
}

/// What there is to learn.
pub(super) enum Heard {
    /// logind has others than before.
    Present(Present),
    /// These logins were in the journal.
    Found(Vec<Found>),
}

/// Who is there, and whose address is being looked for.
pub(super) struct Presence {
    logins: Logins,
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
    pub(super) fn new(logins: Logins) -> Self {
        Self {
            logins,
            present: Present::default(),
            told: None,
            nameless: Vec::new(),
            asked: HashSet::new(),
            search: None,
        }
    }

    /// Whether a record may bring an address that is looked for.
    pub(super) fn waits(&self) -> bool {
        !self.nameless.is_empty()
    }

    /// What there is to learn next.
    pub(super) async fn next(&mut self) -> Heard {
        tokio::select! {
            present = self.logins.next() => Heard::Present(present),
            found = found(&mut self.search) => Heard::Found(found),
        }
    }

    /// Looks who is there before the backlog is read: it may hold what would ban somebody who is logged
    /// in. It does not wait long for logind, nor for the journal. Returns how many sessions were opened.
    pub(super) async fn look_first(&mut self, engine: &mut Engine, fields: &Arc<Fields>, health: &mut Health) -> u64 {
        let Ok(present) = timeout(START_PATIENCE, self.logins.next()).await else { return 0 };
        let (opened, _) = self.take(Heard::Present(present), engine, health);
        self.search(engine, fields, health);
        if self.search.is_some()
            && let Ok(found) = timeout(START_PATIENCE, found(&mut self.search)).await
        {
            self.take(Heard::Found(found), engine, health);
        }
        opened
    }

    /// Takes what was learned. How many sessions were opened since the last time, and whether the engine
    /// was told something new.
    pub(super) fn take(&mut self, heard: Heard, engine: &mut Engine, health: &mut Health) -> (u64, bool) {
        let opened = match heard {
            Heard::Present(present) => {
                self.asked.retain(|process| present.named.contains_key(process));
                let opened = present.opened.saturating_sub(self.present.opened);
                self.present = present;
                opened
            }
            Heard::Found(found) => {
                for Found { moment, process, address, time } in found {
                    engine.let_in(moment, process, address, time);
                }
                0
            }
        };
        (opened, self.recognize(engine, health))
    }

    /// Reports to the engine who is logged in, as far as their addresses are known. True if that is new.
    pub(super) fn recognize(&mut self, engine: &mut Engine, health: &mut Health) -> bool {
        let mut addresses = self.present.addresses.clone();
        self.nameless.clear();
        for (process, named) in &self.present.named {
            match engine.let_in_by(*process, named.since.saturating_sub(BEFORE)) {
                Some(address) => drop(addresses.insert(address)),
                None => self.nameless.push((*process, named.clone())),
            }
        }
        engine.keep_leaders(self.present.named.keys().copied().collect());
        let new = self.told.as_ref() != Some(&addresses);
        if new {
            engine.logged_in(&addresses, now());
            self.told = Some(addresses);
        }
        if self.nameless.is_empty() {
            health.report(Kind::Logins, None);
        }
        new
    }

    /// Looks into the journal for the logins that the engine has not read, each once; and reports
    /// those that are not there.
    pub(super) fn search(&mut self, engine: &Engine, fields: &Arc<Fields>, health: &mut Health) {
        if self.search.is_some() {
            return;
        }
        let settled = now().saturating_sub(SETTLED);
        let due = self.nameless.iter().filter(|(_, named)| named.since <= settled);
        let (asked, new): (Vec<_>, Vec<_>) = due.cloned().partition(|(process, _)| self.asked.contains(process));
        if let Some((_, Named { host, .. })) = asked.first() {
            health.report(
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
        self.asked.extend(new.iter().map(|(process, _)| *process));
        let filters: Vec<Arc<Filter>> = engine.jails().map(|jail| jail.filter.clone()).collect();
        let fields = Arc::clone(fields);
        self.search = Some(tokio::task::spawn_blocking(move || {
            new.iter().filter_map(|(process, named)| search(&filters, &fields, *process, named.since)).collect()
        }));
    }
}

/// What was found in the journal; never, if nothing is looked for.
async fn found(search: &mut Option<JoinHandle<Vec<Found>>>) -> Vec<Found> {
    let Some(under_way) = search.as_mut() else { return std::future::pending().await };
    let found = under_way.await.unwrap_or_default();
    *search = None;
    found
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
