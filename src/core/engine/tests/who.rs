//! Whose records count, and what is believed of them.

use std::sync::LazyLock;

use crate::{
    config::Settings,
    core::{
        engine::Engine,
        record::{Cursor, Record},
        time::Usec,
    },
};

static SHIPPED: LazyLock<Settings> = LazyLock::new(|| Settings::load(&[]).unwrap_or_else(|error| panic!("{error}")));

const SECOND: Usec = 1_000_000;
const FAILED: &str = "Failed password for root from 203.0.113.7 port 4242 ssh2";
const UNIT: (&str, &str) = ("_SYSTEMD_UNIT", "ssh.service");
const LINE: (&str, &str) = ("_TRANSPORT", "stdout");
const BEHIND_SOCKET: (&str, &str) = ("_SYSTEMD_UNIT", "sshd@7-192.0.2.10:22-203.0.113.7:4242.service");

/// An engine that notes down whose failures it counts.
struct Desk {
    engine: Engine,
    time: Usec,
    counted: Vec<String>,
}

impl Desk {
    fn new() -> Self {
        Self { engine: Engine::new(SHIPPED.jails.clone()), time: 1_795_400_000 * SECOND, counted: Vec::new() }
    }

    fn says(&mut self, pid: u32, values: &[(&str, &str)], message: &str) {
        self.time += SECOND;
        let boot = "0123456789abcdef0123456789abcdef";
        let cursor = format!("s={boot};i=1;b={boot};m={:x};t={:x};x=1", self.time, self.time);
        let pid = pid.to_string();
        let usual = [
            ("MESSAGE", message),
            ("_UID", "0"),
            ("SYSLOG_IDENTIFIER", "sshd"),
            ("_TRANSPORT", "syslog"),
            ("_BOOT_ID", boot),
            ("_PID", &pid),
        ];
        let values = values.iter().chain(&usual).copied();
        let mut record = Record::with(&SHIPPED.fields, self.time, Cursor::from(cursor), values);
        if !record.is_line() {
            record.set(SHIPPED.fields.find(b"SYSLOG_PID").unwrap(), pid.as_bytes());
        }
        let mut effects = Vec::new();
        self.engine.record(&record, &mut effects);
        self.note(&effects);
    }

    fn note(&mut self, effects: &[super::Effect]) {
        self.counted.extend(effects.iter().filter_map(|effect| match effect {
            super::Effect::Failed { failure, .. } => Some(failure.address.to_string()),
            _ => None,
        }));
    }

    /// The daemon stops and starts.
    fn restart(&mut self) {
        let saved = serde_json::to_string(&self.engine.save()).unwrap();
        self.engine = Engine::new(SHIPPED.jails.clone());
        let mut effects = Vec::new();
        self.engine.load(serde_json::from_str(&saved).unwrap(), self.time, &mut effects);
        self.note(&effects);
    }
}

#[test]
fn a_record_without_unit_and_program_counts_only_if_its_process_is_known_to_be_sshds() {
    let mut desk = Desk::new();
    for pid in 1..=20 {
        desk.says(pid, &[], FAILED);
    }
    assert!(desk.counted.is_empty(), "whoever may run one harmless program as root could write these");
    desk.says(20, &[UNIT], FAILED);
    assert_eq!(desk.counted.len(), 2, "the record that vouches, and the one that it vouches for");
    desk.says(20, &[], FAILED);
    assert_eq!(desk.counted.len(), 3, "whoever is known stays known");
}

/// `sudo tail` writes what a user likes, and journald may come too late to see who that was, at some of
/// its records or at all of them. Later its process number may be sshd's.
#[test]
fn what_another_program_of_root_writes_is_not_believed_in_whatever_order_journald_recognizes_it() {
    const TAIL: &[(&str, &str)] = &[("_SYSTEMD_UNIT", "session-3.scope"), ("_COMM", "tail"), ("_EXE", "/usr/bin/tail")];
    const GONE: &[(&str, &str)] = &[];
    const SCOPE: &[(&str, &str)] = &[("_SYSTEMD_UNIT", "session-3.scope")];
    const FORGED: &str = "Failed password for root from 10.66.0.9 port 22 ssh2";
    for shape in [[GONE, TAIL], [TAIL, GONE], [GONE, SCOPE], [SCOPE, GONE], [GONE, GONE], [TAIL, TAIL]] {
        for late in [false, true] {
            let mut desk = Desk::new();
            for pid in 1..=20 {
                for values in shape {
                    desk.says(pid, values, FORGED);
                }
            }
            assert!(desk.counted.is_empty(), "{shape:?}");
            // The number of one whose program was seen last is sshd's now.
            if shape[1] != GONE {
                if late {
                    desk.restart();
                }
                desk.says(20, &[UNIT], FAILED);
                assert_eq!(desk.counted, ["203.0.113.7"], "{shape:?}");
            }
        }
    }
}

#[test]
fn what_is_held_back_outlives_a_restart_and_is_given_up_with_its_session() {
    let mut desk = Desk::new();
    desk.says(1, &[], FAILED);
    desk.says(2, &[], FAILED);
    desk.restart();
    desk.says(1, &[("_COMM", "sshd")], "Connection closed by authenticating user root 203.0.113.7 port 4242 [preauth]");
    assert_eq!(desk.counted.len(), 1);
    for _ in 0..60 {
        desk.time += 30 * SECOND;
        desk.says(1, &[UNIT], FAILED);
    }
    desk.counted.clear();
    desk.says(2, &[UNIT], "Connection from 198.51.100.1 port 1 on 192.0.2.10 port 22");
    assert!(desk.counted.is_empty(), "by now the number is another process's");
}

#[test]
fn another_program_of_root_is_not_believed_in_any_unit() {
    let mut desk = Desk::new();
    for values in [&[UNIT, ("_COMM", "tail")][..], &[("_EXE", "/usr/bin/tail")], &[("_SYSTEMD_UNIT", "cron.service")]] {
        desk.says(1, values, FAILED);
    }
    assert!(desk.counted.is_empty());
    desk.says(2, &[("_SYSTEMD_UNIT", "gate.service"), ("_EXE", "/usr/sbin/sshd")], FAILED);
    assert_eq!(desk.counted, ["203.0.113.7"], "and sshd is in each");
}

#[test]
fn a_line_names_the_peer_of_the_socket_whatever_it_says() {
    let mut desk = Desk::new();
    desk.says(1, &[LINE, BEHIND_SOCKET], "Failed password for root from 10.66.0.1 port 22 ssh2");
    desk.says(1, &[LINE, BEHIND_SOCKET], FAILED);
    desk.says(2, &[LINE, BEHIND_SOCKET], "Accepted password for root from 10.66.0.1 port 22 ssh2");
    desk.says(2, &[LINE, BEHIND_SOCKET], FAILED);
    assert_eq!(desk.counted, ["203.0.113.7"; 3]);
}

#[test]
fn without_a_socket_a_line_names_nobody_until_something_sound_has() {
    let mut desk = Desk::new();
    // The user name was "x\nFailed password for root from 10.66.0.1 port 22 ssh2\ny".
    for message in
        ["Invalid user x", "Failed password for root from 10.66.0.1 port 22 ssh2", "y from 203.0.113.7 port 4242"]
    {
        desk.says(1, &[LINE, UNIT], message);
    }
    desk.says(1, &[LINE, UNIT], "Connection from 10.66.0.1 port 22 on 192.0.2.10 port 22");
    assert!(desk.counted.is_empty(), "{:?}", desk.counted);
    // What comes before any text of the client is sshd's own.
    desk.says(2, &[LINE, UNIT], "Connection from 203.0.113.7 port 4242 on 192.0.2.10 port 22");
    desk.says(2, &[LINE, UNIT], "Invalid user x");
    desk.says(2, &[LINE, UNIT], "Failed password for root from 10.66.0.1 port 22 ssh2");
    assert_eq!(desk.counted, ["203.0.113.7"]);
}

#[test]
fn a_wrong_answer_for_an_account_names_the_address_of_a_line_and_one_for_another_name_does_not() {
    let mut desk = Desk::new();
    // sshd asks PAM in a process of its own.
    desk.says(2, &[UNIT], "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.7  user=root");
    desk.says(1, &[LINE, UNIT], "PAM: Authentication failure for root from 203.0.113.7");
    desk.says(1, &[LINE, UNIT], "PAM: Authentication failure for root from 10.66.0.1");
    assert_eq!(desk.counted, ["203.0.113.7"; 2]);
    // At LogLevel ERROR this is the first line of a session.
    desk.says(3, &[LINE, UNIT], "PAM: Authentication failure for illegal user x from 10.66.0.1");
    desk.says(3, &[LINE, UNIT], "y from 203.0.113.7");
    assert_eq!(desk.counted.len(), 2);
}

#[test]
fn no_line_forgives_what_its_client_did() {
    let mut desk = Desk::new();
    for _ in 0..5 {
        desk.says(1, &[LINE, BEHIND_SOCKET], FAILED);
        desk.says(1, &[LINE, BEHIND_SOCKET], "Accepted password for root from 203.0.113.7 port 4242 ssh2");
        desk.says(1, &[LINE, BEHIND_SOCKET], "Connection closed by 203.0.113.7 port 4242 [preauth]");
    }
    assert_eq!(desk.engine.ban_count(), 1);
}
