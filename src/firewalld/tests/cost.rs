//! What the plan's ways cost firewalld, and for how long bans wait on them: the calls' costs as
//! measured, and a clock that they move.
//!
//! What libnftables reads back with each call is a part of the bill here as well, so a plan that
//! makes one call for each ban among many fails.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::plan::{addresses, all_ports, plan};
use crate::firewalld::call::{Call, Edit};
use crate::firewalld::layout::{IPSETS, IpsetId};
use crate::firewalld::plan::{News, Next, Plan};
use crate::firewalld::pool::Change;

/// What the calls cost firewalld, as measured: ms of its CPU time, which is all that passes here.
struct Bill {
    held: BTreeMap<IpsetId, usize>,
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
    fn rewritten(self) -> Self {
        Self { held: self.held, now: self.now, ..Self::new() }
    }

    fn ms(&self) -> u64 {
        self.now as u64
    }

    /// One call, or the wait until there may be one, but not beyond a time. What it has changed, or
    /// none if there was nothing to be done.
    fn turn(&mut self, plan: &mut Plan, end: f64) -> Option<Vec<News>> {
        let call = match plan.next(self.ms()) {
            Next::Do(call) => call,
            Next::Wait(until) if self.now < end => {
                self.now = end.min(until as f64);
                return Some(Vec::new());
            }
            Next::Wait(_) | Next::Idle => return None,
        };
        let reading = 0.0014 * self.held.values().sum::<usize>() as f64;
        let held = self.held.entry(call.ipset.clone()).or_default();
        let cost = match &call.edit {
            Edit::Add(_) => 1.5 + reading + 0.006 * *held as f64,
            Edit::Remove(_) => 1.2 + reading + 0.001 * *held as f64,
            Edit::Write(entries) if entries.is_empty() => 2.0 + 0.025 * *held as f64,
            Edit::Write(entries) => 2.0 + reading + 0.06 * entries.len() as f64 + 0.025 * *held as f64,
        };
        match &call.edit {
            Edit::Add(_) => *held += 1,
            Edit::Remove(_) => *held -= 1,
            Edit::Write(entries) => *held = entries.len(),
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

/// The number of bans in force at the beginning.
fn begin(list: &[IpNet]) -> (Plan, Bill) {
    let ((mut plan, _), mut bill) = (plan(list, &[], &[]), Bill::new());
    bill.run(&mut plan);
    (plan, bill)
}

#[test]
fn ten_thousand_bans_cost_little_to_begin_with_and_one_by_one_and_to_end() {
    let list = addresses(10_000);
    let (mut plan, mut bill) = begin(&list);
    assert!(bill.calls < 20 && bill.cost < 1400.0, "{} calls, {} ms", bill.calls, bill.cost);
    bill = bill.rewritten();
    for net in &list[..1000] {
        plan.release(&all_ports(), *net);
        bill.run(&mut plan);
    }
    assert!(bill.cost / 1000.0 < 20.0 && bill.worst < 300.0, "{} ms, {} at worst", bill.cost, bill.worst);
    bill = bill.rewritten();
    plan.replace(Vec::new());
    bill.run(&mut plan);
    assert!(bill.calls <= IPSETS, "{} calls", bill.calls);
}

#[test]
fn among_many_a_stream_of_bans_goes_in_together_and_who_comes_alone_at_once() {
    let list = addresses(13_000);
    let (mut plan, mut bill) = begin(&list[..10_000]);

    bill = bill.rewritten();
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
    assert!(
        matches!(plan.next(bill.ms()), Next::Do(Call { edit: Edit::Add(_), .. })),
        "nobody waits for company that does not come"
    );
}

#[test]
fn a_burst_becomes_lists() {
    let list = addresses(10_300);
    let (mut plan, mut bill) = begin(&list[..300]);
    // The number that arrive while firewalld is busy with one call.
    for burst in list[300..].chunks(200) {
        for net in burst {
            plan.block(&all_ports(), *net);
        }
        bill.turn(&mut plan, bill.now);
    }
    bill.run(&mut plan);
    assert!(bill.cost / 10_000.0 < 1.0, "{} ms for each, {} calls", bill.cost / 10_000.0, bill.calls);
}
