//! The machine's clocks, for what no record tells.
//!
//! The engine lives in the time of the records. When none come, time passes all the same, and
//! somebody may set the clock: then the wall clock and the clock that only runs forward drift
//! apart, and the engine receives the difference before it acts on a wrong time.

use std::time::Instant;

use crate::{
    core::time::{USEC_PER_SEC, Usec},
    util::time::now,
};

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockWatch {
    wall: Usec,
    at: Instant,
}

impl ClockWatch {
    pub(super) fn look() -> Self {
        Self { wall: now(), at: Instant::now() }
    }

    /// By how many µs the clock was set since the last look, if it was. NTP bends clocks by up to
    /// 500 ppm (adjtimex(2)), which is no setting.
    pub(super) fn was_set(&mut self) -> Option<i64> {
        let (before, now) = (*self, Self::look());
        *self = now;
        set(usec(now.at - before.at), now.wall.wrapping_sub(before.wall).cast_signed())
    }

    /// What the wall clock, as it is set now, showed at a moment.
    pub(super) fn at(self, moment: Instant) -> Usec {
        self.wall.saturating_sub(usec(self.at.saturating_duration_since(moment)))
    }
}

fn set(passed: Usec, shown: i64) -> Option<i64> {
    let by = shown.saturating_sub_unsigned(passed);
    (by.unsigned_abs() > USEC_PER_SEC + passed / 1000).then_some(by)
}

fn usec(duration: std::time::Duration) -> Usec {
    Usec::try_from(duration.as_micros()).unwrap_or(Usec::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bending_the_clock_is_not_setting_it() {
        const HOUR: i64 = 3_600_000_000;
        let passed = HOUR.cast_unsigned();
        assert_eq!(set(passed, HOUR), None);
        assert_eq!(set(passed, HOUR + 1_800_000), None, "500 ppm");
        assert_eq!(set(passed, 2 * HOUR), Some(HOUR));
        assert_eq!(set(passed, -HOUR), Some(-2 * HOUR));
        assert_eq!(set(0, 1_000_001), Some(1_000_001));
    }
}
