//! What the bus asks of the daemon, and what is on disk before the answer.

use super::run::Daemon;
use crate::{
    bus::{self, Command},
    contract::{bus::BanRow, error::Error},
    core::engine::CommandError,
    firewalld::Order,
    util::time::now,
};

impl Daemon {
    pub(super) async fn obey(&mut self, command: Command) {
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
            Command::UnbanAll(reply) => {
                let mut ended = 0;
                for source in self.engine.banned() {
                    let bans = self.engine.unban(source, None, now(), &mut self.effects);
                    ended += bans.map_or(0, |bans| bans.len());
                }
                let outcome = self.kept(Ok(u32::try_from(ended).unwrap_or(u32::MAX))).await;
                let _ = reply.send(outcome);
            }
        }
    }

    /// Carries an order out and has it on disk before its answer.
    async fn kept<T>(&mut self, outcome: Result<T, CommandError>) -> Result<T, Error> {
        let answer = outcome?;
        self.carry_out();
        self.publish();
        match self.save_now().await {
            Ok(()) => Ok(answer),
            Err(what) => Err(Error::Failed(format!("It is done, but a crash may undo it: {what}"))),
        }
    }
}
