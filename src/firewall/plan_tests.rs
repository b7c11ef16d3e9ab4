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

use super::plan::{Change, News, Next, Op, Plan, text};
use super::sets::{Family, Layout, Pool, SLOTS, Set};
use super::side::Side;
use super::steps::Limits;
use crate::jail::Scope;

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
    /// This many operations are carried out.
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
        1 => (ban(), 0..SLOTS, any::<bool>()).prop_map(|(ban, slot, add)| Step::Meddle(ban, slot, add)),
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
    sets: BTreeMap<Set, BTreeSet<String>>,
    /// What the kernel holds.
    kernel: BTreeMap<Set, BTreeSet<String>>,
    /// Lists on their way into the kernel, and when they get there.
    coming: Vec<(u64, Set, Vec<String>)>,
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
        let sets: BTreeMap<Set, BTreeSet<String>> =
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
        let of = |(set, entries): (&Set, &BTreeSet<String>)| {
            entries.iter().map(|entry| (Arc::clone(&set.pool.scope), network(entry))).collect::<Vec<_>>()
        };
        self.kernel.iter().flat_map(of).collect()
    }

    /// Nobody who was locked out, and is still wanted so, may get through for a moment.
    fn look(&mut self, after: &str) {
        let kernel = self.in_kernel();
        let of = |(pool, side): (&Pool, &Side)| {
            side.announced.iter().map(|net| (Arc::clone(&pool.scope), *net)).collect::<Vec<_>>()
        };
        let announced: BTreeSet<Ban> = self.plan.sides().iter().flat_map(of).collect();
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
        let lists: Vec<(Set, Vec<String>)> =
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
    fn apply(&mut self, op: &Op) {
        assert!(!self.coming.iter().any(|(_, set, _)| set == op.set()), "{op:?} meets a list that is on its way");
        let (set, kernel) = (self.sets.get_mut(op.set()).unwrap(), self.kernel.get_mut(op.set()).unwrap());
        match op {
            Op::Add(_, entry) => {
                let net = network(entry);
                let clash = set.iter().map(|entry| network(entry)).find(|o| o.contains(&net) || net.contains(o));
                assert_eq!(clash, None, "{op:?}");
                set.insert(entry.clone());
                kernel.insert(entry.clone());
            }
            Op::Remove(_, entry) => {
                assert!(set.remove(entry), "{entry} is not there");
                kernel.remove(entry);
            }
            Op::SetAll(_, entries) => {
                *set = entries.iter().cloned().collect();
                assert_eq!(set.len(), entries.len(), "{op:?}");
                kernel.clear();
                self.coming.push((self.now + self.settle, op.set().clone(), entries.clone()));
            }
        }
        self.arrive();
        self.look(&format!("{op:?}"));
    }

    fn arrive(&mut self) {
        let now = self.now;
        for (_, set, entries) in self.coming.extract_if(.., |(at, ..)| *at <= now) {
            self.kernel.get_mut(&set).unwrap().extend(entries);
        }
    }

    fn tick(&mut self) -> Option<Op> {
        self.now += 1;
        self.arrive();
        loop {
            match self.plan.next(self.now) {
                Next::Do(op) => return Some(op),
                Next::Idle => return None,
                Next::Wait(until) => {
                    assert!(until > self.now);
                    self.now = until;
                    self.arrive();
                }
            }
        }
    }

    fn done(&mut self, op: &Op) {
        self.apply(op);
        let news = self.plan.done(self.now);
        self.note(news);
    }

    fn work(&mut self, limit: usize) -> usize {
        for count in 0..limit {
            let Some(op) = self.tick() else {
                return count;
            };
            self.done(&op);
        }
        limit
    }

    fn finish(&mut self) {
        assert!(self.work(2000) < 2000, "the plan never comes to an end");
        let mut announced = BTreeSet::new();
        let mut all = BTreeSet::new();
        for (pool, side) in self.plan.sides() {
            assert!(side.is_idle(), "{side:?}");
            announced.extend(side.announced.iter().map(|net| (Arc::clone(&pool.scope), *net)));
            for net in side.held().into_iter().flatten() {
                assert!(all.insert((Arc::clone(&pool.scope), net)), "{net} is in two sets");
            }
            if side.target.len() <= side.limits.few / 2 {
                assert!(side.held()[1..].iter().all(BTreeSet::is_empty), "few bans are in the first set: {side:?}");
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
            Step::Meddle((scope, net), slot, add) => {
                let set = Set { pool: Pool::of(scope, net), slot: *slot };
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
                if let Some(op) = self.tick() {
                    if *emptied && matches!(op, Op::SetAll(..)) {
                        self.kernel.get_mut(op.set()).unwrap().clear();
                        self.look("a list that failed");
                    }
                    self.plan.failed();
                    self.sync();
                }
            }
            Step::Amid(order) => {
                let op = self.tick();
                let before = self.wanted.clone();
                self.order(order);
                // A call that is under way can't know who is wanted only now.
                self.locked_out.retain(|probe| covered(&before, probe));
                if let Some(op) = op {
                    self.done(&op);
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
        settle in prop_oneof![Just(0u64), Just(3u64)],
    ) {
        let mut world = World::new(if tight { TIGHT } else { Limits::default() }, settle);
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}

fn addresses(count: u32) -> Vec<IpNet> {
    (0..count).map(|n| IpNet::from(std::net::IpAddr::from((0x0A00_0000 + n).to_be_bytes()))).collect()
}

fn all_ports() -> Arc<Scope> {
    Arc::default()
}

fn first(family: Family) -> Set {
    Set { pool: Pool { scope: all_ports(), family }, slot: 0 }
}

/// A plan for bans of all ports, which finds this in the first sets.
fn plan(list: &[IpNet], v4: &[&str], v6: &[&str]) -> (Plan, Layout) {
    let layout = Layout::new(&[all_ports()]);
    let mut plan = Plan::default();
    plan.lay_out(&layout);
    plan.replace(list.iter().map(|net| (all_ports(), *net)).collect());
    assert_eq!(plan.next(0), Next::Idle, "nothing is touched before all is known");
    find(&mut plan, &layout, v4, v6);
    (plan, layout)
}

fn find(plan: &mut Plan, layout: &Layout, v4: &[&str], v6: &[&str]) {
    let held = |set: &Set| match (set.slot, set.pool.family) {
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
    let remove = Next::Do(Op::Remove(first(Family::V4), range.into()));
    assert_eq!(plan.next(0), remove);
    plan.failed();
    // firewalld could not: the next look finds it again, and then the whole set is written.
    find(&mut plan, &layout, &[range], &["2001:DB8::0001"]);
    let mut rest = Vec::new();
    while let Next::Do(op) = plan.next(0) {
        plan.done(0);
        rest.push(op);
    }
    let v6 = first(Family::V6);
    let swap = [Op::Remove(v6.clone(), "2001:DB8::0001".into()), Op::Add(v6, "2001:db8::1".into())];
    assert_eq!(rest, [&[Op::SetAll(first(Family::V4), Vec::new())], &swap[..]].concat());
}

#[test]
fn a_refused_network_leaves_its_inner_ones_standing() {
    let (mut plan, _) = plan(&nets(&["0.0.0.0/0", "203.0.113.7/32"]), &[], &[]);
    assert_eq!(plan.next(0), Next::Do(Op::Add(first(Family::V4), "0.0.0.0/0".into())));
    plan.refused();
    assert_eq!(plan.next(0), Next::Do(Op::Add(first(Family::V4), "203.0.113.7".into())));
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

/// What the calls cost firewalld, as measured: ms of its CPU time, which is all that passes here.
struct Bill {
    held: BTreeMap<Set, usize>,
    now: f64,
    calls: usize,
    cost: f64,
    worst: f64,
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
impl Bill {
    fn new() -> Self {
        Self { held: BTreeMap::new(), now: 0.0, calls: 0, cost: 0.0, worst: 0.0 }
    }

    /// The same with an empty bill.
    fn anew(self) -> Self {
        Self { held: self.held, now: self.now, ..Self::new() }
    }

    fn ms(&self) -> u64 {
        self.now as u64
    }

    /// One call, or the wait until there may be one, but not beyond a time. What it has changed, or
    /// none if there was nothing to be done.
    fn turn(&mut self, plan: &mut Plan, end: f64) -> Option<Vec<News>> {
        let op = match plan.next(self.ms()) {
            Next::Do(op) => op,
            Next::Wait(until) if self.now < end => {
                self.now = end.min(until as f64);
                return Some(Vec::new());
            }
            Next::Wait(_) | Next::Idle => return None,
        };
        let reading = 0.0014 * self.held.values().sum::<usize>() as f64;
        let held = self.held.entry(op.set().clone()).or_default();
        let cost = match &op {
            Op::Add(..) => 1.5 + reading + 0.006 * *held as f64,
            Op::Remove(..) => 1.2 + reading + 0.001 * *held as f64,
            Op::SetAll(_, entries) if entries.is_empty() => 2.0 + 0.025 * *held as f64,
            Op::SetAll(_, entries) => 2.0 + reading + 0.06 * entries.len() as f64 + 0.025 * *held as f64,
        };
        match &op {
            Op::Add(..) => *held += 1,
            Op::Remove(..) => *held -= 1,
            Op::SetAll(_, entries) => *held = entries.len(),
        }
        self.cost += cost;
        self.worst = self.worst.max(cost);
        self.calls += 1;
        self.now += cost;
        Some(plan.done(self.ms()))
    }

    fn run(&mut self, plan: &mut Plan) {
        while self.turn(plan, f64::MAX).is_some() {}
    }
}

#[test]
fn ten_thousand_bans_cost_little_to_begin_with_and_one_by_one_and_to_end() {
    let list = addresses(10_000);
    let (mut plan, _) = plan(&list, &[], &[]);
    let mut bill = Bill::new();
    bill.run(&mut plan);
    assert!(bill.calls < 20 && bill.cost < 1400.0, "{} calls, {} ms", bill.calls, bill.cost);
    bill = bill.anew();
    for net in &list[..1000] {
        plan.release(&all_ports(), *net);
        bill.run(&mut plan);
    }
    assert!(bill.cost / 1000.0 < 20.0 && bill.worst < 300.0, "{} ms, {} at worst", bill.cost, bill.worst);
    bill = bill.anew();
    plan.replace(Vec::new());
    bill.run(&mut plan);
    assert!(bill.calls <= SLOTS, "{} calls", bill.calls);
}

#[test]
fn among_many_a_stream_of_bans_goes_in_together_and_who_comes_alone_at_once() {
    let list = addresses(13_000);
    let (mut plan, _) = plan(&list[..10_000], &[], &[]);
    let mut bill = Bill::new();
    bill.run(&mut plan);

    bill = bill.anew();
    let begin = bill.now;
    let (mut came, mut waits) = (BTreeMap::new(), Vec::new());
    for (number, net) in (0u32..).zip(&list[10_000..12_000]) {
        let (comes, end) = (begin + 25.0 * f64::from(number), begin + 25.0 * f64::from(number + 1));
        came.insert(*net, comes);
        plan.block(&all_ports(), *net);
        while bill.now < end {
            let Some(news) = bill.turn(&mut plan, end) else {
                bill.now = end;
                break;
            };
            for (_, change) in news {
                if let Change::Blocked(net) = change {
                    waits.push(bill.now - came[&net]);
                }
            }
        }
    }
    waits.sort_by(f64::total_cmp);
    let (each, median, late) = (bill.cost / 2000.0, waits[waits.len() / 2], waits[waits.len() * 95 / 100]);
    assert!(each < 8.0, "{each} ms for each of 2000, {} calls", bill.calls);
    assert!(bill.worst < 300.0, "{} ms in one call", bill.worst);
    assert!(median < 100.0 && late < 150.0, "in force after {median} ms, 95 % after {late} ms");

    bill.run(&mut plan);
    bill.now += 1000.0;
    plan.block(&all_ports(), list[12_000]);
    assert!(matches!(plan.next(bill.ms()), Next::Do(Op::Add(..))), "nobody waits for company that does not come");
}

#[test]
fn a_burst_becomes_lists() {
    let list = addresses(10_300);
    let (mut plan, _) = plan(&list[..300], &[], &[]);
    let mut bill = Bill::new();
    bill.run(&mut plan);
    // So many come in while firewalld is busy with one call.
    for burst in list[300..].chunks(200) {
        for net in burst {
            plan.block(&all_ports(), *net);
        }
        bill.turn(&mut plan, bill.now);
    }
    bill.run(&mut plan);
    assert!(bill.cost / 10_000.0 < 1.0, "{} ms for each, {} calls", bill.cost / 10_000.0, bill.calls);
}
