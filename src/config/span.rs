//! Spans of time, as fail2ban's users write them (bare seconds) and as systemd.time(7) does.

use super::value::Time;
use crate::core::time::{DAY, USEC_PER_SEC, Usec};

/// The longest finite span: 100 years.
const LONGEST: Usec = 5218 * 7 * DAY;

/// Why a span can't be used. The text is the end of a sentence, after "NAME is".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// A number of seconds out of bounds.
    #[error("{0} seconds; write more than zero and less than 100 years, or \"infinity\".")]
    Seconds(i64),
    /// Words that don't say a time.
    #[error("'{0}', which is not a valid time span; write it as \"10min\", \"1h 30min\", \"2weeks\" or \"infinity\".")]
    Words(String),
    /// Words that say none.
    #[error("'{0}'; write more than zero, or \"infinity\".")]
    Zero(String),
    /// Words that say more than the bound.
    #[error("'{0}', which is longer than 100 years; write \"infinity\".")]
    Long(String),
}

/// A span as a file has it; none is "infinity".
pub(super) fn parse_time(time: &Time) -> Result<Option<Usec>, SpanError> {
    match time {
        Time::Seconds(seconds) => u64::try_from(*seconds)
            .ok()
            .filter(|seconds| *seconds > 0)
            .and_then(|seconds| seconds.checked_mul(USEC_PER_SEC))
            .filter(|usec| *usec <= LONGEST)
            .map(Some)
            .ok_or(SpanError::Seconds(*seconds)),
        Time::Words(words) => parse_span(words),
    }
}

/// Parses the duration of a ban that is ordered: as [`parse_span`], with other words for one without an
/// end.
pub(crate) fn parse_ban_time(words: &str) -> Result<Option<Usec>, SpanError> {
    if matches!(words, "-1" | "permanent" | "forever" | "ever") { Ok(None) } else { parse_span(words) }
}

/// Parses words such as "10min", "1h 30min", "2weeks", "90" (seconds) or "infinity".
///
/// # Errors
/// The end of a sentence, after "NAME is".
pub fn parse_span(words: &str) -> Result<Option<Usec>, SpanError> {
    if words == "infinity" {
        return Ok(None);
    }
    let duration = match words.parse::<u64>() {
        Ok(seconds) => std::time::Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(words).map_err(|_| SpanError::Words(words.to_owned()))?,
    };
    // A bound keeps every sum of a time and a span far from the end of the numbers.
    match Usec::try_from(duration.as_micros()) {
        Ok(0) => Err(SpanError::Zero(words.to_owned())),
        Ok(usec) if usec <= LONGEST => Ok(Some(usec)),
        _ => Err(SpanError::Long(words.to_owned())),
    }
}
