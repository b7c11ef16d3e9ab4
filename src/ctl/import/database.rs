//! fail2ban's database: the bans that it has in force, read without changing anything.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use rusqlite::{Connection, OpenFlags};

use crate::fail2ban::Ban;

/// For as long as fail2ban may be writing.
const PATIENCE: Duration = Duration::from_secs(10);

/// All rows of the table of bans; some of these may have ended.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Ban>> {
    let shown = path.display();
    // A pipe would hold the import up without end.
    if !path.metadata().with_context(|| format!("{shown} can't be read"))?.is_file() {
        bail!("{shown} is not a regular file; name fail2ban's database with --database.");
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .with_context(|| format!("{shown} can't be opened; run this as root"))?;
    connection.busy_timeout(PATIENCE)?;
    let bans = || -> rusqlite::Result<Vec<Ban>> {
        // Its columns hold what was put in, whatever their type.
        let mut statement = connection.prepare(
            "SELECT jail, CAST(ip AS TEXT), CAST(timeofban AS INTEGER), CAST(bantime AS INTEGER), \
             CAST(bancount AS INTEGER) FROM bips ORDER BY jail, timeofban",
        )?;
        let rows = statement.query_map((), |row| {
            Ok(Ban {
                jail: row.get(0)?,
                address: row.get(1)?,
                since: row.get(2)?,
                bantime: row.get(3)?,
                count: row.get(4)?,
            })
        })?;
        rows.collect()
    };
    bans().with_context(|| format!("{shown} can't be read as a database of fail2ban 0.11 or newer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As fail2ban's schema of version 4 has it.
    const SCHEMA: &str = "CREATE TABLE fail2banDb(version INTEGER); INSERT INTO fail2banDb VALUES(4); \
        CREATE TABLE jails(name TEXT NOT NULL UNIQUE, enabled INTEGER NOT NULL DEFAULT 1); \
        CREATE TABLE bips(ip TEXT NOT NULL, jail TEXT NOT NULL, timeofban INTEGER NOT NULL, bantime INTEGER NOT NULL, \
        bancount INTEGER NOT NULL default 1, data JSON, PRIMARY KEY(ip, jail));";

    #[test]
    fn a_database_that_somebody_writes_to_is_read_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fail2ban.sqlite3");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch(SCHEMA).unwrap();
        writer
            .execute_batch(
                "INSERT INTO bips VALUES('203.0.113.7', 'sshd', 1000, 600, 1, '{}'); \
                 INSERT INTO bips VALUES('198.51.100.0/28', 'sshd', 1001.5, -1, 3, NULL); \
                 INSERT INTO bips VALUES('2001:db8::7', 'recidive', '1002', 604800, 2, X'00ff');",
            )
            .unwrap();
        // A writer that has begun and not committed holds no reader up.
        writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM bips WHERE jail = 'sshd'").unwrap();
        let before = std::fs::read(&path).unwrap();
        let ban = |jail: &str, address: &str, since, bantime, count| Ban {
            jail: jail.to_owned(),
            address: address.to_owned(),
            since,
            bantime,
            count,
        };
        assert_eq!(
            read(&path).unwrap(),
            [
                ban("recidive", "2001:db8::7", 1002, 604_800, 2),
                ban("sshd", "203.0.113.7", 1000, 600, 1),
                ban("sshd", "198.51.100.0/28", 1001, -1, 3),
            ]
        );
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn what_is_no_such_database_is_refused_in_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(
            file("text"),
            "not a database, but more than a header of one would be, which is why it is long enough to be read as one",
        )
        .unwrap();
        Connection::open(file("old")).unwrap().execute_batch("CREATE TABLE bans(jail TEXT)").unwrap();
        for (name, says) in [
            ("none", "can't be read"),
            ("text", "can't be read as a database of fail2ban 0.11 or newer"),
            ("old", "no such table: bips"),
            ("", "is not a regular file"),
        ] {
            let error = format!("{:#}", read(&file(name)).unwrap_err());
            assert!(error.contains(says), "{name}: {error}");
        }
    }
}
