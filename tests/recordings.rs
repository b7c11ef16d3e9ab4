//! `wardenctl replay` over recorded journals of real sshd under real attacks, against the truth
//! that the attacking client counted.
//!
//! The recordings were at hand when the filter was written, so that all is well here is no proof
//! of it; `tests/filters.rs` asks with fresh names. What these tests hold is that it stays so.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that unwraps in vain has failed")]

mod support;

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use serde_json::Value;

/// What replay says: a line by source, and the summary.
struct Replay {
    lines: HashMap<String, Value>,
    summary: Value,
}

fn replay(journal: &Path, configuration: &str) -> Replay {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::create_dir_all(directory.join("wardend.conf.d")).unwrap();
    fs::write(directory.join("wardend.conf.d/test.conf"), configuration).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_wardenctl"))
        .args(["replay", "--json=short", "--config"])
        .arg(directory)
        .arg("--file")
        .arg(journal)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut objects: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let summary = objects.pop().unwrap()["summary"].clone();
    let lines = objects.into_iter().map(|line| (line["source"].as_str().unwrap().to_owned(), line)).collect();
    Replay { lines, summary }
}

impl Replay {
    fn failures(&self, source: &str) -> u64 {
        self.lines.get(source).map_or(0, |line| line["failures"].as_u64().unwrap())
    }

    /// The rules that made a source's failures.
    fn rules(&self, source: &str) -> Vec<String> {
        let rules = self.lines.get(source).map(|line| line["rules"].as_object().unwrap());
        rules.into_iter().flat_map(|rules| rules.keys().cloned()).collect()
    }

    fn banned(&self, source: &str) -> bool {
        self.lines.get(source).is_some_and(|line| !line["banned_at_usec"].is_null())
    }
}

/// A recording as a journal, made once: the tests run at the same time.
fn journal(recording: &str) -> PathBuf {
    static MADE: Mutex<Vec<(String, PathBuf)>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, path)) = made.iter().find(|(known, _)| known == recording) {
        return path.clone();
    }
    let path = support::journal(recording);
    made.push((recording.to_owned(), path.clone()));
    path
}

fn scenarios(recording: &str) -> Vec<Value> {
    let path = support::recordings().join(format!("{recording}.labels.json"));
    let labels: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    labels["scenarios"].as_array().unwrap().clone()
}

/// The source of an address as labels write it; none for "(AF_UNIX)" and "(local)".
fn source(address: &str) -> Option<String> {
    let address: IpAddr = address.split('%').next().unwrap().parse().ok()?;
    Some(match address {
        IpAddr::V6(v6) if !v6.is_unicast_link_local() => ipnet::Ipv6Net::new(v6, 64).unwrap().trunc().to_string(),
        other => other.to_string(),
    })
}

fn number(scenario: &Value, key: &str) -> u64 {
    scenario["truth"][key].as_u64().unwrap_or(0)
}

fn words<'v>(scenario: &'v Value, key: &str) -> Vec<&'v str> {
    scenario[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

/// Wrong passwords and wrong answers: what a session's attempts are. Some are never answered, because
/// the grace time ended while PAM judged them.
fn attempts(scenario: &Value) -> u64 {
    ["password_failures", "kbdint_failures", "password_unanswered"].iter().map(|key| number(scenario, key)).sum()
}

const SESSIONS: [&str; 3] = ["sessions-openssh9.2", "sessions-openssh10.0", "sessions-openssh10.6"];
const INJECTION: &str = "injection-openssh9.2";

/// Whether an entry stands where a cursor says.
fn stands_at(entry: &Value, cursor: &str) -> bool {
    let parts: Vec<&str> = entry["__CURSOR"].as_str().unwrap().split(';').collect();
    cursor.split(';').all(|part| parts.contains(&part))
}

/// The entries of a journal as journalctl prints them.
fn entries(journal: &Path, more: &[&str]) -> Vec<Value> {
    let mut command = Command::new("journalctl");
    let output =
        command.args(["--quiet", "--all", "--output=json", "--file"]).arg(journal).args(more).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `ipv6-prefix = 128`, because scenarios share a network.
const NORMAL: &str = "[default]\nmaxretry = 3\nipv6-prefix = 128\n";
const AGGRESSIVE: &str = "[default]\nmaxretry = 3\nipv6-prefix = 128\n[jail.sshd]\nmode = \"aggressive\"\n";

/// The source in a run with one address a source.
fn host(scenario: &Value) -> Option<String> {
    let address = words(scenario, "addr")[0].split('%').next().unwrap().parse::<IpAddr>().ok()?;
    Some(address.to_string())
}

/// Scenarios that count otherwise than by wrong passwords: how much, by which rule, and why.
const OTHERWISE: [(&str, u64, &str, &str); 10] = [
    ("S08", 1, "invalid-user", "a client that asked for an unknown user and left is a guess at names"),
    ("S12", 1, "invalid-user", "three keys for an unknown user: sshd shows the name at INFO, not the keys"),
    ("S120", 1, "invalid-user", "the same by a client that waited for the grace time to end"),
    ("S122", 1, "failed-publickey", "as S81"),
    ("S123", 1, "invalid-user", "keys for an unknown user, as S12"),
    ("S117", 1, "invalid-user", "twelve keys for an unknown user, as S12"),
    ("S11", 1, "max-attempts", "eight keys until sshd hung up: one session, whatever it offered"),
    ("S69", 1, "root-refused", "root with the right key where root may not log in"),
    ("S81", 1, "failed-publickey", "two keys at VERBOSE: an agent offers all it has, so they count once a session"),
    ("S115", 0, "", "the peer of an AF_UNIX socket has no address to count for"),
];

/// A recording as sshd writes it with `-e`: there the messages lack the word that says how bad it is.
fn without_prefixes(recording: &str) -> PathBuf {
    let text = fs::read_to_string(support::recordings().join(format!("{recording}.jsonl"))).unwrap();
    let mut bare = 0;
    let entries = text.lines().map(|line| {
        let mut entry: Value = serde_json::from_str(line).unwrap();
        let of_sshd = entry["SYSLOG_IDENTIFIER"].as_str().is_some_and(|name| name.starts_with("sshd"));
        if let Some(message) = entry["MESSAGE"].as_str().filter(|_| of_sshd)
            && let Some(rest) = ["error: ", "fatal: "].iter().find_map(|prefix| message.strip_prefix(prefix))
        {
            entry["MESSAGE"] = rest.into();
            bare += 1;
        }
        entry
    });
    let journal = support::journal_of(&format!("{recording}-bare"), entries);
    assert!(bare > 10, "{recording} has {bare} such messages");
    journal
}

#[test]
fn each_wrong_password_is_one_failure() {
    for recording in SESSIONS {
        each_counts_once(recording, &journal(recording));
    }
}

#[test]
fn each_wrong_password_is_one_failure_where_sshd_writes_no_prefix() {
    for recording in SESSIONS {
        each_counts_once(recording, &without_prefixes(recording));
    }
}

fn each_counts_once(recording: &str, journal: &Path) {
    let replay = replay(journal, NORMAL);
    for scenario in scenarios(recording) {
        let id = scenario["id"].as_str().unwrap();
        let Some(source) = host(&scenario) else {
            assert!(["S114", "S115"].contains(&id), "{recording} {id} has no address");
            continue;
        };
        let otherwise = OTHERWISE.iter().find(|(known, ..)| *known == id);
        let wanted = otherwise.map_or(attempts(&scenario), |(_, count, ..)| *count);
        let rules = replay.rules(&source);
        assert_eq!(replay.failures(&source), wanted, "{recording} {id} {source} by {rules:?}: {scenario}");
        if let Some((_, _, rule, why)) = otherwise {
            assert_eq!(rules, [*rule], "{recording} {id}: {why}");
        }
    }
}

#[test]
fn who_fails_three_times_is_banned_and_nobody_else() {
    for recording in SESSIONS {
        let replay = replay(&journal(recording), NORMAL);
        let mut banned = 0;
        for scenario in scenarios(recording) {
            let Some(source) = host(&scenario) else { continue };
            let guilty = attempts(&scenario) >= 3 && number(&scenario, "accepted") == 0;
            assert_eq!(replay.banned(&source), guilty, "{recording} {source}: {scenario}");
            banned += u64::from(guilty);
        }
        assert!(banned >= 15);
        // One source can be banned twice: what it tries while banned is in the recording.
        assert!(replay.summary["bans"].as_u64().unwrap() >= banned);
    }
}

/// What sshd hides even in aggressive mode, and what is no attempt.
const UNSEEN: [(&str, &str); 5] = [
    ("S72", "Debian 12's sshd writes nothing when the grace time ends"),
    ("S74", "as S72"),
    ("S114", "the peer of an AF_UNIX socket has no address"),
    ("S115", "the same"),
    ("S92", "its credential was right; the account has expired"),
];

/// Everything that the processes of a recording wrote that journald still found something about. A
/// process that left neither its unit nor its program in any record can't be told from a forger.
fn known_processes(recording: &str) -> Vec<String> {
    let text = fs::read_to_string(support::recordings().join(format!("{recording}.jsonl"))).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let process = |record: &Value| (record["_BOOT_ID"].to_string(), record["_PID"].to_string());
    let tells = |record: &&Value| ["_SYSTEMD_UNIT", "_COMM", "_EXE"].iter().any(|field| record[*field].is_string());
    let known: HashSet<_> = records.iter().filter(tells).map(process).collect();
    let known = records.iter().filter(|record| known.contains(&process(record)));
    let messages = known.filter_map(|record| record["MESSAGE"].as_str());
    // The listener's lines about clients that it had no room for are nobody's failure.
    messages.filter(|message| !message.to_lowercase().ends_with("maxstartups")).map(str::to_owned).collect()
}

/// The clients of which no other record is left: each looked in and left, and its process with it before
/// journald saw whose it is. S99's is the listener's line about a client that it had no room for.
const GONE: [(&str, &[&str]); 3] = [
    ("sessions-openssh9.2", &["S14", "S17", "S24", "S26"]),
    ("sessions-openssh10.0", &["S09", "S15", "S18", "S21", "S22"]),
    ("sessions-openssh10.6", &["S118", "S99"]),
];

fn mentions(messages: &[String], address: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':');
    messages.iter().any(|message| message.match_indices(address).any(|(at, _)| ends(&message[at + address.len()..])))
}

#[test]
fn the_aggressive_mode_sees_every_connection_that_did_not_log_in() {
    for recording in SESSIONS {
        let replay = replay(&journal(recording), AGGRESSIVE);
        let (known, mut gone) = (known_processes(recording), Vec::new());
        for scenario in scenarios(recording) {
            let id = scenario["id"].as_str().unwrap();
            let source = host(&scenario);
            let hidden = UNSEEN.iter().any(|(known, _)| *known == id) || id == "S93";
            let mut expected = number(&scenario, "accepted") == 0 && !hidden;
            if expected && !source.as_ref().is_some_and(|source| mentions(&known, source)) {
                expected = false;
                gone.push(id.to_owned());
            }
            let seen = source.as_ref().is_some_and(|source| replay.failures(source) > 0);
            let patched = ["S72", "S74"].contains(&id) && recording.ends_with("10.0");
            if expected || patched {
                assert!(seen, "{recording} {id} {source:?}: {scenario}");
            }
            if number(&scenario, "accepted") > 0 {
                let wrong = attempts(&scenario);
                let counted = source.map_or(0, |source| replay.failures(&source));
                assert_eq!(counted, wrong, "{recording} {id}: a login with {wrong} wrong passwords before it");
            }
        }
        let wanted = GONE.iter().find(|(known, _)| *known == recording).unwrap().1;
        assert_eq!(gone, wanted, "{recording}");
    }
}

/// Whether an address is one that the attackers tried to put in a log, and no record came from.
fn is_victim(source: &str) -> bool {
    let address = source.split('/').next().unwrap();
    address.starts_with("10.66.0.") || address.starts_with("2001:db8:dead:")
}

#[test]
fn no_forged_text_ever_names_a_victim() {
    for configuration in [NORMAL, AGGRESSIVE, "[default]\nmaxretry = 1\n"] {
        let replay = replay(&journal(INJECTION), configuration);
        for (source, line) in &replay.lines {
            assert!(!is_victim(source), "{line}");
            assert!(!is_victim(line["address"].as_str().unwrap()), "{line}");
        }
        for scenario in scenarios(INJECTION).iter().filter(|it| it["id"].as_str().unwrap().starts_with('L')) {
            for victim in words(scenario, "victims") {
                assert_eq!(replay.failures(&source(victim).unwrap()), 0, "{scenario}");
            }
        }
    }
}

#[test]
fn every_attacker_who_forges_text_is_seen_too() {
    let recorded = journal(INJECTION);
    for (configuration, scans_are_left_out) in [(NORMAL, true), (AGGRESSIVE, false)] {
        let replay = replay(&recorded, configuration);
        for scenario in scenarios(INJECTION).iter().filter(|it| it["kind"] == "network") {
            // In normal mode scans are not counted; nor is I47, a key of no known kind for a user who
            // exists: sshd refuses it without a word, and whoever has nothing else looks the same.
            let tried = attempts(scenario) > 0 || number(scenario, "pubkey_query_refused") > 0;
            if scans_are_left_out && (!tried || scenario["id"] == "I47") {
                continue;
            }
            for attacker in words(scenario, "attacker") {
                let found = replay.failures(&source(attacker).unwrap());
                assert!(found > 0, "{configuration} {attacker}: {scenario}");
                if attempts(scenario) > 0 {
                    assert_eq!(found, attempts(scenario), "{configuration} {attacker}: {scenario}");
                }
            }
        }
    }
}

#[test]
fn every_cursor_finds_the_record_that_shows_the_failure_and_no_other() {
    let (mut whole, mut announced) = (0, 0);
    for recording in SESSIONS {
        let file = journal(recording);
        let all = entries(&file, &[]);
        let replay = replay(&file, AGGRESSIVE);
        for line in replay.lines.values() {
            for cursor in line["evidence"].as_array().unwrap() {
                let cursor = cursor.as_str().unwrap();
                let there: Vec<&Value> = all.iter().filter(|entry| stands_at(entry, cursor)).collect();
                assert_eq!(there.len(), 1, "{recording}: {cursor}");
                let message = there[0]["MESSAGE"].as_str().unwrap();
                if !cursor.starts_with("b=") {
                    whole += 1;
                    assert_eq!(there[0]["__CURSOR"], cursor);
                    continue;
                }
                announced += 1;
                let address = line["address"].as_str().unwrap();
                assert!(message.contains("authentication failure") && message.contains(address), "{message}");
                let found = entries(&file, &[&format!("--cursor={cursor}"), "--lines=1"]);
                assert_eq!(found.iter().collect::<Vec<_>>(), there, "{recording}: {cursor}");
            }
        }
    }
    assert!(whole > 100 && announced > 5, "{whole} and {announced}");
}
