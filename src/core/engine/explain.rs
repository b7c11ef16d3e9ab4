//! Why an address is where it is: what `wardenctl explain` shows.
//!
//! It reads the very state that decides, so what it says is what holds.

use std::net::IpAddr;

use super::Engine;
use crate::{
    core::{
        bans::{Ban, Origin},
        failure::Failures,
        jail::{JailSettings, OWN_NAMES, Width},
        net::text_of,
        time::{Usec, span},
    },
    util::text,
};

/// How an address stands with a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AddressState {
    /// Locked out, by itself or with a network around it.
    Banned(Ban),
    /// Never banned.
    Ignored,
    /// Not banned as long as a login is not long ago.
    Spared {
        /// The last login, in µs.
        login: Usec,
    },
    /// Some failures count against it.
    Counting,
    /// Nothing is known.
    Clear,
}

/// What a jail knows of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Explanation {
    pub(crate) jail: String,
    /// What the address is counted as.
    pub(crate) source: String,
    pub(crate) state: AddressState,
    /// One sentence with the reason, and the setting or the line that is behind it.
    pub(crate) because: String,
    /// How often it was banned, as far as that is remembered.
    pub(crate) count: u32,
    /// What counts against it, or has led to the ban; oldest first.
    pub(crate) failures: Failures,
}

impl Engine {
    /// What each jail knows of an address at the time `now`.
    pub(crate) fn explain(&self, address: IpAddr, now: Usec) -> Vec<Explanation> {
        self.jails
            .iter()
            .map(|jail| {
                let settings = &jail.settings;
                let source = settings.source(address);
                let counted = jail.failures_of(source).map(|failures| {
                    failures.views().filter(|view| view.time.saturating_add(settings.findtime) >= now).collect()
                });
                let mut failures: Failures = counted.unwrap_or_default();
                let ban = self.bans.covering(address.into(), &settings.name);
                let (state, because) = if let Some(ban) = ban {
                    failures = ban.failures.clone();
                    (AddressState::Banned(ban.clone()), of_ban(ban, settings))
                } else if let Some(ignored) = settings.ignored(address) {
                    (AddressState::Ignored, format!("It is never banned: {}.", ignored.because))
                } else if let Some(login) = jail.login_in(source, now) {
                    let whom = if login >= now {
                        "Somebody is logged in from there".to_owned()
                    } else {
                        format!("Somebody was logged in from there {} ago", span(now.saturating_sub(login)))
                    };
                    let count = of_count(&failures, settings);
                    let limit = jail.licence_of(source, now).map_or_else(String::new, |(spent, limit)| {
                        let (others, all, most) = (spent.others, spent.all, limit * OWN_NAMES);
                        let limit = text::count(limit, "failure", "failures");
                        format!(
                            "; {others} of {limit} for other names, {all} of {most} in all, end that (spare-maxretry)"
                        )
                    });
                    let text = format!("{whom}, so it is not banned (spare-logins); {count}{limit}.");
                    (AddressState::Spared { login }, text)
                } else if failures.is_empty() {
                    (AddressState::Clear, "Nothing counts against it.".to_owned())
                } else {
                    (AddressState::Counting, format!("{}.", of_count(&failures, settings)))
                };
                let because = match settings.suspected_within(source) {
                    Some(suspected) if matches!(state, AddressState::Clear | AddressState::Counting) => {
                        let next =
                            if settings.filter.counts_bans() { "next ban by another jail" } else { "next failure" };
                        format!("{because} Its {next} bans it: {}.", suspected.because)
                    }
                    _ => because,
                };
                let because = if self.pause_of(&settings.name).is_some() {
                    format!("{because} The jail is paused, so it bans nobody.")
                } else {
                    because
                };
                let because = match settings.translators.held(address.into()) {
                    Some(held) => format!("{because} It stands for the IPv4 address {}.", held.addr()),
                    None => because,
                };
                let because = jail.hopping(source, now).filter(|it| it.weight > 0).fold(because, |text, it| {
                    let network = text_of(it.network);
                    format!("{text} All sources of {network}: {} of {} (ipv6-hopping).", it.weight, it.limit)
                });
                let last = self.bans.next_count(source, &settings.name, now, settings.forget) - 1;
                Explanation {
                    jail: settings.name.clone(),
                    source: text_of(source),
                    count: ban.map_or(last, |ban| ban.count),
                    state,
                    because,
                    failures,
                }
            })
            .collect()
    }
}

fn of_count(failures: &Failures, settings: &JailSettings) -> String {
    let (count, refusals) = failures.kinds();
    let refused = match refusals {
        0 => String::new(),
        _ => format!(", and {}", text::count(refusals, "refused connection", "refused connections")),
    };
    let (one, several) = settings.counted();
    let maxretry = text::count(settings.maxretry, one, several);
    format!("{count} of {maxretry} within {} (maxretry, findtime){refused}", span(settings.findtime))
}

/// The width of a network that is banned because its sources hop.
fn hopped(ban: &Ban, settings: &JailSettings) -> Option<Width> {
    let by_hosts = settings.subnet.is_some_and(|subnet| subnet.prefixes.ipv6 == ban.source.prefix_len());
    settings.width_of(ban.source).filter(|_| !by_hosts)
}

/// How a ban came about that somebody ordered.
fn ordered(origin: &Origin) -> String {
    match origin {
        Origin::Jail => "by the jail".to_owned(),
        Origin::Admin => "manually".to_owned(),
        Origin::Import => "by an import".to_owned(),
        Origin::Fleet => "by the fleet".to_owned(),
        Origin::Other(word) => format!("by '{word}'"),
    }
}

fn of_ban(ban: &Ban, settings: &JailSettings) -> String {
    let although = if ban.despite.is_some() {
        " Somebody was logged in from there, but that was too much to spare it (spare-maxretry, ipv6-hopping)."
    } else {
        ""
    };
    match &ban.reason {
        Some(reason) if !reason.is_empty() => format!("Banned {}: {reason}.", ordered(&ban.origin)),
        Some(_) => format!("Banned {}.", ordered(&ban.origin)),
        None if ban.failures.is_empty() => "The jail banned it, and that was taken over by an import.".to_owned(),
        None if let Some(width) = hopped(ban, settings) => {
            let mut sources: Vec<_> = ban.failures.views().map(|view| settings.source(view.address)).collect();
            sources.sort_unstable();
            sources.dedup();
            format!(
                "{} of {} of its sources; ipv6-hopping has {} = {}, maxretry = {}, findtime = {}.{although}",
                ban.failures.words(),
                sources.len(),
                width.prefix,
                width.times,
                settings.maxretry,
                span(settings.findtime)
            )
        }
        None if settings.subnet_of(ban.source).is_none() && settings.subnet.is_some() => {
            format!("{} of its hosts have failed or are banned (subnet-maxretry).", ban.failures.len())
        }
        None => {
            let (first, last) = (ban.failures.views().next(), ban.failures.views().last());
            let within = first.zip(last).map_or(0, |(first, last)| last.time.saturating_sub(first.time));
            let (failures, within) = (ban.failures.words(), span(within));
            if ban.suspected {
                // Who said so is known for as long as they say it.
                let because = settings.suspected_within(ban.source).map_or("suspected", |it| &*it.because);
                return format!("{failures}; the source was {because}, so that was enough.");
            }
            let (maxretry, findtime) = (settings.maxretry, span(settings.findtime));
            format!("{failures} within {within}; maxretry = {maxretry}, findtime = {findtime}.{although}")
        }
    }
}
