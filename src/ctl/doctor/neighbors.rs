//! What else runs on this machine and bans, what closes connections, and the clock.

use zbus::{Connection, proxy, proxy::CacheProperties};

use super::{Finding, NO_SYSTEMD, Scene, no_bus};
use crate::systemd::units;

/// Units that ban, and what they belong to.
const OTHERS: [(&str, &str); 6] = [
    ("fail2ban.service", "fail2ban"),
    ("sshguard.service", "sshguard"),
    ("crowdsec.service", "CrowdSec"),
    ("crowdsec-firewall-bouncer.service", "CrowdSec's firewall bouncer"),
    ("denyhosts.service", "DenyHosts"),
    ("reaction.service", "reaction"),
];

#[proxy(
    interface = "org.freedesktop.timedate1",
    default_service = "org.freedesktop.timedate1",
    default_path = "/org/freedesktop/timedate1"
)]
trait TimeDate {
    #[zbus(property, name = "NTPSynchronized")]
    fn ntp_synchronized(&self) -> zbus::Result<bool>;
}

/// What a banned source still has open.
pub(super) async fn cut(scene: &Scene) -> Vec<Finding> {
    const CHECK: &str = "cut";
    const SOCKET: &str = "wardend-cut.socket";
    let (Ok(bus), Ok(settings), Some(_)) = (&scene.bus, &scene.settings, &scene.daemon) else { return Vec::new() };
    if !settings.jails.iter().any(|jail| jail.cut) {
        return Vec::new();
    }
    match units::active(bus, &[SOCKET]).await {
        Ok(active) if active.is_empty() => vec![Finding::problem(
            CHECK,
            format!("{SOCKET} is not active, so the open connections of banned sources stay open."),
            format!("Run `systemctl restart {SOCKET}` (`systemctl unmask` before it, if it is masked)."),
        )],
        Ok(_) => vec![Finding::ok(CHECK, "The open connections of banned sources are closed.")],
        // Who does not answer is another check's matter.
        Err(_) => Vec::new(),
    }
}

pub(super) async fn check(scene: &Scene) -> Vec<Finding> {
    const CHECK: &str = "others";
    let bus = match &scene.bus {
        Ok(bus) => bus,
        Err(why) => return no_bus(CHECK, why),
    };
    match units::active(bus, &OTHERS.map(|(unit, _)| unit)).await {
        Ok(active) if active.is_empty() => {
            vec![Finding::ok(CHECK, "No other ban daemon is running (fail2ban, sshguard, CrowdSec).")]
        }
        Ok(active) => active.iter().map(|unit| other(&unit.name)).collect(),
        Err(error) => {
            vec![Finding::unknown(CHECK, format!("systemd does not say which units are active: {error}."), NO_SYSTEMD)]
        }
    }
}

fn other(unit: &str) -> Finding {
    let name = OTHERS.iter().find(|(known, _)| *known == unit).map_or(unit, |(_, name)| name);
    Finding::note(
        "others",
        format!("{name} is running too. What it bans, wardend does not know and can't unban."),
        format!(
            "If both watch the same service, leave that to one of them, for example with `systemctl disable --now {unit}`."
        ),
    )
}

pub(super) async fn clock(scene: &Scene) -> Vec<Finding> {
    const CHECK: &str = "clock";
    let bus = match &scene.bus {
        Ok(bus) => bus,
        Err(why) => return no_bus(CHECK, why),
    };
    vec![match synchronized(bus).await {
        Ok(true) => Finding::ok(CHECK, "It is synchronized."),
        Ok(false) => Finding::note(
            CHECK,
            "It is not synchronized, so times of bans may be wrong.",
            "Run `timedatectl set-ntp true`, or install an NTP client such as systemd-timesyncd or chrony.",
        ),
        Err(error) => {
            let what = format!("systemd-timedated does not answer: {error}.");
            Finding::unknown(
                CHECK,
                what,
                "Run `systemctl restart systemd-timedated` (`systemctl unmask` before it, if it is masked).",
            )
        }
    }]
}

async fn synchronized(bus: &Connection) -> zbus::Result<bool> {
    TimeDateProxy::builder(bus).cache_properties(CacheProperties::No).build().await?.ntp_synchronized().await
}
