//! Compares what firewalld holds with what it should hold, without delaying bans.
//!
//! A comparison takes dozens of calls, and firewalld answers one after the other. So the next call is only made
//! when the previous one has been answered, and a ban that comes meanwhile is entered beside them: it waits
//! for one of these calls at most. What is seen this way does not change the plan. If an ipset differs from what
//! it should hold, it is listed again as after a loss, while nothing else is done.

use std::{collections::VecDeque, future::Future, pin::pin, time::Duration};

use tokio::time::Instant;

use super::{
    BOUND, Driver, Over, PATIENCE, at,
    phase::{Phase, Wanted},
};
use crate::{
    firewalld::{
        client::{Firewalld, Trouble},
        layout::IpsetId,
        plan::Next,
    },
    systemd::outgoing::within,
};

/// How often an ipset is listed, on average, if it is changed each time.
const TRIES: usize = 4;

impl Driver {
    /// Waits for the end of some calls that nobody is in a hurry for, and does meanwhile what the plan wants
    /// done.
    pub(super) async fn aside<T>(
        &mut self,
        firewalld: &Firewalld,
        calls: impl Future<Output = zbus::Result<T>>,
    ) -> Result<zbus::Result<T>, Over> {
        let mut calls = pin!(within(BOUND, calls));
        let mut patience = Some(Instant::now() + PATIENCE);
        loop {
            self.take_orders()?;
            let until = match self.urgent() {
                Next::Do(call) => {
                    let mut edit = pin!(self.perform(firewalld, &call));
                    let mut found = None;
                    // Both go on: one that is left alone could keep the other from the bus.
                    loop {
                        tokio::select! {
                            biased;
                            outcome = &mut edit => break outcome?,
                            reply = &mut calls, if found.is_none() => found = Some(reply),
                        }
                    }
                    match found {
                        Some(reply) => return Ok(reply),
                        None => continue,
                    }
                }
                Next::Wait(until) => Some(self.began + Duration::from_millis(until)),
                Next::Idle => None,
            };
            tokio::select! {
                biased;
                event = self.inbox.next() => self.take(event)?,
                reply = &mut calls => return Ok(reply),
                () = at(until) => {}
                () = at(patience) => {
                    patience = None;
                    self.hear_nothing();
                }
            }
        }
    }

    /// What does not wait for the end of a comparison.
    fn urgent(&mut self) -> Next {
        let is_known = self.owner.is_some() && !self.phase.is_stale();
        if is_known && self.wanted == Wanted::Bans && self.pause.is_none() {
            self.plan.next(self.ms())
        } else {
            Next::Idle
        }
    }

    /// Compares what is in force with what should be.
    pub(super) async fn compare(&mut self, firewalld: &Firewalld) -> Result<(), Over> {
        let mut sets: VecDeque<IpsetId> = self.layout.sets.iter().cloned().collect();
        let mut left = TRIES * sets.len();
        while let Some(set) = sets.pop_front() {
            self.edited.clear();
            let entries = match self.aside(firewalld, firewalld.entries(&set)).await? {
                Ok(entries) => entries,
                Err(error) => return self.trouble(firewalld, Trouble::from(&error)).await,
            };
            if self.phase != Phase::Due || self.wanted != Wanted::Bans {
                return Ok(());
            }
            let is_edited = self.edited.contains(&set);
            if left == 0 || !(is_edited || self.plan.holds(&set, &entries)) {
                self.phase.lose();
                return Ok(());
            }
            left -= 1;
            if is_edited {
                sets.push_back(set);
            }
        }
        // What is reported must not be reported for longer than it is so.
        if Instant::now() >= self.survey || self.bypass.is_some() {
            self.phase = Phase::Listed;
            return Ok(());
        }
        self.look_again(firewalld).await.map(drop)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::{
        sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        time::timeout,
    };

    use super::*;
    use crate::{
        firewalld::{
            Order, Report, State,
            driver::{AUDIT_GAP, setup},
            layout::IPSETS,
        },
        stand_in::{Bus, Fake, network, policy},
    };

    const PERMANENT: [&str; 3] = ["getIPSetNames", "getIPSetByName", "getActiveZones"];

    /// A driver whose time does not pass by itself.
    struct Bench {
        driver: Driver,
        firewalld: Firewalld,
        fake: Fake,
        orders: UnboundedSender<Order>,
        reports: UnboundedReceiver<Report>,
        _served: zbus::Connection,
        _bus: Bus,
    }

    impl Bench {
        async fn start(list: &[&str]) -> Self {
            let (bus, fake) = (Bus::start(), Fake::ready());
            let served = fake.serve(&bus).await;
            let (orders, inbox) = unbounded_channel();
            let (reporter, reports) = unbounded_channel();
            let (mut driver, firewalld) = setup(&bus.outgoing().await, inbox, reporter).await.unwrap();
            // As long as somebody waits for a look, it does not wait for events.
            driver.inspections = 1;
            let list = list.iter().map(|net| (Arc::default(), network(net))).collect();
            orders.send(Order::Replace { scopes: vec![Arc::default()], list }).unwrap();
            let mut bench = Self { driver, firewalld, fake, orders, reports, _served: served, _bus: bus };
            bench.rest().await;
            bench
        }

        /// Lets the driver work until it has nothing to do.
        async fn rest(&mut self) {
            let driver = &mut self.driver;
            let work = async {
                while driver.state != State::Up || driver.phase != Phase::Checked || Instant::now() >= driver.audit {
                    assert!(driver.work(&self.firewalld).await.is_ok());
                }
            };
            timeout(Duration::from_secs(60), work).await.expect("the driver does not come to rest");
        }

        /// Has the time come to compare, and returns the calls that this makes.
        async fn compare(&mut self) -> Vec<String> {
            let before = self.fake.calls(&[""]).len();
            self.driver.audit = Instant::now();
            self.rest().await;
            self.fake.calls(&[""]).split_off(before)
        }

        /// Bans another source at each of these calls.
        fn ban_at(&self, at: impl Fn(&str) -> bool + Send + 'static) -> Arc<Mutex<u8>> {
            let (orders, count) = (self.orders.clone(), Arc::new(Mutex::new(0)));
            let bans = Arc::clone(&count);
            let ban = move |call: &str| {
                let mut count = count.lock().unwrap();
                if at(call) && *count < u8::MAX {
                    *count += 1;
                    orders.send(Order::Block(Arc::default(), network(&format!("198.51.100.{count}")))).unwrap();
                }
            };
            self.fake.with(|inner| inner.meanwhile = Some(Box::new(ban)));
            bans
        }
    }

    fn number(calls: &[String], methods: &[&str]) -> usize {
        calls.iter().filter(|call| methods.iter().any(|method| call.starts_with(method))).count()
    }

    #[tokio::test]
    async fn what_is_in_force_is_compared_alone_until_the_rest_is_due_or_is_asked_for() {
        let mut bench = Bench::start(&["203.0.113.7"]).await;
        for _ in 0..3 {
            let calls = bench.compare().await;
            assert_eq!(number(&calls, &["getEntries"]), 2 * IPSETS, "{calls:?}");
            assert_eq!(number(&calls, &["getIPSets", "getPolicySettings"]), 2, "{calls:?}");
            assert_eq!(number(&calls, &PERMANENT), 0, "{calls:?}");
        }
        bench.driver.survey = Instant::now();
        let calls = bench.compare().await;
        assert_eq!(number(&calls, &PERMANENT), 2 * IPSETS + 2, "{calls:?}");
        assert_eq!(number(&bench.compare().await, &PERMANENT), 0);
        for order in [Order::Sync, Order::Audit] {
            bench.driver.looked = Instant::now() - AUDIT_GAP;
            bench.orders.send(order).unwrap();
            let calls = bench.compare().await;
            assert_eq!(number(&calls, &PERMANENT), 2 * IPSETS + 2, "{calls:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_in_force_any_more_is_entered_again_and_cause_for_a_look_at_all() {
        let mut bench = Bench::start(&["203.0.113.7"]).await;
        bench.fake.with(|inner| inner.runtime.get_mut("wardend4").unwrap().clear());
        let calls = bench.compare().await;
        assert_eq!(number(&calls, &["addEntry 203.0.113.7"]), 1, "{calls:?}");
        assert_eq!(number(&calls, &PERMANENT), 2 * IPSETS + 2, "{calls:?}");
        bench.fake.with(|inner| inner.runtime.get_mut("wardend6").unwrap().insert("2001:db8::7".to_owned()));
        let calls = bench.compare().await;
        assert_eq!(number(&calls, &["removeEntry 2001:db8::7"]), 1, "{calls:?}");
        bench.fake.with(|inner| inner.runtime_policy.as_mut().unwrap().pop());
        let calls = bench.compare().await;
        assert_eq!(number(&calls, &["setPolicySettings"]), 1, "{calls:?}");
        assert_eq!(number(&calls, &PERMANENT), 2 * IPSETS + 2, "{calls:?}");
    }

    #[tokio::test]
    async fn what_was_accepted_before_a_ban_is_looked_at_until_it_is_gone() {
        let mut bench = Bench::start(&["203.0.113.7"]).await;
        bench.fake.with(|inner| inner.others.insert("other".to_owned(), policy(-20000, "ANY", "rule accept")));
        assert_eq!(number(&bench.compare().await, &PERMANENT), 0);
        assert_eq!(bench.driver.bypass, None);
        bench.driver.survey = Instant::now();
        bench.compare().await;
        assert!(bench.driver.bypass.is_some());
        bench.fake.with(|inner| inner.others.clear());
        bench.compare().await;
        assert_eq!(bench.driver.bypass, None);
        assert_eq!(number(&bench.compare().await, &PERMANENT), 0);
    }

    #[tokio::test]
    async fn a_ban_that_comes_during_a_comparison_waits_for_one_of_its_calls() {
        for method in ["getEntries wardend6-3", "getIPSets", "getActiveZones", "getIPSetByName wardend4-2"] {
            let mut bench = Bench::start(&["203.0.113.7"]).await;
            let bans = bench.ban_at(move |call| call == method);
            bench.driver.survey = Instant::now();
            let calls = bench.compare().await;
            assert_eq!(*bans.lock().unwrap(), 1);
            let at = |what: &str| calls.iter().position(|call| call == what).unwrap();
            let between = at("addEntry 198.51.100.1") - at(method);
            assert!(between <= 2, "{between} calls from {method} to the ban: {calls:?}");
            assert!(at("addEntry 198.51.100.1") < calls.len() - 2, "{calls:?}");
        }
    }

    #[tokio::test]
    async fn an_ipset_that_is_changed_while_it_is_listed_is_listed_again() {
        let mut bench = Bench::start(&["203.0.113.7"]).await;
        let bans = bench.ban_at(|call| call == "getEntries wardend4");
        let calls = bench.compare().await;
        assert!(*bans.lock().unwrap() > 0);
        assert!(number(&calls, &["getEntries wardend4"]) > IPSETS, "{calls:?}");
        let told = std::iter::from_fn(|| bench.reports.try_recv().ok()).any(|report| matches!(report, Report::Told(_)));
        assert!(!told);
        let entries = bench.fake.entries();
        assert_eq!(entries.len(), 1 + usize::from(*bans.lock().unwrap()), "{entries:?}");
    }
}
