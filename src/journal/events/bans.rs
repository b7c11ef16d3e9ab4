//! The records of bans: how they begin and end, and what holds them up.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::{shown, until_field};
use crate::{
    contract::journal::{BAN, CUT, EXTENDED, IN_FORCE, LEAK, LIST_TAKEN, NOT_CUT, SPARED, UNBAN, WITHHELD},
    core::{
        bans::{Ban, Origin},
        failure::{Failure, Failures, Kind},
        net::text_of,
        time::{Usec, span},
    },
    util::time::format,
};

/// A ban begins.
pub(super) fn begun(ban: &Ban) {
    let source = text_of(ban.source);
    let jail = &*ban.jail;
    let until = until(ban);
    let failures: Vec<Failure> = ban.failures.iter().collect();
    let why = why(ban, &failures);
    let although = ban.despite.map_or_else(String::new, |login| {
        format!(", although somebody was logged in from there at {} (spare-maxretry, ipv6-hopping)", format(login))
    });
    info!(
        MESSAGE_ID = BAN,
        WARDEND_JAIL = jail,
        WARDEND_SOURCE = source,
        WARDEND_ADDRESS = address(ban),
        WARDEND_SINCE = ban.since,
        WARDEND_UNTIL = until_field(ban.until),
        WARDEND_FAILURES = ban.failures.kinds().0,
        WARDEND_COUNTED = counted(&ban.failures),
        WARDEND_RULE = failures.last().map_or("", |failure| &*failure.rule),
        WARDEND_EVIDENCE = evidence(&failures),
        WARDEND_BAN_COUNT = ban.count,
        WARDEND_ORIGIN = ban.origin.word(),
        WARDEND_LOGIN_USEC = ban.despite,
        "Banned {source} in jail {jail} {until}: {why}{although}."
    );
}

/// What stands in place of failures where a ban was ordered.
fn ordered(origin: &Origin) -> String {
    match origin {
        Origin::Jail => "a ban of this jail, imported".to_owned(),
        Origin::Admin => "manual ban".to_owned(),
        Origin::Import => "imported".to_owned(),
        Origin::Fleet => "by order of the fleet".to_owned(),
        Origin::Other(word) => format!("by order of '{word}'"),
    }
}

/// A ban in force lasts longer than it would have.
pub(super) fn extended(ban: &Ban) {
    let source = text_of(ban.source);
    let jail = &*ban.jail;
    let until =
        ban.until.map_or_else(|| "is now permanent".to_owned(), |until| format!("now lasts until {}", format(until)));
    let reason = ban.reason.as_deref().filter(|reason| !reason.is_empty());
    let why = reason.map_or_else(String::new, |reason| format!(", {}", shown(reason)));
    info!(
        MESSAGE_ID = EXTENDED,
        WARDEND_JAIL = jail,
        WARDEND_SOURCE = source,
        WARDEND_ADDRESS = address(ban),
        WARDEND_SINCE = ban.since,
        WARDEND_UNTIL = until_field(ban.until),
        WARDEND_BAN_COUNT = ban.count,
        WARDEND_ORIGIN = ban.origin.word(),
        "The ban of {source} in jail {jail} {until}: {}{why}.",
        ordered(&ban.origin)
    );
}

/// A list of bans was taken.
pub(crate) fn list_taken(origin: &str, begun: usize, extended: usize, unchanged: usize, refused: usize) {
    let which = if origin == "admin" { "a list".to_owned() } else { format!("a list of origin '{origin}'") };
    info!(
        MESSAGE_ID = LIST_TAKEN,
        WARDEND_ORIGIN = origin,
        WARDEND_BANS = begun,
        "Received {which}: {begun} banned, {extended} extended, {unchanged} already banned, {refused} refused."
    );
}

/// What the failures are, if not that.
fn counted(failures: &Failures) -> Option<&'static str> {
    failures.are_bans().then_some("bans")
}

/// What has led to a ban.
fn why(ban: &Ban, failures: &[Failure]) -> String {
    match (failures.first(), failures.last(), &ban.reason) {
        (Some(first), Some(last), _) => {
            let user = last.user.as_deref().map_or_else(String::new, |user| format!(" for user '{}'", shown(user)));
            format!(
                "{} within {}, the last {}{}{user}{}",
                ban.failures.words(),
                span(last.time.saturating_sub(first.time)),
                if last.kind == Kind::Ban { "in jail " } else { "" },
                last.rule,
                if ban.suspected { "; the source was suspected" } else { "" }
            )
        }
        (_, _, Some(reason)) if !reason.is_empty() => format!("{}, {}", ordered(&ban.origin), shown(reason)),
        _ => ordered(&ban.origin),
    }
}

/// A ban would begin, but the jail is paused.
pub(super) fn withheld(ban: &Ban) {
    let source = text_of(ban.source);
    let jail = &*ban.jail;
    let until = until(ban);
    let failures: Vec<Failure> = ban.failures.iter().collect();
    info!(
        MESSAGE_ID = WITHHELD,
        WARDEND_JAIL = jail,
        WARDEND_SOURCE = source,
        WARDEND_ADDRESS = address(ban),
        WARDEND_SINCE = ban.since,
        WARDEND_UNTIL = until_field(ban.until),
        WARDEND_FAILURES = ban.failures.kinds().0,
        WARDEND_COUNTED = counted(&ban.failures),
        WARDEND_RULE = failures.last().map_or("", |failure| &*failure.rule),
        WARDEND_EVIDENCE = evidence(&failures),
        WARDEND_BAN_COUNT = ban.count,
        "{source} would have been banned in jail {jail} {until}, but the jail is paused: {}.",
        why(ban, &failures)
    );
}

/// A ban has ended.
pub(super) fn ended(ban: &Ban, because: &str) {
    let source = text_of(ban.source);
    let jail = &*ban.jail;
    info!(
        MESSAGE_ID = UNBAN,
        WARDEND_JAIL = jail,
        WARDEND_SOURCE = source,
        WARDEND_ADDRESS = address(ban),
        WARDEND_SINCE = ban.since,
        WARDEND_UNTIL = until_field(ban.until),
        WARDEND_BAN_COUNT = ban.count,
        WARDEND_ORIGIN = ban.origin.word(),
        "Unbanned {source} in jail {jail}: {because}."
    );
}

/// firewalld has taken a ban. `latency` is the time in µs since journald received the record that led to
/// it, or since an admin gave the order.
pub(crate) fn in_force(source: &str, latency: Usec) {
    debug!(
        MESSAGE_ID = IN_FORCE,
        WARDEND_SOURCE = source,
        WARDEND_LATENCY_USEC = latency,
        "firewalld blocks {source}, {}.{:03} ms after the record or the order that led to it.",
        latency / 1000,
        latency % 1000
    );
}

/// What a banned source had open is closed, so long after its ban was in force.
pub(crate) fn cut(source: &str, after: Duration) {
    let latency = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
    debug!(
        MESSAGE_ID = CUT,
        WARDEND_SOURCE = source,
        WARDEND_LATENCY_USEC = latency,
        "Closed the open connections of {source}, {}.{:03} ms after its ban took effect.",
        latency / 1000,
        latency % 1000
    );
}

/// What a banned source has open can't be closed; the end of the sentence says why.
pub(crate) fn not_cut(source: &str, why: &str) {
    warn!(
        MESSAGE_ID = NOT_CUT,
        WARDEND_SOURCE = source,
        "Could not close the open connections of {source}: {why}. They stay open until they end by themselves."
    );
}

/// A source would be banned, but somebody has logged in from there not long ago.
pub(super) fn spared(jail: &str, source: &str, login: Usec, failures: &Failures) {
    let (attempts, what, counted) = (failures.kinds().0, failures.words(), counted(failures));
    let failures: Vec<Failure> = failures.iter().collect();
    warn!(
        MESSAGE_ID = SPARED,
        WARDEND_JAIL = jail,
        WARDEND_SOURCE = source,
        WARDEND_ADDRESS = failures.last().map_or_else(|| source.to_owned(), |failure| failure.address.to_string()),
        WARDEND_FAILURES = attempts,
        WARDEND_COUNTED = counted,
        WARDEND_RULE = failures.last().map_or("", |failure| &*failure.rule),
        WARDEND_EVIDENCE = evidence(&failures),
        WARDEND_LOGIN_USEC = login,
        "Spared {source} in jail {jail} after {what}: somebody was logged in from there at {} (spare-logins in wardend.conf).",
        format(login),
    );
}

/// A source that is banned has reached the service; the firewall is looked at again.
pub(super) fn leak(jail: &str, ban: &str, failure: &Failure) {
    let address = failure.address.to_string();
    warn!(
        MESSAGE_ID = LEAK,
        WARDEND_JAIL = jail,
        WARDEND_SOURCE = ban,
        WARDEND_ADDRESS = address,
        WARDEND_RULE = &*failure.rule,
        WARDEND_EVIDENCE = %failure.cursor,
        "{ban} is banned, but {address} still reached the service, either over a connection opened before the ban or because the firewall is not blocking it. Checking firewalld now."
    );
}

/// The address that was seen last; for a ban by hand, what was banned.
fn address(ban: &Ban) -> String {
    ban.failures.last().map_or_else(|| text_of(ban.source), |failure| failure.address.to_string())
}

/// The journal records that show the failures.
fn evidence(failures: &[Failure]) -> String {
    failures.iter().map(|failure| failure.cursor.to_string()).collect::<Vec<_>>().join(" ")
}

/// How long a ban lasts, in a sentence.
fn until(ban: &Ban) -> String {
    ban.until.map_or_else(|| "permanently".to_owned(), |until| format!("until {}", format(until)))
}
