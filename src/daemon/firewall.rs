//! The daemon's end of the firewall: what was ordered, what was reported, and who waits for a report.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use ipnet::IpNet;
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender},
    oneshot,
};

use super::health::Health;
use crate::{
    bus::{Counted, Reply},
    contract::{
        bus::{FirewallStatus, SetRow},
        error::Error,
        problem::{Kind, Problem},
    },
    core::{engine::Engine, net::text_of, scope::Scope, time::Usec},
    cut::{Cut, Cutting},
    firewalld::{self, Bypass, Inspection, Order, Report, State},
    journal::events,
    systemd::outgoing::Outgoing,
};

/// What is reported after [`crate::bus::Command::RemoveFirewall`].
const REMOVED: &str = "wardend's ipsets and policy were taken out of firewalld by order; bans are kept, and a reload or restart of wardend puts them back.";

/// What the driver or the cutter says.
pub(super) enum Said {
    Report(Report),
    Cut(Cut),
}

pub(super) struct Firewall {
    orders: UnboundedSender<Order>,
    reports: UnboundedReceiver<Report>,
    state: State,
    /// What was last reported of an outage that is not over.
    outage: String,
    /// Bans that it has not confirmed yet, with the time of the record that led to each.
    waiting: HashMap<(Arc<Scope>, IpNet), Usec>,
    cutting: Cutting,
    /// Who waits for the ipsets and the policy to be gone from firewalld.
    removal: Option<Reply<()>>,
    /// Who waits for a look at what firewalld holds, and for that to be right; answered in turn.
    inspections: VecDeque<oneshot::Sender<FirewallStatus>>,
    syncs: VecDeque<Reply<Vec<String>>>,
}

impl Firewall {
    /// Gives it the bans that there are.
    pub(super) fn start(outgoing: &Outgoing, engine: &Engine) -> Self {
        let (orders, reports) = firewalld::start(outgoing.clone());
        let firewall = Self {
            orders,
            reports,
            state: State::Starting,
            outage: String::new(),
            waiting: HashMap::new(),
            cutting: Cutting::new(outgoing),
            removal: None,
            inspections: VecDeque::new(),
            syncs: VecDeque::new(),
        };
        firewall.refill(engine);
        firewall
    }

    /// Gives it the whole list.
    pub(super) fn refill(&self, engine: &Engine) {
        self.order(Order::Replace { scopes: engine.scopes(), list: engine.blocked() });
    }

    /// The receiver lives as long as the task; where it is gone, the loop sees that the bus is lost.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// A source is to be locked out; `live`, unless the whole list goes to the firewall later.
    pub(super) fn block(&mut self, scope: Arc<Scope>, source: IpNet, since: Usec, live: bool) {
        self.waiting.insert((Arc::clone(&scope), source), since);
        if live {
            self.order(Order::Block(scope, source));
        }
    }

    /// A source is to be let in again.
    pub(super) fn release(&mut self, scope: Arc<Scope>, source: IpNet, live: bool) {
        let target = (Arc::clone(&scope), source);
        self.cutting.forget(&target);
        self.waiting.remove(&target);
        if live {
            self.order(Order::Release(scope, source));
        }
    }

    /// What a source has open is to be closed, once its ban is in force.
    pub(super) fn cut(&mut self, scope: Arc<Scope>, source: IpNet, live: bool) {
        let in_force = live && self.holds(&scope, source);
        self.cutting.cut((scope, source), in_force);
    }

    /// A source has got through although it is banned.
    pub(super) fn suspect(&self, scope: Arc<Scope>, source: IpNet) {
        self.order(Order::Suspect(scope, source));
        self.order(Order::Audit);
    }

    pub(super) fn remove(&mut self, reply: Reply<()>) {
        self.removal = Some(reply);
        self.order(Order::Remove);
    }

    pub(super) fn inspect(&mut self, reply: oneshot::Sender<FirewallStatus>) {
        self.inspections.push_back(reply);
        self.order(Order::Inspect);
    }

    pub(super) fn sync(&mut self, reply: Reply<Vec<String>>) {
        self.syncs.push_back(reply);
        self.order(Order::Sync);
    }

    /// What there is to hear next; nothing any more, once the driver has ended.
    pub(super) async fn next(&mut self) -> Said {
        tokio::select! {
            Some(report) = self.reports.recv() => Said::Report(report),
            cut = self.cutting.next() => Said::Cut(cut),
        }
    }

    /// Takes a report. True if this has changed what is published.
    pub(super) fn hear(&mut self, said: Said, engine: &Engine, counted: &mut Counted, health: &mut Health) -> bool {
        match said {
            Said::Report(report) => self.take(report, engine, counted, health),
            Said::Cut(cut) => {
                self.cutting.tell(&cut);
                false
            }
        }
    }

    fn take(&mut self, report: Report, engine: &Engine, counted: &mut Counted, health: &mut Health) -> bool {
        match report {
            Report::Blocked { scope, source, at } => {
                let target = (scope, source);
                self.cutting.in_force(&target);
                if let Some(decided) = self.waiting.remove(&target) {
                    let latency = at.saturating_sub(decided);
                    counted.latency.add(latency);
                    events::in_force(&text_of(source), latency);
                }
                false
            }
            Report::Bypassed(bypass) => {
                let problem = bypass.map(|Bypass { what, mend }| Problem { what, mend });
                health.report(Kind::Bypass, problem);
                true
            }
            Report::Told(what) => {
                events::firewall_repaired(&what);
                false
            }
            Report::State(state) => {
                self.enter(state, engine);
                true
            }
            Report::Removed(outcome) => {
                let Some(reply) = self.removal.take() else { return false };
                let removed = outcome.is_ok();
                if removed {
                    self.state = State::Down(REMOVED.to_owned());
                    events::firewall_lost(REMOVED);
                }
                let _ = reply.send(outcome.map_err(|why| Error::Failed(why.to_string())));
                removed
            }
            Report::Inspected(inspection) => {
                if let Some(reply) = self.inspections.pop_front() {
                    let _ = reply.send(self.status(inspection));
                }
                false
            }
            Report::Synced(outcome) => {
                if let Some(reply) = self.syncs.pop_front() {
                    let _ = reply.send(outcome.map_err(|why| Error::Failed(why.to_string())));
                }
                false
            }
            Report::Released { .. } => false,
        }
    }

    fn enter(&mut self, state: State, engine: &Engine) {
        match &state {
            State::Down(why) if self.outage != *why => {
                events::firewall_lost(why);
                self.outage.clone_from(why);
            }
            State::Up => {
                events::firewall_back(engine.banned().len());
                self.outage.clear();
            }
            // A firewalld that goes again on its way up is the same outage.
            State::Down(_) | State::Starting => {}
        }
        self.state = state;
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Whether it has said yet how it is doing.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self.state, State::Starting)
    }

    /// Whether it has confirmed that a source is locked out.
    pub(super) fn holds(&self, scope: &Arc<Scope>, source: IpNet) -> bool {
        matches!(self.state, State::Up) && !self.waiting.contains_key(&(Arc::clone(scope), source))
    }

    /// Whether a ban is on its way to it.
    pub(super) fn has_pending(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The word for its state, and the sentence that belongs to it.
    pub(super) fn words(&self) -> (&'static str, String) {
        match &self.state {
            State::Starting => ("starting", String::new()),
            State::Up => ("up", String::new()),
            State::Down(why) => ("down", why.clone()),
        }
    }

    /// What firewalld holds, as the bus reports it.
    fn status(&self, inspection: Inspection) -> FirewallStatus {
        let short = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (state, mut message) = self.words();
        if let Some(Bypass { what, mend }) = inspection.bypass.filter(|_| message.is_empty()) {
            message = format!("{what} {mend}");
        }
        let sets = inspection.pools.into_iter().map(|set| SetRow {
            name: set.name,
            sets: short(set.sets),
            wanted: short(set.wanted),
            held: short(set.held),
            missing: set.missing,
            foreign: set.foreign,
        });
        FirewallStatus { state: state.to_owned(), message, policy: inspection.policy.to_owned(), sets: sets.collect() }
    }
}
