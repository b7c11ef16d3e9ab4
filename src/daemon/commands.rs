//! What the bus asks of the daemon, and what is on disk before the answer.

use std::sync::Arc;

use ipnet::IpNet;

use super::run::Daemon;
use crate::{
    bus::{self, Command, Ordered, Outcomes, Page},
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
    firewalld::{self, Order},
    journal::events,
    util::time::now,
};

impl Daemon {
    pub(super) async fn obey(&mut self, command: Command) {
        // A caller that is gone does not want its answer.
        match command {
            Command::ListBans(listing, reply) => {
                let (bans, total) = listing.of(self.engine.bans());
                let bans = bans.into_iter().map(|ban| self.row(ban)).collect();
                let _ = reply.send(Page { bans, total, generation: self.counted.generation });
            }
            Command::ListJails(reply) => {
                let _ = reply.send(bus::jail_rows(&self.engine, &self.counted));
            }
            Command::Ban { orders, list, reply } => {
                let _ = reply.send(self.ban(&orders, list.as_deref()).await);
            }
            Command::Unban { networks, jail, origin, reply } => {
                let _ = reply.send(self.unban(&networks, jail.as_deref(), origin.as_ref()).await);
            }
            Command::UnbanAll { jail, origin, reply } => {
                let _ = reply.send(self.unban_all(jail.as_deref(), origin.as_ref()).await);
            }
            Command::Except { kind, networks, jail, terms, reply } => {
                let _ = reply.send(self.except(kind, &networks, jail.as_deref(), &terms).await);
            }
            Command::EndExceptions { kind, networks, jail, uid, reply } => {
                let _ = reply.send(self.end_exceptions(kind, &networks, jail.as_deref(), uid).await);
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
            Command::ListWatched(reply) => drop(reply.send(self.watched())),
            Command::Pause { jail, terms, reply } => {
                let _ = reply.send(self.pause(jail.as_deref(), &terms).await);
            }
            Command::Resume { jail, uid, reply } => {
                let _ = reply.send(self.resume(jail.as_deref(), uid).await);
            }
            Command::Explain(address, reply) => {
                let _ = reply.send(self.engine.explain(address, now()));
            }
            Command::Reload(reply) => self.ask_to_reload(Some(reply)),
            Command::RemoveFirewall(reply) => {
                self.removal = Some(reply);
                let _ = self.orders.send(Order::Remove);
            }
            Command::FirewallStatus(reply) => {
                self.inspections.push_back(reply);
                let _ = self.orders.send(Order::Inspect);
            }
            Command::SyncFirewall(reply) => {
                self.syncs.push_back(reply);
                let _ = self.orders.send(Order::Sync);
            }
        }
    }

    /// Bans, all at once: one write of the state, and the firewall gets all of them together.
    async fn ban(&mut self, orders: &[BanOrder], list: Option<&str>) -> Outcomes<Ordered> {
        let now = now();
        let decisions: Vec<Result<Decision, CommandError>> =
            orders.iter().map(|order| self.engine.ban(order, now, &mut self.effects)).collect();
        let number = |change| decisions.iter().flatten().filter(|decision| decision.change == change).count();
        let (begun, extended) = (number(Change::Banned), number(Change::Extended));
        if let Some(origin) = list {
            let refused = decisions.iter().filter(|decision| decision.is_err()).count();
            events::list_taken(origin, begun, extended, number(Change::Unchanged), refused);
        }
        self.kept(begun + extended > 0).await?;
        let row = |Decision { change, ban }| Ordered { change, row: self.row(&ban) };
        Ok(decisions.into_iter().map(|decision| decision.map(row)).collect())
    }

    async fn unban(
        &mut self,
        networks: &[IpNet],
        jail: Option<&str>,
        origin: Option<&Origin>,
    ) -> Outcomes<Vec<BanRow>> {
        let now = now();
        let ended: Vec<Result<Vec<Ban>, CommandError>> =
            networks.iter().map(|network| self.engine.unban(*network, jail, origin, now, &mut self.effects)).collect();
        self.kept(ended.iter().any(Result::is_ok)).await?;
        let rows = |bans: Vec<Ban>| bans.iter().map(|ban| BanRow::new(ban, false)).collect();
        Ok(ended.into_iter().map(|ended| ended.map(rows)).collect())
    }

    async fn unban_all(&mut self, jail: Option<&str>, origin: Option<&Origin>) -> Result<u32, Error> {
        if let Some(jail) = jail {
            self.engine.jail_named(jail)?;
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
        self.kept(ended > 0).await?;
        Ok(u32::try_from(ended).unwrap_or(u32::MAX))
    }

    /// A ban, as the bus has it.
    fn row(&self, ban: &Ban) -> BanRow {
        let up = self.caught_up && matches!(self.firewall, firewalld::State::Up);
        let confirmed = |scope: &Arc<Scope>| !self.waiting.contains_key(&(Arc::clone(scope), ban.source));
        BanRow::new(ban, up && self.engine.scope(&ban.jail).is_some_and(confirmed))
    }

    /// Carries orders out, and has on disk before the answer what they have changed.
    pub(super) async fn kept(&mut self, changed: bool) -> Result<(), Error> {
        self.carry_out();
        if !changed {
            return Ok(());
        }
        self.publish();
        let saved = self.save_now().await;
        saved.map_err(|what| Error::Failed(format!("It is done, but a crash may undo it: {what}")))
    }
}
