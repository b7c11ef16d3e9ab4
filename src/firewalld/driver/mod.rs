//! The loop that keeps firewalld where the plan wants it.
//!
//! There is one call in flight at most that changes an ipset, and while it is, orders and signals are taken in
//! all the same: they only change the plan and mark what is known as stale. Beside it, there may be one call
//! of a comparison, which must not delay a ban ([`compare`]). So nothing can get lost or out of order, and every trouble has the same mend: ask firewalld what it holds and go on from
//! there. That goes for a call that is given up as well: firewalld takes one call after the other,
//! so what it says it holds afterwards is from after that call, if it was carried out at all.

mod absence;
mod compare;
mod perform;
mod phase;
mod upkeep;

use std::{
    collections::BTreeSet,
    future::{Future, pending},
    pin::pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    time::{Instant, sleep_until},
};

use self::phase::{Pause, Phase, Reload, Seen, Wanted};
use super::{
    Order, Report, State,
    client::{Firewalld, Trouble},
    inbox::{Event, Inbox},
    layout::{IpsetId, Layout},
    messages::{self, Bypass, CUT_OFF, DEAF, NotRight, UNREACHED},
    plan::{News, Next, Plan},
    pool::Change,
};
use crate::systemd::outgoing::{Outgoing, within};

/// How often what is in force is compared with what should be when nothing else gives cause to.
const AUDIT: Duration = Duration::from_secs(300);
/// How often that goes on to the permanent configuration, and to what is accepted before wardend's policy is
/// asked. It is half of the calls, and neither loses a ban.
const SURVEY: Duration = Duration::from_secs(3600);
/// The least time between two comparisons, however many leaks ask for one.
const AUDIT_GAP: Duration = Duration::from_secs(2);
/// A call may be slow: another client can keep firewalld busy for minutes. After this time the
/// problem is reported, and the wait continues.
const PATIENCE: Duration = Duration::from_secs(60);
/// After this time the answer is taken for lost.
const BOUND: Duration = Duration::from_secs(120);
/// If the bus itself has not answered for so long, it is not firewalld that is deaf.
const SILENCE: Duration = Duration::from_secs(10);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A new ban doesn't sit out a long pause.
const PAUSE_WITH_NEWS: Duration = Duration::from_secs(1);
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
        wanted: Wanted::Nothing,
        phase: Phase::Unknown,
        inspections: 0,
        syncs: 0,
        mended: Vec::new(),
        changes: 0,
        failures: 0,
        pause: None,
        audit: Instant::now() + AUDIT,
        survey: Instant::now() + SURVEY,
        looked: Instant::now(),
        edited: BTreeSet::new(),
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
    wanted: Wanted,
    phase: Phase,
    /// How many wait for a look at what firewalld holds.
    inspections: usize,
    /// How many wait for everything to be right, and the reply they will get.
    syncs: usize,
    mended: Vec<String>,
    /// How many entries and lists were written for them.
    changes: usize,
    failures: u32,
    pause: Option<Pause>,
    /// When it is compared next, and from when on this goes on to all that is checked.
    audit: Instant,
    survey: Instant,
    /// When it was last compared.
    looked: Instant,
    /// Ipsets that were changed while one was listed.
    edited: BTreeSet<IpsetId>,
    last_reload: Option<Reload>,
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
        self.take_orders()?;
        let now = Instant::now();
        if let Wanted::Removal { .. } = self.wanted {
            return self.dismantle(firewalld).await;
        }
        if self.owner.is_none() {
            return self.absent(firewalld).await;
        }
        if self.wanted == Wanted::Nothing {
            self.synced(&Err(NotRight::TakenOut));
            return self.wait(None).await;
        }
        if let Some(pause) = self.pause.filter(|pause| pause.until > now) {
            return self.wait(Some(pause.until)).await;
        }
        self.pause = None;
        if now >= self.audit {
            self.audit = now + AUDIT;
            self.looked = now;
            self.phase.fall_due();
        }
        if self.phase.is_stale() {
            return self.resync(firewalld).await;
        }
        let wait = match self.plan.next(self.ms()) {
            Next::Do(call) => return self.perform(firewalld, &call).await,
            Next::Wait(until) => Some(self.began + Duration::from_millis(until)),
            Next::Idle => None,
        };
        match self.phase {
            Phase::Checked => {}
            Phase::Due => return self.compare(firewalld).await,
            _ => return self.check(firewalld).await,
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
            Some(bypass) => Err(NotRight::Bypassed(bypass.clone())),
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
                    self.hear_nothing();
                }
            }
        }
    }

    /// A call has had no answer for [`PATIENCE`].
    fn hear_nothing(&mut self) {
        let bus = self.outgoing.silence() >= SILENCE;
        self.enter(State::Down(if bus { UNREACHED } else { DEAF }.to_owned()));
    }

    /// Everything that has been ordered by now is one change of the plan.
    fn take_orders(&mut self) -> Result<(), Over> {
        while let Some(order) = self.inbox.order() {
            self.take(Event::Order(Some(order)))?;
        }
        Ok(())
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
                if let Some(pause) = self.pause.as_mut().filter(|pause| !pause.is_firm) {
                    pause.until = pause.until.min(Instant::now() + PAUSE_WITH_NEWS);
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
                self.wanted.add_bans();
            }
            Order::Audit => {
                self.audit = self.looked + AUDIT_GAP;
                self.survey = self.audit;
            }
            Order::Suspect(scope, net) => self.plan.suspect(&scope, net),
            Order::Sync => {
                if self.syncs == 0 {
                    self.mended.clear();
                    self.changes = 0;
                }
                self.syncs += 1;
                self.audit = Instant::now();
                self.survey = self.audit;
                (self.pause, self.next_question) = (None, None);
            }
            Order::Inspect => self.inspections += 1,
            Order::Remove => self.wanted = Wanted::Removal { then_bans: false },
        }
    }

    /// Bans may close something else from now on. New sets have to be there before anything is
    /// entered; the rules for old ones go last, when everybody is in the new ones.
    fn lay_out(&mut self, layout: Layout) {
        if layout == self.layout {
            return;
        }
        if !layout.sets.iter().all(|set| self.layout.sets.contains(set)) {
            self.phase = Phase::Unknown;
        }
        self.plan.lay_out(&layout);
        self.layout = layout;
        self.phase.lose();
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
            self.phase = Phase::Unknown;
            self.last_reload = None;
        }
        self.owner = owner;
    }

    /// firewalld has forgotten the entries, and there is no reason to sit out a pause: every
    /// millisecond from here on the banned get through.
    fn lost(&mut self) {
        self.plan.lost();
        self.phase.lose();
        self.pause = None;
    }

    async fn resync(&mut self, firewalld: &Firewalld) -> Result<(), Over> {
        if self.phase == Phase::Unknown {
            // Only with a firewalld that we don't know yet is this looked at first. Otherwise the
            // entries are what is urgent.
            if self.look(firewalld).await? == Seen::Missing {
                return Ok(());
            }
            self.phase.see_objects();
        }
        self.phase.see_entries();
        let mut lists = Vec::new();
        for set in self.layout.sets.clone() {
            match self.call(firewalld.entries(&set)).await? {
                Ok(entries) => lists.push((set, entries)),
                Err(error) => return self.trouble(firewalld, Trouble::from(&error)).await,
            }
            if self.phase.is_stale() {
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

    /// Answers whoever waits for everything to be right.
    fn synced(&mut self, outcome: &Result<Vec<String>, NotRight>) {
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
