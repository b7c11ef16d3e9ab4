//! Who is spared because somebody has logged in from there, and for how long.

use super::*;
use crate::core::{bans::Origin, filter::Filter};

/// A line of a random history.
#[test]
fn whoever_is_logged_in_is_spared_and_for_a_while_after() {
    let mut desk = Desk::new(|jail| jail.spare_logins = Some(100 * SECOND));
    let from = |addresses: &[&str]| addresses.iter().map(|text| text.parse().unwrap()).collect();
    desk.engine.logged_in(&from(&["203.0.113.7", "2001:db8::1"]), 0);
    let spared = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Spared { .. }));
    for second in 1_000..1_004 {
        assert!(!spared(&desk.wrong_password(second * SECOND, 1, "203.0.113.7")));
    }
    assert!(spared(&desk.wrong_password(1_004 * SECOND, 1, "203.0.113.7")));

    // A restart forgets nobody, and to be gone is to have been there a moment ago.
    let saved = serde_json::from_slice(&serde_json::to_vec(&desk.engine.save()).unwrap()).unwrap();
    desk.engine = Engine::new(desk.engine.jails().cloned().collect());
    desk.engine.load(saved, 1_500 * SECOND, &mut Vec::new());
    desk.engine.logged_in(&from(&["2001:db8::1"]), 2_000 * SECOND);
    for second in 2_090..2_094 {
        desk.wrong_password(second * SECOND, 2, "203.0.113.7");
    }
    assert!(spared(&desk.wrong_password(2_094 * SECOND, 2, "203.0.113.7")));
    assert_eq!(desk.attack(2_200 * SECOND, "203.0.113.7").source, net("203.0.113.7"));

    // A jail that is new knows them too.
    let mut jails: Vec<JailSettings> = desk.engine.jails().cloned().collect();
    jails[0].name = "other".to_owned();
    desk.engine.reload(jails, 3_000 * SECOND, &mut Vec::new());
    for second in 3_000..3_004 {
        desk.wrong_password(second * SECOND, 3, "2001:db8::1");
    }
    assert!(spared(&desk.wrong_password(3_004 * SECOND, 3, "2001:db8::1")));
}

#[test]
fn a_jail_that_reads_nothing_spares_whom_the_others_have_seen_log_in() {
    let with_list = |name: &str| {
        let jail = SHIPPED.jails[0].clone();
        let list = JailSettings { name: name.to_owned(), filter: Filter::none().into(), ..jail.clone() };
        vec![jail, list]
    };
    let spares = |engine: &mut Engine, name: &str, source: &str| {
        let order = BanOrder { spare: true, origin: Origin::Fleet, ..BanOrder::new(net(source), name) };
        matches!(engine.ban(&order, 60 * SECOND, &mut Vec::new()), Err(CommandError::Spared(..)))
    };
    let mut desk = Desk::new(|_| ());
    desk.engine = Engine::new(with_list("list"));
    desk.says(0, 1, "Accepted password for root from 203.0.113.7 port 1 ssh2");
    assert!(spares(&mut desk.engine, "list", "203.0.113.7"));
    assert!(!spares(&mut desk.engine, "list", "203.0.113.8"));

    // So does one that comes later, with a reload or a start.
    let saved = serde_json::from_slice(&serde_json::to_vec(&desk.engine.save()).unwrap()).unwrap();
    desk.engine.reload(with_list("fleet"), 10 * SECOND, &mut Vec::new());
    assert!(spares(&mut desk.engine, "fleet", "203.0.113.7"));
    let mut engine = Engine::new(with_list("other"));
    engine.load(saved, 10 * SECOND, &mut Vec::new());
    assert!(spares(&mut engine, "other", "203.0.113.7"));
}

#[test]
fn an_account_is_no_licence_to_guess_at_others() {
    let guess = |desk: &mut Desk, number: u32, name: &str, start: u64| {
        let message = format!("Failed password for {name} from 203.0.113.7 port {number} ssh2");
        desk.says((start + u64::from(number)) * SECOND, 100 + number, &message)
    };
    let login = "Accepted publickey for git from 203.0.113.7 port 4242 ssh2: ED25519 SHA256:x";
    let mut desk = Desk::new(|_| ());
    desk.says(0, 1, login);
    let ban = (0..20).find_map(|number| banned(&guess(&mut desk, number, "root", 1)).cloned()).unwrap();
    assert_eq!((ban.since, ban.failures.len(), ban.despite), (20 * SECOND, 20, Some(0)), "the twentieth guess");
    let explained = &desk.engine.explain("203.0.113.7".parse().unwrap(), 30 * SECOND)[0];
    assert!(explained.because.contains("that was too much to spare it"), "{}", explained.because);

    // Slowly, and always after another login.
    let mut desk = Desk::new(|_| ());
    let ban = (0..60u32).find_map(|number| {
        desk.says(u64::from(number) * 150 * SECOND, 1000 + number, login);
        let message = format!("Failed password for root from 203.0.113.7 port {number} ssh2");
        banned(&desk.says((u64::from(number) * 150 + 1) * SECOND, 100 + number, &message)).cloned()
    });
    assert_eq!(ban.unwrap().failures.len(), 20, "within an hour");

    // Mistakes with one's own name, and an old script, may be more; but not without end.
    let mut desk = Desk::new(|_| ());
    desk.says(0, 1, login);
    for number in 0..99 {
        assert!(banned(&guess(&mut desk, number, "git", 1)).is_none());
        desk.says((1 + u64::from(number)) * SECOND, 5_000, "Server listening on :: port 22.");
    }
    let explained = &desk.engine.explain("203.0.113.7".parse().unwrap(), 110 * SECOND)[0];
    assert!(
        explained.because.contains("0 of 20 failures for other names, 99 of 100 in all, end that (spare-maxretry)"),
        "{}",
        explained.because
    );
    assert!(banned(&guess(&mut desk, 99, "git", 1)).is_some());
    // An hour later they count no more, and without a limit they never do.
    for (limit, banned_again) in [(Some(20), false), (None, false), (Some(1), true)] {
        let mut desk = Desk::new(|jail| {
            jail.spare_maxretry = limit;
            jail.spare_logins = Some(Usec::MAX);
        });
        desk.says(0, 1, login);
        let mut any = false;
        for number in 0..60 {
            let message = "Failed password for root from 203.0.113.7 port 1 ssh2";
            any |= banned(&desk.says((1 + number * 200) * SECOND, 100 + u32::try_from(number).unwrap(), message))
                .is_some();
        }
        assert_eq!(any, banned_again, "{limit:?}: 18 an hour");
    }
}

#[test]
fn who_was_spared_too_long_is_cut_only_if_guessing_goes_on() {
    let mut desk = Desk::new(|_| ());
    desk.says(0, 1, "Accepted password for alice from 203.0.113.7 port 4242 ssh2");
    let mut effects = Vec::new();
    for number in 0..20u32 {
        effects = desk.wrong_password((1 + u64::from(number)) * SECOND, 100 + number, "203.0.113.7");
    }
    assert!(banned(&effects).is_some() && !effects.iter().any(|it| matches!(it, Effect::Cut { .. })), "{effects:?}");
    let effects = desk.wrong_password(30 * SECOND, 119, "203.0.113.7");
    assert!(effects.iter().any(|it| matches!(it, Effect::Cut { .. })), "{effects:?}");
}

/// With names instead of addresses, logind knows only which process has let somebody in.
#[test]
fn who_has_let_somebody_in_is_remembered_over_a_restart() {
    let mut desk = Desk::new(|_| ());
    desk.says(10 * SECOND, 7, "Accepted password for alice from 203.0.113.7 port 1 ssh2");
    desk.says(11 * SECOND, 8, "Failed password for alice from 203.0.113.8 port 1 ssh2");
    desk.engine.keep_leaders([7].into());
    let saved = serde_json::from_slice(&serde_json::to_vec(&desk.engine.save()).unwrap()).unwrap();
    desk.engine = Engine::new(desk.engine.jails().cloned().collect());
    desk.engine.load(saved, 20 * SECOND, &mut Vec::new());
    assert_eq!(desk.engine.let_in_by(7, 10 * SECOND), "203.0.113.7".parse().ok());
    assert_eq!(desk.engine.let_in_by(7, 11 * SECOND), None, "it is of an earlier process");
    assert_eq!(desk.engine.let_in_by(8, 0), None);
}
