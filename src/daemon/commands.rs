//! What the bus asks of the daemon, and what is on disk before the answer.

use std::sync::Arc;

use ipnet::IpNet;

use super::run::Daemon;
use crate::{
    bus::{self, Command, Many, Ordered, Page, Reply},
    contract::{
        bus::BanRow,
        error::Error,
        history::{HistoryRow, TopRow},
    },
    core::{
        bans::{Ban, Origin},
        engine::{BanOrder, Change, CommandError, Decision},
        scope::Scope,
    },
    journal::events,
    util::time::now,
};

impl Daemon {
    pub(super) fn obey(&mut self, command: Command) {
        // What is ordered counts from now: if the clock was set, it is not to be shifted with what was there before.
        self.look_at_the_clock();
        // A caller that is gone does not want its answer.
        match command {
            Command::ListBans(listing, reply) => {
                let (bans, total) = listing.of(self.engine.bans());
                let bans = bans.into_iter().map(|ban| self.row(ban)).collect();
                let _ = reply.send(Page { bans, total, generation: self.happenings.counted.generation });
            }
            Command::ListJails(reply) => {
                let _ = reply.send(bus::jail_rows(&self.engine, &self.happenings.counted));
            }
            Command::JailsForAll(reply) => {
                let _ = reply.send(self.engine.jails_for_all().map_err(Error::from));
            }
            Command::Ban { orders, list, reply } => self.ban(&orders, list.as_deref(), reply),
            Command::Unban { networks, jail, origin, reply } => {
                self.unban(&networks, jail.as_deref(), origin.as_ref(), reply);
            }
            Command::UnbanAll { jail, origin, reply } => self.unban_all(jail.as_deref(), origin.as_ref(), reply),
            Command::Except { kind, networks, jail, terms, reply } => {
                self.except(kind, &networks, jail.as_deref(), &terms, reply);
            }
            Command::EndExceptions { kind, networks, jail, uid, reply } => {
                self.end_exceptions(kind, &networks, jail.as_deref(), uid, reply);
            }
            Command::History { since, until, step, reply } => {
                let steps = self.engine.history(since, until, step, now());
                let steps = steps.map_err(|error| Error::InvalidArgument(error.to_string()));
                let _ = reply.send(steps.map(|steps| steps.into_iter().map(HistoryRow::from).collect()));
            }
            Command::TopSources(question, reply) => {
                let sources = self.engine.top(&question).map_err(Error::from);
                let _ = reply.send(sources.map(|sources| sources.into_iter().map(TopRow::from).collect()));
            }
            Command::ListIgnored(reply) => drop(reply.send(self.ignored())),
            Command::ListSuspects(reply) => drop(reply.send(self.suspects())),
            Command::Pause { jail, terms, reply } => self.pause(jail.as_deref(), &terms, reply),
            Command::Resume { jail, uid, reply } => self.resume(jail.as_deref(), uid, reply),
            Command::Explain(address, reply) => {
                let _ = reply.send(self.engine.explain(address, now()));
            }
            Command::Reload(reply) => self.ask_to_reload(Some(reply)),
            Command::RemoveFirewall(reply) => self.firewall.remove(reply),
            Command::FirewallStatus(reply) => self.firewall.inspect(reply),
            Command::SyncFirewall(reply) => self.firewall.sync(reply),
        }
    }

    /// Bans, all at once: one write of the state, and the firewall gets all of them together.
    fn ban(&mut self, orders: &[BanOrder], list: Option<&str>, reply: Reply<Many<Ordered>>) {
        let now = now();
        let decisions: Vec<Result<Decision, CommandError>> =
            orders.iter().map(|order| self.engine.ban(order, now, &mut self.effects)).collect();
        let number = |change| decisions.iter().flatten().filter(|decision| decision.change == change).count();
        let (begun, extended) = (number(Change::Banned), number(Change::Extended));
        if let Some(origin) = list {
            let refused = decisions.iter().filter(|decision| decision.is_err()).count();
            events::list_taken(origin, begun, extended, number(Change::Unchanged), refused);
        }
        self.keep(begun + extended > 0, reply, |this| {
            let row = |Decision { change, ban }| Ordered { change, row: this.row(&ban) };
            decisions.into_iter().map(|decision| decision.map(row)).collect()
        });
    }

    fn unban(
        &mut self,
        networks: &[IpNet],
        jail: Option<&str>,
        origin: Option<&Origin>,
        reply: Reply<Many<Vec<BanRow>>>,
    ) {
        let now = now();
        let ended: Vec<Result<Vec<Ban>, CommandError>> =
            networks.iter().map(|network| self.engine.unban(*network, jail, origin, now, &mut self.effects)).collect();
        self.keep(ended.iter().any(Result::is_ok), reply, |_| {
            let rows = |bans: Vec<Ban>| bans.iter().map(|ban| BanRow::new(ban, false)).collect();
            ended.into_iter().map(|ended| ended.map(rows)).collect()
        });
    }

    fn unban_all(&mut self, jail: Option<&str>, origin: Option<&Origin>, reply: Reply<u32>) {
        if let Some(Err(error)) = jail.map(|jail| self.engine.jail_named(jail).map(drop)) {
            return drop(reply.send(Err(error.into())));
        }
        let meant =
            |ban: &&Ban| jail.is_none_or(|jail| *ban.jail == *jail) && origin.is_none_or(|it| ban.origin == *it);
        let meant: Vec<(IpNet, Arc<str>)> =
            self.engine.bans().filter(meant).map(|ban| (ban.source, ban.jail.clone())).collect();
        let mut ended = 0;
        for (source, jail) in meant {
            let bans = self.engine.unban(source, Some(&jail), origin, now(), &mut self.effects);
            ended += bans.map_or(0, |bans| bans.len());
        }
        self.keep(ended > 0, reply, |_| u32::try_from(ended).unwrap_or(u32::MAX));
    }

    /// A ban, as the bus has it.
    fn row(&self, ban: &Ban) -> BanRow {
        let confirmed = |scope: &Arc<Scope>| self.firewall.holds(scope, ban.source);
        BanRow::new(ban, self.reading.caught_up && self.engine.scope(&ban.jail).is_some_and(confirmed))
    }

    /// Carries orders out, and has on disk before the answer what they have changed. Nobody but the caller
    /// waits for that.
    pub(super) fn keep<T: Send + 'static>(&mut self, changed: bool, reply: Reply<T>, answer: impl FnOnce(&Self) -> T) {
        self.carry_out();
        let answer = answer(self);
        // What another order has changed may not be on disk yet, and this answer tells of it.
        if !changed && !self.saving.has_orders() {
            return drop(reply.send(Ok(answer)));
        }
        self.publish();
        self.saving.order(|outcome| {
            let _ = reply.send(match outcome {
                Ok(()) => Ok(answer),
                Err(error) => Err(Error::Failed(format!("It is done, but a crash may undo it: {error}"))),
            });
        });
        self.save();
    }
}
