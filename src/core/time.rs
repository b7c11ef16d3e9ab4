//! Time as the core knows it: what a record says, never what a clock says.

/// Microseconds since the epoch, as journald's `__REALTIME_TIMESTAMP` (systemd.journal-fields(7)).
pub(crate) type Usec = u64;

/// Microseconds in one second.
pub(crate) const USEC_PER_SEC: Usec = 1_000_000;
/// In one minute.
pub(crate) const MINUTE: Usec = 60 * USEC_PER_SEC;
/// In one day.
pub(crate) const DAY: Usec = 24 * 60 * MINUTE;

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
