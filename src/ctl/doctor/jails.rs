//! The jails: whether something of their services reaches the journal and is read.

use std::{collections::BTreeMap, sync::Arc};

use super::{Finding, Scene, journal::DAY};
use crate::{
    config::{ConfigError, filters},
    core::{
        jail::JailSettings,
        record::{FieldId, Fields, Record},
        time::Usec,
    },
    ctl::{
        available::running,
        output::when,
        test::lookalikes::{Lookalike, Lookalikes},
    },
    journal::{JournalError, Position, Reader, Step, Where},
    systemd::units::{self, Active},
    util::{text::count, time::now},
};

const CHECK: &str = "jail";
/// The most records that are looked at.
const MOST: usize = 200_000;

pub(super) async fn check(scene: &Scene) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut in_use: Vec<&str> = Vec::new();
    if let Ok(settings) = &scene.settings {
        // A jail without a filter reads nothing.
        for jail in settings.jails.iter().filter(|jail| !jail.filter.is_none()) {
            in_use.push(&jail.filter.name);
            let running = running(scene.bus.as_ref().ok(), &jail.filter).await;
            found.extend(loud(scene, &jail.name, running.as_deref().unwrap_or_default()).await);
            found.extend(match look(jail, &settings.fields) {
                Ok(seen) => judge(&jail.name, &seen, running.as_ref().map(|units| !units.is_empty())),
                Err(error) => {
                    let what = format!("{}: {error}", jail.name);
                    vec![Finding::unknown(CHECK, what, if scene.root { "" } else { "Run this as root." })]
                }
            });
        }
    }
    if matches!(scene.settings, Ok(_) | Err(ConfigError::NoJail(_))) {
        found.extend(off(scene, &in_use).await);
    }
    found
}

/// Units of which journald takes no message at level info.
async fn loud(scene: &Scene, jail: &str, running: &[Active]) -> Vec<Finding> {
    let mut found = Vec::new();
    let Ok(bus) = &scene.bus else { return found };
    for unit in running.iter().filter(|unit| unit.name.ends_with(".service")) {
        if let Ok(Some(level)) = units::log_level_max(bus, unit).await
            && level < 6
        {
            let name = &unit.name;
            found.push(Finding::problem(
                CHECK,
                format!(
                    "{jail}: {name} has LogLevelMax={level}, so journald does not take what it logs at level info."
                ),
                format!("Remove that line (`systemctl cat {name}` shows where it is), and restart {name}."),
            ));
        }
    }
    found
}

/// What was seen of a jail's service.
#[derive(Debug, Default)]
struct Seen {
    records: usize,
    last: Option<Usec>,
    /// Records by unit.
    units: BTreeMap<String, usize>,
    lookalikes: Vec<Lookalike>,
    /// There were too many to look at all of them.
    cut: bool,
    /// The last record of any time that may be the service's.
    ever: Option<Usec>,
}

fn look(jail: &JailSettings, fields: &Arc<Fields>) -> Result<Seen, JournalError> {
    let open = || Reader::open(&Where::System, vec![Arc::clone(&jail.filter)], Arc::clone(fields));
    let mut seen = Seen::default();
    let mut reader = open()?.with_lookalikes()?.thorough();
    reader.seek(&Position::Since(now().saturating_sub(DAY)))?;
    let (mut sorted, mut record, mut read) = (Lookalikes::new(&jail.filter), Record::default(), 0);
    while reader.next(&mut record)? != Step::End {
        read += 1;
        if read > MOST {
            seen.cut = true;
            break;
        }
        for record in sorted.sort_out(&record) {
            seen.records += 1;
            seen.last = seen.last.max(Some(record.time));
            let unit = record.get(FieldId::UNIT).map(|unit| String::from_utf8_lossy(unit).into_owned());
            *seen.units.entry(unit.unwrap_or_else(|| "no unit".to_owned())).or_default() += 1;
        }
    }
    seen.lookalikes = sorted.list();
    seen.lookalikes.retain(|lookalike| !lookalike.harmless);
    seen.ever = match seen.last {
        Some(last) => Some(last),
        None => open()?.end()?,
    };
    Ok(seen)
}

fn judge(jail: &str, seen: &Seen, running: Option<bool>) -> Vec<Finding> {
    const LISTEN: &str =
        "See whether it logs to the journal at level info; `wardenctl test FILTER --journal` shows what is read.";
    let mut found = vec![match (seen.last, seen.ever, running) {
        (Some(last), ..) => {
            let mut units: Vec<(&String, &usize)> = seen.units.iter().collect();
            units.sort_by(|a, b| b.1.cmp(a.1));
            let more = if units.len() > 3 { format!(" and {} more", units.len() - 3) } else { String::new() };
            let units: Vec<&str> = units.iter().take(3).map(|(unit, _)| unit.as_str()).collect();
            let at_least = if seen.cut { "at least " } else { "" };
            Finding::ok(
                CHECK,
                format!(
                    "{jail}: {at_least}{} of the service in 24 h, the last at {}, from {}{more}.",
                    count(seen.records, "record", "records"),
                    when(last),
                    units.join(", ")
                ),
            )
        }
        (None, Some(ever), Some(true)) => Finding::note(
            CHECK,
            format!("{jail}: the service is running, and its last record is of {}.", when(ever)),
            format!("If somebody has connected since: {}{}", LISTEN[..1].to_lowercase(), &LISTEN[1..]),
        ),
        (None, None, Some(true)) => Finding::problem(
            CHECK,
            format!("{jail}: the service is running, and no record of it was ever seen."),
            LISTEN,
        ),
        (None, Some(ever), _) => {
            Finding::ok(CHECK, format!("{jail}: the last record of the service is of {}.", when(ever)))
        }
        (None, None, Some(false)) => Finding::note(
            CHECK,
            format!("{jail}: the service is not running, and no record of it was ever seen."),
            format!("If it is not to run here, set `enabled = false` in [jail.{jail}]."),
        ),
        (None, None, None) => Finding::note(CHECK, format!("{jail}: no record of the service was ever seen."), LISTEN),
    }];
    found.extend(seen.lookalikes.iter().map(|Lookalike { count: number, why, mend, .. }| {
        let messages = count(usize::try_from(*number).unwrap_or(usize::MAX), "message looks", "messages look");
        Finding::note(CHECK, format!("{jail}: {messages} like the service's and are not counted. {why}"), mend.as_str())
    }));
    found
}

/// Services that run, for which there is a filter and no jail.
async fn off(scene: &Scene, in_use: &[&str]) -> Vec<Finding> {
    let mut found = Vec::new();
    for name in filters::names(&scene.directories).unwrap_or_default() {
        if in_use.contains(&name.as_str()) {
            continue;
        }
        let Ok(Some(filter)) = filters::load(&name, &scene.directories, &mut Fields::default()) else { continue };
        if let Some(unit) = running(scene.bus.as_ref().ok(), &filter).await.unwrap_or_default().first() {
            found.push(Finding::note(
                CHECK,
                format!("{} is running, and no jail watches it.", unit.name),
                "`wardenctl jails --available` shows how to have it watched, and whom that would have banned.",
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::doctor::State;

    #[test]
    fn a_service_that_runs_and_was_never_heard_is_a_problem() {
        let state = |seen: &Seen, running| judge("sshd", seen, running)[0].state;
        let never = Seen::default();
        assert_eq!(state(&never, Some(true)), State::Problem);
        assert_eq!(state(&never, Some(false)), State::Note);
        let before = Seen { ever: Some(1), ..Seen::default() };
        assert_eq!((state(&before, Some(true)), state(&before, Some(false))), (State::Note, State::Ok));
        let units = (0..5).map(|unit| (format!("unit{unit}.service"), unit)).collect();
        let now = Seen { records: 10, last: Some(2), units, cut: true, ..Seen::default() };
        let found = judge("sshd", &now, Some(true));
        assert_eq!(found[0].state, State::Ok);
        let what = &found[0].what;
        assert!(what.contains("at least 10 records") && what.contains("from unit4.service, unit3.service"), "{what}");
        assert!(what.ends_with("and 2 more."), "{what}");
    }
}
