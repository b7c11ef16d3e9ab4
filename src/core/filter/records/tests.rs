use std::collections::BTreeMap;

use super::{Claim, RecordMatch, Stranger};
use crate::core::record::{Fields, Record};

fn table(rows: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    rows.iter().map(|(name, values)| ((*name).to_owned(), owned(values))).collect()
}

fn sshd(fields: &mut Fields) -> RecordMatch {
    let table = table(&[
        ("_TRANSPORT", &["syslog", "stdout"]),
        ("_UID", &["0"]),
        ("SYSLOG_IDENTIFIER", &["sshd", "sshd-session"]),
        ("units", &["ssh.service", "sshd@*.service"]),
        ("programs", &["sshd", "sshd-session"]),
        ("same", &["SYSLOG_PID", "_PID"]),
    ]);
    RecordMatch::new("", &table, fields).unwrap()
}

fn record(fields: &Fields, values: &[(&str, &str)]) -> Record {
    let usual = [("_TRANSPORT", "syslog"), ("_UID", "0"), ("SYSLOG_IDENTIFIER", "sshd"), ("_PID", "7")];
    Record::with(fields, 0, "".into(), values.iter().chain(&usual).copied())
}

#[test]
fn the_unit_and_the_program_say_whose_a_record_is() {
    use {Claim as C, Stranger as S};
    let mut fields = Fields::default();
    let matches = sshd(&mut fields);
    let claim = |values: &[(&str, &str)]| {
        let mut values = values.to_vec();
        values.push(("SYSLOG_PID", "7"));
        format!("{:?}", matches.claim(&record(&fields, &values)))
    };
    let said = |claim: C<'_>| format!("{claim:?}");
    let (unit, comm, exe) = ("_SYSTEMD_UNIT", "_COMM", "_EXE");
    assert_eq!(claim(&[(unit, "ssh.service")]), said(C::Ours));
    assert_eq!(claim(&[(unit, "own.service"), (comm, "sshd")]), said(C::Ours), "in whatever unit");
    assert_eq!(claim(&[(exe, "/usr/lib/openssh/sshd-session")]), said(C::Ours), "without a unit");
    assert_eq!(claim(&[]), said(C::Perhaps));
    assert_eq!(claim(&[(unit, "cron.service")]), said(C::Stranger(S::Unit(b"cron.service"))));
    let tail = said(C::Stranger(S::Program(b"tail")));
    assert_eq!(claim(&[(unit, "session-3.scope"), (comm, "tail"), (exe, "/usr/bin/tail")]), tail);
    assert_eq!(claim(&[(comm, "tail")]), tail);
    assert_eq!(claim(&[(unit, "ssh.service"), (comm, "tail")]), tail, "without pam_systemd users run there");
    assert_eq!(claim(&[(comm, "sshd"), (exe, "/usr/bin/tail")]), tail, "the file says more than the name");
    assert_eq!(claim(&[("_UID", "1000"), (comm, "sshd")]), said(C::No));
}

#[test]
fn a_process_number_that_differs_is_anothers_and_a_line_has_none() {
    let mut fields = Fields::default();
    let matches = sshd(&mut fields);
    let claim = |values: &[(&str, &str)]| format!("{:?}", matches.claim(&record(&fields, values)));
    let differs = "Stranger(Differs)";
    assert_eq!(claim(&[("SYSLOG_PID", "8"), ("_COMM", "sshd")]), differs);
    assert_eq!(claim(&[("SYSLOG_PID", "8"), ("_SYSTEMD_UNIT", "ssh.service")]), differs);
    assert_eq!(claim(&[]), differs);
    assert_eq!(claim(&[("_SYSTEMD_UNIT", "ssh.service")]), "Ours");
    assert_eq!(claim(&[("_TRANSPORT", "stdout"), ("_COMM", "sshd")]), "Ours");
    assert_eq!(claim(&[("_TRANSPORT", "stdout")]), "Perhaps");
}

#[test]
fn a_drop_in_adds_units_programs_and_values_and_no_demand() {
    let mut fields = Fields::default();
    let mut matches = sshd(&mut fields);
    matches.extend(&table(&[("units", &["gate.service"]), ("SYSLOG_IDENTIFIER", &["gatekeeper-of-ssh"])])).unwrap();
    let of = |values: &[(&str, &str)]| format!("{:?}", matches.claim(&record(&fields, values)));
    let names = [("SYSLOG_IDENTIFIER", "gatekeeper-of-ssh"), ("SYSLOG_PID", "7")];
    assert_eq!(of(&[names[0], names[1], ("_SYSTEMD_UNIT", "gate.service")]), "Ours");
    assert_eq!(of(&[names[0], names[1], ("_COMM", "gatekeeper-of-s")]), "Ours", "the kernel cuts names off");
    for (rows, wrong) in [
        (table(&[("_GID", &["0"])]), "does not ask for '_GID'"),
        (table(&[("same", &["_PID"])]), "no list 'same'"),
        (table(&[("programs", &["/usr/sbin/sshd"])]), "without the directory"),
        (table(&[("_UID", &["1000"]), ("units", &["x.service"])]), "add _UID = [\"0\"]"),
    ] {
        let error = sshd(&mut fields).extend(&rows).unwrap_err().to_string();
        assert!(error.contains(wrong), "{error}");
    }
}

#[test]
fn a_filter_without_units_and_programs_goes_by_its_fields() {
    let mut fields = Fields::default();
    let matches = RecordMatch::new("", &table(&[("_UID", &["0"])]), &mut fields).unwrap();
    assert_eq!(matches.claim(&record(&fields, &[])), Claim::Ours);
    let units = RecordMatch::new("", &table(&[("_UID", &["0"]), ("units", &["x.service"])]), &mut fields).unwrap();
    assert_eq!(units.claim(&record(&fields, &[])), Claim::Perhaps);
}
