//! The state machine, fed with sshd's own words.

mod cut;
mod exceptions;
mod hopping;
mod model;
mod orders;
mod own;
mod recidive;
mod spared;
mod sshd;
mod who;

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::{
    config::Settings,
    core::{
        jail::Subnet,
        net::{Prefixes, parse_network},
        record::Fields,
        time::USEC_PER_SEC,
    },
    testing,
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
        testing::sshd(&self.fields, time, format!("c{time}"), pid, message)
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
