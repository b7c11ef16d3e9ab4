//! What the daemon does in a reload ([`super::reloading`]).

use super::{
    reloading::{ReloadError, Reply, Step},
    run::Daemon,
};
use crate::{
    config::Settings,
    contract::error::Error,
    journal::{Follower, events},
    systemd::resolved::Names,
    util::time::now,
};

impl Daemon {
    /// Begins to reload the configuration.
    pub(super) fn ask_to_reload(&mut self, reply: Option<Reply>) {
        if self.readiness.is_ready() {
            self.notifier.reloading();
        }
        self.reloading.ask(reply);
    }

    /// A reload has come one step further: what was read is put in force, or it is said why not.
    pub(super) fn reload(&mut self, step: Step) {
        match step {
            // What can fail comes first.
            Step::Read(Ok(settings)) => self.reloading.open(settings, self.reading.position()),
            Step::Opened(settings, Ok(follower)) => self.put_in_force(&settings, follower),
            Step::Read(Err(error)) | Step::Opened(_, Err(error)) => {
                events::bad_config(&error.to_string());
                for reply in self.end_reload(Some(&error)) {
                    let _ = reply.send(Err(Error::InvalidConfiguration(error.to_string())));
                }
            }
        }
    }

    fn put_in_force(&mut self, settings: &Settings, follower: Follower) {
        self.reading.go_on_with(follower, settings.fields.clone());
        self.names = Names::ask(self.outgoing.connection(), &settings.jails);
        self.engine.reload(settings.jails.clone(), now(), &mut self.effects);
        self.carry_out();
        // What the bans of a jail close may be something else now.
        self.firewall.refill(&self.engine);
        self.saving.touch_soon();
        let changed = self.happenings.publisher.change_jails(&settings.jails);
        let names: Vec<&str> = self.engine.jails().map(|jail| jail.name.as_str()).collect();
        events::reloaded(&names);
        self.publish();
        let replies = self.end_reload(None);
        // Whoever has asked finds the new jails on the bus.
        tokio::spawn(async move {
            changed.await;
            for reply in replies {
                let _ = reply.send(Ok(()));
            }
        });
    }

    /// Says that it is over, and begins again if somebody has asked meanwhile.
    fn end_reload(&mut self, failure: Option<&ReloadError>) -> Vec<Reply> {
        let (replies, again) = self.reloading.end(failure);
        if self.readiness.is_ready() {
            self.notifier.ready(&self.status_line());
        }
        if again {
            self.ask_to_reload(None);
        }
        replies
    }
}
