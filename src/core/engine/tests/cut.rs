//! Which connections a ban closes.

use super::*;

fn cuts(effects: &[Effect]) -> Vec<IpNet> {
    let cut = |effect: &Effect| if let Effect::Cut { source, .. } = effect { Some(*source) } else { None };
    effects.iter().filter_map(cut).collect()
}

#[test]
fn a_ban_cuts_only_where_something_is_open() {
    let mut desk = Desk::new(|jail| jail.maxretry = 2);
    desk.wrong_password(0, 1, "203.0.113.7");
    let effects = desk.wrong_password(SECOND, 1, "203.0.113.7");
    assert_eq!(cuts(&effects), [net("203.0.113.7")]);
    let at = |wanted: fn(&Effect) -> bool| effects.iter().position(wanted).unwrap();
    assert!(at(|it| matches!(it, Effect::Block { .. })) < at(|it| matches!(it, Effect::Cut { .. })), "ban first");

    // Each connection has ended before the next line, the last one with the line that leads to the ban.
    let left = |pid: u32| format!("Connection closed by invalid user x{pid} 203.0.113.8 port 4242 [preauth]");
    for pid in 10..12 {
        desk.says(2 * SECOND, pid, &format!("Invalid user x{pid} from 203.0.113.8 port 4242"));
        let effects = desk.says(2 * SECOND, pid, &left(pid));
        assert_eq!(banned(&effects).is_some(), pid == 11, "{effects:?}");
        assert!(cuts(&effects).is_empty(), "{effects:?}");
    }

    // A neighbour's session is none of the source's.
    desk.wrong_password(3 * SECOND, 20, "203.0.113.10");
    let mut effects = Vec::new();
    for pid in 21..23 {
        desk.says(3 * SECOND, pid, &format!("Invalid user x{pid} from 203.0.113.11 port 4242"));
        effects.extend(desk.says(3 * SECOND, pid, &left(pid).replace("113.8", "113.11")));
    }
    assert!(banned(&effects).is_some() && cuts(&effects).is_empty(), "{effects:?}");
}

#[test]
fn a_session_that_fell_silent_is_not_open_and_a_saved_one_is() {
    let open = |desk: &Desk, source: &str| desk.engine.jails.iter().any(|jail| jail.is_open_in(net(source)));
    let mut desk = Desk::new(|_| ());
    desk.wrong_password(0, 1, "203.0.113.7");
    desk.wrong_password(0, 2, "203.0.113.7");
    assert!(open(&desk, "203.0.113.7") && open(&desk, "203.0.113.0/24") && !open(&desk, "203.0.113.8"));
    let saved = serde_json::to_string(&desk.engine.save()).unwrap();
    let mut restarted = Desk::new(|_| ());
    restarted.engine.load(serde_json::from_str(&saved).unwrap(), 0, &mut Vec::new());
    assert!(open(&restarted, "203.0.113.7"));
    desk.says(SECOND, 1, "Connection closed by authenticating user root 203.0.113.7 port 4242 [preauth]");
    assert!(open(&desk, "203.0.113.7"), "the other one is");
    desk.advance(3600 * SECOND);
    assert!(!open(&desk, "203.0.113.7"));
}

#[test]
fn a_ban_by_hand_and_a_leak_cut_whatever_is_known_unless_the_jail_does_not_cut() {
    for cut in [true, false] {
        let mut desk = Desk::new(|jail| jail.cut = cut);
        let mut effects = Vec::new();
        for _ in 0..2 {
            desk.engine.ban(&BanOrder::new(net("203.0.113.0/24"), "sshd"), 0, &mut effects).unwrap();
        }
        assert_eq!(cuts(&effects).len(), if cut { 2 } else { 0 });
        let effects = desk.wrong_password(60 * SECOND, 1, "203.0.113.7");
        assert_eq!(cuts(&effects), if cut { vec![net("203.0.113.0/24")] } else { vec![] });
    }
}
