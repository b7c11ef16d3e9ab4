//! The wall clock, and times and counts as people read them.
//!
//! Only the edges (`daemon`, `ctl`, `events`) may use this: the core takes its time from the
//! records.

use jiff::{Timestamp, tz::TimeZone};

use crate::record::{USEC_PER_SEC, Usec};

/// Now, in µs since the epoch.
pub(crate) fn now() -> Usec {
    usec(Timestamp::now())
}

pub(crate) fn usec(timestamp: Timestamp) -> Usec {
    Usec::try_from(timestamp.as_microsecond()).unwrap_or(0)
}

/// A point in time as systemctl prints it, in local time.
pub(crate) fn format(usec: Usec) -> String {
    match i64::try_from(usec).ok().and_then(|usec| Timestamp::from_microsecond(usec).ok()) {
        Some(timestamp) => timestamp.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        None => usec.to_string(),
    }
}

/// The time of day, in local time.
pub(crate) fn clock(usec: Usec) -> String {
    format(usec).split(' ').nth(1).unwrap_or_default().to_owned()
}

/// A span of time in at most two units, as systemctl prints it: "1h 30min".
pub(crate) fn span(usec: Usec) -> String {
    const UNITS: [(u64, &str); 5] = [(604_800, "w"), (86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut seconds = usec.div_ceil(USEC_PER_SEC);
    let mut parts = Vec::new();
    for (length, name) in UNITS {
        if seconds >= length && parts.len() < 2 {
            parts.push(format!("{}{name}", seconds / length));
            seconds %= length;
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// A number with its noun: "1 ban", "2 bans".
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_at_most_two_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (600, "10min"), (5400, "1h 30min"), (86_400, "1d"), (604_801, "1w")]
        {
            assert_eq!(span(seconds * USEC_PER_SEC), text);
        }
    }
}
