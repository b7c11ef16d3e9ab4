//! The filter for sshd against names that were made to fool it, and against whatever bytes.
//!
//! The proof says that no message can be read with two addresses. What it can't know is how sshd
//! makes its messages, where they are cut, and what journald does to them; a model of all that is
//! here, and fresh names run through it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that unwraps in vain has failed")]

#[path = "support/hostile.rs"]
mod hostile;

use std::{net::IpAddr, path::Path, process::Command};

use proptest::prelude::*;
use wardend::testing::{FieldId, Fields, Filter, FilterText, of_filter};

const SSHD: &str = include_str!("../filters/sshd.toml");

struct Tested {
    filter: Filter,
    fields: Fields,
}

impl Tested {
    fn new(text: &str) -> Self {
        let mut fields = Fields::default();
        let filter = Filter::load("sshd", &[FilterText::new("sshd.toml", text)], &mut fields).unwrap();
        Self { filter, fields }
    }

    /// The address that the filter reads in a message of sshd.
    fn address(&self, written: &Written) -> Option<IpAddr> {
        let mut record = of_filter(&self.filter, &self.fields, &written.message);
        if written.altered {
            record.set(FieldId::RAW, b"");
        }
        self.filter.read(&record)?.address
    }
}

/// A message as it stands in the journal.
#[derive(Clone, Debug)]
struct Written {
    message: Vec<u8>,
    /// journald has stripped something, and so kept the original in SYSLOG_RAW.
    altered: bool,
}

/// strnvis(3) with sshd's flags: VIS_CSTYLE, VIS_NL, VIS_TAB, VIS_OCTAL.
fn escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() * 2);
    for byte in text {
        match byte {
            b'\\' => out.extend(b"\\\\"),
            b' '..=b'~' => out.push(*byte),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            7 => out.extend(b"\\a"),
            8 => out.extend(b"\\b"),
            11 => out.extend(b"\\v"),
            12 => out.extend(b"\\f"),
            _ => out.extend(format!("\\{byte:03o}").bytes()),
        }
    }
    // log.c: char fmtbuf[MSGBUFSIZ], 1024 bytes with its end.
    out.truncate(1023);
    out
}

/// `%.500s`, and what journald does to the end of a message.
fn logged(mut line: Vec<u8>) -> Written {
    line.truncate(500);
    let length = line.len();
    let end = line.iter().rposition(|byte| !b" \t\n\r".contains(byte)).map_or(0, |last| last + 1);
    line.truncate(end);
    Written { altered: line.len() != length, message: line }
}

fn cut(name: &[u8], at: usize) -> &[u8] {
    &name[..name.len().min(at)]
}

/// A line of the monitor: escaped once.
fn monitor(parts: &[&[u8]]) -> Written {
    logged(escaped(&parts.concat()))
}

/// PAM's line of a wrong password, from the host on.
fn pam(host: &[&[u8]]) -> Written {
    let head = b"pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=";
    logged([&head[..], &host.concat()].concat())
}

/// A line of the unprivileged child: it escapes, and the monitor that writes it does again, up to
/// 10.2.
fn child(prefix: &str, parts: &[&[u8]], twice: bool) -> Written {
    let line = [prefix.as_bytes(), &escaped(&parts.concat()), b" [preauth]"].concat();
    logged(if twice { escaped(&line) } else { line })
}

/// Everything that sshd writes about one attempt with a name that is no account.
fn messages(name: &[u8], peer: &str, twice: bool) -> Vec<Written> {
    // The style is cut off before anything is logged.
    let name = name.split(|byte| *byte == b':').next().unwrap_or_default();
    let (short, peer) = (cut(name, 100), peer.as_bytes());
    let preamble = [b"invalid user ", name].concat();
    let preamble = cut(&preamble, 200);
    let mut out = vec![
        monitor(&[b"Invalid user ", short, b" from ", peer, b" port 4242"]),
        monitor(&[b"Failed password for invalid user ", short, b" from ", peer, b" port 4242 ssh2"]),
        monitor(&[b"Failed keyboard-interactive/pam for invalid user ", short, b" from ", peer, b" port 4242 ssh2"]),
        monitor(&[b"Failed none for invalid user ", short, b" from ", peer, b" port 4242 ssh2"]),
        monitor(&[
            b"Failed publickey for invalid user ",
            short,
            b" from ",
            peer,
            b" port 4242 ssh2: ED25519 SHA256:Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Q",
        ]),
        // The key ID of a certificate is the attacker's too.
        monitor(&[
            b"Failed publickey for invalid user ",
            short,
            b" from ",
            peer,
            b" port 4242 ssh2: ED25519-CERT SHA256:Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Q ID ",
            name,
            b" (serial 1) CA ED25519 SHA256:Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Q",
        ]),
        monitor(&[b"error: PAM: Authentication failure for illegal user ", short, b" from ", peer]),
        monitor(&[b"error: PAM: Authentication failure for illegal user ", short, b" from host.example"]),
        // As with sshd -e, which leaves the first word out.
        monitor(&[b"PAM: Authentication failure for illegal user ", short, b" from ", peer]),
        monitor(&[b"PAM: Authentication failure for illegal user ", short, b" from host.example"]),
        child(
            "",
            &[
                b"maximum authentication attempts exceeded for invalid user ",
                short,
                b" from ",
                peer,
                b" port 4242 ssh2",
            ],
            twice,
        ),
        child("", &[b"Access denied for user ", short, b" by PAM account configuration"], twice),
        // With the option audit PAM adds the name, and escapes nothing.
        pam(&[peer, b"  user=", name]),
        pam(&[b"host.example  user=", name]),
        // RefuseConnection puts no limit on the name.
        monitor(&[b"administratively prohibited connection for invalid user ", name, b" from ", peer, b" port 4242"]),
        child(
            "",
            &[b"Postponed keyboard-interactive for invalid user ", short, b" from ", peer, b" port 4242 ssh2"],
            twice,
        ),
        child(
            "error: ",
            &[
                b"maximum authentication attempts exceeded for invalid user ",
                short,
                b" from ",
                peer,
                b" port 4242 ssh2",
            ],
            twice,
        ),
        child(
            "",
            &[
                b"Disconnecting ",
                preamble,
                b" ",
                peer,
                b" port 4242: Change of username or service not allowed: (a,",
                short,
                b")",
            ],
            twice,
        ),
        child("", &[b"Connection from ", preamble, b" ", peer, b" port 4242 timed out"], twice),
        child(
            "",
            &[b"ssh_dispatch_run_fatal: Connection from ", preamble, b" ", peer, b" port 4242: Connection corrupted"],
            twice,
        ),
        child("fatal: ", &[b"Access denied for user ", short, b" by PAM account configuration"], twice),
        monitor(&[b"Received disconnect from ", peer, b" port 4242:11: ", cut(name, 400)]),
        monitor(&[b"Bad protocol version identification '", short, b"' from ", peer, b" port 4242"]),
        monitor(&[
            b"error: kex_exchange_identification: client sent invalid protocol identifier \"",
            cut(name, 256),
            b"\"",
        ]),
    ];
    for how in ["Connection closed by ", "Connection reset by ", "Disconnected from "] {
        out.push(child("", &[how.as_bytes(), preamble, b" ", peer, b" port 4242"], twice));
    }
    out
}

const PEERS: [&str; 5] =
    ["203.0.113.9", "198.51.100.200", "2001:db8::9", "fe80::77%eth0", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff"];

#[derive(Debug, Default)]
struct Count {
    messages: usize,
    read: usize,
    fooled: usize,
}

/// Runs names through sshd's formats, and a filter over what comes out.
fn run(tested: &Tested, seed: u64, count: usize, mut told: impl FnMut(&Written) -> Written) -> Count {
    let mut counted = Count::default();
    for (index, (name, victim)) in hostile::names(seed, count).into_iter().enumerate() {
        let peer = PEERS[index % PEERS.len()];
        let own: IpAddr = peer.split('%').next().unwrap().parse().unwrap();
        for written in messages(&name, peer, index % 4 != 3) {
            counted.messages += 1;
            let Some(address) = tested.address(&told(&written)) else { continue };
            counted.read += 1;
            if address != own {
                assert_eq!(address, victim, "a third address out of {:?}", written.message.escape_ascii());
                counted.fooled += 1;
            }
        }
    }
    counted
}

#[test]
fn no_hostile_name_puts_its_victim_into_a_failure() {
    let tested = Tested::new(SSHD);
    let counted = run(&tested, 2026, 10_000, Clone::clone);
    assert_eq!(counted.fooled, 0, "{counted:?}");
    assert!(counted.read > counted.messages / 3, "the attacker too is read: {counted:?}");
}

#[test]
fn without_the_rules_on_cut_messages_the_same_names_do_fool_the_filter() {
    // Else the test above would say nothing about them.
    let careless: String = SSHD.lines().filter(|line| !line.starts_with("truncated-at")).collect::<Vec<_>>().join("\n");
    let careless = Tested::new(&careless);
    let as_sent = |written: &Written| Written { altered: false, ..written.clone() };
    assert!(run(&careless, 2026, 2_000, as_sent).fooled > 10);
    // By blanks alone: the message is below the limit, and only SYSLOG_RAW tells.
    let at_500 = SSHD.replace("truncated-at = 400", "");
    let at_500 = Tested::new(&at_500);
    assert!(run(&at_500, 2026, 2_000, as_sent).fooled > 10);
    assert_eq!(run(&at_500, 2026, 2_000, Clone::clone).fooled, 0);
}

#[test]
fn where_journald_keeps_no_original_the_shorter_limit_is_enough() {
    // systemd before 240 strips blanks and says nothing. (RefuseConnection, whose message has no
    // limit on the name, came with OpenSSH 9.9, and such a systemd long ago.)
    let tested = Tested::new(SSHD);
    let as_sent = |written: &Written| match written.message.strip_prefix(b"administratively prohibited") {
        Some(_) => written.clone(),
        None => Written { altered: false, ..written.clone() },
    };
    let counted = run(&tested, 77, 5_000, as_sent);
    assert_eq!(counted.fooled, 0, "{counted:?}");
}

#[test]
fn the_names_are_those_of_the_seed() {
    assert_eq!(hostile::names(1, 50), hostile::names(1, 50));
    assert_ne!(hostile::names(1, 50), hostile::names(2, 50));
    assert_eq!(hostile::names(1, 50)[..20], hostile::names(1, 20));
    assert!(hostile::names(1, 1000).iter().all(|(name, _)| !name.contains(&0)));
}

fn of(message: &[u8]) -> Written {
    Written { message: message.to_vec(), altered: false }
}

/// The same that the fuzz targets ask, on every run of the tests.
mod fuzz {
    use super::*;

    /// Bytes, and pieces of what sshd writes.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20),
            prop::sample::select(vec![
                "Failed password for ",
                "invalid user ",
                " from ",
                " port ",
                " ssh2",
                " [preauth]",
                "Connection closed by ",
                "203.0.113.7",
                "2001:db8::7",
                "22",
                ": ",
                "ED25519 SHA256:",
                "error: PAM: ",
                "Invalid user ",
                "UNKNOWN",
            ])
            .prop_map(|piece| piece.as_bytes().to_vec()),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Nothing panics, and an address that is read stands in the message.
        #[test]
        fn any_bytes_are_a_message(message in message()) {
            thread_local!(static SHIPPED: Tested = Tested::new(SSHD));
            SHIPPED.with(|tested| {
                if let Some(address) = tested.address(&of(&message)) {
                    let text = String::from_utf8_lossy(&message).into_owned();
                    let words = text.split(|c: char| !(c.is_ascii_hexdigit() || ".:".contains(c)));
                    let mut tails = words.flat_map(|word| (0..word.len()).flat_map(move |from| (from..=word.len()).map(move |to| &word[from..to])));
                    assert!(tails.any(|it| it.parse::<IpAddr>().is_ok_and(|it| it.to_canonical() == address)), "{text}");
                }
            });
        }

        /// No text makes the loader panic, or take long.
        #[test]
        fn any_text_is_a_filter_file(cuts in prop::collection::vec((0usize..400, 0usize..12, ".{0,6}"), 1..4)) {
            let mut text = "[records]\n_UID = ['0']\n[message]\nsession = ['_PID']\n[modes]\nnormal = ['auth']\n[[rule]]\nname = 'a'\nclass = 'auth'\ncounts = 'failure'\npattern = 'failed (?:x|[a-z]+ )?<USER> from <ADDR>'\nmatch = [{ message = 'failed x from 1.2.3.4', address = '1.2.3.4' }]\n[[rule]]\nname = 'b'\ncounts = 'success'\npattern = 'in <ACCOUNT> from <ADDR>(?:: <KEY>)?'\n".to_owned();
            for (at, length, new) in cuts {
                let mut edges = [at, at + length].map(|at| at.min(text.len()));
                for edge in &mut edges {
                    while !text.is_char_boundary(*edge) { *edge -= 1; }
                }
                text.replace_range(edges[0]..edges[1].max(edges[0]), &new);
            }
            let began = std::time::Instant::now();
            if let Err(error) = Filter::load("x", &[FilterText::new("x.toml", text.as_str())], &mut Fields::default()) {
                prop_assert!(error.line >= 1 && error.line <= text.lines().count().max(1) + 1, "{}", error);
                prop_assert!(error.what.ends_with(['.', '?']), "{}", error);
            }
            prop_assert!(began.elapsed().as_secs() < 20);
        }
    }
}

fn wardenctl(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_wardenctl"))
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn verify_says_what_it_has_proven() {
    let (ok, out, _) = wardenctl(&["verify", "filters/sshd.toml", "--json"]);
    assert!(ok);
    let verdict: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&verdict["ok"], &verdict["rules"], &verdict["pairs"]), (&true.into(), &39.into(), &741.into()));
}

#[test]
fn verify_goes_on_after_a_mistake_and_fails_in_the_end() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("sshd.d");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("own.toml");
    let text = "[[rule]]\nname = 'own'\nclass = 'auth'\ncounts = 'failure'\npattern = 'own: <TEXT> <ADDR><TEXT>'\n";
    std::fs::write(&file, text).unwrap();
    let (ok, out, err) = wardenctl(&["verify", file.to_str().unwrap(), "filters/sshd.toml"]);
    assert!(!ok);
    assert!(out.contains("own.toml:5: rule 'own' is refused because it can be fooled: the message"), "{out}");
    assert!(
        out.contains("refused") && out.lines().any(|line| line.starts_with("filters/sshd.toml") && line.contains("ok"))
    );
    assert_eq!(err, "wardenctl: 1 of 2 can't be used.\n");
}

#[test]
fn test_says_which_rule_reads_a_message_or_why_none_does() {
    let (ok, out, _) =
        wardenctl(&["test", "sshd", "Failed password for x from 10.66.0.1 from 203.0.113.7 port 1 ssh2", "--json"]);
    assert!(ok);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["rule"], "failed-password");
    assert_eq!(answer["address"], "203.0.113.7");
    assert_eq!(answer["user"], "x from 10.66.0.1");
    assert_eq!(answer["modes"], serde_json::json!(["aggressive", "normal"]));

    let long = format!("Connection closed by invalid user {} 10.66.0.1 port 22 [preauth]", "x".repeat(400));
    for (message, says) in [
        ("Failed password for root from a.example port 1 ssh2", "'a.example' stands where an address should"),
        ("Failed password for root from 203.0.113.7 port 1 ssh2 .", "reads all but the end, ' .'"),
        ("sshd[1]: Invalid user x from 203.0.113.7 port 1", "reads what follows 'sshd[1]: '"),
        ("Failed password for root from 203.0.113.777 port 1 ssh2", "'203.0.113.777' is not an address."),
        (long.as_str(), "may have been cut off"),
    ] {
        let (_, out, _) = wardenctl(&["test", "filters/sshd.toml", message]);
        assert!(out.contains(says), "{message}\n{out}");
    }
    let (ok, _, err) = wardenctl(&["test", "shd", "x"]);
    assert!(!ok && err.contains("There is no filter 'shd'; did you mean 'sshd'?"), "{err}");
}
