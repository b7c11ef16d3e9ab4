//! Whom a fleet believes in what: each line of `wardenctl fleet explain`, who is banned by no number of voices,
//! and a stream at the broker that a machine in the wrong hands has created.

use crate::{
    harness::{
        attack::Connection,
        fleet::{BROKER, FleetOf, Kind, name, subject},
        machine::Machine,
    },
    scenarios::fleet::{explained, is_banned},
};

/// Each reason for which a voice does not count, the own voice, and a pardon by somebody who is trusted.
pub(super) fn what_counts_is_explained(fleet: &FleetOf) {
    let [a, b, c] = &fleet.machines[..] else { panic!("there are three") };
    // The third one shares a jail that the others do not, and the first has a resolver and trusts the second.
    c.write("/etc/wardend/wardend.conf.d/hand.conf", "[jail.hand]\nfilter = \"\"\n");
    c.write("/etc/wardend/fleet.conf.d/hand.conf", "[fleet]\njails = [\"sshd\", \"hand\"]\n");
    a.run("echo nameserver 198.19.7.53 >/etc/resolv.conf");
    a.write("/etc/wardend/fleet.conf.d/trust.conf", "[fleet]\npardon-from = [\"web2.example\"]\n");
    c.run("systemctl reload wardend");
    for machine in [a, c] {
        machine.run("systemctl restart wardend-fleet");
    }
    a.wait_until("both are back", || fleet.is_in_step());
    for order in ["198.19.7.53 --jail sshd", "198.19.8.0/24 --jail sshd", "198.19.9.1 --jail hand"] {
        c.run(&format!("wardenctl ban {order}"));
    }
    a.wait_for_message("web3_example reports a ban of 198.19.8.0/24, which is wider than a source");
    for (source, why) in [
        ("198.19.7.53", "never: a broker, a gateway or a resolver"),
        ("198.19.9.1", "never: the jail is not in 'jails'"),
    ] {
        a.wait_until("the reason is explained", || explained(a, source).contains(why));
        let said = explained(a, source);
        assert!(said.starts_with(&format!("{source} is not banned here by the fleet (0 of 2 voices).")), "{said}");
    }
    for machine in [a, c] {
        machine.run("wardenctl ban 198.19.9.2 --jail sshd");
    }
    a.wait_until("both voices count", || explained(a, "198.19.9.2").starts_with("198.19.9.2 is banned here until "));
    let said = explained(a, "198.19.9.2");
    assert!(said.contains("Jail sshd of this machine has banned it, which counts as one voice."), "{said}");
    b.wait_until("two voices are enough", || is_banned(b, "198.19.9.2"));
    b.run("wardenctl fleet pardon 198.19.9.2");
    b.wait_until("it is released", || !is_banned(b, "198.19.9.2"));
    a.wait_until("who trusts it pardons as well", || {
        explained(a, "198.19.9.2").starts_with("198.19.9.2 is pardoned by web2_example until ")
    });
    let said = explained(c, "198.19.9.2");
    assert!(said.starts_with("198.19.9.2 is banned here until "), "it does not trust the second: {said}");
}

/// Two machines ban somebody who is ignored on the third, and somebody who is logged in there.
pub(super) fn whom_no_number_of_voices_bans(fleet: &FleetOf) {
    let [a, b, c] = &fleet.machines[..] else { panic!("there are three") };
    let (ignored, at_work) = ("198.19.9.3", "203.0.113.30");
    a.run(&format!("wardenctl ignore {ignored}"));
    let mut login = a.attacker(at_work).log_in("alice");
    a.wait_for_message(&format!("Accepted password for alice from {at_work} "));
    for source in [ignored, at_work] {
        for machine in [b, c] {
            machine.run(&format!("wardenctl ban {source} --jail sshd"));
        }
        a.wait_until("wardend has refused the ban", || explained(a, source).contains("wardend has refused the ban: "));
        assert!(!is_banned(a, source), "{source} is banned");
        println!("{}", explained(a, source));
    }
    assert!(login.is_alive(), "the connection was cut");
    assert_eq!(a.attacker(at_work).can_connect(), Connection::Open);
}

/// Whoever comes first to an empty broker creates the stream. One that would have the broker speak in the name of
/// others is not used, and nothing that was banned is released for it.
pub(super) fn a_stream_of_a_machine_in_the_wrong_hands(fleet: &FleetOf) {
    let [a, b, c] = &fleet.machines[..] else { panic!("there are three") };
    let empty = |agents: &[&Machine]| {
        for machine in &fleet.machines {
            machine.run("systemctl stop wardend-fleet");
        }
        let (unit, store) = (Kind::Nats.unit(), Kind::Nats.store());
        let hub = fleet.hub();
        hub.run(&format!("systemctl stop {unit}; rm -rf {store}; systemctl start {unit}"));
        hub.wait_until("the broker listens", || hub.try_run("ss -ltnH 'sport = :4222' | grep -q .").code == 0);
        for machine in agents {
            machine.run("systemctl start wardend-fleet");
        }
    };
    empty(&[]);
    c.write("/root/poison.py", include_str!("../guest/poison.py"));
    let said = c.run(&format!("python3 /root/poison.py nats-stream {BROKER} {} {}", name(2), name(1)));
    assert!(said.contains(&format!("wardend.1.new.{}", subject(1))), "the stream was not created: {said}");
    a.run("systemctl start wardend-fleet");
    a.wait_until("it does not use the stream", || {
        fleet.status(0)["brokers"][0]["problem"].as_str().is_some_and(|why| why.contains("look who has created it"))
    });
    let voices = &fleet.status(0)["machines"];
    assert_eq!(voices.as_array().map(Vec::len), Some(0), "it believes what comes over it: {voices}");
    assert!(is_banned(a, "198.18.0.1"), "what the fleet has banned is released");
    empty(&[a, b, c]);
    a.wait_until("all know each other again", || fleet.is_in_step());
    assert!(is_banned(a, "198.18.0.1"), "what the fleet has banned is released");
}
