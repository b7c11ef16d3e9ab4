//! What the core promises, against a model and against machines that mean harm.

mod clock;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use proptest::prelude::*;

use super::{
    Seconds,
    fleet::{Decision, Fleet, Note},
    ledger::{Claim, Ledger},
    message::{LONGEST_DOCUMENT, LONGEST_NEWS, Message, Version},
    own::Own,
    policy::{Policy, Refusal, Single},
};

const NOW: Seconds = 1_800_000_000;

fn net(text: &str) -> IpNet {
    text.parse::<IpNet>().unwrap_or_else(|_| text.parse::<IpAddr>().unwrap().into())
}

fn source(number: u32) -> IpNet {
    IpAddr::from((0xcb00_0000 + number).to_be_bytes()).into()
}

/// Hands everything over that `own` has to say.
fn tell(own: &mut Own, name: &str, fleet: &mut Fleet, now: Seconds) {
    for news in own.news(now) {
        fleet.receive(name, &news, true, now);
    }
    for machine in fleet.wanted(now) {
        assert_eq!(&*machine, name);
        fleet.receive(name, &own.document(now), false, now);
    }
}

/// A fleet that knows these machines, each with a ban of the source.
fn with_voices(policy: Policy, machines: &[(&str, Seconds)], banned: IpNet) -> Fleet {
    let mut fleet = Fleet::new("me", policy);
    for (name, until) in machines {
        let mut own = Own::new(1);
        own.ban(banned, *until, "sshd", 5);
        tell(&mut own, name, &mut fleet, NOW);
    }
    fleet
}

#[test]
fn a_quorum_bans_and_a_single_voice_only_makes_it_suspected() {
    let banned = net("203.0.113.7");
    let fleet = with_voices(Policy::default(), &[("a", NOW + 500)], banned);
    assert_eq!(fleet.decide(&banned, NOW), Decision::Suspect(NOW + 500));
    assert_eq!(fleet.decide(&banned, NOW + 500), Decision::Nothing, "it has ended");
    let fleet = with_voices(Policy::default(), &[("a", NOW + 500), ("b", NOW + 900), ("c", NOW + 700)], banned);
    assert_eq!(fleet.decide(&banned, NOW), Decision::Ban(NOW + 700), "while two say so");
    assert_eq!(fleet.decide(&banned, NOW + 700), Decision::Suspect(NOW + 900));
    let single = |single| Policy { single, ..Policy::default() };
    let fleet = with_voices(single(Single::Ban), &[("a", NOW + 5000)], banned);
    assert_eq!(fleet.decide(&banned, NOW), Decision::Ban(NOW + 600));
    assert_eq!(fleet.decide(&banned, NOW + 600), Decision::Nothing);
    let fleet = with_voices(single(Single::Nothing), &[("a", NOW + 5000)], banned);
    assert_eq!(fleet.decide(&banned, NOW), Decision::Nothing);
    let fleet = with_voices(Policy { quorum: 1, ..Policy::default() }, &[("a", Seconds::MAX)], banned);
    assert_eq!(fleet.decide(&banned, NOW), Decision::Ban(NOW + 86_400), "at most bantime-max");
}

#[test]
fn the_own_ban_is_a_voice_and_is_none_alone() {
    let banned = net("203.0.113.7");
    let mut fleet = with_voices(Policy::default(), &[("a", NOW + 500)], banned);
    fleet.own(banned, Some(NOW + 300));
    assert_eq!(fleet.decide(&banned, NOW), Decision::Ban(NOW + 300));
    fleet.own(banned, None);
    assert_eq!(fleet.decide(&banned, NOW), Decision::Suspect(NOW + 500));
    fleet.left("a", NOW + 1000);
    fleet.own(banned, Some(NOW + 300));
    assert_eq!(fleet.decide(&banned, NOW), Decision::Nothing);
}

#[test]
fn a_broker_that_has_lost_the_document_of_a_machine_that_lives_releases_nobody() {
    let banned = net("203.0.113.7");
    let mut fleet = with_voices(Policy::default(), &[("a", NOW + 5000), ("b", NOW + 5000)], banned);
    fleet.left("a", NOW + 600);
    assert_eq!(fleet.decide(&banned, NOW + 600), Decision::Ban(NOW + 5000));
    fleet.left("a", NOW + 1000);
    assert_eq!(fleet.decide(&banned, NOW + 1000), Decision::Suspect(NOW + 5000), "it has been silent for long");
}

#[test]
fn an_unban_at_the_owner_takes_its_voice_everywhere() {
    let banned = net("203.0.113.7");
    let mut fleet = Fleet::new("me", Policy { quorum: 1, ..Policy::default() });
    let mut own = Own::new(1);
    own.ban(banned, NOW + 500, "sshd", 5);
    tell(&mut own, "a", &mut fleet, NOW);
    assert_eq!(fleet.take_touched(9), [banned]);
    assert_eq!(fleet.decide(&banned, NOW), Decision::Ban(NOW + 500));
    own.unban(banned);
    tell(&mut own, "a", &mut fleet, NOW);
    assert_eq!(fleet.take_touched(9), [banned]);
    assert_eq!(fleet.decide(&banned, NOW), Decision::Nothing);
    assert_eq!((fleet.entries(), fleet.sources()), (0, 0));
}

#[test]
fn a_pardon_beats_voices_and_only_of_those_who_may() {
    let banned = net("203.0.113.7");
    let policy = |from: &[&str]| Policy {
        quorum: 1,
        pardon_from: from.iter().map(|name| (*name).to_owned()).collect(),
        ..Policy::default()
    };
    for (from, decision) in [(&["boss"][..], Decision::Nothing), (&[], Decision::Ban(NOW + 500))] {
        let mut fleet = with_voices(policy(from), &[("a", NOW + 500)], banned);
        let mut boss = Own::new(1);
        assert!(boss.pardon(banned, NOW + 100));
        tell(&mut boss, "boss", &mut fleet, NOW);
        assert_eq!(fleet.decide(&banned, NOW), decision);
        assert_eq!(fleet.decide(&banned, NOW + 100), Decision::Ban(NOW + 500), "a pardon ends");
    }
    let mut fleet = with_voices(policy(&[]), &[("a", NOW + 500)], banned);
    fleet.pardon(banned, NOW + 100);
    assert_eq!(fleet.decide(&banned, NOW), Decision::Nothing);
    fleet.tick(NOW + 100);
    assert!(fleet.take_touched(9).contains(&banned), "it is decided again");
    assert_eq!(fleet.decide(&banned, NOW + 100), Decision::Ban(NOW + 500));
}

#[test]
fn nothing_is_believed_beyond_the_policy() {
    let mut fleet = Fleet::new("me", Policy { quorum: 1, ..Policy::default() });
    fleet.set_never(["192.0.2.53".parse().unwrap(), "2001:db8::53".parse().unwrap()].into());
    let mut own = Own::new(1);
    let bad = [
        ("203.0.113.0/31", "sshd", Refusal::Network),
        ("128.0.0.0/1", "sshd", Refusal::Network),
        ("2001:db8:1::/63", "sshd", Refusal::Network),
        ("203.0.113.8", "fleet", Refusal::Jail),
        ("192.0.2.53", "sshd", Refusal::Never),
        ("2001:db8::/64", "sshd", Refusal::Never),
    ];
    for (source, jail, _) in bad {
        own.ban(net(source), Seconds::MAX, jail, 5);
    }
    own.ban(net("2001:db8:2::/64"), Seconds::MAX, "sshd", 5);
    tell(&mut own, "a", &mut fleet, NOW);
    for (source, _, why) in bad {
        assert_eq!(fleet.decide(&net(source), NOW), Decision::Nothing, "{source}");
        assert_eq!(fleet.voices(&net(source))[0].refusal, Some(why), "{source}");
    }
    assert_eq!(fleet.decide(&net("2001:db8:2::/64"), NOW), Decision::Ban(NOW + 86_400));
    assert_eq!(fleet.machines().next().unwrap().refused, 6);
    assert!(fleet.machines().next().unwrap().in_step, "what does not count is known all the same");
    fleet.set_never(BTreeSet::new());
    assert_eq!(fleet.decide(&net("192.0.2.53"), NOW), Decision::Ban(NOW + 86_400), "it may be again");
}

#[test]
fn a_machine_that_reports_without_an_end_is_muted_and_leaves_nothing_behind() {
    let policy = Policy { quorum: 1, ..Policy::default() };
    let mut fleet = Fleet::new("me", policy.clone());
    let mut honest = Own::new(1);
    honest.ban(net("203.0.113.7"), NOW + 5000, "sshd", 5);
    tell(&mut honest, "honest", &mut fleet, NOW);
    let mut most = 0;
    for round in 0..1000u32 {
        // Each time all of it is new.
        let mut own = Own::new(u64::from(round) + 1);
        for number in 0..1000 {
            own.ban(source(1_000_000 + round * 1000 + number), NOW + 5000, "sshd", 5);
        }
        tell(&mut own, "poison", &mut fleet, NOW + Seconds::from(round) / 50);
        most = most.max(fleet.entries());
    }
    assert!(most <= policy.machine_voices + 1, "{most}");
    assert_eq!(fleet.entries(), 1, "what is left is the honest one's");
    let poison = fleet.machines().find(|peer| &*peer.machine == "poison").unwrap();
    assert!(poison.muted_until.is_some_and(|until| until > NOW + 3000));
    let muted = |note: &Note| matches!(note, Note::Muted { machine, .. } if &**machine == "poison");
    assert_eq!(fleet.take_notes().iter().filter(|note| muted(note)).count(), 1, "reported once");
    assert_eq!(fleet.decide(&net("203.0.113.7"), NOW), Decision::Ban(NOW + 5000));
    fleet.tick(NOW + 4000);
    assert!(fleet.take_notes().contains(&Note::Unmuted("poison".into())));
    assert_eq!(fleet.wanted(NOW + 4000), ["poison".into()], "what it says now is read again");
}

#[test]
fn junk_and_a_hundred_joins_a_second_mute() {
    let junk: [Box<dyn Fn(u32) -> Vec<u8>>; 4] = [
        Box::new(|_| vec![b'['; LONGEST_DOCUMENT]),
        Box::new(|_| {
            br#"{"v":1,"epoch":1,"n":1,"now":1,"sum":"0000000000000000","add":[["0.0.0.0/0",9,"sshd",1]]}"#.to_vec()
        }),
        Box::new(|_| {
            br#"{"v":1,"epoch":1,"n":1,"now":1,"sum":"0000000000000001","bans":[["203.0.113.7",9,"sshd",1]]}"#.to_vec()
        }),
        Box::new(|round| Own::new(NOW * 1_000_000 + u64::from(round)).heartbeat(NOW)),
    ];
    for (number, junk) in junk.iter().enumerate() {
        let mut fleet = Fleet::new("me", Policy::default());
        for round in 0..1000 {
            fleet.receive("poison", &junk(round), true, NOW + Seconds::from(round) / 100);
        }
        let poison = fleet.machines().next().unwrap();
        assert!(poison.muted_until.is_some(), "{number}");
        assert_eq!((fleet.entries(), fleet.sources()), (0, 0));
    }
}

#[test]
fn many_names_and_the_own_one_take_no_memory() {
    let mut fleet = Fleet::new("me", Policy { machines: 10, ..Policy::default() });
    let mut own = Own::new(1);
    own.ban(net("203.0.113.7"), NOW + 500, "sshd", 5);
    let news = own.news(NOW).remove(0);
    for number in 0..100 {
        fleet.receive(&format!("m{number}"), &news, true, NOW);
    }
    fleet.receive("a.b", &news, true, NOW);
    fleet.receive(&"x".repeat(65), &news, true, NOW);
    assert_eq!(fleet.machines().count(), 10);
    assert_eq!(fleet.take_notes().len(), 1, "reported once");
    let mut fleet = Fleet::new("me", Policy::default());
    fleet.receive("me", &news, true, NOW);
    assert_eq!(fleet.machines().count(), 0, "its own echo");
}

#[test]
fn all_machines_together_have_a_bound_and_what_had_no_room_comes_later() {
    let mut fleet = Fleet::new("me", Policy { voices: 100, quorum: 1, ..Policy::default() });
    let mut owns: Vec<Own> = (0..3).map(|_| Own::new(1)).collect();
    for (number, own) in owns.iter_mut().enumerate() {
        for entry in 0..50 {
            own.ban(
                source(u32::try_from(number * 50 + entry).unwrap()),
                NOW + 100 + 100 * number as Seconds,
                "sshd",
                5,
            );
        }
        tell(own, &format!("m{number}"), &mut fleet, NOW);
    }
    assert_eq!(fleet.entries(), 100);
    assert_eq!(fleet.take_notes(), [Note::Crowded]);
    assert_eq!(fleet.decide(&source(149), NOW), Decision::Nothing);
    fleet.tick(NOW + 250);
    assert_eq!(fleet.entries(), 50);
    for name in fleet.wanted(NOW + 250) {
        let own = &mut owns[usize::from(name.as_bytes()[1] - b'0')];
        fleet.receive(&name, &own.document(NOW + 250), false, NOW + 250);
    }
    assert_eq!(fleet.decide(&source(149), NOW + 250), Decision::Ban(NOW + 300));
}

#[test]
fn numbers_that_run_backwards_and_old_documents_change_nothing() {
    let mut fleet = Fleet::new("me", Policy { quorum: 1, ..Policy::default() });
    let mut own = Own::new(7);
    own.ban(net("203.0.113.7"), NOW + 500, "sshd", 5);
    tell(&mut own, "a", &mut fleet, NOW);
    let old = own.document(NOW);
    own.unban(net("203.0.113.7"));
    own.ban(net("203.0.113.8"), NOW + 500, "sshd", 5);
    tell(&mut own, "a", &mut fleet, NOW);
    let mut before = Own::new(6);
    before.ban(net("203.0.113.9"), NOW + 500, "sshd", 5);
    for message in [vec![old], before.news(NOW), vec![before.document(NOW)]].concat() {
        fleet.receive("a", &message, true, NOW);
    }
    assert_eq!(fleet.decide(&net("203.0.113.7"), NOW), Decision::Nothing);
    assert_eq!(fleet.decide(&net("203.0.113.8"), NOW), Decision::Ban(NOW + 500));
    assert_eq!(fleet.decide(&net("203.0.113.9"), NOW), Decision::Nothing);
    assert!(fleet.machines().next().unwrap().in_step);
}

#[test]
fn a_later_version_of_the_protocol_is_reported_once() {
    let mut fleet = Fleet::new("me", Policy::default());
    for _ in 0..3 {
        fleet.receive("a", br#"{"v":2,"what":"ever"}"#, true, NOW);
    }
    assert_eq!(fleet.take_notes(), [Note::Newer("a".into())]);
}

#[test]
fn messages_have_bounds_and_the_bans_that_last_longest_are_sent() {
    let mut own = Own::new(1);
    for number in 0..10_000u32 {
        own.ban(source(number), NOW + 1000 + Seconds::from(number), "a-jail-with-a-long-name", 5);
    }
    let mut ledger = Ledger::default();
    for news in own.news(NOW) {
        assert!(news.len() <= LONGEST_NEWS);
        for (source, claim) in Message::parse(&news).unwrap().bans {
            ledger.ban(source, claim);
        }
    }
    let document = own.document(NOW);
    assert!((LONGEST_DOCUMENT * 98 / 100..=LONGEST_DOCUMENT).contains(&document.len()), "{}", document.len());
    assert!(ledger.sum() == own.ledger().sum() && ledger.bans() == own.ledger().bans());
    assert!(own.ledger().bans().contains_key(&source(9999)) && !own.ledger().bans().contains_key(&source(0)));
    assert_eq!(own.left_out(), 10_000 - own.ledger().bans().len());
    // There is room again when the others have ended.
    for number in 100..10_000 {
        own.unban(source(number));
    }
    own.news(NOW);
    assert_eq!((own.left_out(), own.ledger().bans().len()), (0, 100));
}

#[test]
fn the_digest_does_not_depend_on_the_way() {
    let claim = |until| Claim { until, jail: "sshd".into(), count: 1 };
    let (mut a, mut b) = (Ledger::default(), Ledger::default());
    a.ban(source(1), claim(NOW));
    a.ban(source(2), claim(NOW + 1));
    a.pardon(source(3), NOW + 2);
    b.pardon(source(3), NOW + 9);
    b.ban(source(2), claim(NOW + 9));
    b.ban(source(2), claim(NOW + 1));
    b.pardon(source(3), NOW + 2);
    b.ban(source(1), claim(NOW));
    assert_eq!(a.sum(), b.sum());
    b.expire(NOW);
    assert_ne!(a.sum(), b.sum());
    a.unban(&source(1));
    assert_eq!(a.sum(), b.sum());
    a.expire(NOW + 99);
    assert_eq!((a.sum(), a.len()), (0, 0));
}

/// What happens at one of the machines.
#[derive(Clone, Debug)]
enum Step {
    Ban(u32, Seconds),
    Unban(u32),
    Restart,
    Wait(Seconds),
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let what = prop_oneof![
        6 => (0..12u32, 1..400u64).prop_map(|(number, rest)| Step::Ban(number, rest)),
        3 => (0..12u32).prop_map(Step::Unban),
        1 => Just(Step::Restart),
        2 => (1..60u64).prop_map(Step::Wait),
    ];
    (0..3usize, what)
}

proptest! {
    /// Whatever is lost, repeated and mixed up on the way: after the next word of each machine and its
    /// document, the copies are equal to the ledgers, and what is decided follows from the union.
    #[test]
    fn any_order_loss_and_repeat_of_messages_leads_to_the_union(
        steps in proptest::collection::vec(step(), 1..60),
        fates in proptest::collection::vec((0..4u8, any::<prop::sample::Index>()), 400),
    ) {
        let mut now = NOW;
        let mut owns: Vec<Own> = (1..4).map(Own::new).collect();
        let mut fleet = Fleet::new("me", Policy::default());
        let mut air: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut fates = fates.iter();
        for (machine, step) in steps {
            match step {
                Step::Ban(number, rest) => owns[machine].ban(source(number), now + rest, "sshd", number),
                Step::Unban(number) => owns[machine].unban(source(number)),
                Step::Wait(seconds) => now += seconds,
                Step::Restart => {
                    let mut again = Own::new(owns[machine].version().epoch + 10);
                    again.replace(&owns[machine].bans().clone());
                    owns[machine] = again;
                }
            }
            air.extend(owns[machine].news(now).into_iter().map(|news| (machine, news)));
            air.push((machine, owns[machine].document(now)));
            // Each message in the air may be lost, arrive, arrive and come again, or stay there.
            for _ in 0..3 {
                let Some((fate, which)) = fates.next() else { break };
                if air.is_empty() { break }
                let at = which.index(air.len());
                let (from, bytes) = air[at].clone();
                if *fate < 2 { air.remove(at); }
                if *fate > 0 { fleet.receive(["a", "b", "c"][from], &bytes, *fate == 1, now); }
            }
            fleet.tick(now);
        }
        for (machine, name) in ["a", "b", "c"].into_iter().enumerate() {
            fleet.receive(name, &owns[machine].heartbeat(now), true, now);
        }
        for name in fleet.wanted(now + 100) {
            let machine = usize::from(name.as_bytes()[0] - b'a');
            fleet.receive(&name, &owns[machine].document(now), false, now);
        }
        for (machine, name) in ["a", "b", "c"].into_iter().enumerate() {
            prop_assert!(fleet.machines().find(|peer| &*peer.machine == name).is_none_or(|peer| peer.in_step));
            let copy = fleet.ledger(name).map(Ledger::bans).cloned().unwrap_or_default();
            prop_assert_eq!(&copy, owns[machine].ledger().bans());
        }
        let live: BTreeMap<u32, Vec<Seconds>> = (0..12).map(|number| {
            let ends = owns.iter().filter_map(|own| own.bans().get(&source(number)).map(|claim| claim.until));
            (number, ends.filter(|until| *until > now).collect())
        }).collect();
        for (number, mut ends) in live {
            ends.sort_unstable_by(|a, b| b.cmp(a));
            let decision = match ends[..] {
                [] => Decision::Nothing,
                [only] => Decision::Suspect(only),
                [_, second, ..] => Decision::Ban(second),
            };
            prop_assert_eq!(fleet.decide(&source(number), now), decision);
        }
        prop_assert_eq!(fleet.entries(), owns.iter().map(|own| own.ledger().len()).sum::<usize>());
    }

    /// No bytes make it panic, or hold more than the policy allows.
    #[test]
    fn no_bytes_do_harm(messages in proptest::collection::vec((0..4u8, message()), 1..40)) {
        let mut fleet = Fleet::new("me", Policy { voices: 20, machine_voices: 10, ..Policy::default() });
        for (at, (from, bytes)) in messages.iter().enumerate() {
            let now = NOW + at as Seconds;
            fleet.receive(["a", "b", "c", "d"][usize::from(*from)], bytes, at % 2 == 0, now);
            fleet.tick(now);
            fleet.wanted(now);
            for source in fleet.take_touched(100) { fleet.decide(&source, now); }
            prop_assert!(fleet.entries() <= 20);
            let held: usize = ["a", "b", "c", "d"].iter().filter_map(|name| fleet.ledger(name)).map(Ledger::len).sum();
            prop_assert_eq!(held, fleet.entries());
        }
    }
}

/// Bytes that are a message, or nearly.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let number = || prop_oneof![0..4u64, Just(NOW), Just(NOW + 100), Just(1u64 << 63), Just(u64::MAX)];
    let entry = (0..16u32, number(), prop_oneof![Just("sshd"), Just("fleet")], 0..9u32);
    let whole = (any::<bool>(), number(), number(), number(), proptest::collection::vec(entry, 0..14), any::<bool>());
    let message = whole.prop_map(|(whole, epoch, n, now, entries, right)| {
        let bans: Vec<(IpNet, Claim)> = entries
            .into_iter()
            .map(|(number, until, jail, count)| (source(number), Claim { until, jail: jail.into(), count }))
            .collect();
        let mut ledger = Ledger::default();
        for (source, claim) in &bans {
            ledger.ban(*source, claim.clone());
        }
        let sum = if right { ledger.sum() } else { 7 };
        let pardons = if n == 3 { vec![(source(1), now)] } else { Vec::new() };
        Message { version: Version { epoch, n }, now, bans, ended: vec![], pardons, sum, whole }.write()
    });
    prop_oneof![6 => message, 1 => proptest::collection::vec(any::<u8>(), 0..64)]
}
