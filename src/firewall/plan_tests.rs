//! The plan against a naive model: a stand-in for the two ipsets that refuses what firewalld
//! refuses, and plain lists where the plan has trees.
//!
//! Networks come from a universe of sixteen addresses in each family, so that random orders nest,
//! cover and uncover each other all the time.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use proptest::prelude::*;

use super::plan::{Change, News, Op, Plan, text};
use super::sets::{Family, Layout, Set};
use crate::jail::Scope;

/// All ports, IPv4 and IPv6.
fn sets() -> [Set; 2] {
    Family::ALL.map(|family| Set { scope: scope(), family })
}

fn v4() -> Set {
    sets()[0].clone()
}

fn v6() -> Set {
    sets()[1].clone()
}

fn scope() -> Arc<Scope> {
    Arc::default()
}

fn new_plan(bulk: usize) -> Plan {
    let mut plan = Plan::with_bulk(bulk);
    plan.lay_out(&Layout::new(&[scope()]));
    plan
}

fn all_ports(list: &[IpNet]) -> Vec<(Arc<Scope>, IpNet)> {
    list.iter().map(|net| (scope(), *net)).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Block(IpNet),
    Release(IpNet),
    Replace(Vec<IpNet>),
    Reload,
    /// Somebody else has put in or taken out an entry, and the audit comes by.
    Meddle(IpNet),
    /// This many operations are carried out.
    Work(usize),
    Fail,
    /// An order that comes while a call is in flight.
    Amid(Box<Step>),
}

fn net() -> impl Strategy<Value = IpNet> {
    (any::<bool>(), 0u8..16, 0u8..=4).prop_map(|(v4, host, bits)| {
        let net =
            if v4 { format!("192.0.2.{host}/{}", 32 - bits) } else { format!("2001:db8:0:{host:x}::/{}", 64 - bits) };
        net.parse::<IpNet>().unwrap().trunc()
    })
}

fn order() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => net().prop_map(Step::Block),
        4 => net().prop_map(Step::Release),
        1 => prop::collection::vec(net(), 0..12).prop_map(Step::Replace),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => order(),
        2 => order().prop_map(|step| Step::Amid(Box::new(step))),
        4 => (0usize..6).prop_map(Step::Work),
        1 => Just(Step::Reload),
        1 => Just(Step::Fail),
        1 => net().prop_map(Step::Meddle),
    ]
}

/// The addresses that matter: one for each smallest network of the universe.
fn probes() -> Vec<IpNet> {
    (0..16)
        .flat_map(|h| [format!("192.0.2.{h}/32"), format!("2001:db8:0:{h:x}::/64")])
        .map(|net| net.parse().unwrap())
        .collect()
}

fn covered(list: &BTreeSet<IpNet>, probe: &IpNet) -> bool {
    list.iter().any(|net| net.contains(probe))
}

/// The widest networks of the list, the slow way.
fn widest(list: &BTreeSet<IpNet>) -> BTreeSet<IpNet> {
    let inside = |n: &IpNet| list.iter().any(|o| o != n && o.contains(n));
    list.iter().filter(|net| !inside(net)).copied().collect()
}

struct World {
    plan: Plan,
    sets: BTreeMap<Set, BTreeSet<String>>,
    wanted: BTreeSet<IpNet>,
    /// What the reports say is locked out.
    blocked: BTreeSet<IpNet>,
}

impl World {
    fn new(bulk: usize) -> Self {
        let mut world = Self {
            plan: new_plan(bulk),
            sets: sets().map(|set| (set, BTreeSet::new())).into(),
            wanted: BTreeSet::new(),
            blocked: BTreeSet::new(),
        };
        world.sync();
        world
    }

    fn actual(&self) -> BTreeSet<IpNet> {
        let entries = self.sets.values().flatten();
        entries
            .map(|entry| {
                let net = entry.parse::<IpNet>();
                net.unwrap_or_else(|_| IpNet::from(entry.parse::<std::net::IpAddr>().unwrap()))
            })
            .collect()
    }

    fn note(&mut self, news: Vec<News>) {
        for (_, change) in news {
            match change {
                Change::Blocked(net) => {
                    assert!(covered(&self.actual(), &net), "{net} is not in force");
                    assert!(self.wanted.contains(&net), "{net} is not wanted");
                    self.blocked.insert(net);
                }
                Change::Released(net) => {
                    assert!(!self.actual().contains(&net), "{net} is still an entry");
                    assert!(!self.wanted.contains(&net), "{net} is wanted again");
                    self.blocked.remove(&net);
                }
            }
        }
    }

    fn sync(&mut self) {
        for set in sets() {
            let entries: Vec<String> = self.sets[&set].iter().cloned().collect();
            let (_, changes) = self.plan.sync(&set, &entries);
            self.note(changes);
        }
    }

    fn order(&mut self, step: &Step) {
        match step {
            Step::Block(net) => {
                self.wanted.insert(*net);
                let change = self.plan.block(&scope(), *net);
                self.note(change);
            }
            Step::Release(net) => {
                self.wanted.remove(net);
                let change = self.plan.release(&scope(), *net);
                self.note(change);
            }
            Step::Replace(list) => {
                self.wanted = list.iter().copied().collect();
                let changes = self.plan.replace(all_ports(list));
                self.note(changes);
            }
            _ => unreachable!("not an order"),
        }
    }

    /// Does what firewalld does, and refuses what it refuses.
    fn apply(&mut self, op: &Op) {
        let set = self.sets.get_mut(op.set()).unwrap();
        match op {
            Op::Add(_, entry) => assert!(set.insert(entry.clone()), "{entry} is there already"),
            Op::Remove(_, entry) => assert!(set.remove(entry), "{entry} is not there"),
            Op::SetAll(_, entries) => *set = entries.iter().cloned().collect(),
        }
        let actual = self.actual();
        assert_eq!(actual, widest(&actual), "overlap after {op:?}");
    }

    fn work(&mut self, limit: usize) -> usize {
        for count in 0..limit {
            let Some(op) = self.plan.next() else {
                return count;
            };
            self.apply(&op);
            let changes = self.plan.done(&op);
            self.note(changes);
        }
        limit
    }

    fn finish(&mut self) {
        assert!(self.work(500) < 500, "the plan never comes to an end");
        assert!(self.plan.is_idle());
        assert_eq!(self.actual(), widest(&self.wanted));
        let announced: BTreeSet<IpNet> = self.plan.announced().into_iter().map(|(_, net)| net).collect();
        assert_eq!(announced, self.wanted);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Reload => {
                self.sets.values_mut().for_each(BTreeSet::clear);
                self.plan.lost();
                assert_eq!(self.plan.next(), None);
                self.sync();
            }
            Step::Meddle(net) => {
                let overlap = |o: &IpNet| o.contains(net) || net.contains(o);
                let actual = self.actual();
                let set = self.sets.get_mut(&Set { scope: scope(), family: Family::of(net) }).unwrap();
                for other in actual.iter().filter(|o| overlap(o)) {
                    set.remove(&text(other));
                }
                set.insert(text(net));
                self.sync();
            }
            Step::Work(count) => {
                self.work(*count);
            }
            Step::Fail => {
                if let Some(op) = self.plan.next() {
                    self.plan.failed(&op);
                    self.sync();
                }
            }
            Step::Amid(order) => {
                let op = self.plan.next();
                self.order(order);
                if let Some(op) = op {
                    self.apply(&op);
                    let changes = self.plan.done(&op);
                    self.note(changes);
                }
            }
            order => self.order(order),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// Whatever happens, and whenever, it ends in the wanted list, without an overlap on the way.
    #[test]
    fn ends_in_what_is_wanted(steps in prop::collection::vec(step(), 0..60), bulk in 2usize..40) {
        let mut world = World::new(bulk);
        for step in &steps {
            world.step(step);
        }
        world.finish();
        let wanted = world.wanted.clone();
        prop_assert!(world.blocked.is_superset(&wanted));
    }

    /// Who is banned before and after an order is banned in between, unless the entry that does
    /// it has to be swapped; and then nothing else is done before the swap is over.
    #[test]
    fn no_hole_without_a_swap(orders in prop::collection::vec(order(), 0..40)) {
        let mut world = World::new(1000);
        for order in &orders {
            let before = widest(&world.wanted);
            world.order(order);
            let after = widest(&world.wanted);
            let entry = |list: &BTreeSet<IpNet>, p: &IpNet| list.iter().find(|n| n.contains(p)).copied();
            let kept: Vec<IpNet> =
                probes().into_iter().filter(|p| covered(&before, p) && covered(&after, p)).collect();
            while let Some(op) = world.plan.next() {
                world.apply(&op);
                let changes = world.plan.done(&op);
                world.note(changes);
                let actual = world.actual();
                let open: Vec<IpNet> =
                    kept.iter().filter(|p| !covered(&actual, p)).copied().collect();
                let mut regions = BTreeSet::new();
                for probe in &open {
                    let (old, new) = (entry(&before, probe).unwrap(), entry(&after, probe).unwrap());
                    prop_assert_ne!(old, new, "{} was uncovered for nothing", probe);
                    regions.insert(if old.contains(&new) { old } else { new });
                }
                prop_assert!(regions.len() <= 1, "two swaps at once: {:?}", regions);
            }
            world.finish();
        }
    }
}

fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|net| net.parse().unwrap()).collect()
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn text_is_canonical() {
    let texts: Vec<String> =
        nets(&["10.5.5.5/24", "203.0.113.7/32", "2001:DB8::0001/128", "2001:db8:0:1::/64"]).iter().map(text).collect();
    let wanted = ["10.5.5.0/24", "203.0.113.7", "2001:db8::1", "2001:db8:0:1::/64"];
    assert_eq!(texts, wanted);
}

#[test]
fn nothing_is_touched_before_both_sets_are_known() {
    let mut plan = new_plan(1000);
    plan.replace(all_ports(&nets(&["203.0.113.7/32"])));
    assert_eq!(plan.next(), None);
    plan.sync(&v4(), &[]);
    assert_eq!(plan.next(), None);
    plan.sync(&v6(), &[]);
    assert_eq!(plan.next(), Some(Op::Add(v4(), "203.0.113.7".into())));
}

#[test]
fn foreign_spellings_go_first_and_word_for_word() {
    let mut plan = new_plan(1000);
    plan.replace(all_ports(&nets(&["2001:db8::1/128"])));
    plan.sync(&v4(), &strings(&["10.0.0.1-10.0.0.9"]));
    let (found, _) = plan.sync(&v6(), &strings(&["2001:DB8::0001"]));
    assert_eq!(found.foreign, ["2001:DB8::0001"]);
    let range = Op::Remove(v4(), "10.0.0.1-10.0.0.9".into());
    assert_eq!(plan.next().as_ref(), Some(&range));
    plan.failed(&range);
    // firewalld could not: the next look finds it again, and then the whole set is written.
    plan.sync(&v4(), &strings(&["10.0.0.1-10.0.0.9"]));
    assert_eq!(plan.next(), Some(Op::SetAll(v4(), vec![])));
    plan.done(&Op::SetAll(v4(), vec![]));
    assert_eq!(plan.next(), Some(Op::Remove(v6(), "2001:DB8::0001".into())));
}

#[test]
fn a_whole_set_is_written_only_where_little_is_lost() {
    let list: Vec<IpNet> =
        (0..2000u32).map(|n| IpNet::from(std::net::IpAddr::from((0x0A00_0000 + n).to_be_bytes()))).collect();
    let texts: Vec<String> = list.iter().map(text).collect();
    for (held, bulk) in [(0, true), (900, true), (1001, false), (1990, false)] {
        let mut plan = new_plan(1000);
        plan.replace(all_ports(&list));
        plan.sync(&v6(), &[]);
        plan.sync(&v4(), &texts[..held]);
        let op = plan.next().unwrap();
        assert_eq!(matches!(op, Op::SetAll(..)), bulk, "{held} held: {op:?}");
    }
}

#[test]
fn a_refused_network_leaves_its_inner_ones_standing() {
    let mut plan = new_plan(1000);
    plan.replace(all_ports(&nets(&["0.0.0.0/0", "203.0.113.7/32"])));
    plan.sync(&v4(), &[]);
    plan.sync(&v6(), &[]);
    let all = plan.next().unwrap();
    assert_eq!(all, Op::Add(v4(), "0.0.0.0/0".into()));
    plan.refused(&all);
    assert_eq!(plan.next(), Some(Op::Add(v4(), "203.0.113.7".into())));
}

#[test]
fn a_ban_under_a_wider_one_is_in_force_at_once() {
    let mut plan = new_plan(1000);
    plan.replace(all_ports(&nets(&["203.0.113.0/24"])));
    plan.sync(&v4(), &strings(&["203.0.113.0/24"]));
    plan.sync(&v6(), &[]);
    let inner = nets(&["203.0.113.7/32"])[0];
    assert_eq!(plan.block(&scope(), inner), [(scope(), Change::Blocked(inner))]);
    assert_eq!(plan.release(&scope(), inner), [(scope(), Change::Released(inner))]);
    assert!(plan.is_idle());
}
