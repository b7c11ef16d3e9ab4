//! Bans and unbans that are ordered.

use super::*;
use crate::core::bans::Origin;

fn order(source: &str) -> BanOrder {
    BanOrder::new(net(source), "sshd")
}

#[test]
fn whoever_is_banned_is_not_banned_again_and_a_ban_only_becomes_longer() {
    let hour = 3600 * SECOND;
    let mut desk = Desk::new(|_| ());
    let mut give = |order: &BanOrder, now| {
        let decision = desk.engine.ban(order, now, &mut desk.effects).unwrap();
        let effects = std::mem::take(&mut desk.effects);
        (decision.change, decision.ban, effects)
    };
    let of = |duration| BanOrder { duration, cut: Some(false), ..order("203.0.113.7") };
    let (change, first, effects) = give(&of(Duration::Usec(hour)), SECOND);
    assert_eq!((change, first.count, first.until), (Change::Banned, 1, Some(SECOND + hour)));
    assert!(matches!(effects[..], [Effect::Block { .. }, Effect::Banned(_)]), "{effects:?}");
    for same in [
        of(Duration::OfJail),
        of(Duration::Usec(hour / 2)),
        of(Duration::Usec(hour)),
        of(Duration::Until(SECOND + hour)),
    ] {
        let (change, ban, effects) = give(&same, 10 * SECOND);
        assert_eq!((change, &ban), (Change::Unchanged, &first), "{same:?}");
        assert_eq!(effects, []);
    }
    let longer = BanOrder { reason: "again".into(), origin: Origin::Fleet, ..of(Duration::Usec(2 * hour)) };
    let (change, second, effects) = give(&longer, 10 * SECOND);
    assert_eq!((change, second.count, second.since), (Change::Extended, 1, SECOND));
    assert_eq!((second.until, &second.origin), (Some(10 * SECOND + 2 * hour), &Origin::Fleet));
    assert_eq!(effects, [Effect::Extended(second.clone())]);
    let (change, forever, _) = give(&of(Duration::Until(u64::MAX - 2047)), 11 * SECOND);
    assert_eq!((change, forever.until, &*forever.reason.unwrap()), (Change::Extended, None, "again"));
    assert_eq!(give(&of(Duration::Usec(hour)), 12 * SECOND).0, Change::Unchanged, "none ends later");
    desk.advance(100 * hour);
    assert_eq!(desk.engine.ban_count(), 1);
}

#[test]
fn a_ban_of_a_jail_that_an_order_extends_keeps_what_led_to_it() {
    let mut desk = Desk::new(|_| ());
    let ban = desk.attack(0, "203.0.113.7");
    let order = BanOrder { duration: Duration::Forever, reason: "enough".into(), ..order("203.0.113.7") };
    let extended = desk.engine.ban(&order, 60 * SECOND, &mut desk.effects).unwrap();
    assert_eq!((extended.change, &extended.ban.failures), (Change::Extended, &ban.failures));
    let known = &desk.engine.explain("203.0.113.7".parse().unwrap(), 60 * SECOND)[0];
    assert_eq!(known.because, "Banned manually: enough.");
}

#[test]
fn a_ban_from_elsewhere_keeps_its_beginning_its_count_and_its_origin() {
    let mut desk = Desk::new(|_| ());
    let now = 10_000 * SECOND;
    let import = |origin, count| BanOrder {
        duration: Duration::Until(now + 60 * SECOND),
        since: Some(SECOND),
        count: Some(count),
        origin,
        ..order("203.0.113.7")
    };
    let ban = desk.engine.ban(&import(Origin::Import, 3), now, &mut desk.effects).unwrap().ban;
    assert_eq!((ban.since, ban.count, ban.ordered), (SECOND, 3, Some(now)));
    let since = |effect: &Effect| matches!(effect, Effect::Block { since, .. } if *since == now);
    assert!(desk.effects.iter().any(since), "firewalld was asked now: {:?}", desk.effects);
    // On its way to firewalld, it does not leak.
    let effects = desk.wrong_password(now + SECOND, 1, "203.0.113.7");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Leak { .. })), "{effects:?}");
    let effects = desk.wrong_password(now + 5 * SECOND, 1, "203.0.113.7");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Leak { .. })), "{effects:?}");
    desk.advance(now + 61 * SECOND);
    let next = desk.engine.ban(&order("203.0.113.7"), now + 62 * SECOND, &mut desk.effects).unwrap().ban;
    assert_eq!(next.count, 4, "what was counted elsewhere counts");

    let restored = import(Origin::Jail, 1);
    let restored = BanOrder { network: net("203.0.113.8"), reason: "lost".into(), ..restored };
    let ban = desk.engine.ban(&restored, now, &mut desk.effects).unwrap().ban;
    assert_eq!((ban.origin, ban.reason), (Origin::Jail, None));
    for (order, why) in [
        (BanOrder { since: Some(now + 1), ..order("203.0.113.9") }, "its beginning is in the future."),
        (BanOrder { duration: Duration::Until(now), ..order("203.0.113.9") }, "its end is in the past."),
    ] {
        let refused = desk.engine.ban(&order, now, &mut desk.effects).unwrap_err().to_string();
        assert_eq!(refused, format!("203.0.113.9 can't be banned in jail 'sshd': {why}"));
    }
}

#[test]
fn an_order_may_spare_whoever_is_logged_in() {
    let mut desk = Desk::new(|_| ());
    desk.says(0, 1, "Accepted password for root from 203.0.113.7 port 1 ssh2");
    let spare = BanOrder { spare: true, ..order("203.0.113.7") };
    let refused = desk.engine.ban(&spare, 60 * SECOND, &mut desk.effects).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "203.0.113.7 was not banned in jail 'sshd', because somebody was logged in from there 1min ago (spare-logins); with Spare=false, it is banned all the same."
    );
    assert!(desk.engine.ban(&spare, 7200 * SECOND, &mut desk.effects).is_ok(), "that is long ago");
    assert!(desk.engine.ban(&order("203.0.113.7"), 60 * SECOND, &mut desk.effects).is_ok());
}

#[test]
fn a_list_displaces_nothing_and_says_that_there_is_no_more_room() {
    let mut desk = Desk::new(|_| ());
    let mut give = |number: usize, displaces| {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + u32::try_from(number).unwrap());
        let order = BanOrder { displaces, duration: Duration::Usec(SECOND), ..order(&address.to_string()) };
        let outcome = desk.engine.ban(&order, 0, &mut desk.effects);
        desk.effects.clear();
        (outcome, desk.engine.ban_count())
    };
    let most = crate::core::bans::MOST_BANS;
    for number in 0..most {
        assert!(give(number, false).0.is_ok());
    }
    let (refused, held) = give(most, false);
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("100000 bans are in force, which is the most that wardend keeps"), "{text}");
    assert_eq!(held, most);
    assert!(give(0, false).0.is_ok(), "whoever is banned already needs no room");
    let (taken, held) = give(most, true);
    assert!(taken.is_ok() && held == most);
}

#[test]
fn an_unban_may_be_of_one_origin_only() {
    let mut desk = Desk::new(|_| ());
    desk.attack(0, "203.0.113.7");
    let listed = BanOrder { origin: Origin::Import, ..order("203.0.113.8") };
    desk.engine.ban(&listed, 0, &mut desk.effects).unwrap();
    let mut unban = |source: &str| desk.engine.unban(net(source), None, Some(&Origin::Import), 0, &mut Vec::new());
    assert_eq!(
        unban("203.0.113.7").unwrap_err().to_string(),
        "203.0.113.7 is not banned by origin 'import' but by 'jail'."
    );
    assert_eq!(unban("203.0.113.8").unwrap().len(), 1);
    assert_eq!(unban("203.0.113.8").unwrap_err().to_string(), "203.0.113.8 is not banned.");
}

#[test]
fn an_order_without_a_jail_takes_as_many_as_close_all_that_is_watched() {
    let template = SHIPPED.jails[0].clone();
    let (all, mail) = (all_ports(), Arc::new(Scope::new(vec!["smtp".parse().unwrap()], false)));
    let jail = |name: &str, scope: &Arc<Scope>, filter: Option<crate::core::filter::Filter>| {
        let filter = filter.map_or_else(|| Arc::clone(&template.filter), Arc::new);
        JailSettings { name: name.to_owned(), scope: Arc::clone(scope), filter, ..template.clone() }
    };
    let (none, bans) = (crate::core::filter::Filter::none, crate::core::filter::Filter::bans);
    let (list, recidive) = (jail("list", &all, Some(none())), jail("recidive", &all, Some(bans())));
    let chosen = |jails: &[&JailSettings]| {
        let engine = Engine::new(jails.iter().map(|jail| (*jail).clone()).collect());
        engine.jails_for_all().map(|jails| jails.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let (ssh, postfix, dovecot) = (jail("ssh", &all, None), jail("postfix", &mail, None), jail("dovecot", &mail, None));
    assert_eq!(chosen(&[&list, &postfix, &ssh, &dovecot]).unwrap(), ["ssh"], "it closes the others' ports, too");
    assert_eq!(chosen(&[&list, &postfix, &recidive, &dovecot]).unwrap(), ["postfix", "dovecot"]);
    let refused = chosen(&[&list, &recidive]).unwrap_err().to_string();
    assert_eq!(refused, "No jail watches a service, so name the jail of the ban; there are: list, recidive.");
}

#[test]
fn what_is_ordered_is_counted_apart_from_what_jails_decide() {
    let mut desk = Desk::new(|_| ());
    desk.attack(0, "203.0.113.7");
    for number in 0..100 {
        let list = BanOrder { origin: Origin::Import, ..order(&format!("198.51.100.{number}")) };
        desk.engine.ban(&list, 10 * SECOND, &mut desk.effects).unwrap();
    }
    // One that a jail elsewhere has decided is no attack here either.
    let taken = BanOrder { origin: Origin::Jail, since: Some(SECOND), ..order("203.0.113.99") };
    desk.engine.ban(&taken, 10 * SECOND, &mut desk.effects).unwrap();
    let rows = desk.engine.history(0, u64::MAX, 0, 10 * SECOND).unwrap();
    let counts = rows[0].counts;
    assert_eq!((counts.bans, counts.ordered, counts.failures), (1, 101, 5));
}
