//! The driver against the stand-in: what the daemon hears, what firewalld ends up with, and which
//! calls it took.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod absence;
mod bypass;
mod cost;
mod layout;
mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{sleep, timeout};

use super::layout::{IPSETS, Layout};
use super::{Order, Report, State, start};
use crate::core::scope::Scope;
use crate::stand_in::{Bus, Fake, Inner, exception, network, policy, systemd};

fn all_ports() -> Arc<Scope> {
    Arc::default()
}

/// The whole list, of bans of all ports.
fn replace(list: &[&str]) -> Order {
    Order::Replace { scopes: vec![all_ports()], list: list.iter().map(|n| (all_ports(), network(n))).collect() }
}

/// The daemon's end: orders in, reports out.
struct Daemon {
    orders: UnboundedSender<Order>,
    reports: UnboundedReceiver<Report>,
    seen: Vec<Report>,
}

impl Daemon {
    async fn start(bus: &Bus, list: &[&str]) -> Self {
        let (orders, reports) = start(bus.outgoing().await);
        let daemon = Self { orders, reports, seen: Vec::new() };
        daemon.order(replace(list));
        daemon
    }

    fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
    }

    fn block(&self, net: &str) {
        self.order(Order::Block(all_ports(), network(net)));
    }

    fn release(&self, net: &str) {
        self.order(Order::Release(all_ports(), network(net)));
    }

    /// Reads reports up to the one that is waited for.
    async fn until(&mut self, what: impl Fn(&Report) -> bool) -> Report {
        let reports = &mut self.reports;
        let seen = &mut self.seen;
        let wait = timeout(Duration::from_secs(20), async {
            loop {
                let report = reports.recv().await.expect("the driver has ended");
                seen.push(report.clone());
                if what(&report) {
                    return report;
                }
            }
        });
        let report = wait.await.ok();
        report.unwrap_or_else(|| panic!("the report did not come; these did: {:#?}", self.seen))
    }

    async fn up(&mut self) {
        self.until(|report| *report == Report::State(State::Up)).await;
    }

    async fn down(&mut self) -> String {
        match self.until(|r| matches!(r, Report::State(State::Down(_)))).await {
            Report::State(State::Down(text)) => text,
            _ => unreachable!(),
        }
    }

    async fn blocked(&mut self, net: &str) {
        let net = network(net);
        self.until(|r| matches!(r, Report::Blocked { source, .. } if *source == net)).await;
    }

    async fn released(&mut self, net: &str) {
        let net = network(net);
        self.until(|r| matches!(r, Report::Released { source, .. } if *source == net)).await;
    }
}

fn set(entries: &[&str]) -> BTreeSet<String> {
    entries.iter().map(ToString::to_string).collect()
}

/// Waits until firewalld holds these entries and no others.
async fn settled(fake: &Fake, entries: &[&str]) {
    for _ in 0..400 {
        if fake.entries() == set(entries) {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("firewalld holds {:?}", fake.entries());
}

#[tokio::test]
async fn bootstrap_creates_in_order_and_reloads_once() {
    let bus = Bus::start();
    let fake = Fake::default();
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7", "2001:db8:0:1::/64"]).await;
    daemon.up().await;
    let made = fake.calls(&["addIPSet", "addPolicy", "reload"]);
    assert_eq!(made.len(), 2 * IPSETS + 2);
    assert_eq!(made[0], "addIPSet wardend4 hash:net inet 131072");
    assert_eq!(made[IPSETS], "addIPSet wardend6 hash:net inet6 131072");
    let rules = "addPolicy wardend -14999 rule family=\"ipv4\" source ipset=\"wardend4\" drop; \
                 rule family=\"ipv4\" source ipset=\"wardend4-1\" drop; ";
    assert!(made[2 * IPSETS].starts_with(rules), "{}", made[2 * IPSETS]);
    assert_eq!(made[2 * IPSETS + 1], "reload");
    assert_eq!(fake.entries(), set(&["203.0.113.7", "2001:db8:0:1::/64"]));
    let blocked = daemon.seen.iter().filter(|r| matches!(r, Report::Blocked { .. }));
    assert_eq!(blocked.count(), 2);
}

#[tokio::test]
async fn a_policy_with_the_priority_of_before_gets_the_one_of_now() {
    let bus = Bus::start();
    let fake = Fake::ready();
    fake.with(|inner| {
        inner.priority = Some(-1000);
        inner.load();
    });
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
    daemon.up().await;
    assert_eq!(fake.calls(&["update", "reload"]).len(), 2);
    assert_eq!(fake.with(|inner| inner.runtime_priority), Some(-14999));
    assert_eq!(fake.entries(), set(&["203.0.113.7"]));
}

#[tokio::test]
async fn a_half_made_set_of_objects_is_repaired() {
    let bus = Bus::start();
    let fake = Fake::ready();
    fake.with(|inner| {
        inner.permanent.remove("wardend6");
        inner.runtime.remove("wardend6");
    });
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["2001:db8::1"]).await;
    daemon.up().await;
    assert_eq!(fake.entries(), set(&["2001:db8::1"]));
    assert_eq!(fake.calls(&["reload"]).len(), 1);
}

#[tokio::test]
async fn what_is_in_force_already_is_not_touched() {
    let bus = Bus::start();
    let fake = Fake::ready();
    fake.with(|inner| {
        let entries = ["203.0.113.7", "198.51.100.0/24"].map(String::from);
        inner.runtime.get_mut("wardend4").unwrap().extend(entries);
    });
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
    daemon.up().await;
    let changes = fake.calls(&["add", "remove", "set", "reload"]);
    assert_eq!(changes, ["removeEntry 198.51.100.0/24"]);
    let told = |r: &Report| matches!(r, Report::Told(t) if t.contains("198.51.100.0/24"));
    assert!(daemon.seen.iter().any(told));
    // Covered bans need no call.
    daemon.block("203.0.113.7");
    daemon.blocked("203.0.113.7").await;
}

#[tokio::test]
async fn a_reload_loses_nothing() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
    daemon.up().await;
    fake.with(|inner| inner.baked.push(("wardend4".into(), "192.0.2.1".into())));
    fake.reload(&firewalld).await;
    let told = |r: &Report| matches!(r, Report::Told(t) if t.contains("192.0.2.1"));
    daemon.until(told).await;
    daemon.blocked("203.0.113.7").await;
    daemon.block("203.0.113.8");
    daemon.blocked("203.0.113.8").await;
    daemon.release("203.0.113.7");
    daemon.released("203.0.113.7").await;
    assert_eq!(fake.entries(), set(&["203.0.113.8"]));
    assert_eq!(fake.calls(&["reload"]).len(), 0);
}

#[tokio::test]
async fn a_missing_polkit_rule_is_named() {
    let bus = Bus::start();
    let fake = Fake::ready();
    fake.with(|inner| inner.denied = true);
    let firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
    let text = daemon.down().await;
    assert!(text.contains("/usr/share/polkit-1/rules.d/50-wardend.rules"), "{text}");
    fake.with(|inner| inner.denied = false);
    fake.reload(&firewalld).await;
    daemon.up().await;
    assert_eq!(fake.entries(), set(&["203.0.113.7"]));
}

#[tokio::test]
async fn a_failed_command_is_made_up_for() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let failed = exception("COMMAND_FAILED: 'python-nftables' failed");
    fake.with(|inner| inner.faults.push_back(("addEntry", failed.clone())));
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7", "203.0.113.8"]).await;
    assert!(daemon.down().await.contains("python-nftables"));
    daemon.up().await;
    assert_eq!(fake.entries(), set(&["203.0.113.7", "203.0.113.8"]));
    fake.with(|inner| inner.faults.push_back(("removeEntry", failed)));
    daemon.release("203.0.113.7");
    daemon.down().await;
    daemon.released("203.0.113.7").await;
    daemon.up().await;
    assert_eq!(fake.entries(), set(&["203.0.113.8"]));
}

#[tokio::test]
async fn lost_ipsets_are_made_again_without_a_reload_loop() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
    daemon.up().await;
    let delete = |inner: &mut Inner| {
        inner.permanent.clear();
        inner.policy = None;
        inner.load();
    };
    fake.with(delete);
    daemon.block("203.0.113.8");
    daemon.blocked("203.0.113.8").await;
    assert_eq!(fake.calls(&["reload"]).len(), 1);
    // Again, within the minute: firewalld isn't reloaded a second time.
    fake.with(delete);
    daemon.block("203.0.113.9");
    assert!(daemon.down().await.contains("has not loaded"));
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(fake.calls(&["reload"]).len(), 1);
}

#[tokio::test]
async fn slow_calls_lose_no_order() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &[]).await;
    daemon.up().await;
    fake.with(|inner| inner.delay = Duration::from_secs(1));
    daemon.block("203.0.113.7");
    sleep(Duration::from_millis(200)).await;
    for host in 8..40 {
        daemon.block(&format!("203.0.113.{host}"));
        daemon.release(&format!("203.0.113.{host}"));
    }
    daemon.block("203.0.113.50");
    daemon.release("203.0.113.7");
    daemon.released("203.0.113.39").await;
    daemon.blocked("203.0.113.50").await;
    daemon.released("203.0.113.7").await;
    assert_eq!(fake.entries(), set(&["203.0.113.50"]));
    let calls = ["addEntry 203.0.113.7", "addEntry 203.0.113.50", "removeEntry 203.0.113.7"];
    assert_eq!(fake.calls(&["addEntry", "removeEntry"]), calls);
}

#[tokio::test]
async fn nested_bans_are_swapped() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7", "203.0.113.8", "192.0.2.1"]).await;
    daemon.up().await;
    daemon.block("203.0.113.0/24");
    daemon.blocked("203.0.113.0/24").await;
    settled(&fake, &["203.0.113.0/24", "192.0.2.1"]).await;
    daemon.release("203.0.113.8");
    daemon.released("203.0.113.8").await;
    daemon.release("203.0.113.0/24");
    daemon.released("203.0.113.0/24").await;
    daemon.block("192.0.2.2");
    daemon.blocked("192.0.2.2").await;
    settled(&fake, &["203.0.113.7", "192.0.2.1", "192.0.2.2"]).await;
    assert!(fake.with(|inner| inner.runtime["wardend4"].len()) == 3, "few bans are in the first set");
}

#[tokio::test]
async fn entries_that_firewalld_will_not_take_are_reported_and_left() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &[]).await;
    daemon.up().await;
    daemon.block("0.0.0.0/0");
    daemon.block("203.0.113.7");
    let told = |r: &Report| matches!(r, Report::Told(t) if t.contains("refuses to block 0.0.0.0/0"));
    daemon.until(told).await;
    daemon.blocked("203.0.113.7").await;
    // Somebody's wider entry is in the way: that is found and mended without a word to the state.
    fake.with(|inner| {
        let wide = "198.51.100.0/24".to_owned();
        inner.runtime.get_mut("wardend4").unwrap().insert(wide);
    });
    daemon.block("198.51.100.9");
    daemon.blocked("198.51.100.9").await;
    settled(&fake, &["203.0.113.7", "198.51.100.9"]).await;
    assert!(!daemon.seen.iter().any(|r| matches!(r, Report::State(State::Down(_)))));
}

#[tokio::test]
async fn removal_takes_the_policy_first_and_stays_removed() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
    daemon.up().await;
    daemon.order(Order::Remove);
    daemon.until(|r| *r == Report::Removed(Ok(()))).await;
    let calls = fake.calls(&["remove ", "reload"]);
    assert_eq!(calls.len(), 2 * IPSETS + 2);
    assert_eq!(calls[..2], ["remove policy", "remove wardend4"]);
    assert_eq!(calls[2 * IPSETS + 1], "reload");
    daemon.block("203.0.113.8");
    sleep(Duration::from_millis(300)).await;
    assert!(fake.calls(&["addIPSet"]).is_empty());
    daemon.order(replace(&["203.0.113.9"]));
    daemon.blocked("203.0.113.9").await;
    assert_eq!(fake.entries(), set(&["203.0.113.9"]));
}

#[tokio::test]
async fn a_long_list_goes_into_an_empty_set_at_once() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let firewalld = fake.serve(&bus).await;
    let list: Vec<String> = (1..200).map(|host| format!("203.0.113.{host}")).collect();
    let refs: Vec<&str> = list.iter().map(String::as_str).collect();
    let mut daemon = Daemon::start(&bus, &refs).await;
    daemon.up().await;
    assert_eq!(fake.entries(), set(&refs));
    let blocked = daemon.seen.iter().filter(|r| matches!(r, Report::Blocked { .. }));
    assert_eq!(blocked.count(), refs.len());
    // One entry that spoils the list doesn't spoil it for the others.
    let refusal = exception("INVALID_ENTRY: one of them");
    fake.with(|inner| inner.faults.push_back(("setEntries", refusal)));
    fake.reload(&firewalld).await;
    daemon.blocked("203.0.113.99").await;
    daemon.release("203.0.113.99");
    daemon.released("203.0.113.99").await;
    assert_eq!(fake.entries().len(), refs.len() - 1);
    // The third empties the set of which it is not known what it holds.
    assert_eq!(fake.calls(&["setEntries"]).len(), 3);
}

#[tokio::test]
async fn what_somebody_has_changed_in_the_policy_is_put_right() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
    daemon.up().await;
    fake.with(|inner| inner.runtime_policy.as_mut().unwrap().pop());
    daemon.order(Order::Audit);
    daemon.until(|r| matches!(r, Report::Told(t) if t.contains("did not match the jails"))).await;
    fake.with(|inner| {
        inner.policy.as_mut().unwrap().pop();
        inner.baked.push(("wardend4".to_owned(), "203.0.113.7".to_owned()));
    });
    daemon.order(Order::Audit);
    daemon.until(|r| matches!(r, Report::Told(t) if t.contains("the permanent configuration of firewalld's policy wardend did not match"))).await;
    daemon.until(|r| matches!(r, Report::Told(t) if t.contains("removed 1 entry from the permanent configuration of ipset wardend4"))).await;
    fake.with(|inner| {
        assert!(inner.policy == Some(Layout::new(&[all_ports()]).rules(|_| true)) && inner.baked.is_empty());
    });
    assert_eq!(fake.calls(&["reload"]).len(), 0);
}

#[tokio::test]
async fn an_entry_that_lets_its_source_through_is_added_again() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7", "203.0.113.8"]).await;
    daemon.up().await;
    daemon.order(Order::Suspect(all_ports(), network("203.0.113.7")));
    daemon.blocked("203.0.113.7").await;
    let calls = fake.calls(&["addEntry 203.0.113.7", "removeEntry 203.0.113.7"]);
    assert_eq!(calls[..2], ["addEntry 203.0.113.7", "addEntry 203.0.113.7"], "never without an entry");
    daemon.block("203.0.113.9");
    daemon.blocked("203.0.113.9").await;
    settled(&fake, &["203.0.113.7", "203.0.113.8", "203.0.113.9"]).await;
    for _ in 0..400 {
        if fake.with(|inner| inner.runtime["wardend4"].len()) == 3 {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("it has not come home");
}

#[tokio::test]
async fn the_task_ends_with_its_orders() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let _firewalld = fake.serve(&bus).await;
    let Daemon { orders, mut reports, .. } = Daemon::start(&bus, &["203.0.113.7"]).await;
    drop(orders);
    while timeout(Duration::from_secs(20), reports.recv()).await.unwrap().is_some() {}
    assert_eq!(fake.entries(), set(&["203.0.113.7"]));
}
