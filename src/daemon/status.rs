//! What can be read of the daemon at any time: STATUS of the unit, the properties on the bus.

use super::{notify, run::Daemon};
use crate::{
    bus::{self, Status},
    firewall,
    time::count,
};

impl Daemon {
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
}
