//! What sshd's lines mean together, in the order and from the processes that write them.

use super::*;

const GUESSER: &str = "203.0.113.160";
const NEIGHBOUR: &str = "203.0.113.161";

fn aggressive(jail: &mut JailSettings) {
    jail.classes = jail.filter.mode("aggressive").unwrap().to_vec();
}

impl Desk {
    /// The listener turns a connection away.
    fn drop(&mut self, time: Usec, address: &str, reason: &str) -> Vec<Effect> {
        let line = format!("drop connection #1 from [{address}]:4242 on [192.0.2.10]:22 penalty: {reason}");
        self.says(time, 1, &line)
    }

    /// PAM finds a password wrong.
    fn pam(&mut self, time: Usec, pid: u32, host: &str) -> Vec<Effect> {
        let head = "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser=";
        self.says(time, pid, &format!("{head} rhost={host}  user=root"))
    }

    /// The listener ends a session whose grace time is over.
    fn grace_time(&mut self, time: Usec, pid: u32, address: &str) -> Vec<Effect> {
        let line = format!("Timeout before authentication for connection from {address} to 192.0.2.10, pid = {pid}");
        self.says(time, 1, &line)
    }

    /// All failures of the address that stand, when its sessions are over.
    fn failures(&mut self, address: &str, effects: Vec<Effect>) -> usize {
        let mut all = effects;
        all.extend(self.advance(10_000 * SECOND));
        let source = net(address);
        all.iter().fold(0, |count, effect| match effect {
            Effect::Failed { source: whose, .. } if *whose == source => count + 1,
            Effect::TakenBack { source: whose, .. } if *whose == source => count - 1,
            _ => count,
        })
    }
}

#[test]
fn who_goes_on_while_sshd_turns_them_away_is_banned_and_who_mistypes_is_not() {
    for reason in ["failed authentication", "attempted authentication by invalid user"] {
        for (failures, bearable) in [(3, 5), (4, 2)] {
            let mut desk = Desk::new(|_| ());
            for second in 0..failures {
                desk.wrong_password(second * SECOND, 100 + u32::try_from(second).unwrap(), GUESSER);
            }
            for second in 10..10 + bearable {
                let effects = desk.drop(second * SECOND, GUESSER, reason);
                assert!(
                    effects.is_empty(),
                    "a refusal is not a failure, and {failures} and {bearable} are not a ban: {effects:?}"
                );
            }
            let explained = &desk.engine.explain(GUESSER.parse().unwrap(), 20 * SECOND)[0];
            let says = format!(
                "{failures} of 5 failures within 10min (maxretry, findtime), and {bearable} refused connections."
            );
            assert_eq!(explained.because, says);
            let effects = desk.drop(20 * SECOND, GUESSER, reason);
            let ban = banned(&effects).unwrap();
            assert_eq!(
                ban.failures.kinds(),
                (usize::try_from(failures).unwrap(), usize::try_from(bearable + 1).unwrap())
            );
        }
    }
}

#[test]
fn nobody_is_counted_for_what_a_neighbour_did() {
    for adjust in [(|_| ()) as fn(&mut JailSettings), aggressive] {
        let mut desk = Desk::new(adjust);
        desk.attack(0, GUESSER);
        // One typing mistake of one's own is no reason either.
        desk.wrong_password(5 * SECOND, 9, "203.0.113.162");
        for second in 10..60 {
            for (address, reason) in [
                (NEIGHBOUR, "failed authentication"),
                (NEIGHBOUR, "connections without attempting authentication"),
                (NEIGHBOUR, "exceeded LoginGraceTime"),
                ("203.0.113.162", "failed authentication"),
            ] {
                assert!(desk.drop(second * SECOND, address, reason).is_empty(), "{address}");
            }
        }
        assert_eq!(desk.engine.ban_count(), 1);
    }
}

#[test]
fn other_penalties_count_in_aggressive_mode_only() {
    for (adjust, counts) in [((|_| ()) as fn(&mut JailSettings), false), (aggressive, true)] {
        let mut desk = Desk::new(adjust);
        for second in 0..4 {
            desk.wrong_password(second * SECOND, 9, GUESSER);
        }
        let all = (10..20).flat_map(|second| desk.drop(second * SECOND, GUESSER, "exceeded LoginGraceTime"));
        let all: Vec<Effect> = all.collect();
        assert_eq!(banned(&all).is_some(), counts);
    }
}

#[test]
fn refusals_outlive_a_restart_and_go_with_the_failures_that_are_forgiven() {
    let mut desk = Desk::new(|_| ());
    for second in 0..3 {
        desk.wrong_password(second * SECOND, 9, GUESSER);
    }
    for second in 10..15 {
        desk.drop(second * SECOND, GUESSER, "failed authentication");
    }
    let saved = serde_json::to_vec(&desk.engine.save()).unwrap();
    let mut again = Desk::new(|_| ());
    again.engine.load(serde_json::from_slice(&saved).unwrap(), 15 * SECOND, &mut Vec::new());
    assert!(banned(&again.drop(16 * SECOND, GUESSER, "failed authentication")).is_some());

    desk.says(16 * SECOND, 9, &format!("Accepted password for root from {GUESSER} port 4242 ssh2"));
    assert_eq!(desk.engine.counters("sshd").unwrap().0, 0);
    assert!(desk.drop(17 * SECOND, GUESSER, "failed authentication").is_empty());
}

#[test]
fn a_banned_source_that_sshd_turns_away_has_got_through_the_firewall() {
    let mut desk = Desk::new(|_| ());
    desk.attack(0, GUESSER);
    let effects = desk.drop(30 * SECOND, GUESSER, "failed authentication");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Leak { .. })), "{effects:?}");
}

#[test]
fn a_password_that_the_grace_time_cut_off_is_a_failure() {
    // Since 9.8 the listener says so.
    let mut desk = Desk::new(|_| ());
    assert!(desk.pam(122 * SECOND, 77, GUESSER).is_empty(), "PAM alone says nothing");
    let effects = desk.grace_time(123 * SECOND, 77, GUESSER);
    let [Effect::Failed { failure, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((&*failure.rule, failure.time), ("pam-failure", 122 * SECOND));
    assert_eq!(desk.failures(GUESSER, Vec::new()), 0, "and once");

    // Up to 9.7 the session does.
    let mut desk = Desk::new(aggressive);
    desk.pam(122 * SECOND, 77, GUESSER);
    let effects = desk.says(123 * SECOND, 77, &format!("fatal: Timeout before authentication for {GUESSER} port 4242"));
    assert_eq!(desk.failures(GUESSER, effects), 1, "one attempt, in aggressive mode too");

    // An answer before that counts as it always did, and so does a grace time without a password.
    for (adjust, idle) in [((|_| ()) as fn(&mut JailSettings), 0), (aggressive, 1)] {
        let mut desk = Desk::new(adjust);
        desk.pam(10 * SECOND, 77, GUESSER);
        let mut effects = desk.wrong_password(12 * SECOND, 77, GUESSER);
        effects.extend(desk.grace_time(123 * SECOND, 77, GUESSER));
        assert_eq!(desk.failures(GUESSER, effects), 1);
        let mut desk = Desk::new(adjust);
        let effects = desk.grace_time(123 * SECOND, 77, GUESSER);
        assert_eq!(desk.failures(GUESSER, effects), idle);
    }

    // UseDNS: PAM has the name only.
    let mut desk = Desk::new(|_| ());
    desk.pam(122 * SECOND, 77, "host.example");
    let effects = desk.grace_time(123 * SECOND, 77, GUESSER);
    assert_eq!(desk.failures(GUESSER, effects), 1);
}

#[test]
fn where_sshd_is_silent_at_the_grace_time_silence_tells() {
    let mut desk = Desk::new(|_| ());
    desk.pam(120 * SECOND, 77, GUESSER);
    assert!(desk.advance(269 * SECOND).is_empty());
    let effects = desk.advance(270 * SECOND);
    assert!(matches!(&effects[..], [Effect::Failed { failure, .. }] if failure.time == 120 * SECOND), "{effects:?}");

    // A module that takes longer still, and says so at last.
    let late = |line: &str| {
        let mut desk = Desk::new(|_| ());
        desk.pam(0, 77, GUESSER);
        let mut effects = desk.advance(200 * SECOND);
        effects.extend(desk.says(201 * SECOND, 77, line));
        desk.failures(GUESSER, effects)
    };
    assert_eq!(late(&format!("Failed password for root from {GUESSER} port 4242 ssh2")), 1, "and not two");
    let mut desk = Desk::new(|_| ());
    desk.pam(0, 77, GUESSER);
    desk.advance(200 * SECOND);
    desk.says(201 * SECOND, 77, &format!("Accepted password for root from {GUESSER} port 4242 ssh2"));
    assert_eq!(desk.engine.counters("sshd").unwrap().0, 0, "forgiven");

    // A replay that ends soon after.
    for (end, counted) in [(5, 0), (30, 1)] {
        let mut desk = Desk::new(|_| ());
        desk.pam(0, 77, GUESSER);
        desk.engine.end_sessions(end * SECOND, &mut desk.effects);
        assert_eq!(desk.effects.len(), counted);
    }
}

#[test]
fn a_login_that_another_module_takes_is_none_of_these() {
    for lines in [
        vec![format!("Accepted password for alice from {GUESSER} port 4242 ssh2")],
        // All that is left at LogLevel ERROR.
        vec!["pam_unix(sshd:session): session opened for user alice(uid=1000) by (uid=0)".to_owned()],
        // The first of two factors, and then the client waits.
        vec![
            format!("Partial password for alice from {GUESSER} port 4242 ssh2"),
            format!("Timeout before authentication for connection from {GUESSER} to 192.0.2.10, pid = 77"),
        ],
        vec![format!("Connection closed by authenticating user alice {GUESSER} port 4242 [preauth]")],
    ] {
        let mut desk = Desk::new(|_| ());
        let mut effects = desk.pam(0, 77, GUESSER);
        for line in &lines {
            effects.extend(desk.says(2 * SECOND, 77, line));
        }
        assert_eq!(desk.failures(GUESSER, effects), 0, "{lines:?}");
    }
}

#[test]
fn keyboard_interactive_has_a_process_of_its_own_for_each_answer() {
    // Two wrong answers, each with PAM's line from another process.
    for adjust in [(|_| ()) as fn(&mut JailSettings), aggressive] {
        let mut desk = Desk::new(adjust);
        let mut effects = Vec::new();
        for second in [0, 10] {
            effects.extend(desk.pam(second * SECOND, 80 + u32::try_from(second).unwrap(), GUESSER));
            let error = format!("error: PAM: Authentication failure for root from {GUESSER}");
            effects.extend(desk.says((second + 2) * SECOND, 77, &error));
        }
        let closed = format!("Connection closed by authenticating user root {GUESSER} port 4242 [preauth]");
        effects.extend(desk.says(13 * SECOND, 77, &closed));
        assert_eq!(desk.failures(GUESSER, effects), 2);
        // A good login, where another module takes the password.
        let mut desk = Desk::new(adjust);
        let mut effects = desk.pam(0, 80, GUESSER);
        let accepted = format!("Accepted keyboard-interactive/pam for root from {GUESSER} port 4242 ssh2");
        effects.extend(desk.says(SECOND, 77, &accepted));
        assert_eq!(desk.failures(GUESSER, effects), 0);
        // An answer that the grace time cut off.
        let mut desk = Desk::new(adjust);
        let mut effects = desk.pam(0, 80, GUESSER);
        effects.extend(desk.grace_time(SECOND, 77, GUESSER));
        assert_eq!(desk.failures(GUESSER, effects), 1);
        // Others of the same address don't hide what was cut off.
        let mut desk = Desk::new(adjust);
        let mut effects = desk.pam(0, 80, GUESSER);
        effects.extend(desk.pam(0, 81, GUESSER));
        for second in 2..5 {
            effects.extend(desk.wrong_password(second * SECOND, 81, GUESSER));
        }
        assert_eq!(desk.failures(GUESSER, effects), 4);
    }
}

#[test]
fn with_usedns_another_line_of_the_session_names_the_address() {
    const ERROR: &str = "error: PAM: Authentication failure for root from host.example";
    for (lines, counted) in [
        (vec![ERROR, ERROR, "Connection closed by authenticating user root 203.0.113.160 port 4242 [preauth]"], 2),
        (
            vec![
                "WARNING: connection from 203.0.113.160 port 4242 is not using a post-quantum key exchange algorithm: \"curve25519-sha256\" [preauth]",
                ERROR,
            ],
            1,
        ),
        (vec![ERROR, "Failed keyboard-interactive/pam for root from 203.0.113.160 port 4242 ssh2"], 1),
        (
            vec![
                ERROR,
                ERROR,
                "Timeout before authentication for connection from 203.0.113.160 to 192.0.2.10, pid = 77",
            ],
            2,
        ),
        (vec![ERROR, "Accepted keyboard-interactive/pam for root from 203.0.113.160 port 4242 ssh2"], 1),
    ] {
        let mut desk = Desk::new(|_| ());
        let mut effects = Vec::new();
        for (second, line) in (0..).zip(&lines) {
            effects.extend(desk.says(second * SECOND, 77, line));
        }
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Nameless { .. })));
        assert_eq!(desk.failures(GUESSER, effects), counted, "{lines:?}");
    }
    let mut desk = Desk::new(|_| ());
    desk.says(0, 77, ERROR);
    desk.says(SECOND, 77, ERROR);
    let effects = desk.advance(1000 * SECOND);
    assert!(matches!(&effects[..], [Effect::Nameless { count: 2, .. }]), "{effects:?}");
}

#[test]
fn the_end_of_a_login_is_no_probe() {
    let mut desk = Desk::new(aggressive);
    let closed = |port: u32| format!("Connection closed by {GUESSER} port {port}");
    for number in 0..10u32 {
        let at = u64::from(number) * 1000 * SECOND;
        desk.says(
            at,
            100 + number,
            &format!("Accepted publickey for root from {GUESSER} port {} ssh2: ED25519 SHA256:x", 5000 + number),
        );
    }
    desk.engine = {
        let saved = serde_json::to_vec(&desk.engine.save()).unwrap();
        let mut engine = Engine::new(desk.engine.jails().cloned().collect());
        engine.load(serde_json::from_slice(&saved).unwrap(), 9000 * SECOND, &mut Vec::new());
        engine
    };
    for number in 0..10u32 {
        let how = ["Connection closed by", "Connection reset by", "Disconnected from"][number as usize % 3];
        let line = format!("{how} {GUESSER} port {}", 5000 + number);
        let effects = desk.says(10_000 * SECOND, 200 + number, &line);
        assert!(effects.is_empty(), "{effects:?}");
    }
    // The same port again, and nobody has logged in.
    let effects = desk.says(10_001 * SECOND, 300, &closed(5000));
    assert!(matches!(&effects[..], [Effect::Failed { .. }]), "{effects:?}");
    let effects = desk.says(10_002 * SECOND, 301, &closed(6000));
    assert!(matches!(&effects[..], [Effect::Failed { .. }]), "{effects:?}");
}
