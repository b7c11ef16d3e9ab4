//! What wardend counts, as OpenMetrics text.
//!
//! Pure: a plain [`Numbers`] goes in, text comes out. Where the numbers come from, and over which
//! socket the text goes, is the business of `wardenctl metrics` and of `wardend-metrics.socket`.
//! Names follow OpenMetrics: a unit in the name, `_total` on a counter, and `# EOF` at the end, by
//! which a reader knows that nothing was cut off.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::contract::{
    fleet::FleetStatus,
    latency::{BOUNDS, Latency},
    notify::Status,
};

/// Everything that is exported.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) version: String,
    /// Banned sources that have reached the service, since the daemon started.
    pub(crate) leaks: u64,
    /// `starting`, `up` or `down`.
    pub(crate) firewall: String,
    pub(crate) jails: Vec<JailNumbers>,
    /// Journal records read since the daemon started, and those journald says it has dropped.
    pub(crate) records: u64,
    pub(crate) lost: u64,
    /// How far reading is behind, in µs.
    pub(crate) lag_usec: u64,
    pub(crate) latency: Latency,
    /// The handlers that wardend-notify serves.
    pub(crate) handlers: Vec<Status>,
    /// The fleet, where wardend-fleet runs.
    pub(crate) fleet: Option<FleetNumbers>,
}

/// What wardend-fleet says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FleetNumbers {
    pub(crate) status: FleetStatus,
    /// The brokers that are connected.
    pub(crate) connected: u64,
    /// The other machines by their states.
    pub(crate) machines: BTreeMap<String, u64>,
}

fn render_latency(latency: &Latency, text: &mut String) {
    let name = "wardend_ban_latency_seconds";
    let _ = writeln!(
        text,
        "# TYPE {name} histogram\n# UNIT {name} seconds\n# HELP {name} From a record's time in the journal to firewalld's answer to the ban."
    );
    let mut so_far = 0;
    for (index, count) in latency.counts.iter().enumerate() {
        so_far += count;
        let bound = BOUNDS.get(index).map_or_else(|| "+Inf".to_owned(), |bound| seconds(*bound));
        sample(text, &format!("{name}_bucket"), &[("le", &bound)], so_far);
    }
    let _ = writeln!(text, "{name}_sum {}\n{name}_count {so_far}", seconds(latency.sum_usec));
}

/// µs as seconds, exactly: OpenMetrics wants a decimal point in a bucket's bound.
fn seconds(usec: u64) -> String {
    let text = format!("{}.{:06}", usec / 1_000_000, usec % 1_000_000);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// A jail's part.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JailNumbers {
    pub(crate) name: String,
    /// Bans in force.
    pub(crate) bans: u32,
    /// Sources with failures that count.
    pub(crate) failing: u32,
    /// Open sessions.
    pub(crate) sessions: u32,
    /// Failures, bans and spared sources since the daemon started.
    pub(crate) failures: u64,
    pub(crate) banned: u64,
    /// Those of the bans that were ordered.
    pub(crate) ordered: u64,
    pub(crate) spared: u64,
}

/// One number of a jail.
type OfJail = fn(&JailNumbers) -> u64;
/// One number of a handler.
type OfHandler = fn(&Status) -> u64;

/// The states of the firewall, each of which is exported as 0 or 1.
const FIREWALL_STATES: [&str; 3] = ["starting", "up", "down"];

/// The text, from the first `# TYPE` to `# EOF`.
pub(crate) fn render(numbers: &Numbers) -> String {
    let mut text = String::new();
    family(&mut text, "wardend_build", "info", "The version of the daemon.");
    sample(&mut text, "wardend_build_info", &[("version", &numbers.version)], 1);
    family(
        &mut text,
        "wardend_leaks",
        "counter",
        "Banned sources that have reached their service since the daemon started.",
    );
    sample(&mut text, "wardend_leaks_total", &[], numbers.leaks);
    family(&mut text, "wardend_journal_records", "counter", "Journal records read since the daemon started.");
    sample(&mut text, "wardend_journal_records_total", &[], numbers.records);
    family(&mut text, "wardend_journal_lost", "counter", "Records that journald has dropped since the daemon started.");
    sample(&mut text, "wardend_journal_lost_total", &[], numbers.lost);
    let lag = "wardend_journal_lag_seconds";
    let _ = writeln!(
        text,
        "# TYPE {lag} gauge\n# UNIT {lag} seconds\n# HELP {lag} How far reading the journal is behind.\n{lag} {}",
        seconds(numbers.lag_usec)
    );
    render_latency(&numbers.latency, &mut text);
    family(&mut text, "wardend_firewall_state", "stateset", "Whether bans are in force.");
    for state in FIREWALL_STATES {
        let holds = u64::from(state == numbers.firewall);
        sample(&mut text, "wardend_firewall_state", &[("wardend_firewall_state", state)], holds);
    }
    let per_jail: [(&str, &str, &str, OfJail); 5] = [
        ("wardend_jail_bans", "gauge", "Bans in force.", |jail| jail.bans.into()),
        ("wardend_jail_failing_sources", "gauge", "Sources with failures that count.", |jail| jail.failing.into()),
        ("wardend_jail_sessions", "gauge", "Open sessions.", |jail| jail.sessions.into()),
        ("wardend_jail_failures", "counter", "Failed attempts since the daemon started.", |jail| jail.failures),
        ("wardend_jail_spared", "counter", "Sources not banned for a login since the daemon started.", |jail| {
            jail.spared
        }),
    ];
    for (name, kind, help, value) in per_jail {
        family(&mut text, name, kind, help);
        let sampled = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        for jail in &numbers.jails {
            sample(&mut text, &sampled, &[("jail", &jail.name)], value(jail));
        }
    }
    let help = "Bans begun since the daemon started: decided by the jail, or ordered by an administrator or a list.";
    family(&mut text, "wardend_jail_banned", "counter", help);
    for jail in &numbers.jails {
        let mut by =
            |who, value| sample(&mut text, "wardend_jail_banned_total", &[("jail", &jail.name), ("by", who)], value);
        by("jail", jail.banned.saturating_sub(jail.ordered));
        by("order", jail.ordered);
    }
    if !numbers.handlers.is_empty() {
        render_handlers(&numbers.handlers, &mut text);
    }
    if let Some(fleet) = &numbers.fleet {
        render_fleet(fleet, &mut text);
    }
    text.push_str("# EOF\n");
    text
}

/// The families of the fleet: they are there only where wardend-fleet runs.
fn render_fleet(fleet: &FleetNumbers, text: &mut String) {
    let status = &fleet.status;
    let gauges = [
        ("wardend_fleet_connected", "Brokers that are connected.", fleet.connected),
        ("wardend_fleet_voices", "Bans of other machines that are known.", status.voices.into()),
        ("wardend_fleet_bans", "Bans of other machines in force here.", status.bans.into()),
        ("wardend_fleet_suspects", "Sources that are suspected because of other machines.", status.suspects.into()),
    ];
    for (name, help, value) in gauges {
        family(text, name, "gauge", help);
        sample(text, name, &[], value);
    }
    family(text, "wardend_fleet_machines", "gauge", "Other machines by state.");
    for state in ["in-step", "behind", "muted"] {
        let number = fleet.machines.get(state).copied().unwrap_or(0);
        sample(text, "wardend_fleet_machines", &[("state", state)], number);
    }
    family(text, "wardend_fleet_gaps", "counter", "How often a copy of another machine's bans was not in step.");
    sample(text, "wardend_fleet_gaps_total", &[], status.gaps);
    family(text, "wardend_fleet_refused", "counter", "Messages and bans of other machines that did not count.");
    for (why, number) in status.refused_by_reason() {
        sample(text, "wardend_fleet_refused_total", &[("why", why)], number);
    }
    let latency = "wardend_fleet_latency_seconds";
    let _ = writeln!(
        text,
        "# TYPE {latency} summary\n# UNIT {latency} seconds\n# HELP {latency} From the news of a ban to wardend's word that it is entered here.\n{latency}_sum {}\n{latency}_count {}",
        seconds(status.latency_usec),
        status.latency_count
    );
}

/// The families of the handlers of notifications: they are there only where handlers are.
fn render_handlers(handlers: &[Status], text: &mut String) {
    let per_handler: [(&str, &str, &str, OfHandler); 6] = [
        ("wardend_notify_waiting_events", "gauge", "Events that wait for the handler.", |handler| handler.waiting),
        ("wardend_notify_failing", "gauge", "Whether the handler has failed and is tried again.", |handler| {
            u64::from(handler.failing_since_usec.is_some())
        }),
        ("wardend_notify_events", "counter", "Events handed over since the handler was set up.", |handler| {
            handler.events
        }),
        ("wardend_notify_batches", "counter", "Batches handed over since the handler was set up.", |handler| {
            handler.batches
        }),
        ("wardend_notify_failures", "counter", "Failed attempts since the handler was set up.", |handler| {
            handler.failures
        }),
        ("wardend_notify_omitted", "counter", "Events that were dropped, or only counted.", |handler| handler.omitted),
    ];
    for (name, kind, help, value) in per_handler {
        family(text, name, kind, help);
        let sampled = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        for handler in handlers {
            sample(text, &sampled, &[("handler", &handler.name)], value(handler));
        }
    }
    let last = "wardend_notify_last_success_timestamp_seconds";
    let _ = writeln!(
        text,
        "# TYPE {last} gauge\n# UNIT {last} seconds\n# HELP {last} When the handler has taken a batch for the last time."
    );
    for handler in handlers {
        if let Some(usec) = handler.last_success_usec {
            let _ = writeln!(text, "{last}{{handler=\"{}\"}} {}", escaped(&handler.name), seconds(usec));
        }
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String can't fail.
    let _ = writeln!(text, "# TYPE {name} {kind}\n# HELP {name} {help}");
}

fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    text.push_str(name);
    if !labels.is_empty() {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let _ = write!(text, "{{{}}}", labels.join(","));
    }
    let _ = writeln!(text, " {value}");
}

/// A label's value as OpenMetrics wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fleet_has_its_numbers_where_there_is_one() {
        let status = FleetStatus {
            bans: 3,
            refused: vec!["network 2".into()],
            latency_usec: 1_500_000,
            ..FleetStatus::default()
        };
        let fleet = FleetNumbers { status, connected: 1, machines: BTreeMap::from([("muted".to_owned(), 1)]) };
        let text = render(&Numbers { fleet: Some(fleet), ..Numbers::default() });
        for line in [
            "wardend_fleet_connected 1",
            "wardend_fleet_bans 3",
            "wardend_fleet_machines{state=\"muted\"} 1",
            "wardend_fleet_machines{state=\"in-step\"} 0",
            "wardend_fleet_refused_total{why=\"network\"} 2",
            "wardend_fleet_latency_seconds_sum 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(!render(&Numbers::default()).contains("fleet"));
    }

    fn numbers() -> Numbers {
        Numbers {
            version: "1.2.3".to_owned(),
            leaks: 17,
            firewall: "up".to_owned(),
            jails: vec![
                JailNumbers {
                    name: "sshd".to_owned(),
                    bans: 2,
                    failing: 3,
                    sessions: 4,
                    failures: 5,
                    banned: 16,
                    ordered: 10,
                    spared: 7,
                },
                JailNumbers { name: "a\"b\\c\nd".to_owned(), ..JailNumbers::default() },
            ],
            records: 9,
            lost: 1,
            lag_usec: 20_000,
            latency: Latency::default(),
            fleet: None,
            handlers: vec![Status {
                name: "mail".to_owned(),
                waiting: 3,
                events: 40,
                failing_since_usec: Some(1),
                last_success_usec: Some(1_795_459_200_500_000),
                ..Status::default()
            }],
        }
    }

    #[test]
    fn each_number_has_its_line() {
        let text = render(&numbers());
        for line in [
            "wardend_build_info{version=\"1.2.3\"} 1",
            "wardend_leaks_total 17",
            "wardend_journal_lag_seconds 0.02",
            "wardend_jail_failures_total{jail=\"sshd\"} 5",
            "wardend_jail_banned_total{jail=\"sshd\",by=\"jail\"} 6",
            "wardend_jail_banned_total{jail=\"sshd\",by=\"order\"} 10",
            "wardend_jail_spared_total{jail=\"sshd\"} 7",
            "wardend_firewall_state{wardend_firewall_state=\"up\"} 1",
            "wardend_firewall_state{wardend_firewall_state=\"down\"} 0",
            "wardend_jail_bans{jail=\"sshd\"} 2",
            "wardend_jail_failing_sources{jail=\"sshd\"} 3",
            "wardend_jail_sessions{jail=\"sshd\"} 4",
            "wardend_jail_bans{jail=\"a\\\"b\\\\c\\nd\"} 0",
            "wardend_notify_waiting_events{handler=\"mail\"} 3",
            "wardend_notify_failing{handler=\"mail\"} 1",
            "wardend_notify_events_total{handler=\"mail\"} 40",
            "wardend_notify_last_success_timestamp_seconds{handler=\"mail\"} 1795459200.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_latency_is_in_every_bucket_from_its_own_on() {
        let mut latency = Latency::default();
        for usec in [5_000, 5_001, 3_000_000, 11_000_000] {
            latency.add(usec);
        }
        assert_eq!(Latency::read(&latency.counts, latency.sum_usec), Some(latency.clone()));
        assert_eq!(Latency::read(&[1, 2], 3), None);
        let text = render(&Numbers { latency, ..numbers() });
        for line in [
            "bucket{le=\"0.005\"} 1",
            "bucket{le=\"0.01\"} 2",
            "bucket{le=\"2.5\"} 2",
            "bucket{le=\"5.0\"} 3",
            "bucket{le=\"10.0\"} 3",
            "bucket{le=\"+Inf\"} 4",
            "sum 14.010001",
            "count 4",
        ] {
            let line = format!("wardend_ban_latency_seconds_{line}");
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    /// The rules of OpenMetrics that a scraper refuses a text for: every sample belongs to the
    /// family announced last, no family comes twice, the end is the end.
    #[test]
    fn the_text_keeps_the_rules_of_the_format() {
        let text = render(&numbers());
        let mut seen = std::collections::BTreeSet::new();
        let mut family = (String::new(), String::new());
        let body = text.strip_suffix("# EOF\n").unwrap();
        for line in body.lines() {
            if let Some(announced) = line.strip_prefix("# TYPE ") {
                let (name, kind) = announced.split_once(' ').unwrap();
                assert!(seen.insert(name.to_owned()), "{name} comes twice");
                family = (name.to_owned(), kind.to_owned());
            } else if let Some(unit) = line.strip_prefix("# UNIT ") {
                let (name, unit) = unit.split_once(' ').unwrap();
                assert!(name == family.0 && name.ends_with(&format!("_{unit}")), "{line}");
            } else if let Some(help) = line.strip_prefix("# HELP ") {
                assert!(help.starts_with(&format!("{} ", family.0)) && help.ends_with('.'), "{line}");
            } else {
                let suffixes: &[&str] = match family.1.as_str() {
                    "counter" => &["_total"],
                    "info" => &["_info"],
                    "histogram" => &["_bucket", "_sum", "_count"],
                    _ => &[""],
                };
                let rest = line.strip_prefix(&family.0).unwrap_or_else(|| panic!("{line}"));
                let name = &rest[..rest.find(['{', ' ']).unwrap()];
                assert!(suffixes.contains(&name), "{line}");
                assert!(rest.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() >= 0.0, "{line}");
            }
        }
        assert_eq!(seen.len(), 20);
        assert!(!render(&Numbers::default()).contains("notify"));
    }
}
