//! Points in time as journalctl takes them with `--since=` (systemd.time(7)), and the durations of
//! bans.

use anyhow::{Context, anyhow, bail};
use jiff::{Timestamp, Zoned, civil, tz::TimeZone};

use crate::{
    config::{parse_ban_time, parse_span},
    contract::bus::INFINITY,
    core::time::Usec,
    util::time::usec,
};

/// Parses a point in time: `2026-11-23 05:48:03` (local time), `2026-11-23`, `05:48`, `now`,
/// `today`, `yesterday`, `tomorrow`, `-2h`, `+2h`, `2h ago`, `@1795412883`, or RFC 3339; and as
/// wardenctl and systemctl print it, with the day of the week before it and a zone behind it.
pub(super) fn parse(text: &str) -> anyhow::Result<Usec> {
    parse_at(text.trim(), &Zoned::now())
}

fn parse_at(text: &str, now: &Zoned) -> anyhow::Result<Usec> {
    if let Some(seconds) = text.strip_prefix('@') {
        let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
        let digits = format!("{whole}{fraction:0<6.6}");
        return digits.parse().with_context(|| format!("'@{seconds}' is not a number of seconds"));
    }
    if let Some(span) = text.strip_prefix('-').or_else(|| text.strip_suffix(" ago")) {
        let Ok(Some(span)) = parse_span(span) else {
            bail!("'{span}' is not a valid time span; write it as \"2h 30min\".")
        };
        return Ok(usec(now.timestamp()).saturating_sub(span));
    }
    if let Some(span) = text.strip_prefix('+') {
        let Ok(Some(span)) = parse_span(span) else {
            bail!("'{span}' is not a valid time span; write it as \"2h 30min\".")
        };
        return Ok(usec(now.timestamp()).saturating_add(span));
    }
    let midnight = now.start_of_day()?;
    match text {
        "now" => return Ok(usec(now.timestamp())),
        "today" => return Ok(usec(midnight.timestamp())),
        "tomorrow" => return Ok(usec(midnight.tomorrow()?.start_of_day()?.timestamp())),
        "yesterday" => return Ok(usec(midnight.yesterday()?.start_of_day()?.timestamp())),
        _ => {}
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(usec(timestamp));
    }
    let (text, zone) = zone_of(without_weekday(text), now);
    let local = if let Ok(time) = text.parse::<civil::DateTime>() {
        time
    } else if let Ok(time) = text.parse::<civil::Time>() {
        now.with_time_zone(zone.clone()).date().to_datetime(time)
    } else {
        bail!(
            "'{text}' is not a valid timestamp; write it as \"2026-11-23 05:48:03\", \"yesterday\", \"-2h\" or \"@1795412883\"."
        )
    };
    Ok(usec(local.to_zoned(zone)?.timestamp()))
}

/// `Tue 2026-11-24 10:00:00` without its first word; which day that is, the date says.
fn without_weekday(text: &str) -> &str {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    match text.split_once(' ') {
        Some((day, rest)) if DAYS.iter().any(|short| day.to_ascii_lowercase().starts_with(short)) => rest,
        _ => text,
    }
}

/// The zone that a time ends with, as `UTC`, `CET` (where that is the local one) or `Europe/Berlin`;
/// else the local one.
fn zone_of<'t>(text: &'t str, now: &Zoned) -> (&'t str, TimeZone) {
    let local = now.time_zone().clone();
    let Some((time, name)) = text.rsplit_once(' ') else { return (text, local) };
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return (text, local);
    }
    if name == "UTC" || name == "Z" {
        return (time, TimeZone::UTC);
    }
    // The local zone has one name in summer and one in winter.
    let names = [now.timestamp(), now.timestamp() + jiff::SignedDuration::from_hours(24 * 182)];
    if names.iter().any(|&at| local.to_offset_info(at).abbreviation() == name) {
        return (time, local);
    }
    match TimeZone::get(name) {
        Ok(zone) => (time, zone),
        Err(_) => (text, local),
    }
}

/// The duration that was asked for, in µs, with the other words for a permanent ban.
pub(super) fn duration(words: &str) -> anyhow::Result<u64> {
    match parse_ban_time(words) {
        Ok(usec) => Ok(usec.unwrap_or(INFINITY)),
        Err(what) => Err(anyhow!("--for is {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::USEC_PER_SEC;

    #[test]
    fn times_are_taken_as_journalctl_takes_them() {
        let now: Zoned = "2026-11-23T12:00:00+01:00[+01:00]".parse().unwrap();
        let noon = usec(now.timestamp());
        for (text, seconds_before_noon) in [
            ("now", 0),
            ("-2h", 7200),
            ("2h 30min ago", 9000),
            ("today", 12 * 3600),
            ("yesterday", 36 * 3600),
            ("2026-11-23 11:59:00", 60),
            ("2026-11-23", 12 * 3600),
            ("11:30", 1800),
            ("2026-11-23 11:59", 60),
            ("Mon 2026-11-23 11:59:00", 60),
            ("2026-11-23 10:59:00 UTC", 60),
            ("Mon 2026-11-23 10:59:00 UTC", 60),
            ("2026-11-23T10:59:59Z", 1),
        ] {
            assert_eq!(parse_at(text, &now).unwrap(), noon - seconds_before_noon * USEC_PER_SEC, "{text}");
        }
        assert_eq!(parse_at("+1h", &now).unwrap(), noon + 3600 * USEC_PER_SEC);
        assert_eq!(parse_at("tomorrow", &now).unwrap(), noon + 12 * 3600 * USEC_PER_SEC);
        assert_eq!(parse_at("@1795412883.5", &now).unwrap(), 1_795_412_883_500_000);
        assert!(parse_at("soon", &now).unwrap_err().to_string().contains("'soon' is not a valid timestamp"));
    }

    #[test]
    fn every_word_for_a_permanent_ban_is_understood() {
        for words in ["infinity", "permanent", "forever", "ever", "-1"] {
            assert_eq!(duration(words).unwrap(), INFINITY, "{words}");
        }
        assert_eq!(duration("1h").unwrap(), 3_600_000_000);
        for words in ["-2", "0", "soon", ""] {
            assert!(duration(words).is_err(), "{words}");
        }
    }
}
