//! Machines whose clocks differ, and clocks that are set.

use super::*;

#[test]
fn a_wrong_clock_is_reported_once_and_corrected_by() {
    for ahead in [3600i64, -3600] {
        let theirs = |now: Seconds| now.checked_add_signed(ahead).unwrap();
        let mut fleet = Fleet::new("me", Policy { quorum: 1, ..Policy::default() });
        let mut own = Own::new(1);
        own.ban(net("203.0.113.7"), theirs(NOW + 500), "sshd", 5);
        for news in own.news(theirs(NOW)) {
            fleet.receive("a", &news, true, NOW);
        }
        fleet.receive("a", &own.document(theirs(NOW)), false, NOW);
        fleet.receive("a", &own.heartbeat(theirs(NOW + 1)), true, NOW + 1);
        assert_eq!(fleet.decide(&net("203.0.113.7"), NOW + 499), Decision::Ban(NOW + 500), "{ahead}");
        assert_eq!(fleet.decide(&net("203.0.113.7"), NOW + 500), Decision::Nothing);
        assert_eq!(fleet.take_notes(), [Note::Clock { machine: "a".into(), by: ahead }]);
        fleet.tick(NOW + 300);
        fleet.receive("a", &own.heartbeat(theirs(NOW + 300)), true, NOW + 300);
        assert!(fleet.machines().next().unwrap().in_step, "{ahead}");
    }
}

/// Documents do not say what time it is, so a machine that has just come believes its clock and theirs to be the same.
#[test]
fn what_a_document_has_said_is_decided_again_when_the_clock_is_known() {
    for ahead in [3600i64, -3600] {
        let theirs = |now: Seconds| now.checked_add_signed(ahead).unwrap();
        let banned = net("203.0.113.7");
        let mut fleet = Fleet::new("me", Policy { quorum: 1, ..Policy::default() });
        let mut own = Own::new(1);
        own.ban(banned, theirs(NOW + 7200), "sshd", 5);
        own.news(theirs(NOW));
        fleet.receive("a", &own.document(theirs(NOW)), false, NOW);
        fleet.take_touched(10);
        assert_eq!(fleet.decide(&banned, NOW), Decision::Ban(theirs(NOW + 7200)));
        fleet.receive("a", &own.heartbeat(theirs(NOW)), true, NOW);
        assert_eq!(fleet.take_touched(10), [banned]);
        assert_eq!(fleet.decide(&banned, NOW), Decision::Ban(NOW + 7200));
        fleet.receive("a", &own.heartbeat(theirs(NOW + 1)), true, NOW + 1);
        assert!(fleet.take_touched(10).is_empty());
    }
}

/// The clock of one of them is set, and set right again, while both run.
#[test]
fn each_ban_lasts_as_long_as_it_would_have_when_a_clock_is_set() {
    for by in [3600i64, -3600, 90, -90] {
        let moved = |now: Seconds| now.checked_add_signed(by).unwrap();
        let (mine, yours) = (net("203.0.113.7"), net("203.0.113.8"));
        let policy = || Policy { quorum: 1, ..Policy::default() };
        let (mut here, mut there) = (Fleet::new("me", policy()), Fleet::new("you", policy()));
        let (mut me, mut you) = (Own::new(1), Own::new(1));
        me.ban(mine, NOW + 500, "sshd", 5);
        you.ban(yours, NOW + 500, "sshd", 5);
        tell(&mut me, "me", &mut there, NOW);
        tell(&mut you, "you", &mut here, NOW);
        // Mine is set.
        me.shift(by);
        here.shift(by);
        here.tick(moved(NOW + 1));
        assert_eq!(here.decide(&yours, moved(NOW + 1)), Decision::Ban(moved(NOW + 500)), "{by}");
        let news = me.news(moved(NOW + 1));
        assert_eq!(news.len(), 1);
        there.receive("me", &news[0], true, NOW + 1);
        assert_eq!(there.decide(&mine, NOW + 1), Decision::Ban(NOW + 500), "{by}");
        assert_eq!(there.take_notes(), [Note::Clock { machine: "me".into(), by }]);
        // The heartbeat of the other one is no news to me.
        here.receive("you", &you.heartbeat(NOW + 2), true, moved(NOW + 2));
        assert_eq!(here.decide(&yours, moved(NOW + 2)), Decision::Ban(moved(NOW + 500)), "{by}");
        assert_eq!(here.take_notes(), []);
        // It is set right.
        me.shift(-by);
        here.shift(-by);
        for news in me.news(NOW + 3) {
            there.receive("me", &news, true, NOW + 3);
        }
        assert_eq!(there.decide(&mine, NOW + 3), Decision::Ban(NOW + 500), "{by}");
        assert_eq!(here.decide(&yours, NOW + 3), Decision::Ban(NOW + 500), "{by}");
        assert!(there.machines().chain(here.machines()).all(|peer| peer.in_step && peer.skew == 0), "{by}");
    }
}

#[test]
fn a_copy_stays_in_step_while_bans_end_by_two_clocks() {
    for drift in -50i64..=50 {
        let mut fleet = Fleet::new("me", Policy::default());
        let mut own = Own::new(1);
        for number in 0..60 {
            own.ban(source(number), NOW + Seconds::from(number), "sshd", 5);
        }
        tell(&mut own, "a", &mut fleet, NOW);
        for second in 0..200 {
            fleet.tick((NOW + second).checked_add_signed(drift).unwrap());
            fleet.receive("a", &own.heartbeat(NOW + second), true, (NOW + second).checked_add_signed(drift).unwrap());
            assert!(fleet.machines().next().unwrap().in_step, "{drift} {second}");
        }
        assert_eq!((fleet.gaps(), fleet.entries()), (1, 0), "only the first message was one");
    }
}
