//! Orders from outside: bans and unbans, and how the source is written.
//!
//! A ban that is ordered is one like any other, with a reason instead of failures; an unban forgets
//! what was counted of the source. An order can be repeated: whoever is banned already is not banned
//! again, and their ban can only become longer.

use std::sync::Arc;

use ipnet::IpNet;

use super::{Effect, Engine, UnbanReason, enforce::ban_end};
use crate::{
    core::{
        bans::{Ban, MOST_BANS, Origin},
        exceptions::ExceptionKind,
        failure::Failures,
        jail::JailSettings,
        net::text_of,
        time::{Usec, span},
    },
    util::suggest,
};

/// An order that would extend a ban by no more than one part in this number of what it asks for changes
/// nothing, so that a list can be given again without all of its bans becoming new.
const SLACK: u64 = 100;
/// Times beyond this have no meaning but "permanent": numbers of JavaScript do not hold them exactly.
const FOREVER: Usec = i64::MAX as Usec;

/// Why a command can't be carried out: a sentence for whoever gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    /// The jail does not exist.
    #[error("There is no jail '{0}'; {1}")]
    NoSuchJail(String, String),
    /// None is named, and no jail watches a service.
    #[error("No jail watches a service, so name the jail of the ban; there are: {0}.")]
    NoJailNamed(String),
    /// The source is not banned.
    #[error("{0}")]
    NotBanned(String),
    /// The source may not be banned.
    #[error("{0} can't be banned in jail '{1}': it is or contains an address that is never banned: {2}.")]
    Ignored(String, String, String),
    /// Somebody has logged in from there.
    #[error(
        "{0} was not banned in jail '{1}', because somebody {2} (spare-logins); with Spare=false, it is banned all the same."
    )]
    Spared(String, String, String),
    /// The times of the order are no ban.
    #[error("{0} can't be banned in jail '{1}': {2}")]
    Untimely(String, String, &'static str),
    /// There are too many bans.
    #[error(
        "{0} was not banned in jail '{1}': {MOST_BANS} bans are in force, which is the most that wardend keeps; end some, or ban networks in place of their addresses."
    )]
    Full(String, String),
    /// There is no such exception to end.
    #[error("{1}")]
    NoException(ExceptionKind, String),
    /// There are too many exceptions of a kind.
    #[error("{}", Self::too_many(*.0))]
    TooMany(ExceptionKind),
}

/// How long a ban that is ordered lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duration {
    /// As the jail's settings say.
    OfJail,
    /// Without an end.
    Forever,
    /// A number of µs.
    Usec(Usec),
    /// Until this time, in µs.
    Until(Usec),
}

/// A ban that somebody orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BanOrder {
    /// Who is to be banned.
    pub(crate) network: IpNet,
    /// In which jail.
    pub(crate) jail: Arc<str>,
    /// For how long.
    pub(crate) duration: Duration,
    /// Since when, in µs, if it began elsewhere.
    pub(crate) since: Option<Usec>,
    /// Which ban of its source it is, if that was counted elsewhere.
    pub(crate) count: Option<u32>,
    /// Why.
    pub(crate) reason: Box<str>,
    /// Whose decision it is.
    pub(crate) origin: Origin,
    /// Somebody who is or was logged in from there is spared.
    pub(crate) spare: bool,
    /// Whether what the source has open is closed; none for what the jail does.
    pub(crate) cut: Option<bool>,
    /// If there are too many bans, the one that would end first has to go for it.
    pub(crate) displaces: bool,
}

impl BanOrder {
    /// An admin's, for as long as the jail would.
    pub(crate) fn new(network: IpNet, jail: &str) -> Self {
        Self {
            network,
            jail: jail.into(),
            duration: Duration::OfJail,
            since: None,
            count: None,
            reason: "".into(),
            origin: Origin::Admin,
            spare: false,
            cut: None,
            displaces: true,
        }
    }

    fn reason(&self) -> Option<Box<str>> {
        (self.origin != Origin::Jail).then(|| self.reason.clone())
    }
}

/// What an order has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A ban has begun.
    Banned,
    /// One that was in force lasts longer.
    Extended,
    /// One is in force that ends no earlier.
    Unchanged,
}

/// What came of an order, and the ban that is in force now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// What has changed.
    pub(crate) change: Change,
    /// The ban.
    pub(crate) ban: Ban,
}

impl Engine {
    /// Somebody orders a ban, at the time `now`.
    ///
    /// # Errors
    /// If there is no such jail, or the source may not be banned.
    pub(crate) fn ban(&mut self, order: &BanOrder, now: Usec, out: &mut Vec<Effect>) -> Result<Decision, CommandError> {
        let index = self.find(&order.jail)?;
        let settings = &self.jails[index].settings;
        let source = self.source(order.network, settings);
        let named = || (text_of(source), order.jail.to_string());
        if let Some(ignored) = settings.ignored_within(source) {
            let (source, jail) = named();
            return Err(CommandError::Ignored(source, jail, ignored.because.to_string()));
        }
        let untimely = |what| {
            let (source, jail) = named();
            Err(CommandError::Untimely(source, jail, what))
        };
        if order.since.is_some_and(|since| since > now) {
            return untimely("its beginning is in the future.");
        }
        if matches!(order.duration, Duration::Until(until) if until <= now) {
            return untimely("its end is in the past.");
        }
        if order.spare
            && let Some(login) = self.jails[index].login_in(source, now)
        {
            let (source, jail) = named();
            let whom = match now.saturating_sub(login) {
                0 => "is logged in from there".to_owned(),
                ago => format!("was logged in from there {} ago", span(ago)),
            };
            return Err(CommandError::Spared(source, jail, whom));
        }
        let standing = self.bans.get(source, &order.jail);
        let earlier = self.bans.earlier(source, &order.jail, now, settings.forget);
        let count = match (standing, order.count) {
            (Some(standing), _) => standing.count,
            (None, Some(count)) => count.max(earlier).max(1),
            (None, None) => earlier.saturating_add(1),
        };
        let until = match order.duration {
            Duration::OfJail => ban_end(settings, source, now, count),
            Duration::Forever => None,
            Duration::Usec(usec) => Some(now.saturating_add(usec)),
            Duration::Until(until) => Some(until),
        };
        let until = until.filter(|until| *until < FOREVER);
        if let Some(standing) = standing.cloned() {
            return Ok(self.extend_ban(index, standing, until, order, out));
        }
        if self.bans.len() >= MOST_BANS && !order.displaces {
            let (source, jail) = named();
            return Err(CommandError::Full(source, jail));
        }
        let ban = Ban {
            jail: Arc::clone(&self.jails[index].name),
            source,
            since: order.since.unwrap_or(now),
            until,
            count,
            failures: Failures::default(),
            reason: order.reason(),
            origin: order.origin.clone(),
            ordered: order.since.map(|_| now),
            despite: None,
            suspected: false,
        };
        let cut = order.cut.unwrap_or(self.jails[index].settings.cut);
        self.start_ban(&ban, Some(cut), out);
        Ok(Decision { change: Change::Banned, ban })
    }

    /// Somebody orders a ban of whoever is banned already.
    fn extend_ban(
        &mut self,
        index: usize,
        standing: Ban,
        until: Option<Usec>,
        order: &BanOrder,
        out: &mut Vec<Effect>,
    ) -> Decision {
        let settings = &self.jails[index].settings;
        let slack = match order.duration {
            Duration::Usec(usec) => usec / SLACK,
            Duration::OfJail | Duration::Forever | Duration::Until(_) => 0,
        };
        let is_longer = match (standing.until, until) {
            // No end was asked for.
            _ if order.duration == Duration::OfJail => false,
            (None, _) => false,
            (Some(_), None) => true,
            (Some(before), Some(after)) => after > before.saturating_add(slack),
        };
        if order.cut.unwrap_or(settings.cut) {
            out.push(Effect::Cut { scope: Arc::clone(&settings.scope), source: standing.source });
        }
        if !is_longer {
            return Decision { change: Change::Unchanged, ban: standing };
        }
        let mut ban = Ban { until, ..standing };
        if let Some(reason) = order.reason() {
            ban.origin = order.origin.clone();
            ban.reason = Some(reason).filter(|reason| !reason.is_empty()).or(ban.reason).or_else(|| Some("".into()));
        }
        self.bans.add(ban.clone());
        out.push(Effect::Extended(ban.clone()));
        Decision { change: Change::Extended, ban }
    }

    /// Somebody unbans `network`: in one jail, or in all; with an origin, only where the ban is of it. The
    /// counters and the history of the source start over.
    ///
    /// # Errors
    /// If there is no such jail, or no such ban.
    pub(crate) fn unban(
        &mut self,
        network: IpNet,
        jail: Option<&str>,
        origin: Option<&Origin>,
        now: Usec,
        out: &mut Vec<Effect>,
    ) -> Result<Vec<Ban>, CommandError> {
        let only = jail.map(|jail| self.find(jail)).transpose()?;
        let mut ended = Vec::new();
        let mut others = None;
        for index in 0..self.jails.len() {
            if only.is_some_and(|only| only != index) {
                continue;
            }
            let settings = &self.jails[index].settings;
            let name = settings.name.clone();
            let source = self.source(network, settings);
            if let Some(origin) = origin {
                match self.bans.get(source, &name) {
                    Some(ban) if ban.origin == *origin => {}
                    Some(ban) => {
                        others = Some(ban.origin.word().to_owned());
                        continue;
                    }
                    None => continue,
                }
            }
            self.jails.at(index).clear(source);
            ended.extend(self.end_ban(source, &name, now, UnbanReason::Command, out));
            self.bans.forget(source, &name);
        }
        if let (true, Some(other), Some(origin)) = (ended.is_empty(), others, origin) {
            return Err(CommandError::NotBanned(format!(
                "{} is not banned by origin '{}' but by '{other}'.",
                text_of(network),
                origin.word()
            )));
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

    /// The jails of a ban that names none: as many as it takes to have the source reach nothing that is
    /// watched. That is the first one that closes all ports, or else each that watches a service.
    ///
    /// # Errors
    /// If no jail watches a service.
    pub(crate) fn jails_for_all(&self) -> Result<Vec<Arc<str>>, CommandError> {
        // A jail over bans watches no service either.
        let watching = || self.jails.iter().filter(|jail| !jail.settings.filter.is_none());
        let closes_all = watching().find(|jail| jail.settings.scope.ports().is_empty());
        let jails: Vec<Arc<str>> = match closes_all {
            Some(jail) => vec![Arc::clone(&jail.name)],
            None => watching().map(|jail| Arc::clone(&jail.name)).collect(),
        };
        if jails.is_empty() {
            let names: Vec<&str> = self.jails.iter().map(|jail| jail.settings.name.as_str()).collect();
            return Err(CommandError::NoJailNamed(names.join(", ")));
        }
        Ok(jails)
    }

    /// Whether there is a jail of this name.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn jail_named(&self, jail: &str) -> Result<(), CommandError> {
        self.find(jail).map(drop)
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
