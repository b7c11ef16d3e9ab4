//! The filters for other services than sshd, on journals of the real programs under attack, read by the
//! daemon's own reader and counted by its engine: each attacker has the number of failures that they made, and
//! nobody else has any.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain has failed")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use formats::FORMATS;
use serde_json::Value;
use variants::{VARIANTS, Variant};
use wardend::testing::{self, Fields, Filter, FilterText};

#[path = "support/formats.rs"]
mod formats;
#[path = "support/hostile.rs"]
mod hostile;
#[path = "support/variants.rs"]
mod variants;

/// What users were on the recorded machines; they are given out when a package is installed.
const USERS: [(&str, &str); 11] = [
    ("Debian-exim", "101"),
    ("ejabberd", "116"),
    ("haproxy", "107"),
    ("openldap", "108"),
    ("postfix", "101"),
    ("postgres", "109"),
    ("proxy", "13"),
    ("tinyproxy", "111"),
    ("www-data", "33"),
    ("nobody", "65534"),
    ("caddy", "999"),
];

struct Tested {
    filter: Filter,
    fields: Fields,
}

fn text(name: &str) -> FilterText {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("filters/{name}.toml"));
    let text = fs::read_to_string(&path).unwrap();
    FilterText::new(path, text)
}

fn filter(name: &str) -> Tested {
    let mut fields = Fields::default();
    let filter = Filter::load(name, &[text(name)], &mut fields).unwrap_or_else(|error| panic!("{error}"));
    Tested { filter, fields }
}

fn read_text(name: &str, end: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/recordings/services/{name}.{end}"));
    fs::read_to_string(path).unwrap()
}

/// A filter's text with the numbers of the recorded machine in the place of its users.
fn of_machine(name: &str, recording: &str) -> String {
    let number = |line: &str| {
        USERS.iter().fold(line.to_owned(), |line, (user, number)| {
            let number = if recording.ends_with("debian12") && *user == "postfix" { "103" } else { number };
            line.replace(&format!("\"{user}\""), &format!("\"{number}\""))
        })
    };
    let text = text(name).text;
    let lines = text.lines().map(|line| if line.starts_with("_UID = ") { number(line) } else { line.to_owned() });
    lines.collect::<Vec<_>>().join("\n")
}

/// Failures by address in this mode of a filter, as `wardenctl replay` counts them.
fn failures(name: &str, recording: &str, mode: &str) -> BTreeMap<IpAddr, u64> {
    failures_in(name, recording, mode, |entry| entry)
}

/// The same in a journal of other entries, each made from the recording's.
fn failures_in(name: &str, recording: &str, mode: &str, make: impl Fn(Value) -> Value) -> BTreeMap<IpAddr, u64> {
    // Tests at the same time may read the same recording.
    static JOURNALS: AtomicUsize = AtomicUsize::new(0);
    let number = JOURNALS.fetch_add(1, Ordering::Relaxed);
    let text = read_text(recording, "jsonl");
    let entries = text.lines().map(|line| make(serde_json::from_str(line).unwrap()));
    let journal = support::journal_of(&format!("{recording}-{number}"), entries);
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for folder in ["wardend.conf.d", "filters"] {
        fs::create_dir_all(directory.join(folder)).unwrap();
    }
    fs::write(directory.join(format!("filters/{name}.toml")), of_machine(name, recording)).unwrap();
    let jail = format!("[jail.{name}]\nenabled = true\nmode = \"{mode}\"\nmaxretry = 1000\nipv6-prefix = 128\n");
    fs::write(directory.join("wardend.conf.d/test.conf"), jail).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_wardenctl"))
        .args(["replay", "--json=short", "--jail", name, "--config"])
        .arg(directory)
        .arg("--file")
        .arg(&journal)
        .output()
        .unwrap();
    fs::remove_dir_all(journal.parent().unwrap()).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap());
    let sources = lines.filter(|line| line["source"].is_string());
    sources
        .map(|line| {
            let source = line["source"].as_str().unwrap().split('/').next().unwrap().parse().unwrap();
            (source, line["failures"].as_u64().unwrap())
        })
        .collect()
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

/// The filter that reads a recording.
fn filter_of(recording: &str) -> &str {
    let name = recording.strip_suffix("-debian13").or_else(|| recording.strip_suffix("-debian12")).unwrap();
    name.strip_suffix("-chunks").unwrap_or(name)
}

/// Holds what a filter counts against the truth of a recording.
fn score(recording: &str, counting: &str, truth: &[&str]) -> Score {
    let counted = failures(filter_of(recording), recording, counting);
    score_of(counted, recording, truth, |attacker| attacker.parse().ok())
}

/// Holds what was counted against the truth. Whoever has no failure must have none, and so must every address that
/// nobody attacked from.
fn score_of(
    mut counted: BTreeMap<IpAddr, u64>,
    recording: &str,
    truth: &[&str],
    address_of: impl Fn(&str) -> Option<IpAddr>,
) -> Score {
    let labels: Value = serde_json::from_str(&read_text(recording, "labels.json")).unwrap();
    let (mut score, mut wanted) = (Score::default(), BTreeMap::new());
    for scenario in labels["scenarios"].as_array().unwrap() {
        let made: u64 = truth.iter().filter_map(|kind| scenario["truth"][kind].as_u64()).sum();
        for attacker in scenario["attacker"].as_array().unwrap() {
            if let Some(address) = address_of(attacker.as_str().unwrap()) {
                *wanted.entry(address).or_insert(0) += made;
            }
        }
    }
    for (address, made) in wanted {
        match (made, counted.remove(&address).unwrap_or(0)) {
            // Requests without a password, which HAProxy's log doesn't tell from others (wardend.filter(5)).
            (0, 1)
                if recording == "haproxy-debian13"
                    && ["198.51.100.5", "198.51.100.49"].iter().any(|client| address_of(client) == Some(address)) => {}
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
    assert_eq!(score("cockpit-debian13", "normal", &["password_failures"]), Score { exact: 12, wrong: 0, missed: 0 });
}

/// Names that vsftpd doesn't give to PAM are not logged at all, and neither is who tries no password.
#[test]
fn vsftpd_counts_whom_it_logs() {
    for release in ["vsftpd-debian13", "vsftpd-debian12"] {
        let score = score(release, "normal", &["password_failures", "probes"]);
        assert_eq!((score.exact, score.wrong), (13, 0), "{release}: {score:?}");
    }
}

/// rsync logs who lists modules and who sends garbage as it logs everybody. Two others left nothing but a record without
/// a unit, which counts.
#[test]
fn rsyncd_counts_wrong_passwords_and_unknown_modules() {
    let passwords = score("rsyncd-debian13", "normal", &["password_failures"]);
    assert_eq!(passwords, Score { exact: 17, wrong: 0, missed: 0 });
    let all = score("rsyncd-debian13", "aggressive", &["password_failures", "probes"]);
    assert_eq!(all, Score { exact: 23, wrong: 0, missed: 2 });
}

#[test]
fn proftpd_counts_whom_it_logs() {
    let score = score("proftpd-debian13", "normal", &["password_failures", "probes"]);
    assert_eq!((score.exact, score.wrong), (26, 0), "{score:?}");
}

#[test]
fn dropbear_counts_wrong_passwords() {
    let score = score("dropbear-debian13", "normal", &["password_failures"]);
    assert_eq!((score.exact, score.wrong), (23, 0), "{score:?}");
}

/// Of each recording: the mode, what of the truth it counts, and how many attackers are exact, wrong and missed.
///
/// Who is missed left no record with an address that can be trusted: on Debian 12 Dovecot served no submission, and
/// nginx lost nine records to a full queue; names that are too long for lighttpd and Monit, and with a line break for
/// ejabberd and PostgreSQL. Of the 35 clients of nginx whose password was wrong, six met an error log on standard
/// error, where a path with a line break makes lines of a client's own, and all 29 others are counted. Squid looks at
/// no password that comes with a line break in the name, and logs the request as one without a name, which is
/// every client's first; the mode "anonymous" counts both.
const COUNTED: [(&str, &str, &[&str], [usize; 3]); 20] = [
    ("postfix-debian13", "normal", &["password_failures"], [33, 0, 0]),
    ("postfix-debian12", "normal", &["password_failures"], [33, 0, 0]),
    ("dovecot-debian13", "normal", &["password_failures"], [37, 0, 0]),
    ("dovecot-debian12", "normal", &["password_failures"], [35, 0, 2]),
    ("nginx-debian13", "normal", &["password_failures"], [29, 0, 6]),
    ("nginx-debian12", "normal", &["password_failures"], [20, 0, 15]),
    ("apache-debian13", "normal", &["password_failures"], [23, 0, 0]),
    ("exim-debian13", "normal", &["password_failures"], [34, 0, 0]),
    ("exim-chunks-debian13", "normal", &["password_failures"], [2, 0, 0]),
    ("haproxy-debian13", "normal", &["password_failures"], [23, 0, 0]),
    ("lighttpd-debian13", "normal", &["password_failures"], [22, 0, 1]),
    ("slapd-debian13", "normal", &["password_failures"], [5, 0, 0]),
    ("postgresql-debian13", "normal", &["password_failures"], [12, 0, 1]),
    ("squid-debian13", "normal", &["password_failures"], [7, 0, 1]),
    ("squid-debian13", "anonymous", &["password_failures", "probes"], [13, 0, 0]),
    ("tinyproxy-debian13", "normal", &["password_failures"], [2, 0, 0]),
    ("openvpn-debian13", "normal", &["password_failures"], [3, 0, 0]),
    ("monit-debian13", "normal", &["password_failures"], [7, 0, 1]),
    ("ejabberd-debian13", "normal", &["password_failures"], [10, 0, 1]),
    ("samba-debian13", "normal", &["password_failures"], [12, 0, 0]),
];

/// Whoever is missed or counted otherwise is named in the test's output, and in wardend.filter(5) why.
#[test]
fn each_service_counts_whom_it_logs_and_nobody_else() {
    let all = COUNTED.map(|(recording, mode, truth, wanted)| {
        let Score { exact, wrong, missed } = score(recording, mode, truth);
        (recording, wanted, [exact, wrong, missed])
    });
    let other: Vec<_> = all.iter().filter(|(_, wanted, found)| found != wanted).collect();
    assert!(other.is_empty(), "recording, exact, wrong and missed wanted, and found: {other:#?}");
}

/// The same attempts from addresses of the other family, with other mechanisms, names, levels, formats and endings:
/// as many are exact, and nobody who did nothing wrong is counted.
#[test]
fn a_recording_in_other_words_counts_the_same() {
    let all = VARIANTS.map(|(recording, alike, words)| {
        // Names that FTP servers refuse at once.
        let truth: &[&str] = match filter_of(recording) {
            "proftpd" | "vsftpd" => &["password_failures", "probes"],
            _ => &["password_failures"],
        };
        let original = score(recording, "normal", truth);
        let variant = Variant::new(alike, words);
        let counted = failures_in(filter_of(recording), recording, "normal", |entry| variant.record(entry));
        let found = score_of(counted, recording, truth, |attacker| variant.address(attacker));
        (recording, original, found)
    });
    let other: Vec<_> = all.iter().filter(|(_, original, found)| original != found).collect();
    assert!(other.is_empty(), "recording, as recorded, and in other words: {other:#?}");
}

/// Dropbear without -E, and OpenVPN as a daemon.
#[test]
fn what_a_service_writes_to_syslog_in_place_of_standard_error_counts_the_same() {
    // OpenVPN writes no port behind an IPv6 address.
    let dropbear = Variant::new(true, &[(r"^\[[0-9]+\] [A-Z][a-z]{2} [ 0-9]{2} [0-9:]{8} ", "")]);
    let openvpn = Variant::new(false, &[]);
    for (recording, identifier, format) in
        [("dropbear-debian13", "dropbear", dropbear), ("openvpn-debian13", "ovpn-server", openvpn)]
    {
        let by_syslog = |entry: Value| {
            let mut entry = format.record(entry);
            if entry["_TRANSPORT"] == "stdout" {
                entry["_TRANSPORT"] = "syslog".into();
                entry["SYSLOG_IDENTIFIER"] = identifier.into();
            }
            entry
        };
        let original = score(recording, "normal", &["password_failures"]);
        let counted = failures_in(filter_of(recording), recording, "normal", by_syslog);
        let found = score_of(counted, recording, &["password_failures"], |attacker| format.address(attacker));
        assert_eq!(found, original, "{recording}");
    }
}

/// With syslog_duplication = false what is rejected is in the reject log alone.
#[test]
fn exim_counts_the_same_by_its_reject_log_alone() {
    let (recording, truth) = ("exim-debian13", ["password_failures"]);
    let not_main = |mut entry: Value| {
        let text = entry["MESSAGE"].as_str().unwrap_or_default();
        if entry["PRIORITY"] == "6" && text.contains("535 Incorrect") {
            entry["PRIORITY"] = "7".into();
        }
        entry
    };
    let counted = failures_in("exim", recording, "normal", not_main);
    let found = score_of(counted, recording, &truth, |attacker| attacker.parse().ok());
    assert_eq!(found, Score { exact: 34, wrong: 0, missed: 0 });
}

/// Process numbers come again, and a process that has let somebody in says nothing when it ends.
#[test]
fn a_failure_in_postgresql_is_that_of_the_last_connection_of_its_process_number() {
    let head = "2026-11-25 07:25:01.544 UTC [77]";
    let connection = |from: &str| {
        format!("[7-1] {head} [unknown]@[unknown] {from} LOG:  connection received: host={from} port=49115")
    };
    let messages = [
        connection("198.51.100.200"),
        connection("198.51.100.9"),
        format!("[8-1] {head} x@db 198.51.100.9 FATAL:  password authentication failed for user \"x\""),
        connection("2001:db8:a:9::1"),
        // Nor is it that of an address in the name of a role.
        connection("10.66.0.1").replace("[7-1]", "[8-1]"),
        format!("[8-2] {head} @db FATAL:  password authentication failed for user \"x\""),
    ];
    let next = AtomicUsize::new(0);
    let made = |mut entry: Value| {
        let message = messages.get(next.fetch_add(1, Ordering::Relaxed));
        entry.as_object_mut().unwrap().remove("SYSLOG_RAW");
        let fields = [
            ("_TRANSPORT", "syslog"),
            ("_UID", "109"),
            ("_SYSTEMD_UNIT", "postgresql@17-main.service"),
            ("SYSLOG_IDENTIFIER", "postgres"),
            ("_PID", "77"),
            ("SYSLOG_PID", "77"),
            ("MESSAGE", message.map_or("", String::as_str)),
        ];
        for (field, value) in fields {
            entry[field] = value.into();
        }
        entry
    };
    let counted = failures_in("postgresql", "postgresql-debian13", "normal", made);
    assert_eq!(counted, BTreeMap::from([("198.51.100.9".parse().unwrap(), 1)]));
}

/// With syslog_enable=YES it tells each attempt itself, behind PAM.
#[test]
fn vsftpd_counts_the_same_in_its_own_words() {
    let (recording, truth) = ("vsftpd-debian13", &["password_failures", "probes"][..]);
    let format = Variant::new(
        true,
        &[(
            r"^pam_unix\(vsftpd:auth\): authentication failure; .* ruser=([^ ]*) rhost=([^ ]*).*$",
            "[$1] FAIL LOGIN: Client \"$2\"",
        )],
    );
    let own = |mut entry: Value| {
        // Without the blank that PAM has at the end.
        entry.as_object_mut().unwrap().remove("SYSLOG_RAW");
        format.record(entry)
    };
    let counted = failures_in("vsftpd", recording, "normal", own);
    let found = score_of(counted, recording, truth, |attacker| format.address(attacker));
    assert_eq!(found, score(recording, "normal", truth));
}

/// As Squid writes it in the log format that its filter proposes.
#[test]
fn squid_tells_a_name_with_a_line_break_from_none_by_the_first_letters_of_the_header() {
    let recording = "squid-debian13";
    let format = Variant::new(
        false,
        &[("^(.* 2001:db8:a:a::1 TCP_DENIED/407 .*)$", "$1 Basic"), ("( - HIER_NONE.*/html)$", "$1 -")],
    );
    let counted = failures_in("squid", recording, "normal", |entry| format.record(entry));
    let score = score_of(counted, recording, &["password_failures"], |attacker| attacker.parse().ok());
    assert_eq!(score, Score { exact: 8, wrong: 0, missed: 0 });
}

/// One of the thirty who sent passwords to nginx by way of the recorded syslog sent a host that nginx refused before it
/// looked at the password. The error log of the recording's level says nothing of it; the access log has a 400.
#[test]
fn nginx_counts_a_refused_request_among_the_bad_ones_and_not_as_a_wrong_password() {
    let address = "198.51.100.44".parse().unwrap();
    let counted = |mode| failures("nginx", "nginx-debian13", mode).remove(&address);
    assert_eq!([counted("normal"), counted("scan")], [None, Some(1)]);
}

/// The programs' formats with fresh names.
#[test]
fn no_hostile_name_is_read_as_somebody_elses_failure() {
    let mut filters: BTreeMap<&str, Tested> = BTreeMap::new();
    let mut read: BTreeMap<(&str, usize), usize> = BTreeMap::new();
    let mut sent = 0;
    for (name, _) in hostile::names(1711, 1500) {
        sent += 1;
        for (index, (service, ahead, behind, escape)) in FORMATS.iter().enumerate() {
            let peer = if index % 2 == 0 { "203.0.113.9" } else { "2001:db8:77::9" };
            let own: IpAddr = peer.parse().unwrap();
            let fill = |part: &str| part.replace("{R}", peer).into_bytes();
            let message = [fill(ahead), escape(&name), fill(behind)].concat();
            let tested = filters.entry(service).or_insert_with(|| filter(service));
            // A program that writes lines makes a record of each.
            let lines: Vec<&[u8]> = match *service {
                "ejabberd" => message.split(|byte| *byte == b'\n').collect(),
                _ => vec![&message],
            };
            for line in lines {
                let found =
                    tested.filter.read(&testing::message(&tested.fields, line)).and_then(|sighting| sighting.address);
                assert!(found.is_none_or(|address| address == own), "{service}: {}", message.escape_ascii());
                *read.entry((service, index)).or_default() += usize::from(found.is_some());
            }
        }
    }
    println!("of {sent} names: {read:?}");
    for ((service, _), count) in read {
        assert!(count * 2 > sent, "{service}: {count} of {sent} are read");
    }
}

/// What a jail needs is in the filter: the ports of the service, and the users that differ between machines by name.
#[test]
fn each_filter_names_its_ports_and_no_number_that_differs_between_machines() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("filters");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        let Tested { filter, .. } = filter(&name);
        assert!(name == "sshd" || testing::names_ports(&filter), "{name} names no ports");
        let users = testing::values_of(&filter).filter(|(field, _)| *field == "_UID").flat_map(|(_, values)| values);
        for user in users {
            assert!(user == "0" || user.starts_with(|first: char| first.is_ascii_alphabetic()), "{name}: {user}");
        }
        names.insert(name);
    }
    assert!(names.len() >= 22, "{names:?}");
}
