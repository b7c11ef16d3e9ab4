//! The state machine, fed with sshd's own words.

#[path = "exceptions_tests.rs"]
mod exceptions;
#[path = "model_tests.rs"]
mod model;
#[path = "orders_tests.rs"]
mod orders;
#[path = "recidive_tests.rs"]
mod recidive;
#[path = "sshd_tests.rs"]
mod sshd;

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::{
    config::Settings,
    core::{
        jail::Subnet,
        net::Prefixes,
        record::{Cursor, Fields},
        time::USEC_PER_SEC,
    },
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
            ("_SYSTEMD_UNIT", "ssh.service"),
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
    assert!(matches!(&effects[..], [Effect::Unbanned(_, UnbanReason::Expired), Effect::Release { .. }]));
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
fn who_comes_through_a_translator_is_counted_alone_and_banned_by_the_address_that_arrives() {
    let mut desk = Desk::new(|jail| {
        jail.maxretry = 2;
        jail.subnet = Some(Subnet { maxretry: 2, prefixes: Prefixes { ipv4: 24, ipv6: 48 } });
    });
    for (second, address) in [
        (0, "64:ff9b::cb00:7107"),
        (1, "64:ff9b::c633:6409"),
        (2, "64:ff9b::cb00:7108"),
        (3, "::ffff:0:cb00:7107"),
        (4, "::ffff:0:cb00:7108"),
        (5, "2001:0:cb00:7101:0:3f57:34ff:8ef8"),
        (6, "2001:0:cb00:7101:0:3f58:39cc:9bf6"),
    ] {
        assert!(banned(&desk.wrong_password(second * SECOND, 1, address)).is_none(), "{address}");
    }
    let effects = desk.wrong_password(8 * SECOND, 2, "64:ff9b::cb00:7107");
    let ban = banned(&effects).unwrap();
    assert_eq!(ban.source, net("64:ff9b::cb00:7107"));
    assert_eq!(desk.engine.bans().count(), 1, "nothing wider");

    let out = &mut Vec::new();
    let by_hand = desk.engine.ban(&BanOrder::new(net("64:ff9b::c633:6409"), "sshd"), 9 * SECOND, out).unwrap();
    assert_eq!(by_hand.ban.source, net("64:ff9b::c633:6409"));
    let known = desk.engine.explain("64:ff9b::c633:6409".parse().unwrap(), 9 * SECOND);
    assert!(known[0].because.ends_with("It stands for the IPv4 address 198.51.100.9."), "{}", known[0].because);
}

#[test]
fn an_ignored_address_is_ignored_in_both_forms() {
    let mut desk = Desk::new(|jail| {
        jail.maxretry = 2;
        jail.ignoreip = vec![net("203.0.113.7").into(), net("64:ff9b::c633:6400/120").into()].into();
    });
    for (pid, address) in [
        "64:ff9b::203.0.113.7",
        "2002:cb00:7107::1",
        "198.51.100.9",
        "2001:0:cb00:7101:0:3f57:34ff:8ef8",
        "203.0.113.7",
    ]
    .into_iter()
    .enumerate()
    {
        let effects = desk.wrong_password(0, u32::try_from(pid).unwrap(), address);
        assert!(matches!(effects[..], [Effect::Failed { ignored: true, .. }]), "{address}: {effects:?}");
    }
    let out = &mut Vec::new();
    for network in ["64:ff9b::/96", "64:ff9b::cb00:7100/120", "198.51.100.0/24", "2002:cb00:7107::/48", "64:ff9b::/64"]
    {
        let refused = desk.engine.ban(&BanOrder::new(net(network), "sshd"), 0, out).unwrap_err();
        assert!(refused.to_string().contains("never banned"), "{network}: {refused}");
    }
    assert!(desk.engine.ban(&BanOrder::new(net("64:ff9b::cb00:7200/120"), "sshd"), 0, out).is_ok());
}

#[test]
fn what_is_in_ignoreip_is_seen_and_never_banned() {
    let mut desk = Desk::new(|jail| jail.ignoreip = vec![net("203.0.113.0/24").into()].into());
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
    let mut desk = Desk::new(|jail| jail.ignoreip = vec![net("192.0.2.0/24").into()].into());
    let out = &mut Vec::new();
    let mut ban = |source: &str, jail: &str| desk.engine.ban(&BanOrder::new(net(source), jail), 0, out);
    assert_eq!(ban("2001:db8:a:7::1", "sshd").unwrap().ban.source, net("2001:db8:a:7::/64"));
    assert_eq!(ban("203.0.113.0/24", "sshd").unwrap().ban.source, net("203.0.113.0/24"));
    assert_eq!(ban("203.0.113.7", "shd").unwrap_err().to_string(), "There is no jail 'shd'; did you mean 'sshd'?");
    for ignored in ["192.0.2.7", "192.0.0.0/16", "127.0.0.1", "126.0.0.0/7", "::1"] {
        assert!(ban(ignored, "sshd").unwrap_err().to_string().contains("can't be banned"), "{ignored}");
    }

    let mut unban = |source: &str| desk.engine.unban(net(source), None, None, 0, out);
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
    desk.engine.unban(net("203.0.113.7"), Some("sshd"), None, 11 * SECOND, &mut Vec::new()).unwrap();
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
    assert!(matches!(renamed.effects[..], [Effect::Unbanned(_, UnbanReason::JailGone)]));
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
    let mut desk = Desk::new(|jail| jail.ignoreip = vec![net("2001:db8:a:7::1").into()].into());
    let ban = desk.attack(0, "2001:db8:a:7::2");
    assert_eq!(ban.source, net("2001:db8:a:7::2"), "the neighbour stands for itself");
}

#[test]
fn a_ban_of_who_is_ignored_by_now_ends_with_the_restart() {
    let mut desk = Desk::new(|_| ());
    desk.attack(0, "203.0.113.7");
    let saved = desk.engine.save();
    let mut restarted = Desk::new(|jail| jail.ignoreip = vec![net("203.0.113.0/24").into()].into());
    restarted.engine.load(saved, SECOND, &mut restarted.effects);
    assert!(matches!(restarted.effects[..], [Effect::Unbanned(_, UnbanReason::Ignored), Effect::Release { .. }]));
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
        engine.ban(&BanOrder::new(source, jail), 0, &mut out).unwrap();
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
        engine.unban(source, Some(jail), None, 1, &mut out).unwrap();
        out.retain(|effect| !matches!(effect, Effect::Unbanned(..)));
        out
    };
    assert_eq!(unban("a"), []);
    assert_eq!(unban("c"), [release(&ssh)]);
    assert_eq!(unban("b"), [release(&all_ports())]);

    // Under other settings the same ban closes something else.
    let mut out = Vec::new();
    engine.ban(&BanOrder::new(source, "a"), 0, &mut out).unwrap();
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
        desk.engine.ban(&BanOrder::new(net("203.0.113.7"), "other"), 0, &mut Vec::new()).unwrap();
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
            desk.engine.ban(&BanOrder::new(net("203.0.113.0/24"), "sshd"), 0, &mut effects).unwrap();
        }
        assert_eq!(cuts(&effects).len(), if cut { 2 } else { 0 });
        let effects = desk.wrong_password(60 * SECOND, 1, "203.0.113.7");
        assert_eq!(cuts(&effects), if cut { vec![net("203.0.113.0/24")] } else { vec![] });
    }
}

/// The machine of the lab, as the kernel lists its addresses.
fn own() -> BTreeSet<IpAddr> {
    ["192.0.2.10", "2001:db8:0:1::10", "fe80::10"].map(|address| address.parse().unwrap()).into()
}

#[test]
fn the_machines_own_addresses_are_seen_and_never_banned_and_neighbours_stand_for_themselves() {
    let mut desk = Desk::new(|_| ());
    desk.engine.own(own(), 0, &mut desk.effects);
    for (pid, address) in [(2, "192.0.2.10"), (3, "2001:db8:0:1::10"), (4, "fe80::10%eth0")] {
        for second in 0..20 {
            let effects = desk.wrong_password(second * SECOND, pid, address);
            assert!(matches!(effects[..], [Effect::Failed { ignored: true, .. }]), "{address}: {effects:?}");
        }
    }
    assert_eq!(desk.attack(0, "2001:db8:0:1::20").source, net("2001:db8:0:1::20"));
    assert_eq!(
        desk.attack(2_000 * SECOND, "2001:db8:0:2::20").source,
        net("2001:db8:0:2::/64"),
        "another network is one source"
    );
    let explained = &desk.engine.explain("192.0.2.10".parse().unwrap(), 0)[0];
    assert_eq!(explained.because, "It is never banned: 192.0.2.10 is an address of this machine.");
    for source in ["192.0.2.10", "192.0.2.0/24", "2001:db8::/32", "2001:db8:0:1::10", "fe80::/10"] {
        let refused = desk.engine.ban(&BanOrder::new(net(source), "sshd"), 0, &mut desk.effects).unwrap_err();
        assert!(refused.to_string().contains("is an address of this machine"), "{source}: {refused}");
    }
}

#[test]
fn what_becomes_an_own_address_is_free_again_and_what_it_was_counts_no_more() {
    let mut desk = Desk::new(|_| ());
    let ban = desk.attack(0, "2001:db8:0:1::20");
    assert_eq!(ban.source, net("2001:db8:0:1::/64"), "nobody knows yet");
    for second in 10..14 {
        desk.wrong_password(second * SECOND, 2, "192.0.2.10");
    }
    desk.engine.own(own(), 14 * SECOND, &mut desk.effects);
    let effects = std::mem::take(&mut desk.effects);
    assert!(
        matches!(&effects[..], [Effect::Unbanned(ban, UnbanReason::Own), Effect::Release { .. }] if ban.source == net("2001:db8:0:1::/64"))
    );
    assert!(banned(&desk.wrong_password(15 * SECOND, 2, "192.0.2.10")).is_none());

    // It is in the state: the next start knows before anybody has answered.
    let saved = serde_json::from_slice(&serde_json::to_vec(&desk.engine.save()).unwrap()).unwrap();
    let mut next = Desk::new(|_| ());
    next.engine.load(saved, 20 * SECOND, &mut next.effects);
    let effects = next.wrong_password(20 * SECOND, 2, "192.0.2.10");
    assert!(matches!(effects[..], [Effect::Failed { ignored: true, .. }]));
    // An address that the machine has given back is one like any other.
    next.engine.own(BTreeSet::new(), 21 * SECOND, &mut next.effects);
    assert_eq!(next.attack(2_000 * SECOND, "192.0.2.10").source, net("192.0.2.10"));
    assert_eq!(
        next.engine.jails().map(|jail| jail.source("2001:db8:0:1::20".parse().unwrap())).next(),
        Some(net("2001:db8:0:1::/64"))
    );
}

/// Wrong passwords one a second, each of a connection of its own; the first ban, if there is one.
fn first_ban(desk: &mut Desk, start: Usec, addresses: impl Iterator<Item = String>) -> Option<Ban> {
    for (number, address) in addresses.enumerate() {
        let pid = u32::try_from(10_000 + start / SECOND + number as u64).unwrap();
        let effects = desk.wrong_password(start + number as u64 * SECOND, pid, &address);
        if let Some(ban) = banned(&effects) {
            return Some(ban.clone());
        }
    }
    None
}

/// A number of guesses from each /64 of a /48, in no order.
fn hopper(times: usize) -> impl Iterator<Item = String> {
    (1..2_000u32)
        .flat_map(move |number| std::iter::repeat_n(format!("2001:db8:bad:{:x}::1", number * 40_503 % 65_536), times))
}

#[test]
fn who_hops_through_a_wide_ipv6_network_is_banned_with_it() {
    // All in one /56, four guesses from each /64.
    let mut desk = Desk::new(|_| ());
    let addresses = (0..64).flat_map(|number| std::iter::repeat_n(format!("2001:db8:bad:a{number:02x}::1"), 4));
    let ban = first_ban(&mut desk, 0, addresses).unwrap();
    assert_eq!((ban.source, ban.since), (net("2001:db8:bad:a00::/56"), 14 * SECOND), "the fifteenth guess");
    assert_eq!(ban.failures.len(), 15);
    let explained = &desk.engine.explain("2001:db8:bad:a77::1".parse().unwrap(), 20 * SECOND)[0];
    assert_eq!(
        explained.because,
        "15 failures of 4 of its sources; ipv6-hopping has 56 = 3, maxretry = 5, findtime = 10min. All sources of 2001:db8:bad::/48: 15 of 40 (ipv6-hopping)."
    );

    // All over the /48, so that no /56 has many.
    let mut desk = Desk::new(|_| ());
    let ban = first_ban(&mut desk, 0, hopper(4)).unwrap();
    assert_eq!((ban.source, ban.since), (net("2001:db8:bad::/48"), 39 * SECOND));
    // One guess from each, which might be anybody's typing mistake.
    let mut desk = Desk::new(|_| ());
    let ban = first_ban(&mut desk, 0, hopper(1)).unwrap();
    assert_eq!((ban.source, ban.since), (net("2001:db8:bad::/48"), 159 * SECOND));
    // Up to the ban of each /64.
    let mut desk = Desk::new(|_| ());
    for (number, address) in hopper(5).take(40).enumerate() {
        assert!(!desk.engine.banned().contains(&net("2001:db8:bad::/48")), "{number} guesses");
        let number = u32::try_from(number).unwrap();
        desk.wrong_password(u64::from(number) * SECOND, 100 + number, &address);
    }
    assert_eq!(desk.engine.banned(), [net("2001:db8:bad::/48")], "in place of the narrower ones");

    // IPv4 has no wider networks by default.
    let mut desk = Desk::new(|_| ());
    assert_eq!(first_ban(&mut desk, 0, (1..=250).map(|host| format!("203.0.113.{host}"))), None);
}

#[test]
fn the_customers_of_an_honest_provider_are_not_banned_for_each_others_mistakes() {
    // One typing mistake each, in one findtime: of 59 customers with a /64 each in one /56, of 159 in
    // one /48, of 159 with a /56 each, and of many with a /48 each.
    let providers: [Vec<String>; 4] = [
        (0..59).map(|number| format!("2001:db8:1:a{number:02x}::1")).collect(),
        (0..159).map(|number| format!("2001:db8:1:{:x}::1", number * 401)).collect(),
        (0..159).map(|number| format!("2001:db8:1:{number:x}00::1")).collect(),
        (0..590).map(|number| format!("2001:db8:{number:x}::1")).collect(),
    ];
    for customers in providers {
        let mut desk = Desk::new(|_| ());
        assert_eq!(first_ban(&mut desk, 0, customers.into_iter()), None);
    }
    // Who gets in is forgiven, so with them there may be any number.
    let mut desk = Desk::new(|_| ());
    for number in 0..2_000u32 {
        let (time, address) = (u64::from(number) * SECOND / 10, format!("2001:db8:1:{number:x}::1"));
        assert!(banned(&desk.wrong_password(time, number, &address)).is_none());
        desk.says(time + 1, number, &format!("Accepted password for alice from {address} port 4242 ssh2"));
    }
    // Somebody there is at work: it takes four times as much, and the ban interrupts nobody.
    let start = 300 * SECOND;
    let guesses = (0x1000..0x1400).flat_map(|number| std::iter::repeat_n(format!("2001:db8:1:{number:x}::1"), 4));
    let ban = first_ban(&mut desk, start, guesses).unwrap();
    assert_eq!(
        (ban.source, ban.since),
        (net("2001:db8:1:1000::/56"), start + 14 * SECOND),
        "nobody has come from there"
    );
    let mut desk = Desk::new(|_| ());
    desk.says(0, 1, "Accepted password for alice from 2001:db8:bad:ffff::1 port 4242 ssh2");
    let ban = first_ban(&mut desk, SECOND, hopper(4)).unwrap();
    assert_eq!((ban.source, ban.since, ban.despite), (net("2001:db8:bad::/48"), 160 * SECOND, Some(0)));
}

#[test]
fn one_source_alone_never_has_its_network_banned_and_no_address_that_stands_for_itself_counts() {
    // The failures of connections that were open before the ban.
    let mut desk = Desk::new(|jail| jail.cut = false);
    let guesses = (0..400).map(|_| "2001:db8:bad:1::1".to_owned());
    for (number, address) in guesses.enumerate() {
        desk.wrong_password(number as u64 * SECOND / 2, 100 + u32::try_from(number).unwrap(), &address);
    }
    assert_eq!(desk.engine.banned(), [net("2001:db8:bad:1::/64")]);
    let mut desk = Desk::new(|_| ());
    assert_eq!(first_ban(&mut desk, 0, (0..200).map(|host| format!("fe80::{host:x}"))), None);
    let mut desk = Desk::new(|jail| jail.ignoreip = vec![net("2001:db8:bad:1::1").into()].into());
    assert_eq!(first_ban(&mut desk, 0, hopper(4).take(400)), None, "the /48 holds an ignored address");
    let elsewhere = (0..64).map(|number| format!("2001:db8:bad:a{number:02x}::1"));
    assert_eq!(first_ban(&mut desk, 400 * SECOND, elsewhere).map(|ban| ban.source), Some(net("2001:db8:bad:a00::/56")));
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

/// A snapshot of before knows nothing of this.
#[test]
fn a_state_without_leaders_is_loaded() {
    let desk = Desk::new(|_| ());
    let mut saved = serde_json::to_value(desk.engine.save()).unwrap();
    saved.as_object_mut().unwrap().remove("leaders").unwrap();
    assert!(serde_json::from_value::<SavedEngine>(saved).is_ok());
}

#[test]
fn what_happens_is_counted_by_the_hour_of_its_record_and_by_source() {
    use crate::core::tops::{Question, TopOrder};

    const HOUR: Usec = 3600 * SECOND;
    let start = 500_000 * HOUR;
    let mut desk = Desk::new(|jail| jail.spare_logins = Some(HOUR));
    desk.attack(start, "203.0.113.7");
    desk.wrong_password(start + 2 * HOUR, 2, "203.0.113.8");
    // Of an hour ago, and read only now.
    desk.wrong_password(start + HOUR - 60 * SECOND, 3, "203.0.113.9");
    desk.says(start + 2 * HOUR, 4, "Accepted password for alice from 203.0.113.10 port 4242 ssh2");
    for second in 1..6 {
        desk.wrong_password(start + 2 * HOUR + second * SECOND, 5, "203.0.113.10");
    }
    let check = |engine: &Engine| {
        let rows = engine.history(start, Usec::MAX, HOUR, start + 2 * HOUR + 9 * SECOND).unwrap();
        let counts: Vec<_> = rows.iter().map(|row| (row.counts.failures, row.counts.bans, row.counts.spared)).collect();
        assert_eq!(counts, [(6, 1, 0), (0, 0, 0), (6, 0, 1)]);
        let question = Question { since: start, jail: Some("sshd".to_owned()), order: TopOrder::Bans, limit: 2 };
        let top = engine.top(&question).unwrap();
        let shown: Vec<_> = top.iter().map(|(top, banned)| (top.source, top.failures, top.bans, *banned)).collect();
        assert_eq!(shown, [(net("203.0.113.7"), 5, 1, false), (net("203.0.113.10"), 5, 0, false)]);
    };
    check(&desk.engine);
    let saved = serde_json::to_vec(&desk.engine.save()).unwrap();
    let mut again = Engine::new(SHIPPED.jails.clone());
    again.load(serde_json::from_slice(&saved).unwrap(), start + 2 * HOUR, &mut desk.effects);
    check(&again);
    let unknown = again.top(&Question { jail: Some("shd".to_owned()), ..Question::default() });
    assert_eq!(unknown.unwrap_err().to_string(), "There is no jail 'shd'; did you mean 'sshd'?");

    let mut old: serde_json::Value = serde_json::from_slice(&saved).unwrap();
    for later in ["history", "tops"] {
        assert!(old.as_object_mut().unwrap().remove(later).is_some());
    }
    again.load(serde_json::from_value(old).unwrap(), start + 2 * HOUR, &mut desk.effects);
    assert_eq!(again.top(&Question { limit: 9, ..Question::default() }).unwrap(), []);
}
