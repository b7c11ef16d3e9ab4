//! Orders of an admin that hold for a time: who is ignored beside `ignoreip`, who is suspected, and which
//! jail is paused.
//!
//! An exception becomes part of the settings of the jails that it is about, so what decides with the
//! settings decides with it.

use std::{borrow::Cow, sync::Arc};

use ipnet::IpNet;

use super::{CommandError, Effect, Engine};
use crate::core::{
    exceptions::{Exception, ExceptionEnd, ExceptionKind, Exceptions, MOST},
    jail::{IgnoreList, Ignored, JailSettings},
    net::text_of,
    time::Usec,
};

/// What an order says besides whom it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// For how long, in µs; none until it is ended.
    pub(crate) usec: Option<Usec>,
    pub(crate) reason: Box<str>,
    pub(crate) origin: Box<str>,
    /// The user ID of who gives the order.
    pub(crate) uid: Option<u32>,
}

/// An entry of the configuration that says who is never banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IgnoredEntry {
    /// The jails that it is about.
    pub(crate) jails: Vec<String>,
    /// What was written: a network, or a name with what it means now.
    pub(crate) what: IgnoredWhat,
    /// What says so: `FILE:LINE: …`.
    pub(crate) because: Cow<'static, str>,
}

/// What an entry of the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IgnoredWhat {
    Network(IpNet),
    Name(String, Vec<std::net::IpAddr>),
}

/// Makes the exceptions part of the settings of a jail.
pub(super) fn except(settings: &mut JailSettings, exceptions: &Exceptions) {
    let of = |kind| {
        let concerned = exceptions.of(kind).filter(|it| it.concerns(&settings.name));
        let listed = concerned.filter_map(|it| Some(Ignored { network: it.network?, because: because(it) }));
        IgnoreList::new(listed.collect(), &settings.translators)
    };
    (settings.excepted, settings.suspected) = (of(ExceptionKind::Ignored), of(ExceptionKind::Suspected));
}

/// The end of a sentence that says why an address is ignored or suspected.
fn because(exception: &Exception) -> Cow<'static, str> {
    let how = match exception.kind {
        ExceptionKind::Ignored => "ignored",
        ExceptionKind::Suspected => "suspected",
        ExceptionKind::Paused => "paused",
    };
    let by = match &*exception.origin {
        "" | "admin" => "an administrator",
        origin => &format!("'{origin}'"),
    };
    match &*exception.reason {
        "" => format!("{how} by {by}").into(),
        reason => format!("{how} by {by} ({reason})").into(),
    }
}

impl Engine {
    /// An admin has networks ignored or suspected, in one jail or in all. Each has its own answer.
    ///
    /// # Errors
    /// If there is no such jail.
    pub(crate) fn except(
        &mut self,
        kind: ExceptionKind,
        networks: &[IpNet],
        jail: Option<&str>,
        terms: &Terms,
        now: Usec,
        out: &mut Vec<Effect>,
    ) -> Result<Vec<Result<Exception, CommandError>>, CommandError> {
        jail.map(|jail| self.find(jail)).transpose()?;
        let order = |network: &IpNet| self.order(kind, Some(network.trunc()), jail, terms, now, out);
        let answers = networks.iter().map(order).collect();
        self.apply_exceptions(now, out);
        Ok(answers)
    }

    /// An admin no longer has networks ignored or suspected: in one jail, or, without one, in any. Each has
    /// its own answer.
    ///
    /// # Errors
    /// If there is no such jail.
    pub(crate) fn end_exceptions(
        &mut self,
        kind: ExceptionKind,
        networks: &[IpNet],
        jail: Option<&str>,
        uid: Option<u32>,
        now: Usec,
        out: &mut Vec<Effect>,
    ) -> Result<Vec<Result<Vec<Exception>, CommandError>>, CommandError> {
        jail.map(|jail| self.find(jail)).transpose()?;
        let mut answers = Vec::new();
        for network in networks.iter().map(IpNet::trunc) {
            let concerned = |it: &&Exception| {
                it.network == Some(network) && jail.is_none_or(|jail| it.jail.as_deref() == Some(jail))
            };
            let jails: Vec<Option<Arc<str>>> =
                self.exceptions.of(kind).filter(concerned).map(|it| it.jail.clone()).collect();
            if jails.is_empty() {
                answers.push(Err(self.no_exception(kind, network, jail)));
                continue;
            }
            let ended = jails.iter().filter_map(|jail| self.exceptions.take(kind, Some(network), jail.as_deref()));
            let ended: Vec<Exception> = ended.collect();
            out.extend(ended.iter().map(|it| Effect::ExceptionEnded(it.clone(), ExceptionEnd::Command(uid))));
            answers.push(Ok(ended));
        }
        self.apply_exceptions(now, out);
        Ok(answers)
    }

    /// An admin has a jail, or all of them, ban nobody for a time.
    ///
    /// # Errors
    /// If there is no such jail.
    pub(crate) fn pause(
        &mut self,
        jail: Option<&str>,
        terms: &Terms,
        now: Usec,
        out: &mut Vec<Effect>,
    ) -> Result<Vec<Exception>, CommandError> {
        self.jails_of(jail)?
            .iter()
            .map(|jail| self.order(ExceptionKind::Paused, None, Some(jail), terms, now, out))
            .collect()
    }

    /// A jail, or all that are paused, ban again.
    ///
    /// # Errors
    /// If there is no such jail, or it is not paused.
    pub(crate) fn resume(
        &mut self,
        jail: Option<&str>,
        uid: Option<u32>,
        out: &mut Vec<Effect>,
    ) -> Result<Vec<Exception>, CommandError> {
        let jails = self.jails_of(jail)?;
        let ended = jails.iter().filter_map(|jail| self.exceptions.take(ExceptionKind::Paused, None, Some(jail)));
        let ended: Vec<Exception> = ended.collect();
        if ended.is_empty() {
            return Err(CommandError::NoException(
                ExceptionKind::Paused,
                jail.map_or_else(|| "No jail is paused.".to_owned(), |jail| format!("Jail '{jail}' is not paused.")),
            ));
        }
        out.extend(ended.iter().map(|it| Effect::ExceptionEnded(it.clone(), ExceptionEnd::Command(uid))));
        Ok(ended)
    }

    /// Until when a jail is paused, if it is.
    pub(crate) fn pause_of(&self, jail: &str) -> Option<&Exception> {
        self.exceptions.get(ExceptionKind::Paused, None, Some(jail))
    }

    /// All exceptions of a kind.
    pub(crate) fn exceptions(&self, kind: ExceptionKind) -> impl Iterator<Item = &Exception> {
        self.exceptions.of(kind)
    }

    /// What the configuration says is never banned, each entry once, with the jails that have it.
    pub(crate) fn ignored_by_configuration(&self) -> Vec<IgnoredEntry> {
        let mut entries: Vec<IgnoredEntry> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for settings in self.jails() {
            let networks =
                settings.ignoreip.iter().map(|it| (IgnoredWhat::Network(it.network), text_of(it.network), &it.because));
            let names = settings.names.iter().map(|it| {
                let addresses = self.names.get(&it.name).cloned().unwrap_or_default();
                (IgnoredWhat::Name(it.name.clone(), addresses), it.name.clone(), &it.because)
            });
            for (what, text, because) in networks.chain(names) {
                let place = *places.entry((text, because.clone())).or_insert_with(|| {
                    entries.push(IgnoredEntry { jails: Vec::new(), what, because: because.clone() });
                    entries.len() - 1
                });
                // One line of the configuration may name a network twice.
                let jails = &mut entries[place].jails;
                if jails.last() != Some(&settings.name) {
                    jails.push(settings.name.clone());
                }
            }
        }
        entries
    }

    /// Ends the exceptions whose time is over.
    pub(super) fn expire_exceptions(&mut self, now: Usec, out: &mut Vec<Effect>) {
        let before = out.len();
        while let Some(exception) = self.exceptions.next_ended(now) {
            out.push(Effect::ExceptionEnded(exception, ExceptionEnd::Expired));
        }
        if out.len() > before {
            self.apply_exceptions(now, out);
        }
    }

    fn order(
        &mut self,
        kind: ExceptionKind,
        network: Option<IpNet>,
        jail: Option<&str>,
        terms: &Terms,
        now: Usec,
        out: &mut Vec<Effect>,
    ) -> Result<Exception, CommandError> {
        let exception = Exception {
            kind,
            network,
            jail: jail.map(Arc::from),
            since: now,
            until: terms.usec.map(|usec| now.saturating_add(usec)),
            reason: terms.reason.clone(),
            origin: terms.origin.clone(),
            uid: terms.uid,
        };
        self.exceptions.put(exception.clone()).map_err(|_| CommandError::TooMany(kind))?;
        out.push(Effect::Excepted(exception.clone()));
        Ok(exception)
    }

    /// Has the jails decide by the exceptions that there are now; who is ignored from now on is freed.
    fn apply_exceptions(&mut self, now: Usec, out: &mut Vec<Effect>) {
        self.relist(&[], now, out, |engine, settings| except(settings, &engine.exceptions));
    }

    /// The names of one jail, or of all.
    fn jails_of(&self, jail: Option<&str>) -> Result<Vec<Arc<str>>, CommandError> {
        match jail {
            Some(jail) => Ok(vec![Arc::clone(&self.jails[self.find(jail)?].name)]),
            None => Ok(self.jails.iter().map(|jail| Arc::clone(&jail.name)).collect()),
        }
    }

    /// Why there is nothing to end.
    fn no_exception(&self, kind: ExceptionKind, network: IpNet, jail: Option<&str>) -> CommandError {
        let (source, how) = (text_of(network), if kind == ExceptionKind::Ignored { "ignored" } else { "suspected" });
        let around = |it: &&Exception| it.network.is_some_and(|other| other != network && other.contains(&network));
        let everywhere = self.exceptions.get(kind, Some(network), None).filter(|_| jail.is_some());
        let configured = self
            .jails()
            .find_map(|settings| settings.ignoreip.overlaps(network))
            .filter(|_| kind == ExceptionKind::Ignored);
        let what = if let (Some(jail), Some(_)) = (jail, everywhere) {
            format!("{source} is {how} in all jails and not in jail '{jail}' alone; end that without a jail.")
        } else if let Some(around) = self.exceptions.of(kind).find(around) {
            format!("{source} is not {how} by itself but inside {0}; end that.", around.source())
        } else if let Some(ignored) = configured {
            format!("{source} is ignored by the configuration ({}); change that file and reload.", ignored.because)
        } else {
            let place = jail.map_or_else(String::new, |jail| format!(" in jail '{jail}'"));
            format!("{source} is not {how}{place}.")
        };
        CommandError::NoException(kind, what)
    }
}

impl CommandError {
    /// There are too many exceptions of a kind.
    pub(super) fn too_many(kind: ExceptionKind) -> String {
        let (what, verb) = match kind {
            ExceptionKind::Ignored => ("addresses and networks are ignored", "wardenctl unignore"),
            ExceptionKind::Suspected => ("addresses and networks are suspected", "wardenctl unsuspect"),
            ExceptionKind::Paused => ("jails are paused", "wardenctl resume"),
        };
        format!("{MOST} {what} by order already, which is the maximum; end some with `{verb}`.")
    }
}
