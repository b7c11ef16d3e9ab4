//! Everything that wardend writes to the journal on purpose, each kind with its MESSAGE_ID.
//!
//! An admin finds them by `journalctl -u wardend`, by field (`WARDEND_ADDRESS=203.0.113.7`) or
//! by kind (`MESSAGE_ID=…`); `journalctl -x` explains them from `units/wardend.catalog`, which
//! has an entry for each identifier here (a test compares the two). The crate tracing-journald
//! maps `info!` to notice and `debug!` to info, so a ban is a notice.

use tracing::{debug, error, info, warn};

use crate::{
    bans::Ban,
    engine::Ended,
    failure::Failure,
    jail::text_of,
    record::Usec,
    time::{format, span},
};

/// A ban begins.
pub(crate) const BAN: &str = "aa04c1c10db24c02ad4e28e8ac726807";
/// A ban has ended.
pub(crate) const UNBAN: &str = "8a3f31231e2a461e9199974abd4fb094";
/// firewalld has taken a ban.
pub(crate) const IN_FORCE: &str = "d3900ade55e14a7491ea1ddb5189c835";
/// The firewall can't be reached.
pub(crate) const FIREWALL_LOST: &str = "a39daf4bcee144bb8572c8b300146a21";
/// The firewall holds all bans.
pub(crate) const FIREWALL_BACK: &str = "330caf9051a24d7ea1c63e773fef2fb4";
/// journald dropped messages of a watched unit.
pub(crate) const JOURNAL_LOSS: &str = "fc094cc7ef734c9086e3366142de3bed";
/// The saved state can't be used, or not be written.
pub(crate) const SNAPSHOT: &str = "35c1d2aaaa96401e9e0a510b608e5a8f";
/// wardend can't start.
pub(crate) const REFUSED: &str = "f96d6f01a64e48f28b0ada6360ab48c1";
/// Something in the firewall was put right.
pub(crate) const FIREWALL_REPAIRED: &str = "8e013d0610044be1838e9551df96252d";

/// A ban begins.
pub(crate) fn ban(ban: &Ban) {
    let source = text_of(ban.source);
    let jail = &*ban.jail;
    let until = ban.until.map_or_else(|| "for ever".to_owned(), |until| format!("until {}", format(until)));
    let failures: Vec<Failure> = ban.failures.iter().collect();
    let why = match (failures.first(), failures.last(), &ban.reason) {
        (Some(first), Some(last), _) => {
            let user = last.user.as_deref().map_or_else(String::new, |user| format!(" for user '{}'", shown(user)));
            format!(
                "{} failures within {}, the last {}{user}",
                failures.len(),
                span(last.time.saturating_sub(first.time)),
                last.rule
            )
        }
        (_, _, Some(reason)) if !reason.is_empty() => format!("by hand, {}", shown(reason)),
        _ => "by hand".to_owned(),
    };
    let cursors: Vec<&str> = failures.iter().map(|failure| failure.cursor.as_str()).collect();
    info!(
        MESSAGE_ID = BAN,
        WARDEND_JAIL = jail,
        WARDEND_SOURCE = source,
        WARDEND_ADDRESS = address(ban),
        WARDEND_UNTIL = until_field(ban.until),
        WARDEND_FAILURES = failures.len(),
        WARDEND_RULE = failures.last().map_or("", |failure| &*failure.rule),
        WARDEND_EVIDENCE = cursors.join(" "),
        WARDEND_BAN_COUNT = ban.count,
        "Banned {source} in jail {jail} {until}: {why}."
    );
}

/// A ban has ended.
pub(crate) fn unban(ban: &Ban, why: Ended) {
    let source = text_of(ban.source);
    let jail = &*ban.jail;
    let because = match why {
        Ended::Expired => "its time is over",
        Ended::Command => "by hand",
        Ended::JailGone => "the jail is gone from the configuration",
        Ended::Ignored => "it is in ignoreip now",
        Ended::Widened => "its whole network is banned now",
        Ended::Crowded => "there are too many bans, and it would have ended first",
    };
    info!(
        MESSAGE_ID = UNBAN,
        WARDEND_JAIL = jail,
        WARDEND_SOURCE = source,
        WARDEND_ADDRESS = address(ban),
        WARDEND_BAN_COUNT = ban.count,
        "Unbanned {source} in jail {jail}: {because}."
    );
}

/// firewalld has taken a ban, so many µs after journald received the record that led to it
/// (or an admin gave the order).
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

/// journald dropped messages of a unit.
pub(crate) fn journal_loss(unit: &str, count: u64) {
    warn!(
        MESSAGE_ID = JOURNAL_LOSS,
        WARDEND_UNIT = unit,
        WARDEND_LOST = count,
        "journald dropped {count} messages of {unit} (RateLimitBurst= in journald.conf); failures among them are not counted."
    );
}

/// The saved state can't be used, or not be written.
pub(crate) fn snapshot(what: &str) {
    warn!(MESSAGE_ID = SNAPSHOT, "{what}");
}

/// wardend can't start.
pub(crate) fn refused(why: &str) {
    error!(MESSAGE_ID = REFUSED, "{why}");
}

/// The address that was seen last; for a ban by hand, what was banned.
fn address(ban: &Ban) -> String {
    ban.failures.last().map_or_else(|| text_of(ban.source), |failure| failure.address.to_string())
}

fn until_field(until: Option<Usec>) -> String {
    until.map_or_else(|| "infinity".to_owned(), |until| until.to_string())
}

/// Text that somebody else chose, fit for one line of a terminal and not too long.
fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    let mut out: String = text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_explains_every_kind_of_record_and_no_other() {
        let catalog = include_str!("../units/wardend.catalog");
        let mut explained: Vec<&str> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        let mut written = vec![
            BAN,
            UNBAN,
            IN_FORCE,
            FIREWALL_LOST,
            FIREWALL_BACK,
            JOURNAL_LOSS,
            SNAPSHOT,
            REFUSED,
            FIREWALL_REPAIRED,
        ];
        explained.sort_unstable();
        written.sort_unstable();
        assert_eq!(explained, written);
    }

    #[test]
    fn a_user_name_can_not_steer_the_terminal() {
        assert_eq!(shown("x\x1b[2J"), "x\u{fffd}[2J");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), 65);
    }
}
