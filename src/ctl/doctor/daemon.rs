//! The daemon itself: whether it runs, starts at boot, and what it knows to be wrong.

use super::{Finding, Scene, no_bus};
use crate::systemd::units;

pub(super) async fn check(scene: &Scene) -> Vec<Finding> {
    const CHECK: &str = "wardend";
    let bus = match &scene.bus {
        Ok(bus) => bus,
        Err(why) => return no_bus(CHECK, why),
    };
    let mut found = Vec::new();
    match &scene.daemon {
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
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => found.push(Finding::problem(
                CHECK,
                format!("wardend does not answer on the bus: {error}."),
                "See `journalctl -u wardend`.",
            )),
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
                    "",
                ));
            }
        }
    }
    found
}
