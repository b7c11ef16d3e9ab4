//! The filters for other services than sshd, on journals of the real programs under attack: each attacker has
//! the number of failures that they made, and nobody else has any.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain has failed")]

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path};

use serde_json::Value;
use wardend::core::{
    filter::{Filter, FilterText},
    record::{Cursor, Fields, Record},
};

#[path = "support/hostile.rs"]
mod hostile;

struct Tested {
    filter: Filter,
    fields: Fields,
}

fn filter(name: &str) -> Tested {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("filters/{name}.toml"));
    let mut fields = Fields::default();
    let text = FilterText::new(&path, fs::read_to_string(&path).unwrap());
    let filter = Filter::load(name, &[text], &mut fields).unwrap_or_else(|error| panic!("{error}"));
    Tested { filter, fields }
}

fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Array(bytes) => bytes.iter().map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap()).collect(),
        other => panic!("{other} is not a field's value"),
    }
}

fn read_text(name: &str, end: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/recordings/services/{name}.{end}"));
    fs::read_to_string(path).unwrap()
}

/// Failures by address, of these classes.
fn failures(tested: &Tested, recording: &str, classes: &[&str]) -> BTreeMap<IpAddr, u64> {
    let mut counted = BTreeMap::new();
    for line in read_text(recording, "jsonl").lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let mut record = Record::new(&tested.fields, 0, Cursor::from("c"));
        for (name, value) in entry.as_object().unwrap() {
            if let Some(field) = tested.fields.find(name.as_bytes()) {
                record.set(field, &bytes(value));
            }
        }
        if !tested.filter.records.matches(&record) {
            continue;
        }
        let Some(sighting) = tested.filter.read(&record) else { continue };
        let class = tested.filter.rule(sighting.rule).class.clone().unwrap();
        if classes.contains(&class.as_str()) {
            let address = sighting.address.unwrap_or_else(|| panic!("no address: {line}"));
            *counted.entry(address).or_insert(0) += 1;
        }
    }
    counted
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Score {
    /// Attackers who are counted exactly.
    exact: usize,
    /// Attackers who are counted otherwise.
    wrong: usize,
    /// Attackers who are not counted.
    missed: usize,
}

/// Holds what a filter counts against the truth of a recording. Whoever has no failure must have none, and so
/// must every address that nobody attacked from.
fn score(recording: &str, classes: &[&str], truth: &[&str]) -> Score {
    let name = recording.split('-').next().unwrap();
    let mut counted = failures(&filter(name), recording, classes);
    let labels: Value = serde_json::from_str(&read_text(recording, "labels.json")).unwrap();
    let (mut score, mut wanted) = (Score::default(), BTreeMap::new());
    for scenario in labels["scenarios"].as_array().unwrap() {
        let made: u64 = truth.iter().filter_map(|kind| scenario["truth"][kind].as_u64()).sum();
        for attacker in scenario["attacker"].as_array().unwrap() {
            if let Ok(address) = attacker.as_str().unwrap().parse::<IpAddr>() {
                *wanted.entry(address).or_insert(0) += made;
            }
        }
    }
    for (address, made) in wanted {
        match (made, counted.remove(&address).unwrap_or(0)) {
            (0, found) => assert_eq!(found, 0, "{recording}: {address} did nothing wrong"),
            (made, found) if made == found => score.exact += 1,
            (made, 0) => {
                println!("{recording}: {address} is missed, who failed {made} times");
                score.missed += 1;
            }
            (made, found) => {
                println!("{recording}: {address} failed {made} times and is counted {found} times");
                score.wrong += 1;
            }
        }
    }
    assert!(counted.is_empty(), "{recording} has victims: {counted:?}");
    score
}

#[test]
fn cockpit_counts_each_wrong_password() {
    assert_eq!(score("cockpit-debian13", &["auth"], &["password_failures"]), Score { exact: 12, wrong: 0, missed: 0 });
}

/// Names that vsftpd doesn't give to PAM are not logged at all, and neither is who tries no password.
#[test]
fn vsftpd_counts_whom_it_logs() {
    for release in ["vsftpd-debian13", "vsftpd-debian12"] {
        let score = score(release, &["auth"], &["password_failures", "probes"]);
        assert_eq!((score.exact, score.wrong), (13, 0), "{release}: {score:?}");
    }
}

/// rsync logs who lists modules and who sends garbage as it logs everybody.
#[test]
fn rsyncd_counts_wrong_passwords_and_unknown_modules() {
    let passwords = score("rsyncd-debian13", &["auth"], &["password_failures"]);
    assert_eq!(passwords, Score { exact: 17, wrong: 0, missed: 0 });
    let all = score("rsyncd-debian13", &["auth", "probe"], &["password_failures", "probes"]);
    assert_eq!(all, Score { exact: 23, wrong: 0, missed: 2 });
}

#[test]
fn proftpd_counts_whom_it_logs() {
    let score = score("proftpd-debian13", &["auth"], &["password_failures", "probes"]);
    assert_eq!((score.exact, score.wrong), (26, 0), "{score:?}");
}

#[test]
fn dropbear_counts_wrong_passwords() {
    let score = score("dropbear-debian13", &["auth"], &["password_failures"]);
    assert_eq!((score.exact, score.wrong), (23, 0), "{score:?}");
}

/// The programs' formats with fresh names.
#[test]
fn no_hostile_name_is_read_as_somebody_elses_failure() {
    let peer = "203.0.113.9";
    let own: IpAddr = peer.parse().unwrap();
    let filters = ["vsftpd", "rsyncd", "cockpit"].map(|name| (name, filter(name)));
    let mut read = 0;
    for (name, _) in hostile::names(1711, 3000) {
        let word: Vec<u8> = name.iter().copied().filter(|byte| *byte > b' ').collect();
        let line = |parts: &[&[u8]]| parts.concat();
        let pam = b"authentication failure; logname= uid=0 euid=0";
        let messages = [
            (0, line(&[b"pam_unix(vsftpd:auth): ", pam, b" tty=ftp ruser=", &word, b" rhost=", peer.as_bytes(), b" "])),
            (
                1,
                line(&[
                    b"auth failed on module priv from UNKNOWN (",
                    peer.as_bytes(),
                    b") for ",
                    &name,
                    b": no matching rule",
                ]),
            ),
            (1, line(&[b"unknown module '", &name, b"' tried from UNKNOWN (", peer.as_bytes(), b")"])),
            (2, line(&[b"pam_unix(cockpit:auth): ", pam, b" tty= ruser= rhost=", peer.as_bytes(), b"  user=", &name])),
        ];
        for (of, message) in messages {
            let (filter_name, tested) = &filters[of];
            let mut record = Record::new(&tested.fields, 0, Cursor::from("c"));
            record.set(wardend::core::record::FieldId::MESSAGE, &message);
            let found = tested.filter.read(&record).and_then(|sighting| sighting.address);
            assert!(found.is_none_or(|address| address == own), "{filter_name}: {}", message.escape_ascii());
            read += usize::from(found.is_some());
        }
    }
    assert!(read > 11_000, "{read} are read");
}
