//! Whether somebody sets the clock while this program runs.

use std::time::Duration;

use tokio::time::Instant;

use crate::wardend::now_usec;

/// The wall clock and the clock that only runs forward, at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    wall: u64,
    at: Instant,
}

impl Clock {
    pub(super) fn look() -> Self {
        Self { wall: now_usec(), at: Instant::now() }
    }

    /// By how many seconds the clock was set since the last look, if it was.
    pub(super) fn was_set(&mut self) -> Option<i64> {
        let (before, now) = (*self, Self::look());
        *self = now;
        set(now.at - before.at, now.wall.wrapping_sub(before.wall).cast_signed())
    }

    /// One that was looked at just now, before the clock was set by this number of seconds.
    #[cfg(test)]
    pub(super) fn set_by(seconds: i64) -> Self {
        Self { wall: now_usec().saturating_add_signed(-seconds * 1_000_000), at: Instant::now() }
    }
}

/// NTP bends clocks by up to 500 ppm (adjtimex(2)), which is no setting. wardend sees it the same way, and shifts its
/// bans along.
fn set(passed: Duration, shown: i64) -> Option<i64> {
    let passed = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
    let by = shown.saturating_sub_unsigned(passed);
    let seconds = by.saturating_add(by.signum() * 500_000) / 1_000_000;
    (by.unsigned_abs() > 1_000_000 + passed / 1000).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bending_the_clock_is_not_setting_it() {
        let hour = Duration::from_secs(3600);
        assert_eq!(set(hour, 3600 * 1_000_000 + 2 * 1_000_000), None);
        assert_eq!(set(hour, 7200 * 1_000_000), Some(3600));
        assert_eq!(set(hour, 0), Some(-3600));
        assert_eq!(set(Duration::ZERO, 1_600_000), Some(2));
        assert_eq!(set(Duration::ZERO, -1_600_000), Some(-2));
        assert_eq!(set(Duration::ZERO, 900_000), None);
    }
}
