//! Everything that wardend writes to the journal on purpose, each kind with its MESSAGE_ID.
//!
//! An admin finds them by `journalctl -u wardend`, by field (`WARDEND_ADDRESS=203.0.113.7`) or
//! by kind (`MESSAGE_ID=…`); `journalctl -x` explains them from `units/wardend.catalog`, and
//! wardend.journal-fields(7) lists each kind and field (tests compare both with this file and with
//! the IDs in `contract`). The crate tracing-journald maps `info!` to notice and `debug!` to info, so
//! a ban is a notice.

use std::time::Duration;

use tracing::{debug, error, info, trace, warn};

use crate::{
    contract::{
        bus::CLIENT_NAME,
        happening::Happening,
        journal::{
            BAD_CONFIG, BAD_HANDLER, BAN, CLOCK_SET, CROWDED, CUT, EXTENDED, FIREWALL_BACK, FIREWALL_LOST,
            FIREWALL_REPAIRED, GIVEN_UP, HANDED_OVER, HANDLER_FAILED, HANDLER_WORKS, IGNORED, IN_FORCE, JOURNAL_GONE,
            JOURNAL_LOSS, JOURNAL_REOPENED, LEAK, LIST_TAKEN, NO_ADDRESS, NO_CLIENT_NAME, NO_STATE, NOT_CUT, NOT_HELD,
            PAUSED, PROBLEM, PROBLEM_GONE, READ_AGAIN, REFUSED, RELOADED, RESUMED, SNAPSHOT, SNAPSHOT_BACK, SPARED,
            SUSPECTED, UNBAN, UNIGNORED, UNREAD, UNSUSPECTED, WITHHELD,
        },
        unban,
    },
    core::{
        Exception, ExceptionEnd, ExceptionKind,
        bans::{Ban, Origin},
        cursor::Cursor,
        failure::{Failure, Failures, Kind},
        jail::Bound,
        net::text_of,
        time::{Usec, span},
    },
    util::{text::count, time::format},
};

/// Writes what has happened.
pub(crate) fn happened(happening: &Happening) {
    match happening {
        Happening::Failed { jail, source, failure } => {
            trace!("{} of {} counts in jail {jail}.", failure.rule, text_of(*source));
        }
        Happening::Banned(ban) => begun(ban),
        Happening::Unbanned(ban, why) => ended(ban, unban::words(*why).1),
        Happening::Spared { jail, source, login, failures } => spared(jail, &text_of(*source), *login, failures),
        Happening::Leaked { jail, ban, failure } => leak(jail, &text_of(*ban), failure),
        Happening::Extended(ban) => extended(ban),
        Happening::Withheld(ban) => withheld(ban),
        Happening::Excepted(exception) => excepted(exception),
        Happening::ExceptionEnded(exception, why) => exception_ended(exception, *why),
        Happening::Crowded(jail, bound) => crowded(jail, *bound),
        Happening::ClockSet(by) => clock_set(*by),
    }
}

/// A ban begins.
fn begun(ban: &Ban) {
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
fn extended(ban: &Ban) {
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
        "Received {which}: {begun} banned, {extended} extended, {unchanged} already banned, {refused} rejected."
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
fn withheld(ban: &Ban) {
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

/// An administrator has ordered an exception.
fn excepted(exception: &Exception) {
    let Exception { kind, since, until, reason, uid, .. } = exception;
    let (what, id) = match kind {
        ExceptionKind::Ignored => (format!("Ignoring {}{}", exception.source(), place(exception)), IGNORED),
        ExceptionKind::Suspected => (format!("Suspecting {}{}", exception.source(), place(exception)), SUSPECTED),
        ExceptionKind::Paused => (format!("Paused {}", jail_of(exception)), PAUSED),
    };
    let until = until.map_or_else(String::new, |until| format!(" until {}", format(until)));
    let who = uid.map_or_else(String::new, |uid| format!(", ordered by user {uid}"));
    let why = if reason.is_empty() { String::new() } else { format!(": {}", shown(reason)) };
    info!(
        MESSAGE_ID = id,
        WARDEND_JAIL = exception.jail.as_deref(),
        WARDEND_SOURCE = exception.network.map(text_of),
        WARDEND_SINCE = since,
        WARDEND_UNTIL = until_field(exception.until),
        WARDEND_REASON = &**reason,
        WARDEND_UID = uid,
        "{what}{until}{who}{why}."
    );
}

/// An exception has ended.
fn exception_ended(exception: &Exception, why: ExceptionEnd) {
    let (what, id) = match exception.kind {
        ExceptionKind::Ignored => (format!("No longer ignoring {}{}", exception.source(), place(exception)), UNIGNORED),
        ExceptionKind::Suspected => {
            (format!("No longer suspecting {}{}", exception.source(), place(exception)), UNSUSPECTED)
        }
        ExceptionKind::Paused => (format!("Resumed {}", jail_of(exception)), RESUMED),
    };
    let (why, uid) = match why {
        ExceptionEnd::Expired => ("expired".to_owned(), None),
        ExceptionEnd::Command(None) => ("ordered".to_owned(), None),
        ExceptionEnd::Command(Some(uid)) => (format!("ordered by user {uid}"), Some(uid)),
        ExceptionEnd::JailGone => ("its jail was removed from the configuration".to_owned(), None),
    };
    info!(
        MESSAGE_ID = id,
        WARDEND_JAIL = exception.jail.as_deref(),
        WARDEND_SOURCE = exception.network.map(text_of),
        WARDEND_SINCE = exception.since,
        WARDEND_UNTIL = until_field(exception.until),
        WARDEND_UID = uid,
        "{what}: {why}."
    );
}

/// The jails that an exception is about, at the end of what it does.
fn place(exception: &Exception) -> String {
    exception.jail.as_deref().map_or_else(|| " in all jails".to_owned(), |jail| format!(" in jail {jail}"))
}

fn jail_of(exception: &Exception) -> String {
    format!("jail {}", exception.jail.as_deref().unwrap_or_default())
}

/// A ban has ended.
fn ended(ban: &Ban, because: &str) {
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

/// The bus takes no answers.
pub(crate) fn unread() {
    warn!(
        MESSAGE_ID = UNREAD,
        "The system bus does not accept replies from wardend, because a client does not read them. wardenctl and other clients have to wait until that client disconnects; banning continues."
    );
}

/// The bus takes answers again.
pub(crate) fn read_again() {
    info!(MESSAGE_ID = READ_AGAIN, "The system bus accepts replies from wardend again.");
}

/// The bus does not keep other users' signals away; `why` says why.
pub(crate) fn no_client_name(why: &str) {
    warn!(
        MESSAGE_ID = NO_CLIENT_NAME,
        "The bus does not let wardend own {CLIENT_NAME} ({why}), so any local user can delay bans with a flood of signals. Install wardend's bus policy, org.wardend1.conf, reload the bus, and restart wardend."
    );
}

/// The firewall can't be reached; the sentence says why, and what to do.
pub(crate) fn firewall_lost(why: &str) {
    warn!(MESSAGE_ID = FIREWALL_LOST, "{why}");
}

/// The firewall holds all bans.
pub(crate) fn firewall_back(bans: usize) {
    info!(MESSAGE_ID = FIREWALL_BACK, WARDEND_BANS = bans, "firewalld is up; bans in force: {bans}.");
}

/// Something in the firewall was put right.
pub(crate) fn firewall_repaired(what: &str) {
    info!(MESSAGE_ID = FIREWALL_REPAIRED, "{what}");
}

/// journald dropped messages of a unit, or of one that it doesn't name any more.
pub(crate) fn journal_loss(unit: &str, count: u64) {
    let whose = if unit.is_empty() { "an unnamed unit" } else { unit };
    warn!(
        MESSAGE_ID = JOURNAL_LOSS,
        WARDEND_UNIT = unit,
        WARDEND_LOST = count,
        "journald dropped {count} messages of {whose} (RateLimitBurst= in journald.conf); failures among them are not counted."
    );
}

/// The saved state can't be used, or not be written.
pub(crate) fn snapshot(what: &str) {
    warn!(MESSAGE_ID = SNAPSHOT, "{what}");
}

/// The saved state can be written again.
pub(crate) fn snapshot_back() {
    info!(MESSAGE_ID = SNAPSHOT_BACK, "The state can be saved again.");
}

/// There is no place to save the state in.
pub(crate) fn no_state() {
    warn!(
        MESSAGE_ID = NO_STATE,
        "$STATE_DIRECTORY is not set (StateDirectory= in the unit), so bans and counters are lost when wardend stops."
    );
}

/// The place in the journal at which the saved state ends is gone.
pub(crate) fn journal_gone(cursor: &Cursor) {
    warn!(
        MESSAGE_ID = JOURNAL_GONE,
        WARDEND_CURSOR = %cursor,
        "The journal no longer contains the record at which the saved state ends (it was vacuumed or cleared); continuing with the next one."
    );
}

/// The journal was replaced or moved, and is followed again; `because` says what was found.
pub(crate) fn journal_reopened(because: &str) {
    info!(
        MESSAGE_ID = JOURNAL_REOPENED,
        "Reopened the journal ({because}); continuing after the last record that was read."
    );
}

/// A source would be banned, but somebody has logged in from there not long ago.
fn spared(jail: &str, source: &str, login: Usec, failures: &Failures) {
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
fn leak(jail: &str, ban: &str, failure: &Failure) {
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

/// A table is full, and what was oldest in it had to go.
fn crowded(jail: &str, bound: Bound) {
    let what = match bound {
        Bound::Sources => "has reached max-sources; dropping the sources that have been inactive longest",
        Bound::Sessions => "has too many open sessions; ending those that have been inactive longest",
        Bound::Bans => "has too many bans; ending those that would end first",
    };
    warn!(MESSAGE_ID = CROWDED, WARDEND_JAIL = jail, "Jail {jail} {what}.");
}

/// Somebody has set the clock.
fn clock_set(by: i64) {
    let direction = if by < 0 { "back" } else { "forward" };
    info!(
        MESSAGE_ID = CLOCK_SET,
        WARDEND_CLOCK_USEC = by,
        "The clock was set {direction} by {}; bans and counters were shifted along, so each lasts as long as it would have.",
        span(by.unsigned_abs())
    );
}

/// The configuration was reloaded.
pub(crate) fn reloaded(jails: &[&str]) {
    info!(MESSAGE_ID = RELOADED, "Configuration reloaded; jails: {}.", jails.join(", "));
}

/// The configuration can't be used; the sentence says why.
pub(crate) fn bad_config(why: &str) {
    error!(MESSAGE_ID = BAD_CONFIG, "{why} Keeping the previous configuration.");
}

/// Names in `ignoreip` can't be resolved; the sentence says which, and why.
pub(crate) fn no_address(what: &str) {
    warn!(MESSAGE_ID = NO_ADDRESS, "{what}");
}

/// wardend does not keep a promise: what is wrong, and what mends it.
pub(crate) fn problem(kind: &str, what: &str, mend: &str) {
    warn!(MESSAGE_ID = PROBLEM, WARDEND_PROBLEM = kind, "{what} {mend}");
}

/// wardend keeps a promise again.
pub(crate) fn problem_gone(kind: &str) {
    info!(MESSAGE_ID = PROBLEM_GONE, WARDEND_PROBLEM = kind, "The problem '{kind}' is solved.");
}

/// wardend can't start.
pub(crate) fn refused(why: &str) {
    error!(MESSAGE_ID = REFUSED, "{why}");
}

/// A handler has taken a batch.
pub(crate) fn handed_over(handler: &str, events: u64, summary: &str) {
    debug!(
        MESSAGE_ID = HANDED_OVER,
        WARDEND_HANDLER = handler,
        WARDEND_EVENTS = events,
        "Handed over to {handler}: {summary}."
    );
}

/// A handler can't be served; the sentence says why.
pub(crate) fn notify_trouble(handler: &str, what: &str) {
    warn!(MESSAGE_ID = HANDLER_FAILED, WARDEND_HANDLER = handler, "Handler {handler}: {what}");
}

/// A handler can be served again.
pub(crate) fn notify_works(handler: &str) {
    info!(MESSAGE_ID = HANDLER_WORKS, WARDEND_HANDLER = handler, "Handler {handler} works again.");
}

/// A handler has failed for a day.
pub(crate) fn given_up(handler: &str, events: u64, what: &str) {
    warn!(
        MESSAGE_ID = GIVEN_UP,
        WARDEND_HANDLER = handler,
        WARDEND_EVENTS = events,
        "Handler {handler} has failed for a day; dropped {}: {what}",
        count(usize::try_from(events).unwrap_or(usize::MAX), "event", "events")
    );
}

/// The journal no longer has what a handler should have received.
pub(crate) fn notify_lost(handler: &str, what: &str) {
    warn!(MESSAGE_ID = NOT_HELD, WARDEND_HANDLER = handler, "Handler {handler}: {what}");
}

/// A handler's file can't be used; the sentence says why.
pub(crate) fn bad_handler(what: &str) {
    error!(MESSAGE_ID = BAD_HANDLER, "{what}");
}

/// wardend-notify can't start.
pub(crate) fn notify_refused(why: &str) {
    error!(MESSAGE_ID = BAD_HANDLER, "{why}");
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

fn until_field(until: Option<Usec>) -> String {
    until.map_or_else(|| "infinity".to_owned(), |until| until.to_string())
}

/// Text that somebody else chose, fit for one line of a terminal and not too long.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    let mut out: String = text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What a file names: the identifiers of the kinds, or fields. That each kind is written
    /// somewhere the compiler sees: it would warn of a constant without a use.
    fn named(source: &'static str, begin: &str, is_part: fn(char) -> bool) -> BTreeSet<&'static str> {
        let code = source.split("#[cfg(test)]").next().unwrap();
        code.split(begin).skip(1).map(|rest| &rest[..rest.find(|c| !is_part(c)).unwrap()]).collect()
    }

    fn kinds() -> BTreeSet<&'static str> {
        let kinds = named(include_str!("../contract/journal.rs"), ": &str = \"", |c| c.is_ascii_hexdigit());
        assert!(kinds.len() > 15 && kinds.iter().all(|kind| kind.len() == 32), "{kinds:?}");
        kinds
    }

    #[test]
    fn the_catalog_explains_every_kind_of_record_and_no_other() {
        let catalog = include_str!("../../units/wardend.catalog");
        let explained: Vec<&str> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        assert_eq!(explained.iter().copied().collect::<BTreeSet<_>>(), kinds());
        assert_eq!(explained.len(), kinds().len(), "none comes twice");
    }

    #[test]
    fn the_manual_lists_every_kind_of_record_and_every_field_and_no_other() {
        let page = include_str!("../../man/wardend.journal-fields.7");
        let rows = page.lines().map(|line| line.split('\t').next().unwrap_or_default());
        let listed: BTreeSet<&str> =
            rows.filter(|word| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit())).collect();
        assert_eq!(listed, kinds());
        let fields: BTreeSet<&str> =
            page.lines().filter_map(|line| line.strip_prefix("\\fIWARDEND_")?.strip_suffix("=\\fR")).collect();
        assert_eq!(fields, named(include_str!("events.rs"), " WARDEND_", |c| c.is_ascii_uppercase() || c == '_'));
    }

    #[test]
    fn a_user_name_can_not_steer_the_terminal() {
        assert_eq!(shown("x\x1b[2J"), "x\u{fffd}[2J");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), 65);
    }
}
