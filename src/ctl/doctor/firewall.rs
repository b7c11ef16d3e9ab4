//! firewalld: whether it runs and takes bans, what it accepts before them, and which ports it closes that
//! programs listen on.

use std::{collections::BTreeSet, sync::Arc};

use zbus::{Connection, fdo::DBusProxy, names::BusName};

use super::{Finding, SANDBOX, Scene, no_bus, sshd::Sshd};
use crate::{
    firewalld::{
        client::{Firewalld, Trouble},
        layout::Layout,
    },
    kernel::listening,
    util::text::count,
};

const CHECK: &str = "firewalld";
const SYNC: &str = "Run `wardenctl firewall sync`.";
const NAME: &str = "org.fedoraproject.FirewallD1";

pub(super) async fn check(scene: &Scene) -> Vec<Finding> {
    let bus = match &scene.bus {
        Ok(bus) => bus,
        Err(why) => return no_bus(CHECK, why),
    };
    let listening = listening::tcp();
    let firewalld = match running(bus).await {
        Ok(true) => Firewalld::new(bus).await,
        Ok(false) => return vec![absent(), not_filtered(listening.as_ref().ok())],
        Err(error) => Err(error),
    };
    let firewalld = match firewalld {
        Ok(firewalld) => firewalld,
        Err(error) => {
            let mut unseen = Unseen::default();
            unseen.note("anything", &error);
            return unseen.findings();
        }
    };
    let mut unseen = Unseen::default();
    let mut found = modes(&firewalld, &mut unseen).await;
    if unseen.silent {
        return unseen.findings();
    }
    found.extend(bans(scene, &firewalld, &mut unseen).await);
    if found.is_empty() && unseen.found.is_empty() {
        let all = if unseen.denied.is_empty() { ", and nothing is accepted before a ban" } else { "" };
        found.push(Finding::ok(CHECK, format!("It is running{all}.")));
    }
    match listening {
        Ok(ports) => found.extend(closed(scene, &firewalld, &ports, &mut unseen).await),
        Err(error) => found.push(Finding::unknown("ports", format!("/proc/net/tcp can't be read: {error}."), SANDBOX)),
    }
    found.extend(unseen.findings());
    found
}

async fn running(bus: &Connection) -> zbus::Result<bool> {
    Ok(DBusProxy::new(bus).await?.name_has_owner(BusName::try_from(NAME)?).await?)
}

fn absent() -> Finding {
    Finding::problem(
        CHECK,
        "firewalld is not running, so no ban is in force.",
        "Run `systemctl enable --now firewalld`; on a server that had no firewall, read \"Servers that had no firewall\" in wardend(8) first.",
    )
}

/// What would be closed if it were started.
fn not_filtered(listening: Option<&BTreeSet<u16>>) -> Finding {
    let others: BTreeSet<u16> = listening.into_iter().flatten().copied().filter(|port| *port != 22).collect();
    if others.is_empty() {
        return Finding::ok("ports", "No program listens on a TCP port that firewalld, as shipped, would close.");
    }
    Finding::note(
        "ports",
        format!("Programs listen on {}, which firewalld, as shipped, closes as soon as it starts.", named(&others)),
        "Open those that are needed before you start it: \"Servers that had no firewall\" in wardend(8).",
    )
}

/// What firewalld was not asked, or did not answer.
#[derive(Default)]
struct Unseen {
    denied: Vec<&'static str>,
    /// It has not answered at all, so it is asked no more.
    silent: bool,
    found: Vec<Finding>,
}

impl Unseen {
    fn note(&mut self, what: &'static str, error: &zbus::Error) {
        match Trouble::from(error) {
            Trouble::Denied => self.denied.push(what),
            Trouble::Silent => self.silent = true,
            _ => self.found.push(Finding::unknown(
                CHECK,
                format!("firewalld can't be asked for {what}: {error}."),
                "See `journalctl -u firewalld`, and run `systemctl restart firewalld`.",
            )),
        }
    }

    fn findings(mut self) -> Vec<Finding> {
        if self.silent {
            self.found.push(Finding::problem(
                CHECK,
                "firewalld runs, but does not answer, so no ban comes into force or ends.",
                "Run `systemctl restart firewalld`, and see `journalctl -u firewalld`.",
            ));
        }
        if !self.denied.is_empty() {
            let what = format!("You are not authorized to ask firewalld for {}.", self.denied.join(", "));
            self.found.push(Finding::unknown(CHECK, what, "Run this as root."));
        }
        self.found
    }
}

/// Whether it works, and for whom.
async fn modes(firewalld: &Firewalld, unseen: &mut Unseen) -> Vec<Finding> {
    let mut found = Vec::new();
    match firewalld.mode().await {
        Ok(mode) if mode == "FAILED" => found.push(Finding::problem(
            CHECK,
            "firewalld runs, but could not load its configuration, so no ban is in force.",
            "Run `firewall-cmd --check-config`, correct what it reports, and restart firewalld.",
        )),
        Ok(_) => {}
        Err(error) => unseen.note("its state", &error),
    }
    if unseen.silent {
        return found;
    }
    match firewalld.panics().await {
        Ok(true) => found.push(Finding::problem(
            CHECK,
            "firewalld is in panic mode and drops all traffic.",
            "Run `firewall-cmd --panic-off`.",
        )),
        Ok(false) => {}
        Err(error) => unseen.note("panic mode", &error),
    }
    match firewalld.is_locked_down().await {
        Ok(true) => found.push(Finding::problem(
            CHECK,
            "firewalld is locked down, so it takes no ban from wardend unless wardend is on its list.",
            "Run `firewall-cmd --permanent --add-lockdown-whitelist-user=wardend` and `firewall-cmd --reload`, or `firewall-cmd --lockdown-off`.",
        )),
        Ok(false) => {}
        Err(error) => unseen.note("lockdown", &error),
    }
    match firewalld.config.flush_all_on_reload().await {
        Ok(flushes) if flushes == "no" => found.push(Finding::note(
            CHECK,
            "firewalld.conf says FlushAllOnReload=no, with which a reload takes very long when there are many bans.",
            "Set FlushAllOnReload=yes in /etc/firewalld/firewalld.conf and restart firewalld.",
        )),
        Ok(_) => {}
        Err(error) => unseen.note("FlushAllOnReload", &error),
    }
    found
}

/// What goes past the bans, and whether they are there.
async fn bans(scene: &Scene, firewalld: &Firewalld, unseen: &mut Unseen) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Ok(settings) = &scene.settings {
        let mut scopes: Vec<_> = settings.jails.iter().map(|jail| Arc::clone(&jail.scope)).collect();
        scopes.sort();
        scopes.dedup();
        match firewalld.bypasses(&Layout::new(&scopes)).await {
            Ok(bypasses) => {
                // What is accepted from certain sources only is the administrator's list of friends.
                let general = bypasses.into_iter().filter(|(_, sources)| sources.is_none());
                found.extend(general.map(|(bypass, _)| Finding::problem(CHECK, bypass.what, bypass.mend)));
            }
            Err(error) => unseen.note("its policies and zones", &error),
        }
    }
    if let Some(daemon) = &scene.daemon
        && let Ok((state, _, policy, sets)) = daemon.firewall_status().await
        // If it is down, the daemon says why, and what solves that.
        && state == "up"
    {
        let missing: usize = sets.answer.iter().map(|set| set.missing.len()).sum();
        let foreign: usize = sets.answer.iter().map(|set| set.foreign.len()).sum();
        match policy.as_str() {
            "missing" | "other-rules" => {
                let what = "wardend's policy has other rules than it should, or it or one of its ipsets is missing.";
                found.push(Finding::problem(CHECK, what, SYNC));
            }
            _ if missing > 0 => {
                let what = format!("{} not in its ipset.", count(missing, "ban is", "bans are"));
                found.push(Finding::problem(CHECK, what, SYNC));
            }
            _ if foreign > 0 => {
                let what = format!(
                    "{} in wardend's ipsets.",
                    count(foreign, "entry is not a ban of wardend", "entries are not bans of wardend")
                );
                found.push(Finding::note(CHECK, what, SYNC));
            }
            _ => {}
        }
    }
    found
}

/// Ports on which programs listen and that nobody from elsewhere can reach.
async fn closed(scene: &Scene, firewalld: &Firewalld, listening: &BTreeSet<u16>, unseen: &mut Unseen) -> Vec<Finding> {
    const CHECK: &str = "ports";
    let opened = match firewalld.opened().await {
        Ok(opened) => opened,
        Err(error) => {
            unseen.note("what its zones open", &error);
            return Vec::new();
        }
    };
    let closed: BTreeSet<u16> = listening.iter().copied().filter(|port| opened.closes(*port)).collect();
    let sshd = match &scene.sshd {
        Sshd::Says(settings) => settings.ports.clone(),
        _ => BTreeSet::from([22]),
    };
    let (sshd, others): (BTreeSet<u16>, BTreeSet<u16>) = closed.iter().partition(|port| sshd.contains(port));
    let mut found = Vec::new();
    if !sshd.is_empty() {
        found.push(Finding::problem(
            CHECK,
            format!("sshd listens on {}, and firewalld closes it.", named(&sshd)),
            format!("{} if nobody is to be locked out.", open(&sshd)),
        ));
    }
    if !others.is_empty() {
        found.push(Finding::note(
            CHECK,
            format!("Programs listen on {}, and firewalld closes it.", named(&others)),
            format!("{} if it is to be reached.", open(&others)),
        ));
    }
    if found.is_empty() {
        found.push(Finding::ok(CHECK, "firewalld closes no TCP port that a program listens on."));
    }
    found
}

fn named(ports: &BTreeSet<u16>) -> String {
    let ports: Vec<String> = ports.iter().map(|port| format!("{port}/tcp")).collect();
    ports.join(", ")
}

/// The command that opens them.
fn open(ports: &BTreeSet<u16>) -> String {
    let options: Vec<String> = ports.iter().map(|port| format!("--add-port={port}/tcp")).collect();
    format!("Run `firewall-cmd --permanent {}` and `firewall-cmd --reload`", options.join(" "))
}
