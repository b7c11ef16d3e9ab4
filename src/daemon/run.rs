//! The daemon's loop: what comes in goes through the engine, and what it wants is done.
//!
//! In: batches of records from the journal thread, commands from the bus, reports from the
//! firewall, deadlines, a tick a second, signals. Out: orders to the firewall, journal records,
//! bus signals and properties, the snapshot, STATUS and the watchdog. The loop itself decides
//! nothing and waits for nothing that is slow.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};
use zbus::Connection;

use super::{
    Fatal,
    addresses::{self, Addresses, Heard},
    blind::Blind,
    clock_watch::ClockWatch,
    health::{self, Health},
    presence::Presence,
    reload::Reloading,
    saving::Saving,
};
use crate::{
    bus::{self, Command, Core, Counted, PublisherHandle, Status},
    config::Settings,
    contract::bus::{FirewallStatus, NAME},
    core::{
        engine::{Effect, Engine},
        jail::Bound,
        record::{Cursor, Fields},
        scope::Scope,
        time::Usec,
    },
    cut::Cutting,
    firewalld::{self, Order, Report},
    journal::{Batch, Follower, Loss, News, Position, events},
    state::{Snapshot, Store},
    systemd::{logind::Logins, notify, outgoing::Outgoing, resolved::Names},
    util::{
        rate::{OncePer, RateLimit},
        text::count,
        time::now,
    },
};

/// How long the start waits for a word from the firewall, before it goes on without one.
const FIREWALL_PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits for logind, and for what the journal has of those who are logged in.
const LOGINS_PATIENCE: Duration = Duration::from_secs(5);
/// How soon after a change the snapshot is written and the properties are published.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// The same, where only a record was counted: the noise of the internet does that all day.
pub(super) const COUNTED_TICK: Duration = Duration::from_secs(10);
/// How often the watchdog is looked at while nothing happens: an idle daemon shall sleep.
const IDLE_TICK: Duration = Duration::from_secs(20);
/// How long what time brings may wait, but for the end of a ban: it is done at its own time anyway,
/// and many such deadlines are met at once.
const LAZY: Duration = Duration::from_secs(20);
/// The longest sleep until a deadline: the wall clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How far the engine's time stays behind the journal's end, in µs: journald stamps a record a
/// moment before it can be read.
const MARGIN: Usec = 2_000_000;
/// The shortest time from one deadline to the next.
const PACE: Duration = Duration::from_millis(200);

/// Everything that the loop holds.
pub(super) struct Daemon {
    pub(super) engine: Engine,
    pub(super) cursor: Option<Cursor>,
    /// Where reading began, for as long as nothing was read.
    pub(super) origin: Position,
    pub(super) follower: Follower,
    /// For what wardend asks of others.
    pub(super) outgoing: Outgoing,
    /// For those that ask of wardend.
    pub(super) served: Connection,
    pub(super) publisher: PublisherHandle,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) status: watch::Sender<Status>,
    pub(super) orders: mpsc::UnboundedSender<Order>,
    pub(super) reports: mpsc::UnboundedReceiver<Report>,
    pub(super) firewall: firewalld::State,
    /// What was last told of an outage of it that is not over.
    pub(super) outage: String,
    pub(super) health: Health,
    /// Whether what the services write is read.
    pub(super) blind: Blind,
    pub(super) cutting: Cutting,
    pub(super) saving: Saving,
    pub(super) reloading: Reloading,
    pub(super) names: Names,
    logins: Logins,
    addresses: Addresses,
    pub(super) presence: Presence,
    /// The fields that the filters ask for.
    pub(super) fields: Arc<Fields>,
    pub(super) clock_watch: ClockWatch,
    /// Things that happen again and again.
    pub(super) crowds: OncePer<(Arc<str>, Bound)>,
    pub(super) spared: OncePer<IpNet>,
    pub(super) withheld: OncePer<(Arc<str>, IpNet)>,
    pub(super) leaks: OncePer<IpNet>,
    pub(super) failures: RateLimit,
    /// When failures last came without any address.
    pub(super) nameless: Option<Instant>,
    /// Bans that the firewall has not confirmed yet, with the time of the record that led to
    /// each.
    pub(super) waiting: HashMap<(Arc<Scope>, IpNet), Usec>,
    /// Bans found in a backlog that had ended before anybody could be told.
    pub(super) bygone: HashSet<(Arc<str>, IpNet)>,
    pub(super) effects: Vec<Effect>,
    /// Who waits for the sets and the policy to be gone from firewalld.
    pub(super) removal: Option<oneshot::Sender<Result<(), String>>>,
    /// Who waits for a look at what firewalld holds, and for that to be right; answered in turn.
    pub(super) inspections: VecDeque<oneshot::Sender<FirewallStatus>>,
    pub(super) syncs: VecDeque<oneshot::Sender<Result<Vec<String>, String>>>,
    /// The journal's backlog has been read.
    pub(super) caught_up: bool,
    pub(super) backlog: usize,
    pub(super) progress_told: Instant,
    pub(super) counted: Counted,
    /// The time of the last record.
    pub(super) read_up_to: Usec,
    /// When changed properties were announced last.
    pub(super) announced: Instant,
    pub(super) status_told: String,
    pub(super) ready: bool,
    /// How long after the last tick the next one comes.
    pub(super) pace: Duration,
    pub(super) ticked: Instant,
    pub(super) woken: Instant,
    pub(super) watchdog: notify::Watchdog,
}

impl Daemon {
    /// Opens everything that the daemon can't do without.
    pub(super) async fn new(settings: Settings, directories: Vec<PathBuf>) -> Result<Self, Fatal> {
        let outgoing = Outgoing::connect().await.map_err(Fatal::Bus)?;
        if let Err(why) = outgoing.own_name().await {
            events::no_client_name(&why);
        }
        let load = Arc::default();
        let served = bus::connect(Arc::clone(&load)).await.map_err(Fatal::Bus)?;
        let filters = settings.jails.iter().map(|jail| jail.filter.clone()).collect();
        let findtime = settings.jails.iter().map(|jail| jail.findtime).max().unwrap_or(0);
        let names = Names::ask(outgoing.connection(), &settings.jails);
        let logins = Logins::follow(&outgoing);
        let mut addresses = Addresses::follow();
        let mut engine = Engine::new(settings.jails.clone());
        let mut effects = Vec::new();

        let store = std::env::var_os("STATE_DIRECTORY").map(|directory| Store::new(&PathBuf::from(directory)));
        if store.is_none() {
            events::no_state();
        }
        let loaded = store.as_ref().map(Store::load).unwrap_or_default();
        if let Some(what) = loaded.trouble {
            events::snapshot(&what);
        }
        let mut cursor = None;
        if let Some(snapshot) = loaded.snapshot {
            engine.load(snapshot.engine, now(), &mut effects);
            cursor = snapshot.cursor;
        }
        let since = || Position::Since(now().saturating_sub(findtime));
        let position = cursor.clone().map_or_else(since, Position::After);
        let mut health = Health::default();
        match addresses.first().await {
            Some(Heard::Own(own)) => engine.own(own, now(), &mut effects),
            Some(Heard::Lost(why)) => health.report(health::Kind::Addresses, Some(addresses::problem(&why))),
            // The task goes on waiting, and says so in the end.
            None => {}
        }
        let origin = position.clone();
        let fields = Arc::clone(&settings.fields);
        let follower = Follower::start(filters, settings.fields, position)?;
        if let (false, Some(cursor)) = (follower.resumed, &cursor) {
            events::journal_gone(cursor);
        }

        let (orders, reports) = firewalld::start(outgoing.clone());
        let cutting = Cutting::new(&outgoing);
        // The receiver lives as long as the task; where it is gone, the loop sees it.
        let _ = orders.send(Order::Replace { scopes: engine.scopes(), list: engine.blocked() });
        let (sender, commands) = mpsc::channel(16);
        let (status, statuses) = watch::channel(Status::default());
        let core = Core::new(sender, statuses, Some(outgoing.connection().clone()), load);
        let publisher = PublisherHandle::serve(&served, core, &settings.jails).await.map_err(Fatal::Bus)?;
        Ok(Self {
            engine,
            cursor,
            origin,
            follower,
            outgoing,
            served,
            publisher,
            commands,
            status,
            orders,
            reports,
            firewall: firewalld::State::Starting,
            outage: String::new(),
            health,
            blind: Blind::default(),
            cutting,
            saving: Saving::new(store),
            reloading: Reloading::new(directories),
            names,
            logins,
            addresses,
            presence: Presence::default(),
            fields,
            clock_watch: ClockWatch::look(),
            crowds: OncePer::new(3600 * TICK),
            spared: OncePer::new(60 * TICK),
            withheld: OncePer::new(60 * TICK),
            leaks: OncePer::new(60 * TICK),
            failures: RateLimit::new(),
            nameless: None,
            waiting: HashMap::new(),
            bygone: HashSet::new(),
            effects,
            removal: None,
            inspections: VecDeque::new(),
            syncs: VecDeque::new(),
            caught_up: false,
            backlog: 0,
            progress_told: Instant::now(),
            counted: Counted { generation: now(), ..Counted::default() },
            read_up_to: 0,
            announced: Instant::now(),
            status_told: String::new(),
            ready: false,
            pace: TICK,
            ticked: Instant::now(),
            woken: Instant::now(),
            watchdog: notify::Watchdog::new(),
        })
    }

    /// Runs until a signal ends it.
    pub(super) async fn run(mut self) -> Result<(), Fatal> {
        let started = Instant::now();
        let mut hangup = signal(SignalKind::hangup()).map_err(Fatal::Runtime)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Fatal::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Fatal::Runtime)?;
        let (connection, served) = (self.outgoing.connection().clone(), self.served.clone());
        let closed = async {
            tokio::select! {
                () = connection.closed() => {}
                () = served.closed() => {}
            }
        };
        tokio::pin!(closed);
        self.look_who_is_there().await;
        self.carry_out();
        loop {
            let (deadline, tick) = (self.deadline(), self.next_tick());
            // In no fixed order: neither a flood of records nor one of calls may starve the rest.
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => self.ask_to_reload(None),
                () = &mut closed => return Err(Fatal::BusLost),
                batch = self.follower.next() => match batch {
                    Some(batch) => self.read(batch).await,
                    None => return Err(Fatal::JournalEnded),
                },
                Some(report) = self.reports.recv() => self.hear(report),
                cut = self.cutting.next() => self.cutting.tell(&cut),
                Some(command) = self.commands.recv() => self.obey(command).await,
                () = sleep_until(deadline) => self.wake(),
                read = self.reloading.read() => self.reload(read).await,
                answers = self.names.next() => {
                    self.engine.resolve(answers, now(), &mut self.effects);
                    self.saving.touch();
                    self.carry_out();
                }
                heard = self.addresses.next() => {
                    self.learn(heard);
                    self.pace = TICK;
                }
                present = self.logins.next() => {
                    self.meet(present);
                    self.pace = TICK;
                }
                found = self.presence.found() => {
                    self.take_in_logins(found);
                    self.pace = TICK;
                }
                () = sleep_until(tick) => {
                    (self.pace, self.ticked) = (IDLE_TICK, Instant::now());
                    self.look_at_the_clock();
                    if self.caught_up {
                        self.search_logins();
                        self.look_whether_it_is_read();
                    }
                    self.watchdog.alive(self.follower.pulse(), &self.outgoing);
                    self.publish();
                    let (cursor, engine) = (&self.cursor, &self.engine);
                    self.saving.begin(|| Snapshot::of(engine, cursor.clone(), now()));
                }
                () = self.saving.finished() => {}
            }
            let firewall_known = !matches!(self.firewall, firewalld::State::Starting);
            if !self.ready && self.caught_up && (firewall_known || started.elapsed() > FIREWALL_PATIENCE) {
                self.become_ready().await?;
            }
        }
        self.stop().await;
        Ok(())
    }

    /// Before the backlog is read: it may hold what would ban somebody who is logged in.
    async fn look_who_is_there(&mut self) {
        let Ok(present) = timeout(LOGINS_PATIENCE, self.logins.next()).await else { return };
        self.meet(present);
        self.search_logins();
        if self.presence.searches()
            && let Ok(found) = timeout(LOGINS_PATIENCE, self.presence.found()).await
        {
            self.take_in_logins(found);
        }
    }

    /// Takes the bus name, last of all, and tells the manager.
    async fn become_ready(&mut self) -> Result<(), Fatal> {
        self.publish();
        self.publisher.begin().await;
        self.served.request_name(NAME).await.map_err(Fatal::Name)?;
        self.ready = true;
        notify::ready(&self.status_line());
        tracing::debug!("{}", self.status_line());
        Ok(())
    }

    async fn read(&mut self, batch: Batch) {
        batch.news.into_iter().for_each(|news| self.hear_of_the_journal(news));
        if !self.caught_up {
            self.backlog += batch.records.len();
        }
        if !batch.records.is_empty() {
            self.blind.hear();
        }
        for record in batch.records {
            let known = self.engine.record(&record, &mut self.effects);
            if known {
                self.saving.touch();
                self.pace = self.pace.min(COUNTED_TICK);
            }
            self.blind.see(&record, known, self.engine.jails().map(|jail| &*jail.filter));
            self.counted.records += 1;
            self.read_up_to = record.time;
            self.carry_out();
        }
        for Loss { unit, count } in batch.losses {
            // What was lost of other services matters to none of the jails.
            if self.engine.jails().any(|jail| jail.filter.records.may_come_from(&unit)) {
                self.counted.lost = self.counted.lost.saturating_add(count);
                events::journal_loss(&unit, count);
            }
            self.saving.touch();
        }
        if self.presence.waits() {
            self.recognize();
        }
        // Nothing saves the state while a batch is half done.
        if batch.position.is_some() {
            self.cursor = batch.position;
        }
        if batch.caught_up && !self.caught_up {
            self.caught_up = true;
            self.let_time_pass();
            self.refill();
            tracing::debug!("Read {} of the journal.", count(self.backlog, "earlier record", "earlier records"));
        } else if !self.caught_up {
            if self.progress_told.elapsed() >= TICK {
                self.progress_told = Instant::now();
                notify::still_starting(&format!("Reading the backlog: {} records so far.", self.backlog));
            }
            self.watchdog.alive(self.follower.pulse(), &self.outgoing);
        }
        self.show();
        self.tell_the_reader();
        // The firewall task and the bus live on this thread too.
        tokio::task::yield_now().await;
    }

    /// Something has happened to the journal itself.
    fn hear_of_the_journal(&mut self, news: News) {
        match news {
            News::Reopened { because, gone } => {
                events::journal_reopened(&because);
                if let Some(cursor) = gone {
                    events::journal_gone(&cursor);
                }
            }
            News::Deaf(what, mend) => {
                self.health.report(health::Kind::Journal, Some(health::Problem { what, mend: mend.to_owned() }));
            }
            News::Hears => self.health.report(health::Kind::Journal, None),
        }
        self.pace = TICK;
    }

    /// Lets the reader look often for as long as a record may have somebody banned, or a ban that is
    /// on its way to the firewall may show what it does not hold off.
    pub(super) fn tell_the_reader(&self) {
        let near = self.engine.near_until().map_or(0, |until| until.saturating_sub(now()));
        let pending = if self.waiting.is_empty() { Duration::ZERO } else { TICK };
        self.follower.be_eager(Duration::from_micros(near).max(pending));
    }

    /// A deadline has come, or nothing has for a while.
    fn wake(&mut self) {
        self.woken = Instant::now();
        self.look_at_the_clock();
        self.let_time_pass();
    }

    /// Lets the engine's time pass, but never beyond what the journal may still bring: records
    /// that are on their way shall find the engine as a replay would have it.
    fn let_time_pass(&mut self) {
        let horizon = self.follower.horizon();
        if let Some(moment) = horizon {
            let to = self.clock_watch.at(moment).saturating_sub(MARGIN);
            self.engine.advance(to, &mut self.effects);
        }
        self.carry_out();
    }

    /// Tells the engine if somebody has set the clock.
    fn look_at_the_clock(&mut self) {
        if let Some(by) = self.clock_watch.was_set() {
            self.engine.clock_set(by, &mut self.effects);
        }
    }

    /// Something has changed that people wait for: it is to be saved and announced soon.
    pub(super) fn change(&mut self) {
        self.saving.touch_soon();
        self.pace = TICK;
    }

    /// When to save and to announce next: soon, if there may be something new.
    fn next_tick(&self) -> Instant {
        let pace = if self.ready { self.pace } else { TICK };
        self.ticked + pace.min(self.watchdog.pace())
    }

    /// When the engine is to be woken.
    fn deadline(&self) -> Instant {
        // What is still in the backlog comes before what time alone brings.
        let lazy = Usec::try_from(LAZY.as_micros()).unwrap_or(Usec::MAX);
        let ends = self.engine.next_end().map(|end| end.saturating_add(MARGIN));
        let others = self.engine.deadline().map(|due| due.saturating_add(lazy));
        let due = [ends, others].into_iter().flatten().min().filter(|_| self.caught_up);
        let sleep = due.map_or(LONGEST_SLEEP, |due| Duration::from_micros(due.saturating_sub(now())));
        // Where the journal thread is not that far yet, it is asked again in a moment.
        (Instant::now() + sleep.min(LONGEST_SLEEP)).max(self.woken + PACE)
    }

    pub(super) async fn save_now(&mut self) -> Result<(), String> {
        let (cursor, engine) = (&self.cursor, &self.engine);
        self.saving.now(|| Snapshot::of(engine, cursor.clone(), now())).await
    }

    async fn stop(mut self) {
        notify::stopping();
        // What went wrong has been told.
        let _ = self.save_now().await;
        match self.firewall {
            firewalld::State::Up => {
                let bans = count(self.engine.ban_count(), "ban stays", "bans stay");
                tracing::debug!("Stopped; {bans} in force in firewalld.");
            }
            _ => tracing::debug!(
                "Stopped; {} kept for the next start.",
                count(self.engine.ban_count(), "ban is", "bans are")
            ),
        }
    }
}
