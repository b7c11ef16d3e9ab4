//! The state machine, fed with sshd's own words.

#[path = "model_tests.rs"]
mod model;

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::{
    config::Settings,
    jail::Prefixes,
    record::{Cursor, Fields, USEC_PER_SEC},
};

const SECOND: Usec = USEC_PER_SEC;

/// What is shipped; compiled once, because the filter is proven whenever it is loaded.
static SHIPPED: LazyLock<Settings> = LazyLock::new(|| Settings::load(&[]).unwrap());

/// An engine with the jail that is shipped, and a pen for records.
struct Desk {
    engine: Engine,
    fields: Arc<Fields>,
    effects: Vec<Effect>,
}

impl Desk {
    fn new(adjust: impl Fn(&mut JailSettings)) -> Self {
        let (mut jails, fields) = (SHIPPED.jails.clone(), SHIPPED.fields.clone());
        jails.iter_mut().for_each(adjust);
        Self { engine: Engine::new(jails), fields, effects: Vec::new() }
    }

    fn record(&self, time: Usec, pid: u32, message: &str) -> Record {
        let mut record = Record::new(&self.fields, time, Cursor::from(format!("c{time}")));
        for (name, value) in [
            ("MESSAGE", message),
            ("_TRANSPORT", "syslog"),
            ("_UID", "0"),
            ("SYSLOG_IDENTIFIER", "sshd"),
            ("_BOOT_ID", "b"),
            ("_PID", &pid.to_string()),
            ("SYSLOG_PID", &pid.to_string()),
        ] {
            record.set(self.fields.find(name.as_bytes()).unwrap(), value.as_bytes());
        }
        record
    }

    /// sshd says something; what the engine wants is returned.
    fn says(&mut self, time: Usec, pid: u32, message: &str) -> Vec<Effect> {
        let record = self.record(time, pid, message);
        self.engine.record(&record, &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    fn wrong_password(&mut self, time: Usec, pid: u32, address: &str) -> Vec<Effect> {
        self.says(time, pid, &format!("Failed password for root from {address} port 4242 ssh2"))
    }

    fn advance(&mut self, now: Usec) -> Vec<Effect> {
        self.engine.advance(now, &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    /// As many wrong passwords as it takes, one a second.
    fn attack(&mut self, start: Usec, address: &str) -> Ban {
        for second in 0..100 {
            let effects = self.wrong_password(start + second * SECOND, 1, address);
            if let Some(ban) = banned(&effects) {
                return ban.clone();
            }
        }
        panic!("{address} was not banned");
    }
}

fn banned(effects: &[Effect]) -> Option<&Ban> {
    effects.iter().find_map(|effect| match effect {
        Effect::Banned(ban) => Some(ban),
        _ => None,
    })
}

fn all_ports() -> Arc<Scope> {
    Arc::default()
}

fn net(text: &str) -> IpNet {
    parse_network(text).unwrap()
}

#[test]
fn the_fifth_failure_within_findtime_bans_and_the_end_of_bantime_frees() {
    let mut desk = Desk::new(|_| ());
    for second in 0..4 {
        assert!(banned(&desk.wrong_password(second * SECOND, 1, "203.0.113.7")).is_none());
    }
    let effects = desk.wrong_password(4 * SECOND, 1, "203.0.113.7");
    let ban = banned(&effects).unwrap();
    assert_eq!((ban.since, ban.until), (4 * SECOND, Some(604 * SECOND)));
    assert_eq!(ban.failures.len(), 5);
    assert!(effects.contains(&Effect::Block { scope: all_ports(), source: net("203.0.113.7"), since: 4 * SECOND }));
    assert_eq!(desk.engine.deadline(), Some(600 * SECOND), "the session's silence comes first");

    let release = Effect::Release { scope: all_ports(), source: net("203.0.113.7") };
    assert!(!desk.advance(604 * SECOND - 1).contains(&release));
    let effects = desk.advance(604 * SECOND);
    assert!(effects.contains(&release));
    assert!(matches!(&effects[..], [Effect::Unbanned(_, Ended::Expired), Effect::Release { .. }]));
    assert_eq!(desk.engine.ban_count(), 0);
}

#[test]
fn failures_further_apart_than_findtime_never_ban() {
    let mut desk = Desk::new(|jail| jail.maxretry = 2);
    for number in 0..20 {
        assert!(banned(&desk.wrong_password(number * 601 * SECOND, 1, "203.0.113.7")).is_none());
    }
}

#[test]
fn addresses_of_one_ipv6_network_count_together() {
    let mut desk = Desk::new(|jail| jail.maxretry = 2);
    desk.wrong_password(0, 1, "2001:db8:a:7::1");
    let effects = desk.wrong_password(SECOND, 2, "2001:db8:a:7:ffff::2");
    assert_eq!(banned(&effects).unwrap().source, net("2001:db8:a:7::/64"));
}

#[test]
fn what_is_in_ignoreip_is_seen_and_never_banned() {
    let mut desk = Desk::new(|jail| jail.ignoreip = vec![net("203.0.113.0/24").into()]);
    for second in 0..20 {
        let effects = desk.wrong_password(second * SECOND, 1, "203.0.113.7");
        assert!(matches!(effects[..], [Effect::Failed { ignored: true, .. }]), "{effects:?}");
    }
}

#[test]
fn a_login_after_typing_mistakes_forgives_them() {
    let mut desk = Desk::new(|_| ());
    for connection in 0..20 {
        let start = connection * 10 * SECOND;
        let pid = u32::try_from(connection).unwrap();
        for second in 0..3 {
            assert!(banned(&desk.wrong_password(start + second * SECOND, pid, "203.0.113.7")).is_none());
        }
        desk.says(start + 4 * SECOND, pid, "Accepted password for root from 203.0.113.7 port 4242 ssh2");
    }
}

#[test]
fn a_right_password_that_the_account_stage_refuses_is_no_failure() {
    let mut desk = Desk::new(|jail| jail.maxretry = 1_000);
    desk.wrong_password(0, 1, "203.0.113.7");
    let effects = desk.says(SECOND, 1, "fatal: Access denied for user root by PAM account configuration [preauth]");
    assert!(matches!(effects[..], [Effect::TakenBack { .. }]), "{effects:?}");
    assert_eq!(desk.engine.failure_count(), 0);
}

#[test]
fn each_further_ban_lasts_longer_up_to_the_limit_and_forgets_in_the_end() {
    let mut desk = Desk::new(|jail| {
        jail.bantime = Some(100 * SECOND);
        jail.bantime_max = Some(350 * SECOND);
        jail.forget = 1_000 * SECOND;
    });
    let mut start = 0;
    for (count, seconds) in [(1, 100), (2, 200), (3, 350), (4, 350)] {
        let ban = desk.attack(start, "203.0.113.7");
        let until = ban.until.unwrap();
        assert_eq!((ban.count, until - ban.since), (count, seconds * SECOND));
        start = until + SECOND;
        desk.advance(start);
    }
    assert_eq!(desk.attack(start + 1_001 * SECOND, "203.0.113.7").count, 1);
}

#[test]
fn an_order_bans_and_unbans_and_says_why_not() {
    let mut desk = Desk::new(|jail| jail.ignoreip = vec![net("192.0.2.0/24").into()]);
    let out = &mut Vec::new();
    let mut ban = |source: &str, jail: &str| desk.engine.ban(net(source), jail, Duration::OfJail, "", 0, out);
    assert_eq!(ban("2001:db8:a:7::1", "sshd").unwrap().source, net("2001:db8:a:7::/64"));
    assert_eq!(ban("203.0.113.0/24", "sshd").unwrap().source, net("203.0.113.0/24"));
    assert_eq!(ban("203.0.113.7", "shd").unwrap_err().to_string(), "There is no jail 'shd'; did you mean 'sshd'?");
    for ignored in ["192.0.2.7", "192.0.0.0/16", "127.0.0.1", "126.0.0.0/7", "::1"] {
        assert!(ban(ignored, "sshd").unwrap_err().to_string().contains("can't be banned"), "{ignored}");
    }

    let mut unban = |source: &str| desk.engine.unban(net(source), None, 0, out);
    assert_eq!(
        unban("203.0.113.9").unwrap_err().to_string(),
        "203.0.113.9 is not banned by itself but inside 203.0.113.0/24; unban that."
    );
    assert_eq!(unban("203.0.114.9").unwrap_err().to_string(), "203.0.114.9 is not banned.");
    assert_eq!(unban("2001:db8:a:7::2").unwrap().len(), 1);
    assert_eq!(unban("203.0.113.0/24").unwrap().len(), 1);
    assert_eq!(desk.engine.ban_count(), 0);
}

#[test]
fn an_unban_clears_the_counters_and_the_history() {
    let mut desk = Desk::new(|_| ());
    assert_eq!(desk.attack(0, "203.0.113.7").count, 1);
    desk.wrong_password(10 * SECOND, 1, "203.0.113.7");
    desk.engine.unban(net("203.0.113.7"), Some("sshd"), 11 * SECOND, &mut Vec::new()).unwrap();
    for second in 12..16 {
        assert!(banned(&desk.wrong_password(second * SECOND, 2, "203.0.113.7")).is_none());
    }
    let effects = desk.wrong_password(16 * SECOND, 2, "203.0.113.7");
    assert_eq!(banned(&effects).unwrap().count, 1);
}

#[test]
fn a_jail_that_is_gone_ends_its_bans() {
    let mut desk = Desk::new(|_| ());
    desk.attack(0, "203.0.113.7");
    let saved = desk.engine.save();
    let mut renamed = Desk::new(|jail| jail.name = "other".to_owned());
    renamed.engine.load(saved, SECOND, &mut renamed.effects);
    assert!(matches!(renamed.effects[..], [Effect::Unbanned(_, Ended::JailGone)]));
    assert!(renamed.engine.blocked().is_empty());
}

#[test]
fn evidence_that_comes_to_light_late_bans_from_then_on() {
    let mut desk = Desk::new(|jail| jail.maxretry = 1);
    desk.says(0, 1, "Invalid user x from 203.0.113.7 port 1");
    let effects = desk.advance(2_000 * SECOND);
    let ban = banned(&effects).unwrap();
    assert_eq!((ban.failures.last().unwrap().time, ban.since), (0, 600 * SECOND), "the end of the session's silence");
    desk.says(3_000 * SECOND, 2, "Invalid user x from 203.0.113.8 port 1");
    let effects = desk.says(3_100 * SECOND, 2, "Connection closed by invalid user x 203.0.113.8 port 1 [preauth]");
    assert_eq!(banned(&effects).unwrap().since, 3_100 * SECOND);
}

#[test]
fn an_ignored_address_is_not_locked_out_with_its_network() {
    let mut desk = Desk::new(|jail| jail.ignoreip = vec![net("2001:db8:a:7::1").into()]);
    let ban = desk.attack(0, "2001:db8:a:7::2");
    assert_eq!(ban.source, net("2001:db8:a:7::2"), "the neighbour stands for itself");
}

#[test]
fn a_ban_of_who_is_ignored_by_now_ends_with_the_restart() {
    let mut desk = Desk::new(|_| ());
    desk.attack(0, "203.0.113.7");
    let saved = desk.engine.save();
    let mut restarted = Desk::new(|jail| jail.ignoreip = vec![net("203.0.113.0/24").into()]);
    restarted.engine.load(saved, SECOND, &mut restarted.effects);
    assert!(matches!(restarted.effects[..], [Effect::Unbanned(_, Ended::Ignored), Effect::Release { .. }]));
}

#[test]
fn jails_that_close_the_same_share_a_block_and_others_have_their_own() {
    let mut shipped = SHIPPED.jails.clone();
    let template = shipped.remove(0);
    let ssh = Arc::new(Scope::new(vec!["ssh".parse().unwrap()], false));
    let jail = |name: &str, scope: &Arc<Scope>| {
        let scope = Arc::clone(scope);
        JailSettings { name: name.to_owned(), scope, ..template.clone() }
    };
    let all = vec![jail("a", &all_ports()), jail("b", &all_ports()), jail("c", &ssh)];
    let mut engine = Engine::new(all);
    assert_eq!(engine.scopes(), [all_ports(), Arc::clone(&ssh)]);
    let source = net("203.0.113.7");
    let block = |scope: &Arc<Scope>| Effect::Block { scope: Arc::clone(scope), source, since: 0 };
    let release = |scope: &Arc<Scope>| Effect::Release { scope: Arc::clone(scope), source };
    let mut ban = |jail: &str| {
        let mut out = Vec::new();
        engine.ban(source, jail, Duration::OfJail, "", 0, &mut out).unwrap();
        out.retain(|effect| !matches!(effect, Effect::Banned(_) | Effect::Cut { .. }));
        out
    };
    assert_eq!(ban("a"), [block(&all_ports())]);
    assert_eq!(ban("b"), []);
    assert_eq!(ban("c"), [block(&ssh)]);
    assert_eq!(engine.blocked(), [(all_ports(), source), (Arc::clone(&ssh), source)]);
    assert_eq!(engine.banned(), [source]);
    let mut unban = |jail: &str| {
        let mut out = Vec::new();
        engine.unban(source, Some(jail), 1, &mut out).unwrap();
        out.retain(|effect| !matches!(effect, Effect::Unbanned(..)));
        out
    };
    assert_eq!(unban("a"), []);
    assert_eq!(unban("c"), [release(&ssh)]);
    assert_eq!(unban("b"), [release(&all_ports())]);

    // Under other settings the same ban closes something else.
    let mut out = Vec::new();
    engine.ban(source, "a", Duration::OfJail, "", 0, &mut out).unwrap();
    engine.reload(vec![jail("a", &ssh)], 1, &mut out);
    assert_eq!(engine.blocked(), [(ssh, source)]);
}

#[test]
fn a_ban_from_other_ports_leaks_nothing() {
    let ports = |port: &str| Arc::new(Scope::new(vec![port.parse().unwrap()], false));
    for (scope, leaks) in [(ports("http"), false), (ports("ssh"), true), (all_ports(), true)] {
        let mut shipped = SHIPPED.jails.clone();
        shipped[0].scope = ports("ssh");
        shipped[0].maxretry = 1000;
        // It counts nothing itself.
        shipped.push(JailSettings { name: "other".to_owned(), scope, classes: Vec::new(), ..shipped[0].clone() });
        let mut desk = Desk::new(|_| ());
        desk.engine = Engine::new(shipped);
        desk.engine.ban(net("203.0.113.7"), "other", Duration::OfJail, "", 0, &mut Vec::new()).unwrap();
        let effects = desk.wrong_password(10 * SECOND, 1, "203.0.113.7");
        assert_eq!(effects.iter().any(|effect| matches!(effect, Effect::Leak { .. })), leaks, "{effects:?}");
    }
}

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

fn history() -> impl Strategy<Value = Vec<(Usec, u32, String)>> {
    let message = prop_oneof![
        4 => (0u8..4).prop_map(|host| format!("Failed password for root from 203.0.113.{host} port 1 ssh2")),
        2 => (0u8..4).prop_map(|host| format!("Failed password for invalid user x from 2001:db8:a:{host}::1 port 1 ssh2")),
        1 => (0u8..4).prop_map(|host| format!("Invalid user x from 203.0.113.{host} port 1")),
        1 => (0u8..4).prop_map(|host| format!("error: PAM: Authentication failure for root from 203.0.113.{host}")),
        1 => (0u8..4).prop_map(|host| format!("Connection closed by invalid user x 203.0.113.{host} port 1 [preauth]")),
        1 => (0u8..4).prop_map(|host| format!("Accepted password for root from 203.0.113.{host} port 1 ssh2")),
        1 => Just("fatal: Access denied for user root by PAM account configuration [preauth]".to_owned()),
    ];
    proptest::collection::vec((0u64..60, 0u32..6, message), 1..60).prop_map(|steps| {
        let mut now = 0;
        steps
            .into_iter()
            .map(|(seconds, pid, message)| {
                now += seconds * SECOND;
                (now, pid, message)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The state on disk is the whole state: a restart before any record changes nothing.
    #[test]
    fn a_restart_at_every_step_gives_the_same_effects(history in history()) {
        let adjust = |jail: &mut JailSettings| {
            jail.maxretry = 3;
            jail.findtime = 120 * SECOND;
            jail.bantime = Some(90 * SECOND);
            jail.prefixes = Prefixes::default();
        };
        let mut undisturbed = Desk::new(adjust);
        let mut restarted = Desk::new(adjust);
        for (time, pid, message) in history {
            let saved = serde_json::to_vec(&restarted.engine.save()).unwrap();
            let jails = restarted.engine.jails().cloned().collect();
            restarted.engine = Engine::new(jails);
            restarted.engine.load(serde_json::from_slice(&saved).unwrap(), time, &mut restarted.effects);
            prop_assert_eq!(restarted.says(time, pid, &message), undisturbed.says(time, pid, &message));
        }
        let end = 1_000_000 * SECOND;
        prop_assert_eq!(restarted.advance(end), undisturbed.advance(end));
        prop_assert_eq!(restarted.engine.ban_count(), 0);
        prop_assert_eq!(restarted.engine.deadline(), None);
    }
}

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
            desk.engine.ban(net("203.0.113.0/24"), "sshd", Duration::OfJail, "", 0, &mut effects).unwrap();
        }
        assert_eq!(cuts(&effects).len(), if cut { 2 } else { 0 });
        let effects = desk.wrong_password(60 * SECOND, 1, "203.0.113.7");
        assert_eq!(cuts(&effects), if cut { vec![net("203.0.113.0/24")] } else { vec![] });
    }
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

/// A snapshot of before knows nothing of this.
#[test]
fn a_state_without_leaders_is_loaded() {
    let desk = Desk::new(|_| ());
    let mut saved = serde_json::to_value(desk.engine.save()).unwrap();
    saved.as_object_mut().unwrap().remove("leaders").unwrap();
    assert!(serde_json::from_value::<SavedEngine>(saved).is_ok());
}
