//! The sentences that an admin reads about the firewall: what is wrong, what has become of the
//! bans, and what mends it.
//!
//! They stand together so that they say the same things in the same words; a state is compared
//! by its sentence, so the same trouble is told once.

use std::collections::BTreeSet;

use super::bypass::Bypass;
use super::client::Trouble;
use super::objects::{PRIORITY, Repairs};
use super::plan::Found;
use super::sets::Set;
use crate::util::text::count;

pub(super) const ABSENT: &str = "firewalld is not running; bans are kept and will be \
                                 applied when it starts (systemctl start firewalld).";

pub(super) const NAMELESS: &str = "firewalld was started and has not taken its name on the system bus for a minute; \
                                   bans are kept and will be applied when it does (see journalctl -u firewalld, and \
                                   try systemctl restart firewalld).";

const DENIED: &str = "firewalld does not let wardend change the firewall; bans are kept and will \
                      be applied when polkit allows it (check that polkitd is running and that \
                      /usr/share/polkit-1/rules.d/50-wardend.rules is installed).";
const PANIC: &str = "firewalld is in panic mode and drops everything; bans are kept and will be applied when it \
                     ends (firewall-cmd --panic-off).";
pub(super) const DEAF: &str = "firewalld has not answered for a minute; bans are kept and \
                               will be applied when it answers (see journalctl -u firewalld).";

pub(super) const UNREACHED: &str = "the system bus does not answer wardend, so firewalld can't be reached; bans are \
                                    kept and will be applied when it answers (see journalctl -u dbus).";

const NOT_LOADED: &str = "firewalld has not loaded wardend's ipsets and policy although they are \
                          configured; bans are kept and will be applied when it does (see \
                          firewall-cmd --check-config and journalctl -u firewalld).";

pub(super) const CUT_OFF: &str = "the connection to the system bus is lost; the entries in \
                                  firewalld stay as they are until wardend is restarted.";

pub(super) const KEEPS: &str = "firewalld keeps the entries of ipsets over a reload and enters them again one by \
                                one (FlushAllOnReload=no in /etc/firewalld/firewalld.conf): with many bans a \
                                reload takes long, and nobody can connect meanwhile; set it to yes.";

pub(super) const CREATED: &str = "firewalld had not all of wardend's ipsets and its policy in force; they are \
                                  configured and firewalld is told to reload.";

pub(super) const TAKEN_OUT: &str = "wardend's ipsets and policy were taken out of firewalld by order; reload or restart \
                                    wardend to put them back.";

pub(super) const RULES: &str = "the policy wardend in firewalld had other rules than wardend's jails ask for; it \
                                has the right ones again.";

/// What had to be changed in the permanent configuration; what was created is told with the reload.
pub(super) fn repaired(repairs: &Repairs) -> Vec<String> {
    let mut told = Vec::new();
    if repairs.policy {
        told.push(
            "the permanent configuration of the policy wardend in firewalld was another than wardend's jails ask \
             for; it is right again."
                .to_owned(),
        );
    }
    if !repairs.gone.is_empty() {
        told.push(format!(
            "no jail has the ports and action of these ipsets any more, so they are removed from firewalld's \
             permanent configuration: {}.",
            repairs.gone.join(", ")
        ));
    }
    for (name, count) in &repairs.baked {
        told.push(format!(
            "the permanent configuration of ipset {name} held {count} entries (firewall-cmd \
             --runtime-to-permanent writes them); they are removed, because bans are not permanent."
        ));
    }
    told
}

/// How much was written to put the entries right.
pub(super) fn changes(calls: usize) -> Option<String> {
    (calls > 0).then(|| format!("the entries of the ipsets were put right with {}.", count(calls, "change", "changes")))
}

/// Another policy comes before wardend's, and accepts.
pub(super) fn outranked(policy: &str, priority: i32) -> Bypass {
    Bypass {
        what: format!(
            "The firewalld policy {policy} (priority {priority}) accepts traffic before wardend's policy is asked, so \
             bans are without effect on what it accepts."
        ),
        mend: format!(
            "Take out of it what it accepts, or give it a priority above {PRIORITY} (firewall-cmd --permanent \
             --policy={policy} --set-priority=-1000, then firewall-cmd --reload)."
        ),
    }
}

/// A port that leads to another one of this machine; `kind` is the word for where it is forwarded.
pub(super) fn forwarded(kind: &str, name: &str, (port, protocol, to): &(String, String, String)) -> Bypass {
    let to = if to.is_empty() { port } else { to };
    Bypass {
        what: format!(
            "firewalld forwards port {port}/{protocol} to port {to} of this machine ({kind} {name}), and accepts what it \
             forwards before any policy is asked, so bans are without effect on that port."
        ),
        mend: format!(
            "Have the service listen on port {port} itself, and remove the forwarding (firewall-cmd --permanent \
             --{kind}={name} --remove-forward-port=port={port}:proto={protocol}:toport={to}, then firewall-cmd --reload)."
        ),
    }
}

pub(super) fn iptables() -> Bypass {
    Bypass {
        what:
            "firewalld uses its iptables backend, with which direct rules may accept traffic before wardend's policy \
               is asked."
                .to_owned(),
        mend: "Set FirewallBackend=nftables in /etc/firewalld/firewalld.conf and restart firewalld.".to_owned(),
    }
}

/// Which services firewalld does not know.
pub(super) fn unknown(services: &BTreeSet<String>) -> Option<String> {
    let names: Vec<&str> = services.iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| {
        format!(
            "firewalld knows no service named {}, so bans from its ports are not in force; correct ports in \
             wardend.conf, or add the service to firewalld (firewall-cmd --get-services lists them).",
            names.join(" or ")
        )
    })
}

/// Why the bans are not in force, or not all of them.
pub(super) fn down(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Denied => DENIED.to_owned(),
        Trouble::Gone => ABSENT.to_owned(),
        Trouble::Silent => DEAF.to_owned(),
        Trouble::Missing | Trouble::Already => NOT_LOADED.to_owned(),
        Trouble::Panic => PANIC.to_owned(),
        Trouble::Failed(text) => format!(
            "firewalld runs, but could not load its configuration, so bans are kept and not in force; mend it \
             (firewall-cmd --check-config, journalctl -u firewalld) and restart firewalld: {text}."
        ),
        Trouble::Flushed(text) => format!(
            "firewalld's rules are not in the kernel any more, as after nft flush ruleset; bans are kept and will be \
             applied when firewalld has made its rules again (systemctl restart firewalld): {text}."
        ),
        Trouble::Other(text) | Trouble::Refused(text) => format!(
            "firewalld could not do what was asked of it; bans are kept and it is tried again (see journalctl -u \
             firewalld; if it stays so, systemctl restart firewalld): {text}."
        ),
    }
}

pub(super) fn unheard(error: &zbus::Error) -> String {
    format!("the system bus does not let wardend listen to firewalld; restart wardend: {error}.")
}

pub(super) fn refused(entry: &str, reason: &str) -> String {
    format!("firewalld refuses to block {entry}, so it is not blocked: {reason}.")
}

pub(super) fn not_removed(trouble: &Trouble) -> String {
    let reason = match trouble {
        Trouble::Denied => "polkit does not allow it (check /usr/share/polkit-1/rules.d/50-wardend.rules)",
        Trouble::Gone => "firewalld is not running (systemctl start firewalld)",
        Trouble::Silent => "firewalld does not answer (see journalctl -u firewalld)",
        Trouble::Missing => "one of them is not in the permanent configuration",
        Trouble::Already => "they are gone already",
        Trouble::Panic => "firewalld is in panic mode (firewall-cmd --panic-off)",
        Trouble::Flushed(_) => "its rules are not in the kernel any more (systemctl restart firewalld)",
        Trouble::Other(text) | Trouble::Refused(text) | Trouble::Failed(text) => text,
    };
    format!("wardend's policy and ipsets could not be taken away from firewalld: {reason}.")
}

/// The first few of a list that may be long.
fn sample(entries: &[String]) -> Option<String> {
    const SHOWN: usize = 5;
    let shown = entries.iter().take(SHOWN).cloned().collect::<Vec<_>>();
    match entries.len() {
        0 => None,
        count if count > SHOWN => Some(format!("{} and {} more", shown.join(", "), count - SHOWN)),
        _ => Some(shown.join(", ")),
    }
}

/// What a look into an ipset has brought up.
pub(super) fn found(set: &Set, found: &Found) -> Vec<String> {
    let name = set.name();
    let foreign = sample(&found.foreign).map(|sample| {
        format!(
            "ipset {name} held entries that are not bans of wardend; they are being removed: \
             {sample}."
        )
    });
    let missing = sample(&found.missing).map(|sample| {
        format!("ipset {name} had lost bans that were in force; they are being entered again: {sample}.")
    });
    foreign.into_iter().chain(missing).collect()
}
