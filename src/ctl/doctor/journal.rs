//! The journal: whether it can be read, what journald stores of it and for how long, and what was lost.

use std::{path::Path, sync::Arc};

use super::{Finding, Scene};
use crate::{
    core::{record::Record, time::USEC_PER_SEC},
    journal::{
        Position, Reader, Step, Where,
        journald_conf::{JournaldConf, Said},
    },
    util::{text::count, time::now},
};

const CHECK: &str = "journal";
/// How far back losses are looked for.
pub(super) const DAY: u64 = 24 * 3600 * USEC_PER_SEC;
/// With fewer messages in 30 seconds, an attack makes journald drop what sshd writes of it.
const FEW: u64 = 1000;

pub(super) fn check(scene: &Scene) -> Vec<Finding> {
    let conf = JournaldConf::read();
    let persistent = Path::new("/var/log/journal").is_dir();
    let mut found = vec![readable(scene)];
    found.extend(storage(conf.get("Storage"), persistent));
    found.extend(level(conf.get("MaxLevelStore")));
    found.extend(rate(conf.get("RateLimitBurst"), conf.get("RateLimitIntervalSec")));
    found
}

/// Whether it can be opened, and whether journald has dropped anything of the watched services.
fn readable(scene: &Scene) -> Finding {
    let Ok(settings) = &scene.settings else {
        return Finding::unknown(CHECK, "Which records to look for is not known.", "Correct the configuration first.");
    };
    let reading = settings.jails.iter().filter(|jail| !jail.filter.is_none());
    let filters: Vec<_> = reading.map(|jail| Arc::clone(&jail.filter)).collect();
    let reader = Reader::open(&Where::System, filters.clone(), Arc::clone(&settings.fields));
    let read = reader.and_then(Reader::with_losses).and_then(|mut reader| {
        let (mut lost, mut record) = (0, Record::default());
        reader.seek(&Position::Since(now().saturating_sub(DAY)))?;
        loop {
            match reader.next(&mut record)? {
                Step::End => return Ok(lost),
                Step::Lost(dropped) if filters.iter().any(|filter| filter.records.may_come_from(&dropped.unit)) => {
                    lost += dropped.count;
                }
                _ => {}
            }
        }
    });
    match read {
        Ok(0) => Finding::ok(CHECK, "It can be read, and journald has dropped no message of the services in 24 h."),
        Ok(lost) => Finding::note(
            CHECK,
            format!(
                "It can be read, but journald has dropped {} of the services within 24 h; failures among them were not counted.",
                count(usize::try_from(lost).unwrap_or(usize::MAX), "message", "messages")
            ),
            "Raise LogRateLimitBurst= in a drop-in of the service's unit, or RateLimitBurst= in journald.conf.",
        ),
        Err(error) if scene.root => Finding::problem(CHECK, error.to_string(), ""),
        Err(error) => {
            Finding::unknown(CHECK, error.to_string(), "Run this as root, or as a member of the group systemd-journal.")
        }
    }
}

fn storage(said: Option<&Said>, persistent: bool) -> Option<Finding> {
    const MEMORY: &str = "so the records behind a ban are gone after a reboot";
    match said.map(|said| (said.value.as_str(), &said.place)) {
        Some(("none", place)) => Some(Finding::problem(
            CHECK,
            format!("{place} says Storage=none, so journald stores nothing, and no failure is seen."),
            "Set Storage=persistent there and restart systemd-journald.",
        )),
        Some(("volatile", place)) => Some(Finding::note(
            CHECK,
            format!("{place} says Storage=volatile, {MEMORY}."),
            "Set Storage=persistent there and restart systemd-journald.",
        )),
        Some(("persistent", _)) => None,
        _ if !persistent => Some(Finding::note(
            CHECK,
            format!("The journal is kept in memory, because there is no /var/log/journal, {MEMORY}."),
            "Run `mkdir /var/log/journal` and `systemctl restart systemd-journald`.",
        )),
        _ => None,
    }
}

fn level(said: Option<&Said>) -> Option<Finding> {
    let Said { value, place } = said?;
    said?.leaves_out_info().then(|| {
        Finding::problem(
            CHECK,
            format!("{place} says MaxLevelStore={value}, so journald does not store what services log at level info."),
            "Remove that line and restart systemd-journald.",
        )
    })
}

fn rate(burst: Option<&Said>, interval: Option<&Said>) -> Option<Finding> {
    let Said { value, place } = burst?;
    let off = interval.is_some_and(|said| ["0", "0s"].contains(&said.value.as_str()));
    let few = value.parse().is_ok_and(|burst: u64| (1..FEW).contains(&burst));
    (few && !off).then(|| {
        Finding::note(
            CHECK,
            format!("{place} says RateLimitBurst={value}, so an attack makes journald drop what a service logs of it."),
            "Raise it to 10000, the default, and restart systemd-journald.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::doctor::State;

    fn said(value: &str) -> Said {
        Said { value: value.to_owned(), place: "journald.conf:3".to_owned() }
    }

    #[test]
    fn what_journald_does_not_store_is_found_with_the_line_that_says_so() {
        let state = |finding: Option<Finding>| finding.map(|finding| finding.state);
        for (value, persistent, expected) in [
            ("none", true, Some(State::Problem)),
            ("volatile", true, Some(State::Note)),
            ("auto", false, Some(State::Note)),
            ("auto", true, None),
            ("persistent", false, None),
        ] {
            assert_eq!(state(storage(Some(&said(value)), persistent)), expected, "{value}");
        }
        assert_eq!((state(storage(None, false)), state(storage(None, true))), (Some(State::Note), None));
        for (value, bad) in [("notice", true), ("5", true), ("info", false), ("7", false), ("debug", false)] {
            assert_eq!(state(level(Some(&said(value)))), bad.then_some(State::Problem), "{value}");
        }
        assert!(storage(Some(&said("none")), true).unwrap().what.starts_with("journald.conf:3 says "));
    }

    #[test]
    fn a_low_rate_limit_is_noted_unless_there_is_none() {
        assert!(rate(Some(&said("100")), None).is_some());
        assert!(rate(Some(&said("100")), Some(&said("30s"))).is_some());
        for (burst, interval) in [("100", "0"), ("0", "30s"), ("10000", "30s")] {
            assert_eq!(rate(Some(&said(burst)), Some(&said(interval))), None, "{burst} {interval}");
        }
    }
}
