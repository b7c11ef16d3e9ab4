//! Commands of an admin: manual bans and unbans, and how the source is written.
//!
//! A ban by hand is one like any other, with a reason instead of failures; its end forgets what was
//! counted of the source.

use ipnet::IpNet;

use super::{Effect, Engine, UnbanReason, ban_end};
use crate::{
    core::{bans::Ban, failure::Failures, jail::JailSettings, net::text_of, time::Usec},
    util::suggest,
};

/// Why a command can't be carried out: a sentence for whoever gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The jail does not exist.
    #[error("There is no jail '{0}'; {1}")]
    NoSuchJail(String, String),
    /// The source is not banned.
    #[error("{0}")]
    NotBanned(String),
    /// The source may not be banned.
    #[error("{0} can't be banned in jail '{1}': it is or contains an address that is never banned ({2}).")]
    Ignored(String, String, String),
}

/// How long a ban by hand lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duration {
    /// As the jail's settings say.
    OfJail,
    /// Without an end.
    Forever,
    /// A number of µs.
    Usec(Usec),
}

impl Engine {
    /// An admin bans `network` in `jail`, from `now` on, for `duration` µs or, without one, as
    /// long as the jail would.
    ///
    /// # Errors
    /// If there is no such jail, or the network holds an address that is never banned.
    pub fn ban(
        &mut self,
        network: IpNet,
        jail: &str,
        duration: Duration,
        reason: &str,
        now: Usec,
        out: &mut Vec<Effect>,
    ) -> Result<Ban, CommandError> {
        let settings = &self.jails[self.find(jail)?].settings;
        let source = self.source(network, settings);
        if let Some(ignored) = settings.ignored_within(source) {
            let because = ignored.because.to_string();
            return Err(CommandError::Ignored(text_of(source), jail.to_owned(), because));
        }
        let count = self.bans.next_count(source, jail, now, settings.forget);
        let until = match duration {
            Duration::OfJail => ban_end(settings, source, now, count),
            Duration::Forever => None,
            Duration::Usec(usec) => Some(now.saturating_add(usec)),
        };
        let ban = Ban {
            jail: jail.into(),
            source,
            since: now,
            until,
            count,
            failures: Failures::default(),
            reason: Some(reason.into()),
            despite: None,
        };
        self.start_ban(ban.clone(), out);
        Ok(ban)
    }

    /// An admin unbans `network`: in one jail, or in all. The counters and the history of the
    /// source start over.
    ///
    /// # Errors
    /// If there is no such jail, or no such ban.
    pub fn unban(
        &mut self,
        network: IpNet,
        jail: Option<&str>,
        now: Usec,
        out: &mut Vec<Effect>,
    ) -> Result<Vec<Ban>, CommandError> {
        let only = jail.map(|jail| self.find(jail)).transpose()?;
        let mut ended = Vec::new();
        for index in 0..self.jails.len() {
            if only.is_some_and(|only| only != index) {
                continue;
            }
            let settings = &self.jails[index].settings;
            let name = settings.name.clone();
            let source = self.source(network, settings);
            self.jails[index].clear(source);
            ended.extend(self.end_ban(source, &name, now, UnbanReason::Command, out));
            self.bans.forget(source, &name);
        }
        if ended.is_empty() {
            let covering = self.bans.iter().find(|ban| ban.source.contains(&network));
            return Err(CommandError::NotBanned(match covering {
                Some(ban) => format!(
                    "{} is not banned by itself but inside {}; unban that.",
                    text_of(network),
                    text_of(ban.source)
                ),
                None => match jail {
                    Some(jail) => format!("{} is not banned in jail '{jail}'.", text_of(network)),
                    None => format!("{} is not banned.", text_of(network)),
                },
            }));
        }
        Ok(ended)
    }

    pub(super) fn find(&self, jail: &str) -> Result<usize, CommandError> {
        self.jails.iter().position(|known| known.settings.name == jail).ok_or_else(|| {
            let names = self.jails.iter().map(|jail| jail.settings.name.as_str());
            CommandError::NoSuchJail(jail.to_owned(), suggest::instead(jail, names))
        })
    }

    /// A single address that is given by hand means its source; a network means itself.
    fn source(&self, network: IpNet, settings: &JailSettings) -> IpNet {
        if network.prefix_len() == network.max_prefix_len() {
            let source = settings.source(network.addr());
            // A host that was banned by itself is freed by itself.
            if self.bans.get(network, &settings.name).is_some() { network } else { source }
        } else {
            network.trunc()
        }
    }
}
