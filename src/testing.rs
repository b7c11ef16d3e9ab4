//! What tests, benches and fuzz targets use: the way of a record in parts, and doors to what is private otherwise.

use std::{error::Error, net::IpAddr, path::Path, sync::Arc};

use crate::{
    config::Settings,
    core::{
        engine::{self, Effect},
        jail::JailSettings,
        time::Usec,
    },
    state::{Store, check},
};
pub use crate::{
    core::{
        filter::{Filter, FilterError, FilterText, Sighting},
        record::{Cursor, FieldId, Fields, Record},
    },
    fail2ban::read_bytes as read_fail2ban,
    journal::{JournalError, Position, Reader, Step, Where},
    state::Snapshot,
};

/// The jails of a configuration.
#[derive(Clone, Debug)]
pub struct Jails {
    jails: Vec<JailSettings>,
    fields: Arc<Fields>,
}

impl Jails {
    /// Those of the shipped configuration.
    #[expect(clippy::expect_used, reason = "it is tested")]
    pub fn shipped() -> Self {
        let Settings { jails, fields } = Settings::load(&[]).expect("the shipped configuration is right");
        Self { jails, fields }
    }

    /// One for each filter, with the settings of the first.
    #[must_use]
    pub fn of(&self, filters: &[Arc<Filter>], fields: &Arc<Fields>) -> Self {
        let jail = |filter: &Arc<Filter>| JailSettings {
            name: filter.name.clone(),
            filter: Arc::clone(filter),
            ..self.jails[0].clone()
        };
        Self { jails: filters.iter().map(jail).collect(), fields: Arc::clone(fields) }
    }

    /// With another number of failures that lead to a ban.
    #[must_use]
    pub fn with_maxretry(mut self, maxretry: u32) -> Self {
        for jail in &mut self.jails {
            jail.maxretry = maxretry;
        }
        self
    }

    /// What they read with.
    pub fn filters(&self) -> Vec<Arc<Filter>> {
        self.jails.iter().map(|jail| Arc::clone(&jail.filter)).collect()
    }

    /// The fields that the filters ask for.
    pub fn fields(&self) -> &Arc<Fields> {
        &self.fields
    }
}

/// An engine that forgets what is to be done.
#[derive(Debug)]
pub struct Engine {
    engine: engine::Engine,
    effects: Vec<Effect>,
}

impl Engine {
    /// With these jails, and no ban.
    pub fn new(jails: &Jails) -> Self {
        Self { engine: engine::Engine::new(jails.jails.clone()), effects: Vec::new() }
    }

    /// Decides on one record; returns whether a filter reads it.
    pub fn record(&mut self, record: &Record) -> bool {
        self.effects.clear();
        self.engine.record(record, &mut self.effects)
    }

    /// Learns the addresses of the machine.
    pub fn own(&mut self, addresses: &[IpAddr]) {
        self.engine.own(addresses.iter().copied().collect(), 0, &mut self.effects);
    }

    /// Goes on with these jails.
    pub fn reload(&mut self, jails: &Jails) {
        self.engine.reload(jails.jails.clone(), 0, &mut self.effects);
    }

    /// The number of bans.
    pub fn ban_count(&self) -> usize {
        self.engine.ban_count()
    }

    /// The sources with failures in a jail, and its open sessions.
    pub fn counters(&self, jail: &str) -> Option<(usize, usize)> {
        self.engine.counters(jail)
    }

    /// The state after this record.
    pub fn snapshot(&self, cursor: Cursor) -> Snapshot {
        Snapshot::of(&self.engine, Some(cursor), 0)
    }
}

/// Writes a state into a directory, as the daemon does.
pub fn save(directory: &Path, snapshot: &Snapshot) -> Result<(), impl Error> {
    Store::new(directory).save(snapshot)
}

/// Whether bytes are a state that an engine can go on from.
pub fn check_snapshot(state: &[u8], jails: &Jails) -> bool {
    check(state, jails.jails.clone())
}

/// The values of fields that records of a filter have.
pub fn values_of(filter: &Filter) -> impl Iterator<Item = (&str, &[String])> {
    filter.records.fields().map(|(name, _, values)| (name.as_str(), values.as_slice()))
}

/// Whether a filter asks for a record.
pub fn asks_for(filter: &Filter, record: &Record) -> bool {
    filter.records.matches(record)
}

/// Whether a filter says which ports its service has.
pub fn names_ports(filter: &Filter) -> bool {
    !filter.ports.is_empty()
}

/// A message of sshd's, as it stands in the journal.
pub fn sshd(fields: &Fields, time: Usec, cursor: impl Into<Cursor>, pid: u32, message: &str) -> Record {
    let pid = pid.to_string();
    let values = [
        ("MESSAGE", message),
        ("_TRANSPORT", "syslog"),
        ("_UID", "0"),
        ("SYSLOG_IDENTIFIER", "sshd"),
        ("_SYSTEMD_UNIT", "ssh.service"),
        ("_BOOT_ID", "2f912356a2424dec8328a1f012cbcb78"),
        ("_PID", &pid),
        ("SYSLOG_PID", &pid),
    ];
    Record::with(fields, time, cursor.into(), values)
}

/// A record with nothing but a message.
pub fn message(fields: &Fields, message: impl AsRef<[u8]>) -> Record {
    Record::with(fields, 0, "c".into(), [("MESSAGE", message)])
}

/// A message in a record of the kind that a filter reads.
pub fn of_filter(filter: &Filter, fields: &Fields, message: impl AsRef<[u8]>) -> Record {
    let mut record = self::message(fields, message);
    for (_, field, values) in filter.records.fields() {
        record.set(*field, values[0].as_bytes());
    }
    for field in filter.records.same() {
        record.set(*field, b"4711");
    }
    record
}
