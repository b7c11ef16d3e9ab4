//! From fail2ban to wardend on a server under attack, and back: whoever is banned stays out at every moment.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use crate::harness::attack::Connection::{Open, TimedOut};
use crate::harness::host;
use crate::harness::machine::{Machine, Release};
use crate::harness::peer;

/// sshd's jail is as Debian has it, with an administrator's own thresholds, and an action whose bans may be
/// networks, which the sets of Debian's default can't hold. The other jail guards what wardend has no filter for.
const JAILS: &str = "[DEFAULT]\nignoreself = false\nusedns = no\nbanaction = iptables-multiport\n\
    [sshd]\nmaxretry = 3\nbantime = 1h\nignoreip = 192.0.2.99\n\
    [other]\nenabled = true\nfilter = asterisk\nbackend = polling\nlogpath = /var/log/other.log\nport = http\n";

/// Who is banned: permanently, by an attack over IPv6, and as one of a network.
const BANNED: [&str; 3] = ["203.0.113.7", "2001:db8:66::7", "203.0.113.37"];
const NETWORK: &str = "203.0.113.32/28";

pub(crate) fn from_fail2ban_and_back_no_ban_has_a_gap(release: Release) {
    let packages = match peer::packages(release, &host::tree(release)) {
        Ok(packages) => packages,
        Err(why) => return println!("left out: fail2ban's packages can't be had ({why})"),
    };
    let mut sshd = "MaxStartups 200\n".to_owned();
    if release.penalises_sources() {
        sshd.push_str("PerSourcePenalties no\n");
    }
    let plan = Machine::prepare(release)
        .file("/etc/fail2ban/jail.local", JAILS)
        .file("/var/log/other.log", "")
        .file("/etc/ssh/sshd_config.d/test.conf", &sshd)
        .command("systemctl disable --quiet wardend.service")
        .hasty_passwords();
    let machine = peer::install(plan, &packages).boot();
    machine.run("systemctl start fail2ban");
    machine.wait_until("fail2ban answers", || machine.try_run("fail2ban-client ping").code == 0);
    machine.attacker(BANNED[1]).wrong_passwords("root", 3);
    machine
        .wait_until("fail2ban has banned the attacker", || machine.run("fail2ban-client banned").contains(BANNED[1]));
    machine.run(&format!(
        "fail2ban-client set sshd bantime -1 && fail2ban-client set sshd banip {} && \
         fail2ban-client set sshd bantime 3600 && fail2ban-client set sshd banip {NETWORK}",
        BANNED[0]
    ));
    let locked_out = || BANNED.iter().all(|banned| machine.attacker(banned).can_connect() != Open);
    machine.wait_until("fail2ban has locked all three out", locked_out);
    let stranger = machine.attacker("203.0.113.99");
    assert_eq!(stranger.can_connect(), Open);

    let (over, probes) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for banned in BANNED {
            let (machine, over, probes) = (&machine, &over, &probes);
            scope.spawn(move || {
                let banned = machine.attacker(banned);
                while !over.load(Ordering::Relaxed) {
                    assert_ne!(banned.can_connect(), Open, "{} got in", banned.address());
                    probes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // However this ends, they stop.
        let _end = End(&over);
        go_over(&machine);
        for banned in BANNED {
            assert_eq!(machine.attacker(banned).can_connect(), TimedOut, "wardend drops what fail2ban refused");
        }
        assert_eq!(stranger.can_connect(), Open);
        come_back(&machine);
        assert!(locked_out());
        assert_eq!(stranger.can_connect(), Open);
    });
    println!("{} connections of three banned hosts failed meanwhile", probes.load(Ordering::Relaxed));
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// As the report and wardend-from-fail2ban(7) say.
fn go_over(machine: &Machine) {
    let shown = machine.try_run("wardenctl import fail2ban");
    assert_eq!(shown.code, 5, "one jail stays: {}{}", shown.stdout, shown.stderr);
    machine.run("systemctl enable --quiet --now wardend");
    let imported = machine.try_run("wardenctl import fail2ban --write --bans");
    assert_eq!(imported.code, 5, "{}{}", imported.stdout, imported.stderr);
    for says in [
        "Bans, from /var/lib/fail2ban/fail2ban.sqlite3:",
        "[sshd] to [jail.sshd]: 3 banned, 0 extended, 0 already banned; 1 permanent.",
        "1 IPv6 address is banned with the network around: 2001:db8:66::7 with 2001:db8:66::/64.",
        "Leave on in fail2ban: other",
    ] {
        assert!(imported.stdout.contains(says), "{says}: {}", imported.stdout);
    }
    let bans: Vec<Value> = machine
        .run("wardenctl list --json=short")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let bans: Vec<&Value> =
        bans.iter().flat_map(|bans| bans.as_array().map_or(vec![bans], |all| all.iter().collect())).collect();
    let ban = |source: &str| *bans.iter().find(|ban| ban["source"] == source).expect("the ban is there");
    assert!(ban(BANNED[0])["until_usec"].is_null(), "permanent: {}", ban(BANNED[0]));
    let rows = machine.run(
        "python3 -c 'import sqlite3; [print(ip, since + length) for ip, since, length in \
         sqlite3.connect(\"/var/lib/fail2ban/fail2ban.sqlite3\").execute(\"select ip, timeofban, bantime from bips\")]'",
    );
    let end = |address: &str| -> u64 {
        let row = rows.lines().find_map(|row| row.strip_prefix(address)).expect("the row is there");
        row.trim().parse::<u64>().expect("a number") * 1_000_000
    };
    assert_eq!(ban(NETWORK)["until_usec"], end(NETWORK));
    assert_eq!(ban("2001:db8:66::/64")["until_usec"], end(BANNED[1]));
    let again = machine.try_run("wardenctl import fail2ban --write --bans").stdout;
    assert!(again.contains("[sshd] to [jail.sshd]: 0 banned, 0 extended, 3 already banned; 1 permanent."), "{again}");
    assert!(again.contains("is already as it should be"), "{again}");
    // Without its database, the daemon is asked. It gives a ban by hand the bantime of the moment, so that
    // none is permanent for it.
    machine.run("mv /var/lib/fail2ban/fail2ban.sqlite3 /root/");
    let asked = machine.try_run("wardenctl import fail2ban --bans");
    assert!(
        asked
            .stdout
            .contains("from fail2ban-client:\n  [sshd] to [jail.sshd]: 0 banned, 0 extended, 3 already banned."),
        "{asked:?}"
    );
    machine.run("mv /root/fail2ban.sqlite3 /var/lib/fail2ban/");
    machine.wait_until("firewalld holds all three", || {
        let state = machine.try_run("wardenctl firewall status");
        state.code == 0 && machine.run("wardenctl list --json=short").matches("\"in_force\":true").count() == 3
    });
    let last = again.lines().last().expect("a report has steps");
    let (_, command) = last.split_once("leave the rest: ").expect("the last step turns jails off");
    machine.run(command);
    machine.wait_until("fail2ban has only the other jail", || {
        machine.run("fail2ban-client status").contains("Jail list:\tother")
    });
    machine.wait_until("fail2ban's rules for sshd are gone", || !machine.run("nft list ruleset").contains("f2b-sshd"));
}

/// As wardend-from-fail2ban(7) says.
fn come_back(machine: &Machine) {
    machine.run("rm /etc/fail2ban/jail.d/zz-wardend.local && fail2ban-client reload");
    machine.run(
        r#"wardenctl export --jail sshd | sed -n 's/.*"source":"\([^"]*\)".*/\1/p' | xargs -r fail2ban-client set sshd banip"#,
    );
    machine.wait_until("fail2ban holds all bans again", || {
        let banned = machine.run("fail2ban-client banned");
        [BANNED[0], BANNED[1], NETWORK].iter().all(|source| banned.contains(source))
    });
    machine.wait_until("they are in its set", || machine.run("nft list ruleset").contains("f2b-sshd"));
    machine.run("wardenctl firewall remove && systemctl disable --quiet --now wardend");
    assert_eq!(machine.run("firewall-cmd --get-ipsets").trim(), "", "nothing of wardend is left in firewalld");
}
