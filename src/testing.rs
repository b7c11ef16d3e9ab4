//! What only tests, benches and fuzz targets use: records as programs write them, and doors to what is private
//! otherwise.

use crate::core::{
    filter::Filter,
    record::{Cursor, Fields, Record},
    time::Usec,
};
pub use crate::{
    fail2ban::read_bytes as read_fail2ban,
    state::{SaveError, Snapshot, Store, check as check_snapshot},
};

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
