//! The loop that keeps firewalld where the plan wants it.
//!
//! There is one call in flight at most, and while it is, orders and signals are taken in all the
//! same: they only change the plan and mark what is known as stale. So nothing can get lost or
//! out of order, and every trouble has the same mend: ask firewalld what it holds and go on from
//! there. That goes for a call that is given up as well: firewalld takes one call after the other,
//! so what it says it holds afterwards is from after that call, if it was carried out at all.

mod absence;
mod upkeep;

use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until};

use super::call::{Call, Edit};
use super::client::{Firewalld, Trouble};
use super::entry::text;
use super::inbox::{Event, Inbox};
use super::layout::Layout;
use super::messages::Bypass;
use super::messages::{self, CUT_OFF, DEAF, UNREACHED};
use super::plan::{News, Next, Plan};
use super::pool::Change;
use super::{Order, Report, State};
use crate::systemd::outgoing::{Outgoing, within};

/// How often firewalld's list is compared with ours when nothing else gives cause to.
const AUDIT: Duration = Duration::from_secs(300);
/// The least time between two comparisons, however many leaks ask for one.
const AUDIT_GAP: Duration = Duration::from_secs(2);
/// A call may be slow: another client can keep firewalld busy for minutes. After this time the
/// problem is reported, and the wait continues.
const PATIENCE: Duration = Duration::from_secs(60);
/// After this time the answer is taken for lost.
const BOUND: Duration = Duration::from_secs(120);
/// If the bus itself has not answered for so long, it is not firewalld that is deaf.
const SILENCE: Duration = Duration::from_secs(10);
/// The pause after a failure, doubled each time.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A new ban doesn't sit out a long pause.
const PAUSE_WITH_NEWS: Duration = Duration::from_secs(1);
const PAUSE_IF_DENIED: Duration = Duration::from_secs(10);
/// The least time between two reloads of the same firewalld: a reload costs all its users.
const RELOAD_GAP: Duration = Duration::from_secs(60);

/// The connection is gone, or nobody gives orders any more.
struct Over;

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

pub(super) async fn run(outgoing: Outgoing, orders: UnboundedReceiver<Order>, reports: UnboundedSender<Report>) {
    match setup(&outgoing, orders, reports.clone()).await {
        // Either end of the loop is the end of the daemon, and neither is an error.
        Ok((mut driver, firewalld)) => while driver.turn(&firewalld).await.is_ok() {},
        Err(error) => {
            let text = messages::unheard(&error);
            // Nobody to hear it means that the daemon is gone.
            let _ = reports.send(Report::State(State::Down(text)));
        }
    }
}

/// Listens first and asks afterwards, so that no restart can fall in between.
async fn setup(
    outgoing: &Outgoing,
    orders: UnboundedReceiver<Order>,
    reports: UnboundedSender<Report>,
) -> zbus::Result<(Driver, Firewalld)> {
    let mut inbox = Inbox::listen(outgoing, orders).await?;
    let firewalld = Firewalld::new(outgoing.connection()).await?;
    let owner = inbox.owner();
    let mut driver = Driver {
        outgoing: outgoing.clone(),
        plan: Plan::default(),
        began: Instant::now(),
        layout: Layout::default(),
        inbox,
        reports,
        state: State::Starting,
        owner: None,
        absent_since: None,
        next_question: None,
        armed: false,
        remove: false,
        inspections: 0,
        syncs: 0,
        mended: Vec::new(),
        changes: 0,
        stale: true,
        checked: false,
        met: false,
        failures: 0,
        pause: None,
        hurry: true,
        audit: Instant::now() + AUDIT,
        looked: Instant::now(),
        last_reload: None,
        reload_gap: RELOAD_GAP,
        suspects: BTreeSet::new(),
        unknown: BTreeSet::new(),
        warned: false,
        bypass: None,
    };
    driver.meet(owner);
    Ok((driver, firewalld))
}

#[allow(clippy::struct_excessive_bools)] // independent facts, each with one reader
struct Driver {
    outgoing: Outgoing,
    plan: Plan,
    /// Zero of the plan's time.
    began: Instant,
    layout: Layout,
    inbox: Inbox,
    reports: UnboundedSender<Report>,
    state: State,
    owner: Option<String>,
    /// Since when it has none, as far as that matters, and when systemd is asked about it next.
    absent_since: Option<Instant>,
    next_question: Option<Instant>,
    /// The daemon has given the whole list, and nobody has had the objects removed since.
    armed: bool,
    remove: bool,
    /// How many wait for a look at what firewalld holds.
    inspections: usize,
    /// How many wait for everything to be right, and the reply they will get.
    syncs: usize,
    mended: Vec<String>,
    /// How many entries and lists were written for them.
    changes: usize,
    /// firewalld must be asked what it holds.
    stale: bool,
    /// Ipsets, policy and permanent configuration have been seen since the last event that may
    /// have cost them.
    checked: bool,
    /// This owner has been seen with everything in place once.
    met: bool,
    failures: u32,
    pause: Option<Instant>,
    /// A new ban may cut the pause short: not when it needs an admin to change anything.
    hurry: bool,
    audit: Instant,
    /// When it was last compared.
    looked: Instant,
    last_reload: Option<Instant>,
    reload_gap: Duration,
    /// Entries, and sets, that were refused once.
    suspects: BTreeSet<String>,
    /// Services that firewalld does not know.
    unknown: BTreeSet<String>,
    /// The admin has been told what FlushAllOnReload=no does.
    warned: bool,
    /// What is accepted before wardend's policy is asked.
    bypass: Option<Bypass>,
}

impl Driver {
    /// One call, or one wait. Whoever only asks comes after it, so that no flood of questions holds
    /// up a ban.
    async fn turn(&mut self, firewalld: &Firewalld) -> Result<(), Over> {
        self.work(firewalld).await?;
        if self.inspections > 0 { self.inspect(firewalld).await } else { Ok(()) }
    }

    async fn work(&mut self, firewalld: &Firewalld) -> Result<(), Over> {
        // Everything that has been ordered by now is one change of the plan.
        while let Some(order) = self.inbox.order() {
            self.take(Event::Order(Some(order)))?;
        }
        let now = Instant::now();
        if self.remove {
            return self.dismantle(firewalld).await;
        }
        if self.owner.is_none() {
            return self.absent(firewalld).await;
        }
        if !self.armed {
            self.synced(&Err(messages::TAKEN_OUT.to_owned()));
            return self.wait(None).await;
        }
        if let Some(pause) = self.pause.filter(|pause| *pause > now) {
            return self.wait(Some(pause)).await;
        }
        self.pause = None;
        if now >= self.audit {
            self.audit = now + AUDIT;
            self.looked = now;
            self.stale = true;
            self.checked = false;
        }
        if self.stale {
            return self.resync(firewalld).await;
        }
        let wait = match self.plan.next(self.ms()) {
            Next::Do(call) => return self.perform(firewalld, &call).await,
            Next::Wait(until) => Some(self.began + Duration::from_millis(until)),
            Next::Idle => None,
        };
        if !self.checked {
            return self.check(firewalld).await;
        }
        self.failures = 0;
        self.reload_gap = RELOAD_GAP;
        self.enter(match messages::unknown(&self.unknown) {
            Some(sentence) => State::Down(sentence),
            None => State::Up,
        });
        let mut mended = std::mem::take(&mut self.mended);
        mended.extend(messages::changes(std::mem::take(&mut self.changes)));
        self.synced(&match &self.bypass {
            Some(Bypass { what, mend }) => Err(format!("{what} {mend}")),
            None => Ok(mended),
        });
        self.wait(Some(wait.unwrap_or(self.audit).min(self.audit))).await
    }

    /// The plan's time.
    fn ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits for one event, or until the time has come.
    async fn wait(&mut self, until: Option<Instant>) -> Result<(), Over> {
        if self.inbox.closed {
            return Err(Over);
        }
        if self.inspections > 0 {
            return Ok(());
        }
        tokio::select! {
            biased;
            event = self.inbox.next() => self.take(event),
            () = at(until) => Ok(()),
        }
    }

    /// Waits for the reply to a call and takes in whatever comes meanwhile.
    async fn call<T>(&mut self, call: impl Future<Output = zbus::Result<T>>) -> Result<zbus::Result<T>, Over> {
        let mut call = pin!(within(BOUND, call));
        let mut patience = Some(Instant::now() + PATIENCE);
        loop {
            tokio::select! {
                biased;
                event = self.inbox.next() => self.take(event)?,
                reply = &mut call => return Ok(reply),
                () = at(patience) => {
                    patience = None;
                    let bus = self.outgoing.silence() >= SILENCE;
                    self.enter(State::Down(if bus { UNREACHED } else { DEAF }.to_owned()));
                }
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Over> {
        match event {
            Event::Order(None) => self.inbox.closed = true,
            Event::Order(Some(order)) => self.obey(order),
            Event::Reloaded => self.lost(),
            Event::Owner(owner) => self.meet(owner),
            Event::Disconnected => {
                self.enter(State::Down(CUT_OFF.to_owned()));
                return Err(Over);
            }
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Block(scope, net) => {
                let news = self.plan.block(&scope, net);
                self.report(news);
                if let Some(pause) = self.pause.filter(|_| self.hurry) {
                    self.pause = Some(pause.min(Instant::now() + PAUSE_WITH_NEWS));
                }
            }
            Order::Release(scope, net) => {
                let news = self.plan.release(&scope, net);
                self.report(news);
            }
            Order::Replace { scopes, list } => {
                self.lay_out(Layout::new(&scopes));
                let news = self.plan.replace(list);
                self.report(news);
                self.armed = true;
            }
            Order::Audit => self.audit = self.looked + AUDIT_GAP,
            Order::Suspect(scope, net) => self.plan.suspect(&scope, net),
            Order::Sync => {
                if self.syncs == 0 {
                    self.mended.clear();
                    self.changes = 0;
                }
                self.syncs += 1;
                self.audit = Instant::now();
                (self.pause, self.next_question) = (None, None);
            }
            Order::Inspect => self.inspections += 1,
            Order::Remove => {
                self.remove = true;
                self.armed = false;
            }
        }
    }

    /// Bans may close something else from now on. New sets have to be there before anything is
    /// entered; the rules for old ones go last, when everybody is in the new ones.
    fn lay_out(&mut self, layout: Layout) {
        if layout == self.layout {
            return;
        }
        if !layout.sets.iter().all(|set| self.layout.sets.contains(set)) {
            self.met = false;
            // It is by our own doing.
            self.last_reload = None;
        }
        self.plan.lay_out(&layout);
        self.layout = layout;
        self.stale = true;
        self.checked = false;
    }

    /// firewalld has a new owner, or none.
    fn meet(&mut self, owner: Option<String>) {
        self.lost();
        (self.absent_since, self.next_question) = (None, None);
        // It answers when it has read its configuration, and is then given the bans.
        if owner.is_some() && matches!(self.state, State::Down(_)) {
            self.enter(State::Starting);
        }
        if owner != self.owner {
            self.met = false;
            self.last_reload = None;
        }
        self.owner = owner;
    }

    /// firewalld has forgotten the entries, and there is no reason to sit out a pause: every
    /// millisecond from here on the banned get through.
    fn lost(&mut self) {
        self.plan.lost();
        self.stale = true;
        self.checked = false;
        self.pause = None;
    }

    async fn resync(&mut self, firewalld: &Firewalld) -> Result<(), Over> {
        if !self.met {
            // Only with a firewalld that we don't know yet is this looked at first. Otherwise the
            // entries are what is urgent.
            self.look(firewalld).await?;
            if !self.met {
                return Ok(());
            }
        }
        self.stale = false;
        let mut lists = Vec::new();
        for set in self.layout.sets.clone() {
            match self.call(firewalld.entries(&set)).await? {
                Ok(entries) => lists.push((set, entries)),
                Err(error) => return self.trouble(firewalld, Trouble::from(&error)).await,
            }
            if self.stale {
                // Reloaded meanwhile: the list is one of before, or may be.
                return Ok(());
            }
        }
        let (found, news) = self.plan.sync(&lists);
        for (set, found) in &found {
            for text in messages::found(set, found) {
                self.tell(text);
            }
        }
        self.report(news);
        Ok(())
    }

    async fn perform(&mut self, firewalld: &Firewalld, call: &Call) -> Result<(), Over> {
        let junk = self.plan.is_junk(call);
        let reply = self.call(firewalld.perform(call)).await?;
        if self.stale {
            // The reply may be from before or after the loss. The resync will tell.
            self.plan.forget();
            return Ok(());
        }
        let trouble = match reply {
            Ok(()) => {
                self.changes += 1;
                self.suspects.remove(&call.subject());
                let news = self.plan.done(self.ms());
                self.report(news);
                return Ok(());
            }
            Err(error) => Trouble::from(&error),
        };
        let trouble = match (trouble, &call.edit) {
            // It may be this entry alone that the kernel does not have.
            (Trouble::Flushed(text), Edit::Remove(_)) => Trouble::Other(text),
            (trouble, _) => trouble,
        };
        match (&trouble, &call.edit) {
            (Trouble::Already, _) => {
                // An entry that is listed but can't be found is still in force: look again.
                self.stale = junk;
                let news = self.plan.done(self.ms());
                self.report(news);
                Ok(())
            }
            // The first time it may be our idea of the set that is out of date, or of a whole
            // list a single entry, which comes to light when they are entered one by one.
            (Trouble::Refused(_), _) if self.suspects.insert(call.subject()) => {
                self.plan.failed();
                self.stale = true;
                Ok(())
            }
            (Trouble::Refused(reason), Edit::Add(net)) => {
                self.tell(messages::refused(&text(net), reason));
                let news = self.plan.refused();
                self.report(news);
                Ok(())
            }
            (Trouble::Missing | Trouble::Denied | Trouble::Gone | Trouble::Silent, _) => {
                self.plan.forget();
                self.trouble(firewalld, trouble).await
            }
            _ => {
                self.plan.failed();
                self.trouble(firewalld, trouble).await
            }
        }
    }

    async fn trouble(&mut self, firewalld: &Firewalld, trouble: Trouble) -> Result<(), Over> {
        self.stale = true;
        if trouble == Trouble::Missing {
            self.met = false;
            return self.bootstrap(firewalld).await;
        }
        self.fail(&trouble);
        Ok(())
    }

    /// Down, and for how long nothing is tried.
    fn fail(&mut self, trouble: &Trouble) {
        self.stale = true;
        self.checked = false;
        self.hurry = *trouble != Trouble::Denied;
        let pause =
            if self.hurry { (PAUSE * 2u32.pow(self.failures.min(10))).min(LONGEST_PAUSE) } else { PAUSE_IF_DENIED };
        self.failures = self.failures.saturating_add(1);
        self.pause = Some(Instant::now() + pause);
        // The bus is about to say who owns firewalld's name, and systemd why nobody does.
        if *trouble == Trouble::Gone && self.failures == 1 {
            return;
        }
        self.enter(State::Down(messages::down(trouble)));
        self.synced(&Err(messages::down(trouble)));
    }

    /// Answers whoever waits for everything to be right.
    fn synced(&mut self, outcome: &Result<Vec<String>, String>) {
        for _ in 0..std::mem::take(&mut self.syncs) {
            self.send(Report::Synced(outcome.clone()));
        }
    }

    fn enter(&mut self, state: State) {
        if self.state != state {
            self.state = state.clone();
            self.send(Report::State(state));
        }
    }

    fn report(&self, news: Vec<News>) {
        let at = now();
        for (scope, change) in news {
            self.send(match change {
                Change::Blocked(source) => Report::Blocked { scope, source, at },
                Change::Released(source) => Report::Released { scope, source, at },
            });
        }
    }

    fn tell(&mut self, text: String) {
        if self.syncs > 0 {
            self.mended.push(text.clone());
        }
        self.send(Report::Told(text));
    }

    /// Nobody to hear it means that the daemon is going down, which the closed order channel will
    /// tell as well.
    fn send(&self, report: Report) {
        let _ = self.reports.send(report);
    }
}
