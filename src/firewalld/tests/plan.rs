//! The plan against a naive model: a stand-in for the ipsets that refuses what firewalld refuses,
//! and plain lists where the plan has trees.
//!
//! Networks come from a universe of sixteen addresses in each family, so that random orders nest,
//! cover and uncover each other all the time, and the limits are so small that lists are written,
//! merged and brought home again.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use proptest::prelude::*;

use crate::core::scope::Scope;
use crate::firewalld::call::{Call, Edit};
use crate::firewalld::costs::settling;
use crate::firewalld::entry::text;
use crate::firewalld::layout::{Family, IPSETS, IpsetId, Layout, PoolId};
use crate::firewalld::limits::Limits;
use crate::firewalld::plan::{News, Next, Plan};
use crate::firewalld::pool::{Change, Pool};

type Ban = (Arc<Scope>, IpNet);

/// So small that the universe fills them.
const TIGHT: Limits = Limits { few: 4, bulk: 3, full: 2, chunk: 3, spacing: Some(3) };

#[derive(Clone, Debug)]
enum Step {
    Block(Ban),
    Release(Ban),
    Replace(Vec<Ban>),
    Reload,
    /// Somebody else has put in or taken out an entry, and the audit comes by.
    Meddle(Ban, usize, bool),
    /// The kernel has lost an entry, and the source has got through.
    Leak(Ban),
    /// This many calls are carried out.
    Work(usize),
    /// The next one fails; a list may have emptied its set first.
    Fail(bool),
    /// An order that comes while a call is in flight.
    Amid(Box<Step>),
}

fn scopes() -> [Arc<Scope>; 2] {
    [Arc::default(), Arc::new(Scope::new(Vec::new(), true))]
}

fn ban() -> impl Strategy<Value = Ban> {
    (any::<bool>(), any::<bool>(), 0u8..16, 0u8..=4).prop_map(|(scope, v4, host, bits)| {
        let net =
            if v4 { format!("192.0.2.{host}/{}", 32 - bits) } else { format!("2001:db8:0:{host:x}::/{}", 64 - bits) };
        (scopes()[usize::from(scope)].clone(), net.parse::<IpNet>().unwrap().trunc())
    })
}

fn order() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => ban().prop_map(Step::Block),
        6 => ban().prop_map(Step::Release),
        1 => prop::collection::vec(ban(), 0..24).prop_map(Step::Replace),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => order(),
        2 => order().prop_map(|step| Step::Amid(Box::new(step))),
        5 => (0usize..6).prop_map(Step::Work),
        1 => Just(Step::Reload),
        1 => any::<bool>().prop_map(Step::Fail),
        1 => (ban(), 0..IPSETS, any::<bool>()).prop_map(|(ban, index, add)| Step::Meddle(ban, index, add)),
        1 => ban().prop_map(Step::Leak),
    ]
}

fn network(entry: &str) -> IpNet {
    entry.parse().unwrap_or_else(|_| IpNet::from(entry.parse::<std::net::IpAddr>().unwrap()))
}

/// The addresses that matter: one for each smallest network of the universe.
fn probes() -> Vec<Ban> {
    let nets = (0..16).flat_map(|h| [format!("192.0.2.{h}/32"), format!("2001:db8:0:{h:x}::/64")]);
    nets.map(|net| net.parse().unwrap()).flat_map(|net| scopes().map(|scope| (scope, net))).collect()
}

fn covered(list: &BTreeSet<Ban>, (scope, net): &Ban) -> bool {
    list.iter().any(|(of, cover)| of == scope && cover.contains(net))
}

/// The widest networks of the list, the slow way.
fn widest(list: &BTreeSet<Ban>) -> BTreeSet<Ban> {
    let inside = |(scope, n): &Ban| list.iter().any(|(of, o)| of == scope && o != n && o.contains(n));
    list.iter().filter(|ban| !inside(ban)).cloned().collect()
}

/// firewalld and the kernel, and what the daemon wants.
struct World {
    plan: Plan,
    layout: Layout,
    now: u64,
    settle: u64,
    /// What firewalld lists.
    sets: BTreeMap<IpsetId, BTreeSet<String>>,
    /// What the kernel holds.
    kernel: BTreeMap<IpsetId, BTreeSet<String>>,
    /// Lists on their way into the kernel, and when they get there.
    coming: Vec<(u64, IpsetId, Vec<String>)>,
    wanted: BTreeSet<Ban>,
    /// Who is locked out in the kernel, and was said to be. Must stay so for as long as it is wanted.
    locked_out: BTreeSet<Ban>,
    /// What the reports say is locked out.
    blocked: BTreeSet<Ban>,
}

impl World {
    fn new(limits: Limits, settle: u64) -> Self {
        let layout = Layout::new(&scopes());
        let mut plan = Plan::with(limits, settle);
        plan.lay_out(&layout);
        let sets: BTreeMap<IpsetId, BTreeSet<String>> =
            layout.sets.iter().map(|set| (set.clone(), BTreeSet::new())).collect();
        let mut world = Self {
            plan,
            layout,
            now: 0,
            settle,
            kernel: sets.clone(),
            sets,
            coming: Vec::new(),
            wanted: BTreeSet::new(),
            locked_out: BTreeSet::new(),
            blocked: BTreeSet::new(),
        };
        world.sync();
        world
    }

    fn in_kernel(&self) -> BTreeSet<Ban> {
        let of = |(set, entries): (&IpsetId, &BTreeSet<String>)| {
            entries.iter().map(|entry| (Arc::clone(&set.pool.scope), network(entry))).collect::<Vec<_>>()
        };
        self.kernel.iter().flat_map(of).collect()
    }

    /// Nobody who was locked out, and is still wanted so, may get through for a moment.
    fn look(&mut self, after: &str) {
        let kernel = self.in_kernel();
        let of = |(id, pool): (&PoolId, &Pool)| {
            pool.announced.iter().map(|net| (Arc::clone(&id.scope), *net)).collect::<Vec<_>>()
        };
        let announced: BTreeSet<Ban> = self.plan.pools().iter().flat_map(of).collect();
        for probe in probes() {
            let (wanted, held) = (covered(&self.wanted, &probe), covered(&kernel, &probe));
            assert!(held || !wanted || !self.locked_out.contains(&probe), "{} got through after {after}", probe.1);
            if held && covered(&announced, &probe) {
                self.locked_out.insert(probe);
            } else {
                self.locked_out.remove(&probe);
            }
        }
    }

    fn note(&mut self, news: Vec<News>) {
        for (scope, change) in news {
            match change {
                Change::Blocked(net) => {
                    let ban = (scope, net);
                    let mut held = self.in_kernel();
                    for (_, set, entries) in &self.coming {
                        held.extend(entries.iter().map(|entry| (Arc::clone(&set.pool.scope), network(entry))));
                    }
                    assert!(covered(&held, &ban), "{net} is not in force");
                    assert!(self.wanted.contains(&ban), "{net} is not wanted");
                    self.blocked.insert(ban);
                }
                Change::Released(net) => {
                    let ban = (scope, net);
                    assert!(!self.in_kernel().contains(&ban), "{net} is still an entry");
                    assert!(!self.wanted.contains(&ban), "{net} is wanted again");
                    self.blocked.remove(&ban);
                }
            }
        }
    }

    fn sync(&mut self) {
        let lists: Vec<(IpsetId, Vec<String>)> =
            self.layout.sets.iter().map(|set| (set.clone(), self.sets[set].iter().cloned().collect())).collect();
        let (_, news) = self.plan.sync(&lists);
        self.note(news);
    }

    fn order(&mut self, step: &Step) {
        let news = match step {
            Step::Block(ban) => {
                self.wanted.insert(ban.clone());
                self.plan.block(&ban.0, ban.1)
            }
            Step::Release(ban) => {
                self.wanted.remove(ban);
                self.plan.release(&ban.0, ban.1)
            }
            Step::Replace(list) => {
                self.wanted = list.iter().cloned().collect();
                self.plan.replace(list.clone())
            }
            _ => unreachable!("not an order"),
        };
        self.note(news);
        self.look("an order");
    }

    /// Does what firewalld does, and refuses what it refuses.
    fn apply(&mut self, call: &Call) {
        assert!(!self.coming.iter().any(|(_, set, _)| set == &call.ipset), "{call:?} meets a list that is on its way");
        let (set, kernel) = (self.sets.get_mut(&call.ipset).unwrap(), self.kernel.get_mut(&call.ipset).unwrap());
        match &call.edit {
            Edit::Add(net) => {
                let clash = set.iter().map(|entry| network(entry)).find(|o| o.contains(net) || net.contains(o));
                assert_eq!(clash, None, "{call:?}");
                set.insert(text(net));
                kernel.insert(text(net));
            }
            Edit::Remove(entry) => {
                assert!(set.remove(entry), "{entry} is not there");
                kernel.remove(entry);
            }
            Edit::Write(nets) => {
                let entries: Vec<String> = nets.iter().map(text).collect();
                *set = entries.iter().cloned().collect();
                assert_eq!(set.len(), entries.len(), "{call:?}");
                kernel.clear();
                self.coming.push((self.now + settling(self.settle, entries.len()), call.ipset.clone(), entries));
            }
        }
        self.arrive();
        self.look(&format!("{call:?}"));
    }

    fn arrive(&mut self) {
        let now = self.now;
        for (_, set, entries) in self.coming.extract_if(.., |(at, ..)| *at <= now) {
            self.kernel.get_mut(&set).unwrap().extend(entries);
        }
    }

    fn tick(&mut self) -> Option<Call> {
        self.now += 1;
        self.arrive();
        loop {
            match self.plan.next(self.now) {
                Next::Do(call) => return Some(call),
                Next::Idle => return None,
                Next::Wait(until) => {
                    assert!(until > self.now);
                    self.now = until;
                    self.arrive();
                }
            }
        }
    }

    fn done(&mut self, call: &Call) {
        self.apply(call);
        let news = self.plan.done(self.now);
        self.note(news);
    }

    fn work(&mut self, limit: usize) -> usize {
        for count in 0..limit {
            let Some(call) = self.tick() else {
                return count;
            };
            self.done(&call);
        }
        limit
    }

    fn finish(&mut self) {
        assert!(self.work(2000) < 2000, "the plan never comes to an end");
        let mut announced = BTreeSet::new();
        let mut all = BTreeSet::new();
        for (id, pool) in self.plan.pools() {
            assert!(pool.is_idle(), "{pool:?}");
            announced.extend(pool.announced.iter().map(|net| (Arc::clone(&id.scope), *net)));
            for net in pool.held().into_iter().flatten() {
                assert!(all.insert((Arc::clone(&id.scope), net)), "{net} is in two sets");
            }
            if pool.target.len() <= pool.limits.few / 2 {
                assert!(pool.held()[1..].iter().all(BTreeSet::is_empty), "few bans are in the first set: {pool:?}");
            }
        }
        assert_eq!(all, widest(&self.wanted));
        assert_eq!(self.in_kernel(), all, "firewalld and the kernel agree");
        assert_eq!(announced, self.wanted);
        assert!(self.blocked.is_superset(&self.wanted));
    }

    /// What happens from outside; nobody is to blame for who gets through by it.
    fn outsider(&mut self) {
        self.locked_out.clear();
        self.look("nothing");
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Reload => {
                self.sets.values_mut().for_each(BTreeSet::clear);
                self.kernel.values_mut().for_each(BTreeSet::clear);
                self.coming.clear();
                self.plan.lost();
                assert_eq!(self.plan.next(self.now), Next::Idle);
                self.outsider();
                self.sync();
            }
            Step::Meddle((scope, net), index, add) => {
                let set = IpsetId { pool: PoolId::of(scope, net), index: *index };
                if self.coming.iter().any(|(_, coming, _)| *coming == set) {
                    return;
                }
                let overlap = |entry: &String| network(entry).contains(net) || net.contains(&network(entry));
                for entries in [self.sets.get_mut(&set).unwrap(), self.kernel.get_mut(&set).unwrap()] {
                    entries.retain(|entry| !overlap(entry));
                    if *add {
                        entries.insert(text(net));
                    }
                }
                self.outsider();
                self.sync();
            }
            Step::Leak((scope, net)) => {
                let ban = (Arc::clone(scope), *net);
                if self.blocked.contains(&ban) && self.wanted.contains(&ban) && self.coming.is_empty() {
                    for (set, entries) in &mut self.kernel {
                        if set.pool.scope == *scope {
                            entries.retain(|entry| !network(entry).contains(net));
                        }
                    }
                    self.outsider();
                    self.plan.suspect(scope, *net);
                }
            }
            Step::Work(count) => {
                self.work(*count);
            }
            Step::Fail(emptied) => {
                if let Some(call) = self.tick() {
                    if *emptied && matches!(call.edit, Edit::Write(_)) {
                        self.kernel.get_mut(&call.ipset).unwrap().clear();
                        self.look("a list that failed");
                    }
                    self.plan.failed();
                    self.sync();
                }
            }
            Step::Amid(order) => {
                let call = self.tick();
                let before = self.wanted.clone();
                self.order(order);
                // A call that is under way can't know who is wanted only now.
                self.locked_out.retain(|probe| covered(&before, probe));
                if let Some(call) = call {
                    self.done(&call);
                }
            }
            order => self.order(order),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Whatever happens, and whenever, it ends in the wanted list, without an overlap on the way;
    /// and nobody who is locked out and is to stay so gets through at any step.
    #[test]
    fn ends_in_what_is_wanted_and_lets_nobody_through(
        steps in prop::collection::vec(step(), 0..80),
        tight in any::<bool>(),
        settle in prop_oneof![Just(0u64), Just(30u64)],
    ) {
        let mut world = World::new(if tight { TIGHT } else { Limits::default() }, settle);
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}

pub(super) fn addresses(count: u32) -> Vec<IpNet> {
    (0..count).map(|n| IpNet::from(std::net::IpAddr::from((0x0A00_0000 + n).to_be_bytes()))).collect()
}

pub(super) fn all_ports() -> Arc<Scope> {
    Arc::default()
}

fn first(family: Family) -> IpsetId {
    IpsetId { pool: PoolId { scope: all_ports(), family }, index: 0 }
}

/// A call about the first set of a family.
fn call(family: Family, edit: Edit) -> Call {
    Call { ipset: first(family), edit }
}

/// A plan for bans of all ports, which finds this in the first sets.
pub(super) fn plan(list: &[IpNet], v4: &[&str], v6: &[&str]) -> (Plan, Layout) {
    let layout = Layout::new(&[all_ports()]);
    let mut plan = Plan::default();
    plan.lay_out(&layout);
    plan.replace(list.iter().map(|net| (all_ports(), *net)).collect());
    assert_eq!(plan.next(0), Next::Idle, "nothing is touched before all is known");
    find(&mut plan, &layout, v4, v6);
    (plan, layout)
}

fn find(plan: &mut Plan, layout: &Layout, v4: &[&str], v6: &[&str]) {
    let held = |set: &IpsetId| match (set.index, set.pool.family) {
        (0, Family::V4) => v4.iter().map(ToString::to_string).collect(),
        (0, Family::V6) => v6.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    plan.sync(&layout.sets.iter().map(|set| (set.clone(), held(set))).collect::<Vec<_>>());
}

fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|net| net.parse().unwrap()).collect()
}

#[test]
fn text_is_canonical() {
    let texts: Vec<String> =
        nets(&["10.5.5.5/24", "203.0.113.7/32", "2001:DB8::0001/128", "2001:db8:0:1::/64"]).iter().map(text).collect();
    assert_eq!(texts, ["10.5.5.0/24", "203.0.113.7", "2001:db8::1", "2001:db8:0:1::/64"]);
}

#[test]
fn foreign_spellings_go_first_and_word_for_word() {
    let range = "10.0.0.1-10.0.0.9";
    let (mut plan, layout) = plan(&nets(&["2001:db8::1/128"]), &[range], &["2001:DB8::0001"]);
    let remove = Next::Do(call(Family::V4, Edit::Remove(range.into())));
    assert_eq!(plan.next(0), remove);
    plan.failed();
    // firewalld could not: the next look finds it again, and then the whole set is written.
    find(&mut plan, &layout, &[range], &["2001:DB8::0001"]);
    let mut rest = Vec::new();
    while let Next::Do(call) = plan.next(0) {
        plan.done(0);
        rest.push(call);
    }
    let swap = [Edit::Remove("2001:DB8::0001".into()), Edit::Add(network("2001:db8::1"))];
    let swap = swap.map(|edit| call(Family::V6, edit));
    assert_eq!(rest, [&[call(Family::V4, Edit::Write(Vec::new()))], &swap[..]].concat());
}

#[test]
fn a_refused_network_leaves_its_inner_ones_standing() {
    let (mut plan, _) = plan(&nets(&["0.0.0.0/0", "203.0.113.7/32"]), &[], &[]);
    assert_eq!(plan.next(0), Next::Do(call(Family::V4, Edit::Add(network("0.0.0.0/0")))));
    plan.refused();
    assert_eq!(plan.next(0), Next::Do(call(Family::V4, Edit::Add(network("203.0.113.7")))));
}

#[test]
fn a_ban_under_a_wider_one_is_in_force_at_once() {
    let (mut plan, _) = plan(&nets(&["203.0.113.0/24"]), &["203.0.113.0/24"], &[]);
    let inner = nets(&["203.0.113.7/32"])[0];
    assert_eq!(plan.block(&all_ports(), inner), [(all_ports(), Change::Blocked(inner))]);
    assert_eq!(plan.release(&all_ports(), inner), [(all_ports(), Change::Released(inner))]);
    assert_eq!(plan.next(0), Next::Idle);
}

#[test]
fn an_entry_that_leaked_while_it_was_to_go_is_not_built_upon() {
    let (wide, inner) = (nets(&["192.0.2.0/28"])[0], nets(&["192.0.2.8/29"])[0]);
    let (mut plan, _) = plan(&[wide, inner], &["192.0.2.0/28"], &[]);
    plan.release(&all_ports(), wide);
    plan.suspect(&all_ports(), inner);
    assert_eq!(plan.block(&all_ports(), wide), [], "firewalld lists it, and it holds nobody off");
    let mut told = Vec::new();
    while let Next::Do(_) = plan.next(0) {
        told.extend(plan.done(0));
    }
    assert!(told.contains(&(all_ports(), Change::Blocked(wide))), "{told:?}");
}
