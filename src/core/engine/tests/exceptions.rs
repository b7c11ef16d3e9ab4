//! Orders that hold for a time: what they change, and when they end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::core::{
    exceptions::{ExceptionEnd, ExceptionKind},
    jail::IgnoreList,
};

const HOME: &str = "203.0.113.7";

fn terms(usec: Option<Usec>) -> Terms {
    Terms { usec, reason: "home".into(), uid: Some(1000), ..Terms::default() }
}

impl Desk {
    fn except(
        &mut self,
        kind: ExceptionKind,
        what: &str,
        jail: Option<&str>,
        usec: Option<Usec>,
        now: Usec,
    ) -> Vec<Effect> {
        let answers = self.engine.except(kind, &[net(what)], jail, &terms(usec), now, &mut self.effects).unwrap();
        assert!(answers.iter().all(Result::is_ok));
        std::mem::take(&mut self.effects)
    }

    /// As [`Self::attack`], by another process.
    fn attack_by(&mut self, pid: u32, start: Usec, address: &str) -> Ban {
        let mut effects = (0..5).flat_map(|second| self.wrong_password(start + second * SECOND, pid, address));
        effects.find_map(|effect| banned(&[effect]).cloned()).unwrap()
    }

    /// Stops, and starts again under the same settings.
    fn restart(&mut self, now: Usec) {
        let saved = serde_json::to_vec(&self.engine.save()).unwrap();
        let jails = self.engine.jails().cloned().map(|jail| JailSettings {
            excepted: IgnoreList::default(),
            suspected: IgnoreList::default(),
            ..jail
        });
        self.engine = Engine::new(jails.collect());
        self.engine.load(serde_json::from_slice(&saved).unwrap(), now, &mut self.effects);
        assert_eq!(std::mem::take(&mut self.effects), []);
    }
}

fn ended(effects: &[Effect]) -> Vec<ExceptionEnd> {
    let ends = effects.iter().filter_map(|effect| match effect {
        Effect::ExceptionEnded(_, why) => Some(*why),
        _ => None,
    });
    ends.collect()
}

#[test]
fn who_is_ignored_by_order_is_freed_and_not_counted_until_that_ends() {
    let mut desk = Desk::new(|_| ());
    desk.attack(0, HOME);
    desk.attack_by(2, 10 * SECOND, "203.0.113.9");
    let effects = desk.except(ExceptionKind::Ignored, "203.0.113.0/29", None, Some(60 * SECOND), 20 * SECOND);
    assert!(effects.contains(&Effect::Release { scope: all_ports(), source: net(HOME) }), "{effects:?}");
    assert!(
        effects.iter().any(|it| matches!(it, Effect::Unbanned(ban, UnbanReason::Ignored) if ban.source == net(HOME)))
    );
    assert_eq!(desk.engine.ban_count(), 1, "203.0.113.9 is not in that network");
    desk.restart(20 * SECOND);
    for second in 21..40 {
        let effects = desk.wrong_password(second * SECOND, 3, HOME);
        assert!(matches!(&effects[..], [Effect::Failed { ignored: true, .. }]), "{effects:?}");
    }
    let known = &desk.engine.explain(HOME.parse().unwrap(), 40 * SECOND)[0];
    assert_eq!(known.because, "It is never banned: ignored by an administrator (home).");
    assert_eq!(desk.engine.next_end(), Some(80 * SECOND));
    assert_eq!(ended(&desk.advance(80 * SECOND - 1)), []);
    assert_eq!(ended(&desk.advance(80 * SECOND)), [ExceptionEnd::Expired]);
    assert_eq!(desk.attack_by(4, 81 * SECOND, HOME).since, 85 * SECOND);
}

#[test]
fn an_order_for_a_jail_leaves_the_others_alone_and_goes_with_its_jail() {
    let mut desk = Desk::new(|_| ());
    let jails: Vec<JailSettings> =
        ["sshd", "other"].map(|name| JailSettings { name: name.to_owned(), ..SHIPPED.jails[0].clone() }).into();
    desk.engine = Engine::new(jails.clone());
    desk.except(ExceptionKind::Ignored, HOME, Some("other"), None, 0);
    assert_eq!(&*desk.attack(SECOND, HOME).jail, "sshd");
    assert_eq!(desk.engine.ban_count(), 1);
    let mut out = Vec::new();
    let end = |engine: &mut Engine, jail, out: &mut Vec<Effect>| {
        let mut answers =
            engine.end_exceptions(ExceptionKind::Ignored, &[net(HOME)], jail, None, 20 * SECOND, out).unwrap();
        answers.remove(0).map_err(|error| error.to_string())
    };
    assert_eq!(
        end(&mut desk.engine, Some("sshd"), &mut out).unwrap_err(),
        "203.0.113.7 is not ignored in jail 'sshd'."
    );
    desk.engine.reload(jails[..1].to_vec(), 20 * SECOND, &mut out);
    assert_eq!(ended(&out), [ExceptionEnd::JailGone]);
    assert_eq!(end(&mut desk.engine, None, &mut out).unwrap_err(), "203.0.113.7 is not ignored.");
    desk.except(ExceptionKind::Ignored, "203.0.113.0/24", None, None, 21 * SECOND);
    assert_eq!(
        end(&mut desk.engine, None, &mut out).unwrap_err(),
        "203.0.113.7 is not ignored by itself but inside 203.0.113.0/24; end that."
    );
    let unknown = desk.engine.except(ExceptionKind::Ignored, &[net(HOME)], Some("shd"), &terms(None), 0, &mut out);
    assert_eq!(unknown.unwrap_err().to_string(), "There is no jail 'shd'; did you mean 'sshd'?");
}

#[test]
fn beyond_the_bound_an_order_is_refused_with_the_mend() {
    let mut desk = Desk::new(|_| ());
    let networks: Vec<IpNet> =
        (0..4097_u32).map(|host| IpNet::from(IpAddr::from((0x0a00_0001 + host).to_be_bytes()))).collect();
    let answers =
        desk.engine.except(ExceptionKind::Ignored, &networks, None, &terms(None), 0, &mut desk.effects).unwrap();
    let refused: Vec<String> = answers.iter().filter_map(|it| Some(it.as_ref().err()?.to_string())).collect();
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0].starts_with("4096 addresses and networks are ignored") && refused[0].contains("wardenctl unignore")
    );
}

#[test]
fn a_paused_jail_decides_and_bans_nobody() {
    let mut desk = Desk::new(|_| ());
    let standing = desk.attack(0, "203.0.113.9");
    let mut out = Vec::new();
    let paused = desk.engine.pause(None, &terms(Some(60 * SECOND)), 10 * SECOND, &mut out).unwrap();
    assert_eq!(paused.iter().map(|it| it.jail.as_deref()).collect::<Vec<_>>(), [Some("sshd")]);
    desk.restart(10 * SECOND);
    let effects: Vec<Effect> = (20..26).flat_map(|second| desk.wrong_password(second * SECOND, 2, HOME)).collect();
    let withheld = effects.iter().find_map(|effect| match effect {
        Effect::Withheld(ban) => Some(ban),
        _ => None,
    });
    let withheld = withheld.unwrap();
    assert_eq!((withheld.since, withheld.until), (24 * SECOND, Some(624 * SECOND)));
    assert!(!effects.iter().any(|it| matches!(it, Effect::Banned(_) | Effect::Block { .. })));
    assert_eq!(desk.engine.bans().map(|ban| ban.source).collect::<Vec<_>>(), [standing.source]);
    assert!(desk.engine.explain(HOME.parse().unwrap(), 26 * SECOND)[0].because.ends_with("so it bans nobody."));
    assert_eq!(ended(&desk.advance(70 * SECOND)), [ExceptionEnd::Expired]);
    assert_eq!(desk.attack_by(3, 80 * SECOND, HOME).count, 1);

    desk.engine.pause(Some("sshd"), &terms(None), 90 * SECOND, &mut out).unwrap();
    desk.engine.resume(None, Some(0), &mut out).unwrap();
    assert_eq!(
        desk.engine.resume(Some("sshd"), Some(0), &mut out).unwrap_err().to_string(),
        "Jail 'sshd' is not paused."
    );
    assert_eq!(desk.engine.resume(None, Some(0), &mut out).unwrap_err().to_string(), "No jail is paused.");
}

#[test]
fn a_paused_jail_keeps_what_is_banned_inside_a_network_that_it_would_ban() {
    let prefixes = Prefixes { ipv4: 24, ipv6: 48 };
    let mut desk = Desk::new(|jail| jail.subnet = Some(Subnet { maxretry: 3, prefixes }));
    desk.attack(0, "203.0.113.1");
    desk.engine.pause(None, &terms(None), 10 * SECOND, &mut desk.effects).unwrap();
    desk.effects.clear();
    let effects: Vec<Effect> = (2..5)
        .flat_map(|host: u32| desk.wrong_password((10 + u64::from(host)) * SECOND, host, &format!("203.0.113.{host}")))
        .collect();
    let withheld = |it: &Effect| matches!(it, Effect::Withheld(ban) if ban.source == net("203.0.113.0/24"));
    assert!(effects.iter().any(withheld), "{effects:?}");
    assert!(!effects.iter().any(|it| matches!(it, Effect::Unbanned(..) | Effect::Banned(_))));
    assert_eq!(desk.engine.ban_count(), 1);
}

#[test]
fn the_first_failure_of_who_is_suspected_bans() {
    let mut desk = Desk::new(|_| ());
    desk.except(ExceptionKind::Suspected, "203.0.113.0/30", None, Some(100 * SECOND), 0);
    desk.restart(0);
    assert!(banned(&desk.wrong_password(SECOND, 1, "203.0.113.4")).is_none());
    let effects = desk.wrong_password(2 * SECOND, 2, "203.0.113.3");
    assert_eq!(banned(&effects).map(|ban| (ban.source, ban.failures.len())), Some((net("203.0.113.3"), 1)));
    desk.restart(2 * SECOND);
    let known = &desk.engine.explain("203.0.113.3".parse().unwrap(), 3 * SECOND)[0];
    assert_eq!(known.because, "1 failure; the source was suspected by an administrator (home), so that was enough.");
    let known = &desk.engine.explain("203.0.113.2".parse().unwrap(), 3 * SECOND)[0];
    assert_eq!(
        known.because,
        "Nothing counts against it. Its next failure bans it: suspected by an administrator (home)."
    );
    // Through a translator.
    let effects = desk.wrong_password(3 * SECOND, 3, "64:ff9b::203.0.113.2");
    assert_eq!(banned(&effects).map(|ban| ban.source), Some(net("64:ff9b::cb00:7102")));
    desk.advance(100 * SECOND);
    assert!(banned(&desk.wrong_password(101 * SECOND, 4, "203.0.113.1")).is_none());
}

#[test]
fn who_has_failed_and_is_suspected_then_is_near() {
    let mut desk = Desk::new(|_| ());
    desk.wrong_password(SECOND, 1, HOME);
    assert_eq!(desk.engine.near_until(), None);
    desk.except(ExceptionKind::Suspected, HOME, None, None, 2 * SECOND);
    assert_eq!(desk.engine.near_until(), Some(31 * SECOND));
    let mut out = Vec::new();
    desk.engine.end_exceptions(ExceptionKind::Suspected, &[net(HOME)], None, None, 3 * SECOND, &mut out).unwrap();
    assert_eq!(desk.engine.near_until(), None);
}

#[test]
fn a_state_from_before_there_were_exceptions_is_read() {
    let mut desk = Desk::new(|_| ());
    desk.attack(0, HOME);
    let mut saved = serde_json::to_value(desk.engine.save()).unwrap();
    assert!(saved.as_object_mut().unwrap().remove("exceptions").is_none(), "none are saved as nothing");
    let mut again = Engine::new(SHIPPED.jails.clone());
    again.load(serde_json::from_value(saved).unwrap(), 5 * SECOND, &mut Vec::new());
    assert_eq!(again.ban_count(), 1);
}

proptest! {
    /// What an order leaves of the counters is what the same lists make of all of them.
    #[test]
    fn an_order_leaves_what_a_reload_would(
        steps in prop::collection::vec((0_usize..9, 0_u8..4), 1..60)
    ) {
        let hosts = [
            "203.0.113.1", "203.0.113.2", "2001:db8:1:1::1", "2001:db8:1:1::2", "2001:db8:1:2::1", "2001:db8:2:1::1",
            "64:ff9b::203.0.113.1", "2002:cb00:7102::1", "::ffff:203.0.113.2",
        ];
        let networks = [
            "203.0.113.1", "203.0.113.0/30", "2001:db8:1:1::1", "2001:db8:1::/48", "64:ff9b::203.0.113.1", "2002:cb00:7102::/48",
            "2001:db8:1:1::2", "2001:db8::/32", "203.0.113.2",
        ];
        let mut desk = Desk::new(|jail| jail.bantime = Some(5 * SECOND));
        for (number, (place, what)) in steps.into_iter().enumerate() {
            let (now, pid) = ((1 + number as u64) * SECOND, u32::try_from(number).unwrap() + 2);
            desk.advance(now);
            match what {
                0 | 1 => drop(desk.wrong_password(now, pid, hosts[place])),
                2 => {
                    let kind = if place % 2 == 0 { ExceptionKind::Ignored } else { ExceptionKind::Suspected };
                    drop(desk.except(kind, networks[place], None, Some(20 * SECOND), now));
                }
                _ => {
                    let addresses = hosts[place..].iter().take(2).map(|host| host.parse().unwrap()).collect();
                    desk.engine.own(addresses, now, &mut desk.effects);
                }
            }
            let state = |engine: &Engine| (serde_json::to_value(engine.save()).unwrap(), engine.near_until().filter(|until| *until >= now));
            let before = state(&desk.engine);
            desk.engine.reload(desk.engine.jails().cloned().collect(), now, &mut desk.effects);
            prop_assert_eq!(state(&desk.engine), before);
            desk.effects.clear();
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Fail(u8),
    Order(ExceptionKind, u8, Option<u64>),
    End(ExceptionKind, u8),
    Restart,
    ClockSet(i64),
}

fn step() -> impl Strategy<Value = Step> {
    use ExceptionKind::{Ignored, Paused, Suspected};
    let kind = prop::sample::select(vec![Ignored, Paused, Suspected]);
    prop_oneof![
        8 => (0_u8..4).prop_map(Step::Fail),
        2 => (kind.clone(), 0_u8..4, prop::option::of(1_u64..30)).prop_map(|(kind, host, end)| Step::Order(kind, host, end)),
        1 => (kind, 0_u8..4).prop_map(|(kind, host)| Step::End(kind, host)),
        1 => Just(Step::Restart),
        1 => (-5_i64..50).prop_map(Step::ClockSet),
    ]
}

proptest! {
    /// Against a reference that keeps for each host when it is ignored, suspected, and what it has done.
    #[test]
    fn exceptions_decide_as_a_reference_does(steps in prop::collection::vec((1_u64..9, step()), 1..60)) {
        let mut desk = Desk::new(|jail| (jail.maxretry, jail.bantime, jail.findtime) = (3, None, 10_000_000 * SECOND));
        let mut until: BTreeMap<(ExceptionKind, u8), u64> = BTreeMap::new();
        let mut failed: BTreeMap<u8, u32> = BTreeMap::new();
        let mut banned: BTreeSet<u8> = BTreeSet::new();
        // `shown` is what the clock shows, `time` is what has passed.
        let (mut time, mut ahead, mut pid) = (1000_u64, 0_i64, 1);
        for (after, step) in steps {
            time += after;
            until.retain(|_, until| *until > time);
            let shown = |time: u64| time.saturating_add_signed(ahead) * SECOND;
            desk.advance(shown(time));
            let host = |host: u8| format!("203.0.113.{host}");
            match step {
                Step::Fail(number) => {
                    pid += 1;
                    let effects = desk.wrong_password(shown(time), pid, &host(number));
                    let withheld = effects.iter().any(|it| matches!(it, Effect::Withheld(_)));
                    let mut expected = (false, false);
                    if !until.contains_key(&(ExceptionKind::Ignored, number)) {
                        let count = failed.entry(number).or_default();
                        *count += 1;
                        let enough = if until.contains_key(&(ExceptionKind::Suspected, number)) { 1 } else { 3 };
                        if *count >= enough {
                            *count = 0;
                            let paused = until.contains_key(&(ExceptionKind::Paused, 0));
                            expected = (!paused && !banned.contains(&number), paused && !banned.contains(&number));
                            if !paused {
                                banned.insert(number);
                            }
                        }
                    }
                    prop_assert_eq!((super::banned(&effects).is_some(), withheld), expected, "{} at {}", number, time);
                }
                Step::Order(kind, number, end) => {
                    let number = if kind == ExceptionKind::Paused { 0 } else { number };
                    until.insert((kind, number), end.map_or(u64::MAX, |end| time + end));
                    let terms = terms(end.map(|end| end * SECOND));
                    let now = shown(time);
                    if kind == ExceptionKind::Paused {
                        desk.engine.pause(None, &terms, now, &mut desk.effects).unwrap();
                    } else {
                        desk.engine.except(kind, &[net(&host(number))], None, &terms, now, &mut desk.effects).unwrap();
                    }
                    if kind == ExceptionKind::Ignored {
                        failed.remove(&number);
                        banned.remove(&number);
                    }
                    desk.effects.clear();
                }
                Step::End(kind, number) => {
                    let number = if kind == ExceptionKind::Paused { 0 } else { number };
                    let was = until.remove(&(kind, number)).is_some();
                    let now = shown(time);
                    let ended = if kind == ExceptionKind::Paused {
                        desk.engine.resume(None, None, &mut desk.effects).is_ok()
                    } else {
                        let networks = [net(&host(number))];
                        desk.engine.end_exceptions(kind, &networks, None, None, now, &mut desk.effects).unwrap()[0].is_ok()
                    };
                    prop_assert_eq!(ended, was);
                    desk.effects.clear();
                }
                Step::Restart => desk.restart(shown(time)),
                Step::ClockSet(by) => {
                    ahead += by;
                    desk.engine.clock_set(by * 1_000_000, &mut desk.effects);
                    desk.effects.clear();
                }
            }
        }
    }
}
