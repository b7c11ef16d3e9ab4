//! The wall clock, and points in time as people read them; all times are µs since the epoch.
//!
//! Only the edges may use this: the core takes its time from the records.

use jiff::{Timestamp, tz::TimeZone};

/// Now, in µs since the epoch.
pub(crate) fn now() -> u64 {
    usec(Timestamp::now())
}

pub(crate) fn usec(timestamp: Timestamp) -> u64 {
    u64::try_from(timestamp.as_microsecond()).unwrap_or(0)
}

/// A point in time as systemctl prints it, in local time.
pub fn format(usec: u64) -> String {
    match i64::try_from(usec).ok().and_then(|usec| Timestamp::from_microsecond(usec).ok()) {
        Some(timestamp) => timestamp.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        None => usec.to_string(),
    }
}

/// The time of day, in local time.
pub(crate) fn clock(usec: u64) -> String {
    format(usec).split(' ').nth(1).unwrap_or_default().to_owned()
}
