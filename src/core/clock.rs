//! The engine's time, and what happens when somebody sets the clock.
//!
//! Everything that the engine remembers has wall-clock times, which are journald's. Clocks are
//! set: by NTP after a boot with a dead battery, by hand, after a virtual machine was paused. A
//! record holds journald's monotonic clock too, and within one boot the distance between
//! the two tells a set clock from time that has passed. What was remembered is then moved along,
//! so nine minutes that were left of a ban stay nine minutes, and failures stay as far apart as
//! they were. From one boot to the next only the wall clock counts, but it does not run backwards:
//! where it seems to, no time has passed.

use serde::{Deserialize, Serialize};

use crate::core::{
    cursor::Moment,
    record::Record,
    time::{USEC_PER_SEC, Usec},
};

/// Smaller differences are no set clock: NTP bends clocks by up to 500 ppm (adjtimex(2)), and
/// journald takes both times one after the other.
const TOLERANCE: Usec = USEC_PER_SEC;
/// Boots that are remembered: enough for journals of several machines that are read as one.
const BOOTS: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Boot {
    /// `_BOOT_ID`.
    #[serde(with = "hex")]
    id: u128,
    /// The latest monotonic time that was seen in it …
    monotonic: Usec,
    /// … and how far the wall clock was ahead of it then.
    ahead: i64,
}

/// The time that has come, and the clocks that it was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clock {
    now: Usec,
    /// Those seen last are last.
    boots: Vec<Boot>,
}

/// When a record was written, in the clock as it is set now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) time: Usec,
    /// The clock was set, by this number of µs; what is remembered must be moved along.
    pub(crate) set: i64,
}

impl Clock {
    /// The latest time that was seen, in µs.
    pub(crate) fn now(&self) -> Usec {
        self.now
    }

    /// Time has come to `now`.
    pub(crate) fn reach(&mut self, now: Usec) {
        self.now = self.now.max(now);
    }

    /// Takes the time of a record in.
    pub(crate) fn see(&mut self, record: &Record) -> Seen {
        let mut seen = Seen { time: record.time, set: 0 };
        if let Some(Moment { boot: id, monotonic }) = record.moment {
            let ahead = record.time.wrapping_sub(monotonic).cast_signed();
            if let Some(boot) = self.boots.iter_mut().rev().find(|boot| boot.id == id) {
                let tolerance = TOLERANCE + monotonic.abs_diff(boot.monotonic) / 1000;
                let set = ahead.wrapping_sub(boot.ahead);
                let was_set = set.unsigned_abs() > tolerance;
                if monotonic >= boot.monotonic {
                    (boot.monotonic, boot.ahead) = (monotonic, ahead);
                    seen.set = if was_set { set } else { 0 };
                } else if was_set {
                    // A latecomer, from before the clock was set.
                    seen.time = monotonic.saturating_add_signed(boot.ahead);
                }
            } else {
                let back = self.now.saturating_sub(record.time);
                if back > TOLERANCE {
                    seen.set = -back.cast_signed();
                }
                if self.boots.len() >= BOOTS {
                    self.boots.remove(0);
                }
                self.boots.push(Boot { id, monotonic, ahead });
            }
        }
        self.now = self.now.saturating_add_signed(seen.set);
        self.reach(seen.time);
        seen
    }

    /// The daemon has seen that the machine's clock was set, by this number of µs.
    pub(crate) fn set(&mut self, by: i64) {
        self.now = self.now.saturating_add_signed(by);
        if let Some(boot) = self.boots.last_mut() {
            boot.ahead = boot.ahead.saturating_add(by);
        }
    }
}

/// Identifiers of boots as journald writes them.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(id: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{id:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::record::{Cursor, Fields};

    const SECOND: i64 = USEC_PER_SEC.cast_signed();

    /// A record of a boot: its monotonic time and its wall clock, in seconds.
    fn see(clock: &mut Clock, boot: u8, monotonic: u64, wall: u64) -> (u64, i64) {
        let (m, t) = (monotonic * USEC_PER_SEC, wall * USEC_PER_SEC);
        let cursor = Cursor::from(format!("s=00;i=1;b={boot:032x};m={m:x};t={t:x};x=0"));
        let seen = clock.see(&Record::new(&Fields::default(), t, cursor));
        (seen.time / USEC_PER_SEC, seen.set / SECOND)
    }

    #[test]
    fn a_clock_that_is_set_within_a_boot_is_noticed_in_both_directions() {
        let mut clock = Clock::default();
        assert_eq!(see(&mut clock, 1, 10, 1_000), (1_000, 0));
        assert_eq!(see(&mut clock, 1, 20, 1_010), (1_010, 0), "time passes");
        assert_eq!(see(&mut clock, 1, 30, 9_020), (9_020, 8_000), "set forward by 8000 s");
        assert_eq!(see(&mut clock, 1, 40, 1_030), (1_030, -8_000), "and back");
        assert_eq!(clock.now(), 1_030 * USEC_PER_SEC);
        assert_eq!(see(&mut clock, 1, 5_000_000, 5_000_990), (5_000_990, 0), "a long silence is none");
    }

    #[test]
    fn a_latecomer_from_before_is_read_in_the_clock_of_today() {
        let mut clock = Clock::default();
        see(&mut clock, 1, 10, 1_000);
        see(&mut clock, 1, 20, 9_010);
        assert_eq!(see(&mut clock, 1, 15, 1_005), (9_005, 0));
        assert_eq!(see(&mut clock, 1, 18, 9_008), (9_008, 0));
        assert_eq!(clock.now(), 9_010 * USEC_PER_SEC, "time does not go back");
    }

    #[test]
    fn after_a_reboot_the_clock_does_not_run_backwards() {
        let mut clock = Clock::default();
        see(&mut clock, 1, 10, 1_000);
        assert_eq!(see(&mut clock, 2, 5, 1_100), (1_100, 0), "a hundred seconds have passed");
        assert_eq!(see(&mut clock, 3, 5, 400), (400, -700), "a battery was dead");
        assert_eq!(see(&mut clock, 3, 6, 1_201), (1_201, 800), "and NTP knew better");
        assert_eq!(see(&mut clock, 1, 11, 1_001), (1_001, 0), "a latecomer of an earlier boot sets nothing");
    }

    #[test]
    fn what_the_daemon_has_told_is_not_noticed_again() {
        let mut clock = Clock::default();
        see(&mut clock, 1, 10, 1_000);
        clock.set(500 * SECOND);
        assert_eq!(clock.now(), 1_500 * USEC_PER_SEC);
        assert_eq!(see(&mut clock, 1, 20, 1_510), (1_510, 0));
    }

    #[test]
    fn bending_a_clock_is_not_setting_it() {
        let mut clock = Clock::default();
        see(&mut clock, 1, 0, 1_000);
        assert_eq!(see(&mut clock, 1, 100_000, 101_050), (101_050, 0), "500 ppm");
    }
}
