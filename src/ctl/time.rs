//! Points in time as journalctl takes them with `--since=` (systemd.time(7)).

use anyhow::{Context, bail};
use jiff::{Timestamp, Zoned, civil};

use crate::{config::parse_span, record::Usec, time::usec};

/// Parses a point in time: `2026-11-23 05:48:03` (local time), `2026-11-23`, `05:48`, `now`,
/// `today`, `yesterday`, `-2h`, `2h ago`, `@1795412883`, or RFC 3339.
pub(super) fn parse(text: &str) -> anyhow::Result<Usec> {
    parse_at(text.trim(), &Zoned::now())
}

fn parse_at(text: &str, now: &Zoned) -> anyhow::Result<Usec> {
    if let Some(seconds) = text.strip_prefix('@') {
        let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
        let digits = format!("{whole}{fraction:0<6.6}");
        return digits.parse().with_context(|| format!("'@{seconds}' is no number of seconds"));
    }
    if let Some(span) = text.strip_prefix('-').or_else(|| text.strip_suffix(" ago")) {
        let Ok(Some(span)) = parse_span(span) else { bail!("'{span}' is no span of time; write it as \"2h 30min\".") };
        return Ok(usec(now.timestamp()).saturating_sub(span));
    }
    let midnight = now.start_of_day()?;
    match text {
        "now" => return Ok(usec(now.timestamp())),
        "today" => return Ok(usec(midnight.timestamp())),
        "yesterday" => return Ok(usec(midnight.yesterday()?.start_of_day()?.timestamp())),
        _ => {}
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(usec(timestamp));
    }
    let local = if let Ok(time) = text.parse::<civil::DateTime>() {
        time
    } else if let Ok(time) = text.parse::<civil::Time>() {
        now.date().to_datetime(time)
    } else {
        bail!("'{text}' is no time; write it as \"2026-11-23 05:48:03\", \"yesterday\", \"-2h\" or \"@1795412883\".")
    };
    Ok(usec(local.to_zoned(now.time_zone().clone())?.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::USEC_PER_SEC;

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
            ("2026-11-23T10:59:59Z", 1),
        ] {
            assert_eq!(parse_at(text, &now).unwrap(), noon - seconds_before_noon * USEC_PER_SEC, "{text}");
        }
        assert_eq!(parse_at("@1795412883.5", &now).unwrap(), 1_795_412_883_500_000);
        assert!(parse_at("soon", &now).unwrap_err().to_string().contains("'soon' is no time"));
    }
}
