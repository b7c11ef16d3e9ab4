//! The daemon's loop: what comes in goes through the engine, and what it wants is done.
//!
//! In: batches of records from the journal thread, commands from the bus, reports from the
//! firewall, deadlines, a tick a second, signals. Out: orders to the firewall, journal records,
//! bus signals and properties, the snapshot, STATUS and the watchdog. The loop itself decides
//! nothing and waits for nothing that is slow: what takes time (a disk, the bus, process 1) is done by a
//! task or another thread, and its outcome is one more thing that comes in. Its own journal records it
//! writes itself, as every service does.
//!
//! Each part keeps what belongs to it, in a file of its own, and knows nothing of the others; how they
//! act together is said here and in [`super::effects`], [`super::commands`], [`super::reload`] and
//! [`super::status`].

use std::{path::PathBuf, sync::Arc};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::{Duration, Instant, sleep_until},
};
use zbus::Connection;

use super::{
    Fatal,
    blind::Blind,
    clock_watch::ClockWatch,
    firewall::{Firewall, Said},
    happenings::Happenings,
    health::Health,
    pace::{Pace, TICK},
    presence::{self, Presence},
    published::Published,
    readiness::Readiness,
    reading::Reading,
    reloading::Reloading,
    waiting::Waiting,
};
use crate::{
    bus::{self, Command, Core, PublisherHandle, Status},
    config::Settings,
    contract::problem::{Kind, Problem},
    core::{
        engine::{Effect, Engine},
        time::Usec,
    },
    firewalld::State,
    journal::{Batch, Follower, Loss, News, Position, events},
    kernel::own::{self, Heard, OwnAddresses},
    state::{Saving, Snapshot, Store},
    systemd::{
        logind::Logins,
        notify::{Notifier, Watchdog},
        outgoing::Outgoing,
        resolved::Names,
    },
    util::{text::count, time::now},
};

/// How long what time brings may wait, but for the end of a ban: it is done at its own time anyway,
/// and many such deadlines are met at once.
const LAZY: Usec = 20_000_000;
/// How far the engine's time stays behind the journal's end, in µs: journald stamps a record a
/// moment before it can be read.
const MARGIN: Usec = 2_000_000;

/// Everything that the loop holds.
pub(super) struct Daemon {
    pub(super) engine: Engine,
    /// What the engine wants, until it is carried out.
    pub(super) effects: Vec<Effect>,
    pub(super) reading: Reading,
    pub(super) firewall: Firewall,
    pub(super) happenings: Happenings,
    pub(super) published: Published,
    pub(super) health: Health,
    pub(super) saving: Saving,
    pub(super) reloading: Reloading,
    pub(super) readiness: Readiness,
    pub(super) pace: Pace,
    pub(super) clock_watch: ClockWatch,
    /// Whether what the services write is read.
    blind: Blind,
    presence: Presence,
    own: OwnAddresses,
    pub(super) names: Names,
    commands: mpsc::Receiver<Command>,
    /// Those that wait until the journal has been read up to them.
    waiting: Waiting,
    /// For what wardend asks of others.
    pub(super) outgoing: Outgoing,
    /// For those that ask of wardend.
    pub(super) served: Connection,
    pub(super) notifier: Notifier,
    watchdog: Watchdog,
}

impl Daemon {
    /// Opens everything that the daemon can't do without.
    pub(super) async fn new(settings: Settings, directories: Vec<PathBuf>) -> Result<Self, Fatal> {
        let outgoing = Outgoing::connect().await.map_err(Fatal::Bus)?;
        if let Err(why) = outgoing.own_name().await {
            events::no_client_name(&why.to_string());
        }
        let load = Arc::default();
        let served = bus::connect(Arc::clone(&load), outgoing.connection().clone()).await.map_err(Fatal::Bus)?;
        let names = Names::ask(outgoing.connection(), &settings.jails);
        let presence = Presence::new(Logins::follow(&outgoing));
        let mut own = OwnAddresses::follow();
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
        let findtime = settings.jails.iter().map(|jail| jail.findtime).max().unwrap_or(0);
        let mut cursor = None;
        if let Some(snapshot) = loaded.snapshot {
            engine.load(snapshot.engine, now(), &mut effects);
            cursor = snapshot.cursor;
        }
        let since = || Position::Since(now().saturating_sub(findtime));
        let origin = cursor.clone().map_or_else(since, Position::After);
        let mut health = Health::default();
        match own.first().await {
            Some(Heard::Own(addresses)) => engine.own(addresses, now(), &mut effects),
            Some(Heard::Lost(why)) => health.report(Kind::Addresses, Some(own::problem(&why))),
            // The task goes on waiting, and says so in the end.
            None => {}
        }
        let filters = settings.jails.iter().map(|jail| jail.filter.clone()).collect();
        let follower = Follower::start(filters, settings.fields.clone(), origin.clone()).await?;

        let firewall = Firewall::start(&outgoing, &engine);
        let (sender, commands) = mpsc::channel(16);
        let (status, statuses) = watch::channel(Status::default());
        let core = Core::new(sender, statuses, Some(outgoing.connection().clone()), load);
        let publisher = PublisherHandle::serve(&served, core, &settings.jails).await.map_err(Fatal::Bus)?;
        Ok(Self {
            engine,
            effects,
            reading: Reading::begin(follower, settings.fields, cursor, origin),
            firewall,
            happenings: Happenings::new(publisher),
            published: Published::new(status),
            health,
            saving: Saving::new(store),
            reloading: Reloading::new(directories),
            readiness: Readiness::Starting(Instant::now()),
            pace: Pace::new(),
            clock_watch: ClockWatch::look(),
            blind: Blind::default(),
            presence,
            own,
            names,
            commands,
            waiting: Waiting::default(),
            outgoing,
            served,
            notifier: Notifier::start(),
            watchdog: Watchdog::new(),
        })
    }

    /// Runs until a signal ends it.
    pub(super) async fn run(mut self) -> Result<(), Fatal> {
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
        let fields = &self.reading.fields;
        let opened = self.presence.look_first(&mut self.engine, fields, &mut self.health).await;
        self.blind.see_logins(opened, now());
        self.saving.touch();
        self.carry_out();
        loop {
            let (deadline, tick) = (self.deadline(), self.next_tick());
            let has_read = self.reading.follower.has_read();
            // In no fixed order: neither a flood of records nor one of calls may starve the rest.
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => self.ask_to_reload(None),
                () = &mut closed => return Err(Fatal::BusLost),
                batch = self.reading.follower.next(), if !self.reloading.is_opening() => match batch {
                    Some(batch) => self.read(batch).await,
                    None => return Err(Fatal::JournalEnded),
                },
                said = self.firewall.next() => self.hear(said),
                Some(command) = self.commands.recv(), if !self.waiting.is_full() => self.order(command),
                () = has_read.notified() => self.obey_who_waits(),
                () = self.waiting.end_of_patience() => self.obey_who_waits(),
                () = sleep_until(deadline) => self.wake(),
                step = self.reloading.step() => self.reload(step),
                answers = self.names.next() => {
                    self.engine.resolve(answers, now(), &mut self.effects);
                    self.saving.touch();
                    self.carry_out();
                }
                heard = self.own.next() => self.learn(heard),
                heard = self.presence.next() => self.meet(heard),
                problem = self.blind.explained() => self.health.report(Kind::Records, Some(problem)),
                named = self.readiness.named() => {
                    named.map_err(Fatal::Name)?;
                    self.become_ready();
                }
                () = sleep_until(tick) => self.tick(),
                () = self.saving.finished() => self.save(),
            }
            if self.readiness.is_due(self.reading.caught_up, self.firewall.is_known()) {
                self.publish();
                let prepared = self.happenings.publisher.begin();
                self.readiness.take_name(self.served.clone(), prepared);
            }
        }
        self.stop().await;
        Ok(())
    }

    /// The name is taken, so the daemon is there for everybody.
    fn become_ready(&mut self) {
        self.happenings.publisher.named();
        let line = self.status_line();
        self.notifier.ready(&line);
        tracing::debug!("{line}");
    }

    fn tick(&mut self) {
        self.pace.tick();
        self.look_at_the_clock();
        if self.reading.caught_up {
            self.presence.search(&self.engine, &self.reading.fields, &mut self.health);
            self.blind.look(self.engine.jails().map(|jail| &*jail.filter), &mut self.health);
        }
        self.show_that_it_is_alive();
        self.publish();
        self.save();
    }

    /// Begins to save the state if it is time to.
    pub(super) fn save(&mut self) {
        let (cursor, engine) = (&self.reading.cursor, &self.engine);
        self.saving.begin(|| Snapshot::of(engine, cursor.clone(), now()));
    }

    fn show_that_it_is_alive(&mut self) {
        self.watchdog.alive(self.reading.follower.pulse(), &self.outgoing, &self.notifier);
    }

    async fn read(&mut self, batch: Batch) {
        batch.news.into_iter().for_each(|news| self.hear_of_the_journal(news));
        if !batch.records.is_empty() {
            self.blind.hear();
        }
        for record in batch.records {
            let known = self.engine.record(&record, &mut self.effects);
            if known {
                self.saving.touch();
            }
            self.blind.see(&record, known, self.engine.jails().map(|jail| &*jail.filter));
            self.happenings.counted.records += 1;
            self.reading.read(record.time);
            self.carry_out();
        }
        for Loss { unit, count } in batch.losses {
            // What was lost of other services matters to none of the jails.
            if self.engine.jails().any(|jail| jail.filter.records.may_come_from(&unit)) {
                self.happenings.counted.lost = self.happenings.counted.lost.saturating_add(count);
                events::journal_loss(&unit, count);
            }
            self.saving.touch();
        }
        if self.presence.waits() && self.presence.recognize(&mut self.engine, &mut self.health) {
            self.saving.touch();
        }
        // Nothing saves the state while a batch is half done.
        if batch.position.is_some() {
            self.reading.cursor = batch.position;
        }
        if batch.caught_up && !self.reading.caught_up {
            self.reading.caught_up = true;
            self.let_time_pass();
            self.firewall.refill(&self.engine);
            let records = count(self.reading.backlog, "earlier record", "earlier records");
            tracing::debug!("Read {records} of the journal.");
        } else if !self.reading.caught_up {
            if let Some(progress) = self.reading.progress() {
                self.notifier.still_starting(&progress);
            }
            self.show_that_it_is_alive();
        }
        self.obey_who_waits();
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
                self.health.report(Kind::Journal, Some(Problem { what, mend: mend.to_owned() }));
            }
            News::Hears => self.health.report(Kind::Journal, None),
        }
        self.pace.soon();
    }

    fn hear(&mut self, said: Said) {
        let counted = &mut self.happenings.counted;
        if self.firewall.hear(said, &self.engine, counted, &mut self.health) {
            self.publish();
        }
    }

    /// The machine has other addresses, or nobody knows.
    fn learn(&mut self, heard: Heard) {
        let problem = match heard {
            Heard::Own(addresses) => {
                self.engine.own(addresses, now(), &mut self.effects);
                self.saving.touch();
                self.carry_out();
                None
            }
            Heard::Lost(why) => Some(own::problem(&why)),
        };
        self.health.report(Kind::Addresses, problem);
        self.publish();
        self.pace.soon();
    }

    /// Others are logged in than before, or it is known from where.
    fn meet(&mut self, heard: presence::Heard) {
        let (opened, new) = self.presence.take(heard, &mut self.engine, &mut self.health);
        self.blind.see_logins(opened, now());
        if new {
            self.saving.touch();
        }
        self.pace.soon();
    }

    /// A command has come. What is judged by records waits for those that were written before it.
    fn order(&mut self, command: Command) {
        match self.waiting.take(command, Instant::now().into_std()) {
            Some(command) => self.obey(command),
            None => self.reading.follower.tell_when_read(),
        }
    }

    /// The journal has been read up to some commands, or they have waited for long enough.
    fn obey_who_waits(&mut self) {
        while let Some(command) = self.waiting.next(self.reading.follower.horizon(), Instant::now().into_std()) {
            self.obey(command);
        }
        if !self.waiting.is_empty() {
            self.reading.follower.tell_when_read();
        }
    }

    /// Lets the reader look often for as long as that matters.
    fn tell_the_reader(&self) {
        self.reading.be_eager(self.engine.near_until(), self.firewall.has_pending());
    }

    /// A deadline has come, or nothing has for a while.
    fn wake(&mut self) {
        self.pace.wake();
        self.look_at_the_clock();
        self.let_time_pass();
        // What is due still waits for word that the journal has been read until then.
        if self.deadline() <= self.pace.next_wake(Some(0)) {
            self.reading.follower.look();
        }
    }

    /// Lets the engine's time pass, but never beyond what the journal may still bring: records
    /// that are on their way shall find the engine as a replay would have it.
    fn let_time_pass(&mut self) {
        let horizon = self.reading.follower.horizon();
        if let Some(moment) = horizon {
            let to = self.clock_watch.at(moment).saturating_sub(MARGIN);
            self.engine.advance(to, &mut self.effects);
        }
        self.carry_out();
    }

    /// Tells the engine if somebody has set the clock.
    pub(super) fn look_at_the_clock(&mut self) {
        if let Some(by) = self.clock_watch.was_set() {
            self.engine.clock_set(by, &mut self.effects);
            self.carry_out();
        }
    }

    /// When to save and to announce next: soon, if there may be something new.
    fn next_tick(&self) -> Instant {
        let pace = if self.readiness.is_ready() { Duration::MAX } else { TICK };
        self.pace.next_tick(pace.min(self.watchdog.pace()))
    }

    /// When the engine is to be woken.
    fn deadline(&self) -> Instant {
        // What is still in the backlog comes before what time alone brings.
        let ends = self.engine.next_end().map(|end| end.saturating_add(MARGIN));
        let others = self.engine.deadline().map(|due| due.saturating_add(LAZY));
        let due = [ends, others].into_iter().flatten().min();
        self.pace.next_wake(due.filter(|_| self.reading.caught_up))
    }

    async fn stop(mut self) {
        self.notifier.stopping();
        let (cursor, engine) = (&self.reading.cursor, &self.engine);
        self.saving.finish(|| Snapshot::of(engine, cursor.clone(), now())).await;
        let bans = self.engine.ban_count();
        match self.firewall.state() {
            State::Up => tracing::debug!("Stopped; {} in force in firewalld.", count(bans, "ban stays", "bans stay")),
            _ => tracing::debug!("Stopped; {} kept for the next start.", count(bans, "ban is", "bans are")),
        }
        self.notifier.finish().await;
    }
}
