//! Everything that wardend writes to the journal on purpose, each kind with its MESSAGE_ID.
//!
//! An admin finds them by `journalctl -u wardend`, by field (`WARDEND_ADDRESS=203.0.113.7`) or
//! by kind (`MESSAGE_ID=…`); `journalctl -x` explains them from `units/wardend.catalog`, and
//! wardend.journal-fields(7) lists each kind and field (tests compare both with this file and with
//! the IDs in `contract`). The crate tracing-journald maps `info!` to notice and `debug!` to info, so
//! a ban is a notice.

mod bans;
mod exceptions;
mod notify;

use tracing::{error, info, trace, warn};

use self::{
    bans::{begun, ended, extended, leak, spared, withheld},
    exceptions::{excepted, exception_ended},
};
pub(crate) use self::{
    bans::{cut, in_force, list_taken, not_cut},
    notify::{bad_handler, given_up, handed_over, notify_lost, notify_refused, notify_trouble, notify_works},
};
use crate::{
    contract::{
        bus::CLIENT_NAME,
        happening::Happening,
        journal::{
            BAD_CONFIG, CLOCK_SET, CROWDED, FIREWALL_BACK, FIREWALL_LOST, FIREWALL_REPAIRED, JOURNAL_GONE,
            JOURNAL_LOSS, JOURNAL_REOPENED, NO_ADDRESS, NO_CLIENT_NAME, NO_STATE, PROBLEM, PROBLEM_GONE, READ_AGAIN,
            REFUSED, RELOADED, SNAPSHOT, SNAPSHOT_BACK, UNREAD,
        },
        unban,
    },
    core::{
        cursor::Cursor,
        jail::Bound,
        net::text_of,
        time::{Usec, span},
    },
    util::text::count,
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
pub(crate) fn journal_loss(unit: &str, lost: u64) {
    let whose = if unit.is_empty() { "an unnamed unit" } else { unit };
    warn!(
        MESSAGE_ID = JOURNAL_LOSS,
        WARDEND_UNIT = unit,
        WARDEND_LOST = lost,
        "journald dropped {} of {whose} (RateLimitBurst= in journald.conf); failures among them are not counted.",
        count(lost, "message", "messages")
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
        let kinds = named(include_str!("../../contract/journal.rs"), ": &str = \"", |c| c.is_ascii_hexdigit());
        assert!(kinds.len() > 15 && kinds.iter().all(|kind| kind.len() == 32), "{kinds:?}");
        kinds
    }

    #[test]
    fn the_catalog_explains_every_kind_of_record_and_no_other() {
        let catalog = include_str!("../../../units/wardend.catalog");
        let explained: Vec<&str> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        assert_eq!(explained.iter().copied().collect::<BTreeSet<_>>(), kinds());
        assert_eq!(explained.len(), kinds().len(), "none comes twice");
    }

    #[test]
    fn the_manual_lists_every_kind_of_record_and_every_field_and_no_other() {
        let page = include_str!("../../../man/wardend.journal-fields.7");
        let rows = page.lines().map(|line| line.split('\t').next().unwrap_or_default());
        let listed: BTreeSet<&str> =
            rows.filter(|word| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit())).collect();
        assert_eq!(listed, kinds());
        let fields: BTreeSet<&str> =
            page.lines().filter_map(|line| line.strip_prefix("\\fIWARDEND_")?.strip_suffix("=\\fR")).collect();
        let files = [
            include_str!("mod.rs"),
            include_str!("bans.rs"),
            include_str!("exceptions.rs"),
            include_str!("notify.rs"),
            include_str!("../../../fleet/src/events.rs"),
        ];
        let is_part = |c: char| c.is_ascii_uppercase() || c == '_';
        let written: BTreeSet<&str> = files.into_iter().flat_map(|file| named(file, " WARDEND_", is_part)).collect();
        assert_eq!(fields, written);
    }

    #[test]
    fn a_user_name_can_not_steer_the_terminal() {
        assert_eq!(shown("x\x1b[2J"), "x\u{fffd}[2J");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), 65);
    }
}
