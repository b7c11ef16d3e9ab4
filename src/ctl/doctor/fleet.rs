//! The fleet, where this machine takes part in one.

use std::path::Path;

use super::{Finding, Scene};
use crate::{
    contract::fleet::{BrokerRow, FleetStatus, MachineRow},
    ctl::fleet::state,
    util::text::count,
};

const CHECK: &str = "fleet";
/// With this file, wardend-fleet.service starts.
const KEY: &str = "/etc/wardend/fleet/key.pem";

pub(super) async fn check(scene: &Scene) -> Vec<Finding> {
    let Ok(bus) = &scene.bus else { return Vec::new() };
    match state(bus).await {
        Some((status, brokers, machines)) => findings(&status, &brokers, &machines),
        None if Path::new(KEY).exists() => vec![Finding::problem(
            CHECK,
            "This machine has a key for a fleet, and wardend-fleet is not running.",
            "Run `systemctl enable --now wardend-fleet`; `systemctl status wardend-fleet` says what is wrong.",
        )],
        None => Vec::new(),
    }
}

fn findings(status: &FleetStatus, brokers: &[BrokerRow], machines: &[MachineRow]) -> Vec<Finding> {
    if status.state == "left" {
        let remedy = "Run `systemctl restart wardend-fleet` to join it again, or disable the service.";
        return vec![Finding::note(CHECK, "This machine has left the fleet.", remedy)];
    }
    let mut found = Vec::new();
    if !status.problem.is_empty() {
        found.push(Finding::problem(CHECK, status.problem.clone(), ""));
    }
    for row in brokers.iter().filter(|row| row.state != "connected") {
        found.push(Finding::problem(
            CHECK,
            format!("There is no connection to {}: {}", row.broker, row.problem),
            "See that the broker is running and can be reached, and that its configuration names this machine.",
        ));
    }
    for row in brokers.iter().filter(|row| row.state == "connected" && !row.problem.is_empty()) {
        found.push(Finding::note(CHECK, format!("{}: {}", row.broker, row.problem), ""));
    }
    for row in machines.iter().filter(|row| row.state == "muted") {
        found.push(Finding::note(
            CHECK,
            format!("{} is not heard at the moment. {}", row.machine, row.problem),
            "Look at that machine; `wardenctl fleet status` shows until when.",
        ));
    }
    if found.is_empty() {
        found.push(Finding::ok(
            CHECK,
            format!(
                "{} connected; {} known.",
                count(brokers.len(), "broker is", "brokers are"),
                count(machines.len(), "other machine is", "other machines are")
            ),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::doctor::State;

    #[test]
    fn a_lost_broker_is_a_problem_and_a_muted_machine_a_note() {
        let broker = |state: &str, problem: &str| BrokerRow {
            broker: "nats://b".into(),
            state: state.into(),
            problem: problem.into(),
            ..BrokerRow::default()
        };
        let status = FleetStatus::default();
        let found_for = |brokers: &[BrokerRow], machines: &[MachineRow]| {
            let found = findings(&status, brokers, machines);
            found.into_iter().map(|finding| (finding.state, finding.what)).collect::<Vec<_>>()
        };
        let up = broker("connected", "");
        let well = "1 broker is connected; 0 other machines are known.".to_owned();
        assert_eq!(found_for(std::slice::from_ref(&up), &[]), [(State::Ok, well)]);
        let muted = MachineRow {
            machine: "a".into(),
            state: "muted".into(),
            problem: "Muted because x.".into(),
            ..MachineRow::default()
        };
        assert_eq!(
            found_for(&[broker("lost", "The connection was lost."), up], &[muted]),
            [
                (State::Problem, "There is no connection to nats://b: The connection was lost.".to_owned()),
                (State::Note, "a is not heard at the moment. Muted because x.".to_owned()),
            ]
        );
        let left = findings(&FleetStatus { state: "left".into(), ..FleetStatus::default() }, &[], &[]);
        assert_eq!(left[0].state, State::Note);
    }
}
