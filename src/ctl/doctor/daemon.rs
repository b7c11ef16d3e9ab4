//! The daemon itself: whether it runs, starts at boot, and what it knows to be wrong.

use zbus::Connection;

use super::{Finding, NO_SYSTEMD, Scene, no_bus};
use crate::{
    bus::ManagerProxy,
    ctl::bus::{ask, manager_on},
    systemd::{outgoing::is_timeout, units},
};

const CHECK: &str = "wardend";

/// The daemon, if it answers; and why it does not, if it only runs.
pub(super) async fn find(bus: &Connection) -> (Option<ManagerProxy<'static>>, Option<String>) {
    let Ok(daemon) = manager_on(bus).await else { return (None, None) };
    match ask(async || daemon.version().await).await {
        Ok(_) => (Some(daemon), None),
        Err(error) if error.downcast_ref().is_some_and(is_timeout) => {
            (None, Some("wardend runs, but does not answer on the bus.".to_owned()))
        }
        Err(error) => (None, Some(format!("wardend runs, but can't be asked: {error:#}"))),
    }
}

fn mute(why: &str) -> Finding {
    Finding::problem(CHECK, why, "Run `systemctl restart wardend`, and see `journalctl -u wardend`.")
}

pub(super) async fn check(scene: &Scene) -> Vec<Finding> {
    let bus = match &scene.bus {
        Ok(bus) => bus,
        Err(why) => return no_bus(CHECK, why),
    };
    let mut found = Vec::new();
    match &scene.daemon {
        None if let Some(why) = &scene.mute => found.push(mute(why)),
        None => found.push(Finding::problem(
            CHECK,
            "wardend is not running, so nobody is banned.",
            "Run `systemctl start wardend`; if it fails, see `systemctl status wardend`.",
        )),
        Some(daemon) => match (daemon.version().await, daemon.state().await, daemon.problems().await) {
            (Ok(version), Ok(state), Ok(problems)) => {
                found.extend(problems.into_iter().map(|problem| Finding::problem(CHECK, problem.what, problem.mend)));
                if found.is_empty() {
                    found.push(Finding::ok(CHECK, format!("wardend {version} is {state}.")));
                }
                // An older daemon has none.
                let notes = daemon.notes().await.unwrap_or_default();
                found.extend(notes.into_iter().map(|note| Finding::note(CHECK, note.what, note.mend)));
                if version != env!("CARGO_PKG_VERSION") {
                    let what = format!("The daemon is of version {version}, and wardenctl of another.");
                    found.push(Finding::note(CHECK, what, "Run `systemctl restart wardend`."));
                }
            }
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
                found.push(mute(&format!("wardend runs, but can't be asked: {error}.")));
            }
        },
    }
    for (unit, without) in [("wardend.service", "nobody is banned"), ("firewalld.service", "no ban is in force")] {
        match units::file_state(bus, unit).await {
            Ok(Some(state)) if state.starts_with("enabled") || ["alias", "static", "generated"].contains(&&*state) => {}
            Ok(Some(state)) => found.push(Finding::note(
                CHECK,
                format!("{unit} is {state}, so after a reboot {without}."),
                if state == "masked" {
                    format!("Run `systemctl unmask {unit}` and `systemctl enable {unit}`.")
                } else {
                    format!("Run `systemctl enable {unit}`.")
                },
            )),
            Ok(None) => found.push(Finding::problem(
                CHECK,
                format!("There is no {unit}, so {without}."),
                "Install it (wardend(8)).",
            )),
            Err(error) => {
                found.push(Finding::unknown(
                    CHECK,
                    format!("systemd does not say whether {unit} is enabled: {error}."),
                    NO_SYSTEMD,
                ));
            }
        }
    }
    found
}
