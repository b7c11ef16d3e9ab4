//! The daemon's loop: what comes in goes through the engine, and what it wants is done.
//!
//! In: batches of records from the journal thread, commands from the bus, reports from the
//! firewall, deadlines, a tick a second, signals. Out: orders to the firewall, journal records,
//! bus signals and properties, the snapshot, STATUS and the watchdog. The loop itself decides
//! nothing and waits for nothing that is slow.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use zbus::{Connection, object_server::InterfaceRef};

use super::{Fatal, names::Names, notify, quiet::Quiet, reload::Reloading, saving::Saving, wall::Wall};
use crate::{
    bans::Ban,
    bus::{self, BanRow, Command, Core, JailInfo, Manager, ManagerSignals, Status},
    config::Settings,
    engine::{CommandError, Effect, Ended, Engine},
    events,
    firewall::{self, Order, Report},
    jail::{Bound, text_of},
    journal::{Batch, Entry, Follower, Position},
    metrics::Latency,
    record::{Cursor, Usec},
    snapshot::{Snapshot, Store},
    time::{count, now},
};

/// How long the start waits for a word from the firewall, before it goes on without one.
const FIREWALL_PATIENCE: Duration = Duration::from_secs(10);
/// How soon after a change the snapshot is written and the properties are published.
const TICK: Duration = Duration::from_secs(1);
/// How often the watchdog is looked at while nothing happens: an idle daemon shall sleep.
const IDLE_TICK: Duration = Duration::from_secs(20);
/// The longest sleep until a deadline: the wall clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How far the engine's time stays behind the journal's end, in µs: journald stamps a record a
/// moment before it can be read.
const MARGIN: Usec = 2_000_000;
/// The shortest time from one deadline to the next.
const PACE: Duration = Duration::from_millis(200);

/// What is told after [`Command::RemoveFirewall`].
const REMOVED: &str = "wardend's ipsets and policy were taken out of firewalld by order; bans are kept, and a restart of wardend puts them back.";

/// Everything that the loop holds.
pub(super) struct Daemon {
    pub(super) engine: Engine,
    pub(super) cursor: Option<Cursor>,
    /// Where reading began, for as long as nothing was read.
    pub(super) origin: Position,
    pub(super) follower: Follower,
    pub(super) connection: Connection,
    pub(super) core: Core,
    manager: InterfaceRef<Manager>,
    commands: mpsc::Receiver<Command>,
    status: watch::Sender<Status>,
    orders: mpsc::UnboundedSender<Order>,
    reports: mpsc::UnboundedReceiver<Report>,
    firewall: firewall::State,
    pub(super) saving: Saving,
    pub(super) reloading: Reloading,
    pub(super) names: Names,
    wall: Wall,
    /// Things that happen again and again.
    crowds: Quiet<(Arc<str>, Bound)>,
    spared: Quiet<IpNet>,
    leaks: Quiet<IpNet>,
    /// Bans that the firewall has not confirmed yet, with the time of the record that led to
    /// each.
    waiting: HashMap<IpNet, Usec>,
    /// Bans found in a backlog that had ended before anybody could be told.
    bygone: HashSet<(Arc<str>, IpNet)>,
    pub(super) effects: Vec<Effect>,
    /// Who waits for the sets and the policy to be gone from firewalld.
    removal: Option<oneshot::Sender<Result<(), String>>>,
    /// The journal's backlog has been read.
    caught_up: bool,
    backlog: usize,
    progress_told: Instant,
    /// For the metrics, since the start.
    records: u64,
    lost: u64,
    latency: Latency,
    pub(super) ready: bool,
    /// Something came in since the last tick.
    busy: bool,
    ticked: Instant,
    woken: Instant,
    watchdog: notify::Watchdog,
}

impl Daemon {
    /// Opens everything that the daemon can't do without.
    pub(super) async fn new(settings: Settings, directories: Vec<PathBuf>) -> Result<Self, Fatal> {
        let connection = Connection::system().await.map_err(Fatal::Bus)?;
        let infos: Vec<JailInfo> = settings.jails.iter().map(JailInfo::from).collect();
        let filters = settings.jails.iter().map(|jail| jail.filter.clone()).collect();
        let findtime = settings.jails.iter().map(|jail| jail.findtime).max().unwrap_or(0);
        let names = Names::ask(&connection, &settings.jails);
        let mut engine = Engine::new(settings.jails);
        let mut effects = Vec::new();

        let store = std::env::var_os("STATE_DIRECTORY").map(|directory| Store::new(&PathBuf::from(directory)));
        if store.is_none() {
            events::snapshot(
                "$STATE_DIRECTORY is not set (StateDirectory= in the unit), so bans and counters are lost when wardend stops.",
            );
        }
        let loaded = store.as_ref().map(Store::load).unwrap_or_default();
        if let Some(what) = loaded.trouble {
            events::snapshot(&what);
        }
        let mut position = Position::Since(now().saturating_sub(findtime));
        let mut cursor = None;
        if let Some(snapshot) = loaded.snapshot {
            engine.load(snapshot.engine, now(), &mut effects);
            if let Some(at) = snapshot.cursor {
                position = Position::After(at.clone());
                cursor = Some(at);
            }
        }
        let origin = position.clone();
        let follower = Follower::start(filters, settings.fields, position)?;
        if !follower.resumed {
            events::journal_gone();
        }

        let (orders, reports) = firewall::start(connection.clone());
        // The receiver lives as long as the task; where it is gone, the loop sees it.
        let _ = orders.send(Order::Replace(engine.blocked()));
        let (sender, commands) = mpsc::channel(16);
        let (status, published) = watch::channel(Status::default());
        let core = Core { commands: sender, status: published };
        let manager = bus::serve(&connection, &core, infos).await.map_err(Fatal::Bus)?;
        Ok(Self {
            engine,
            cursor,
            origin,
            follower,
            connection,
            core,
            manager,
            commands,
            status,
            orders,
            reports,
            firewall: firewall::State::Starting,
            saving: Saving::new(store),
            reloading: Reloading::new(directories),
            names,
            wall: Wall::look(),
            crowds: Quiet::new(3600 * TICK),
            spared: Quiet::new(60 * TICK),
            leaks: Quiet::new(60 * TICK),
            waiting: HashMap::new(),
            bygone: HashSet::new(),
            effects,
            removal: None,
            caught_up: false,
            backlog: 0,
            progress_told: Instant::now(),
            records: 0,
            lost: 0,
            latency: Latency::default(),
            ready: false,
            busy: true,
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
        let connection = self.connection.clone();
        let closed = connection.closed();
        tokio::pin!(closed);
        self.carry_out().await;
        loop {
            let (deadline, tick) = (self.deadline(), self.next_tick());
            // In no fixed order: neither a flood of records nor one of calls may starve the rest.
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => self.reloading.ask(None),
                () = &mut closed => return Err(Fatal::BusLost),
                batch = self.follower.next() => match batch {
                    Some(batch) => self.read(batch?).await,
                    None => return Err(Fatal::JournalEnded),
                },
                Some(report) = self.reports.recv() => self.hear(report).await,
                Some(command) = self.commands.recv() => self.obey(command).await,
                () = sleep_until(deadline) => self.wake().await,
                read = self.reloading.read() => self.reload(read).await,
                answers = self.names.next() => {
                    self.engine.resolve(answers, now(), &mut self.effects);
                    self.saving.touch();
                    self.carry_out().await;
                }
                () = sleep_until(tick) => {
                    (self.busy, self.ticked) = (false, Instant::now());
                    self.look_at_the_clock();
                    self.watchdog.alive(self.follower.pulse());
                    self.publish().await;
                    let (cursor, engine) = (&self.cursor, &self.engine);
                    self.saving.begin(|| Snapshot::of(engine, cursor.clone(), now()));
                }
                () = self.saving.finished() => {}
            }
            let firewall_known = !matches!(self.firewall, firewall::State::Starting);
            if !self.ready && self.caught_up && (firewall_known || started.elapsed() > FIREWALL_PATIENCE) {
                self.become_ready().await?;
            }
        }
        self.stop().await;
        Ok(())
    }

    /// Takes the bus name, last of all, and tells the manager.
    async fn become_ready(&mut self) -> Result<(), Fatal> {
        self.publish().await;
        self.connection.request_name(bus::NAME).await.map_err(Fatal::Name)?;
        self.ready = true;
        notify::ready(&self.status_line());
        tracing::debug!("{}", self.status_line());
        Ok(())
    }

    async fn read(&mut self, batch: Batch) {
        self.busy = true;
        for entry in batch.entries {
            match entry {
                Entry::Record(record) => {
                    if self.engine.record(&record, &mut self.effects) {
                        self.saving.touch();
                    }
                    self.records += 1;
                    self.cursor = Some(record.cursor);
                    self.carry_out().await;
                }
                Entry::Lost { unit, count, cursor, .. } => {
                    self.lost = self.lost.saturating_add(count);
                    events::journal_loss(&unit, count);
                    self.cursor = Some(cursor);
                    self.saving.touch();
                }
            }
            self.backlog += usize::from(!self.caught_up);
        }
        if batch.caught_up && !self.caught_up {
            self.caught_up = true;
            self.let_time_pass().await;
            let _ = self.orders.send(Order::Replace(self.engine.blocked()));
            tracing::debug!("Read {} of the journal.", count(self.backlog, "earlier record", "earlier records"));
        } else if !self.caught_up {
            if self.progress_told.elapsed() >= TICK {
                self.progress_told = Instant::now();
                notify::still_starting(&format!("Reading the backlog: {} records so far.", self.backlog));
            }
            self.watchdog.alive(self.follower.pulse());
            // The firewall task and the bus live on this thread too.
            tokio::task::yield_now().await;
        }
    }

    /// Does what the engine wants.
    pub(super) async fn carry_out(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Banned(ban) => self.banned(&ban).await,
                Effect::Unbanned(ban, why) => self.unbanned(&ban, why).await,
                // What the backlog brings goes to the firewall at its end, all at once: most of it
                // has come and gone.
                Effect::Block { source, since } if self.caught_up => {
                    self.waiting.insert(source, since);
                    let _ = self.orders.send(Order::Block(source));
                }
                Effect::Release(source) if self.caught_up => {
                    self.waiting.remove(&source);
                    let _ = self.orders.send(Order::Release(source));
                }
                Effect::Failed { jail, source, failure, ignored } => {
                    let what = if ignored { "is ignored" } else { "counts" };
                    tracing::trace!("{} of {} {what} in jail {jail}.", failure.rule, text_of(source));
                }
                Effect::Spared { jail, source, login, failures } => {
                    if self.spared.may_say(source) {
                        events::spared(&jail, &text_of(source), login, &failures);
                    }
                }
                Effect::Leak { ban, failure } if self.caught_up => {
                    if self.leaks.may_say(ban) {
                        events::leak(&text_of(ban), &failure);
                        let _ = self.orders.send(Order::Audit);
                    }
                }
                Effect::Crowded(jail, bound) => {
                    if self.crowds.may_say((jail.clone(), bound)) {
                        events::crowded(&jail, bound);
                    }
                }
                Effect::ClockSet(by) => {
                    // The engine knows now; the next look shall not tell it again.
                    self.wall = Wall::look();
                    self.saving.touch();
                    events::clock_set(by);
                }
                Effect::Block { .. } | Effect::Release(_) | Effect::TakenBack { .. } | Effect::Leak { .. } => {}
            }
        }
        self.effects = effects;
    }

    async fn banned(&mut self, ban: &Ban) {
        self.saving.touch();
        if !self.caught_up && ban.until.is_some_and(|until| until <= now()) {
            self.bygone.insert((ban.jail.clone(), ban.source));
            return;
        }
        events::ban(ban);
        let until = ban.until.unwrap_or(bus::INFINITY);
        let _ = self.manager.banned(&ban.jail, &text_of(ban.source), until, ban.count).await;
    }

    async fn unbanned(&mut self, ban: &Ban, why: Ended) {
        self.saving.touch();
        if self.bygone.remove(&(ban.jail.clone(), ban.source)) {
            return;
        }
        events::unban(ban, why);
        let why = match why {
            Ended::Expired => "expired",
            Ended::Command => "command",
            Ended::JailGone => "jail-gone",
            Ended::Ignored => "ignored",
            Ended::Widened => "widened",
            Ended::Crowded => "crowded",
        };
        let _ = self.manager.unbanned(&ban.jail, &text_of(ban.source), why).await;
    }

    async fn hear(&mut self, report: Report) {
        match report {
            Report::Blocked { source, at } => {
                if let Some(decided) = self.waiting.remove(&source) {
                    let latency = at.saturating_sub(decided);
                    self.latency.add(latency);
                    events::in_force(&text_of(source), latency);
                }
            }
            Report::Told(what) => events::firewall_repaired(&what),
            Report::State(state) => {
                match &state {
                    firewall::State::Down(why) => events::firewall_lost(why),
                    firewall::State::Up => events::firewall_back(self.engine.blocked().len()),
                    firewall::State::Starting => {}
                }
                self.firewall = state;
                self.publish().await;
            }
            Report::Removed(outcome) => {
                if let Some(reply) = self.removal.take() {
                    if outcome.is_ok() {
                        self.firewall = firewall::State::Down(REMOVED.to_owned());
                        events::firewall_lost(REMOVED);
                        self.publish().await;
                    }
                    let _ = reply.send(outcome);
                }
            }
            Report::Released { .. } => {}
        }
    }

    async fn obey(&mut self, command: Command) {
        // A caller that is gone does not want its answer.
        match command {
            Command::ListBans(reply) => {
                let _ = reply.send(self.engine.bans().map(BanRow::from).collect());
            }
            Command::ListJails(reply) => {
                let _ = reply.send(bus::jail_rows(&self.engine));
            }
            Command::Ban { network, jail, duration, reason, reply } => {
                let outcome = self.engine.ban(network, &jail, duration, &reason, now(), &mut self.effects);
                let outcome = self.kept(outcome).await;
                let _ = reply.send(outcome.map(|ban| BanRow::from(&ban)));
            }
            Command::Unban { network, jail, reply } => {
                let outcome = self.engine.unban(network, jail.as_deref(), now(), &mut self.effects);
                let outcome = self.kept(outcome).await;
                let _ = reply.send(outcome.map(|bans| bans.iter().map(BanRow::from).collect()));
            }
            Command::Explain(address, reply) => {
                let _ = reply.send(self.engine.explain(address, now()));
            }
            Command::Reload(reply) => self.reloading.ask(Some(reply)),
            Command::RemoveFirewall(reply) => {
                self.removal = Some(reply);
                let _ = self.orders.send(Order::Remove);
            }
            Command::UnbanAll(reply) => {
                let mut ended = 0;
                for source in self.engine.blocked() {
                    let bans = self.engine.unban(source, None, now(), &mut self.effects);
                    ended += bans.map_or(0, |bans| bans.len());
                }
                let outcome = self.kept(Ok(u32::try_from(ended).unwrap_or(u32::MAX))).await;
                let _ = reply.send(outcome);
            }
        }
    }

    /// Carries an order out and has it on disk before its answer.
    async fn kept<T>(&mut self, outcome: Result<T, CommandError>) -> Result<T, bus::Error> {
        let answer = outcome?;
        self.carry_out().await;
        self.publish().await;
        match self.save_now().await {
            Ok(()) => Ok(answer),
            Err(what) => Err(bus::Error::Failed(format!("It is done, but a crash may undo it: {what}"))),
        }
    }

    /// A deadline has come, or nothing has for a while.
    async fn wake(&mut self) {
        (self.busy, self.woken) = (true, Instant::now());
        self.look_at_the_clock();
        self.let_time_pass().await;
    }

    /// Lets the engine's time pass, but never beyond what the journal may still bring: records
    /// that are on their way shall find the engine as a replay would have it.
    async fn let_time_pass(&mut self) {
        let horizon = self.follower.horizon();
        if let Some(moment) = horizon {
            let to = self.wall.at(moment).saturating_sub(MARGIN);
            self.engine.advance(to, &mut self.effects);
        }
        self.carry_out().await;
    }

    /// Tells the engine if somebody has set the clock.
    fn look_at_the_clock(&mut self) {
        if let Some(by) = self.wall.was_set() {
            self.engine.clock_set(by, &mut self.effects);
        }
    }

    /// When to save and to publish next: soon, if there may be something new.
    fn next_tick(&self) -> Instant {
        self.ticked + if self.busy || !self.ready { TICK } else { IDLE_TICK }
    }

    /// When the engine is to be woken.
    fn deadline(&self) -> Instant {
        // What is still in the backlog comes before what time alone brings.
        let due = self.engine.deadline().filter(|_| self.caught_up);
        let due = due.map(|due| due.saturating_add(MARGIN));
        let sleep = due.map_or(LONGEST_SLEEP, |due| Duration::from_micros(due.saturating_sub(now())));
        // Where the journal thread is not that far yet, it is asked again in a moment.
        (Instant::now() + sleep.min(LONGEST_SLEEP)).max(self.woken + PACE)
    }

    /// Publishes what has changed: STATUS, and the properties on the bus.
    pub(super) async fn publish(&mut self) {
        let firewall_message = match &self.firewall {
            firewall::State::Down(why) => why.clone(),
            _ => String::new(),
        };
        let status = Status {
            state: if firewall_message.is_empty() { "running" } else { "degraded" },
            firewall_state: match &self.firewall {
                firewall::State::Starting => "starting",
                firewall::State::Up => "up",
                firewall::State::Down(_) => "down",
            },
            firewall_message,
            cursor: self.cursor.as_ref().map_or_else(String::new, ToString::to_string),
            bans: u32::try_from(self.engine.ban_count()).unwrap_or(u32::MAX),
            failures: self.engine.failure_count(),
            jails: bus::jail_rows(&self.engine),
            records: self.records,
            lost: self.lost,
            latency: self.latency.clone(),
        };
        let before = self.status.send_replace(status.clone());
        if self.ready && (before.bans, &before.firewall_message) != (status.bans, &status.firewall_message) {
            notify::status(&self.status_line());
        }
        // Nobody can know a property before the name is taken.
        if self.ready {
            let _ = bus::announce(&self.manager, &before, &status).await;
        }
    }

    pub(super) fn status_line(&self) -> String {
        let jails = count(self.engine.jails().count(), "jail", "jails");
        let bans = count(self.engine.ban_count(), "ban", "bans");
        match &self.firewall {
            firewall::State::Up => format!("Watching {jails}, {bans} in force."),
            firewall::State::Starting => format!("Watching {jails}, {bans}; firewalld has not answered yet."),
            firewall::State::Down(why) => format!("Watching {jails}, {bans} NOT in force. {why}"),
        }
    }

    async fn save_now(&mut self) -> Result<(), String> {
        let (cursor, engine) = (&self.cursor, &self.engine);
        self.saving.now(|| Snapshot::of(engine, cursor.clone(), now())).await
    }

    async fn stop(mut self) {
        notify::stopping();
        // What went wrong has been told.
        let _ = self.save_now().await;
        match self.firewall {
            firewall::State::Up => {
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
