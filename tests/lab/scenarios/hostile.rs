//! Hundreds of hostile user names against real sshd: nobody but the attackers may be banned.
//!
//! Each name comes from an address of its own and does what it can to have a victim banned in
//! its stead; each attacker tries one password. The victims' networks are never used by anybody.
//! The seed of the names is printed, and `WARDEND_LAB_SEED` runs them again.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::machine::{Machine, Release};

#[path = "../../support/hostile.rs"]
pub(crate) mod names;

pub(crate) const CLIENT: &str = include_str!("../guest/hostile.py");
/// More than the 500 that were asked for, and as many as the documentation's networks have.
const NAMES: usize = 600;
/// A run of the client may take a minute.
const BATCH: usize = 60;

/// The connection stays, so that the attacker hears what sshd makes of the first guess.
const STRICT: &str = "[default]\nmaxretry = 1\nbantime = \"1h\"\ncut = false\n";
const BOTH_METHODS: &str = "KbdInteractiveAuthentication yes\nPasswordAuthentication yes\n";

/// The `index`th attacker: 254 in each of two IPv4 networks, the others each in a wide
/// IPv6 one, so that none is banned with the others as one who hops.
fn address(index: usize) -> String {
    match index {
        0..254 => format!("203.0.113.{}", index + 1),
        254..508 => format!("198.51.100.{}", index - 254 + 1),
        _ => format!("2001:db8:{:x}::1", 0x1000 + index),
    }
}

fn source(index: usize) -> String {
    if index < 508 { address(index) } else { format!("2001:db8:{:x}::/64", 0x1000 + index) }
}

pub(crate) fn seed() -> u64 {
    let given = std::env::var("WARDEND_LAB_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

pub(crate) fn no_name_has_anybody_else_banned(release: Release) {
    let machine = Machine::prepare(release)
        .file("/etc/wardend/wardend.conf.d/test.conf", STRICT)
        .file("/etc/ssh/sshd_config.d/test.conf", BOTH_METHODS)
        .hasty_passwords()
        .boot();
    let seed = seed();
    println!("the names of WARDEND_LAB_SEED={seed}");
    let mut guesses = Vec::new();
    for (index, (name, _)) in names::names(seed, NAMES).into_iter().enumerate() {
        let method = if index % 3 == 0 { "keyboard-interactive" } else { "password" };
        let end = ["close", "reset", "bye"][index % 4 % 3];
        let hex: String = name.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        guesses.push(format!("{} {hex} {method} {end}\n", address(index)));
    }
    let mut judged = BTreeSet::new();
    for (number, batch) in guesses.chunks(BATCH).enumerate() {
        for index in number * BATCH..number * BATCH + batch.len() {
            machine.attacker(&address(index));
        }
        let file = machine.attackers_dir().join("guesses");
        std::fs::write(&file, batch.concat()).expect("the machine's directory is writable");
        // The client is no part of the machines' trees: it is this machine's own.
        let mut client = Command::new("ip");
        client.args(["netns", "exec", machine.network().attackers(), "/usr/bin/python3", "-c", CLIENT]);
        client.stdin(File::open(&file).expect("it was just written")).stderr(Stdio::inherit());
        let output = client.output().expect("ip starts");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.split_once(' ') {
                Some((source, "judged")) => judged.insert(source.to_owned()),
                _ => panic!("an attack came to nothing: {line}"),
            };
        }
    }
    assert_eq!(judged.len(), NAMES, "every name was judged");

    let expected: BTreeSet<String> = (0..NAMES).map(source).collect();
    let banned = || -> BTreeSet<String> {
        machine
            .run("wardenctl list")
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(' ').map(|(source, _)| source.to_owned()))
            .filter(|source| source.contains(['.', ':']))
            .collect()
    };
    let missed = || expected.difference(&banned()).cloned().collect::<Vec<_>>();
    machine.wait_until("every attacker is banned", || missed().is_empty());
    let others: Vec<String> = banned().difference(&expected).cloned().collect();
    assert!(others.is_empty(), "banned in somebody's stead: {others:?}");
    println!("{}: {NAMES} hostile names, attackers missed 0, others banned 0", release.name());
}
