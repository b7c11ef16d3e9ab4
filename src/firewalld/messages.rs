//! The sentences that an admin reads about the firewall: what is wrong, what has become of the
//! bans, and what mends it.
//!
//! They stand together so that they say the same things in the same words; a state is compared
//! by its sentence, so the same trouble is reported once.

use std::collections::BTreeSet;

use super::client::Trouble;
use super::layout::IpsetId;
use super::objects::{PRIORITY, Repairs};
use super::pool::Found;
use crate::util::text::count;

/// Why bans are without effect somewhere, and what mends it: a sentence each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bypass {
    pub(crate) what: String,
    pub(crate) mend: String,
}

/// Why firewalld can't hold what it should, for whoever has asked for that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotRight {
    /// wardend's part was removed by order.
    #[error("{TAKEN_OUT}")]
    TakenOut,
    /// firewalld can't be reached or used; the sentence of [`super::State::Down`].
    #[error("{0}")]
    Down(String),
    /// Something is accepted before wardend's policy is asked.
    #[error("{} {}", .0.what, .0.mend)]
    Bypassed(Bypass),
}

/// Why wardend's part could not be removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", not_removed(.0))]
pub(crate) struct NotRemoved(pub(super) Trouble);

pub(super) const ABSENT: &str = "firewalld is not running; bans are kept and will be \
                                 applied when it starts (systemctl start firewalld).";

pub(super) const NAMELESS: &str = "firewalld was started a minute ago and has still not acquired its name on the system bus; \
                                   bans are kept and will be applied when it does (see journalctl -u firewalld, and \
                                   try systemctl restart firewalld).";

const DENIED: &str = "firewalld does not let wardend change the firewall; bans are kept and will \
                      be applied when polkit allows it (check that polkitd is running and that \
                      /usr/share/polkit-1/rules.d/50-wardend.rules is installed).";
const PANIC: &str = "firewalld is in panic mode and drops all packets; bans are kept and will be applied when it \
                     ends (firewall-cmd --panic-off).";
pub(super) const DEAF: &str = "firewalld has not replied for a minute; bans are kept and \
                               will be applied when it replies (see journalctl -u firewalld).";

pub(super) const UNREACHED: &str = "the system bus does not reply to wardend, so firewalld can't be reached; bans are \
                                    kept and will be applied when it replies (see journalctl -u dbus).";

const NOT_LOADED: &str = "firewalld has not loaded wardend's ipsets and policy although they are \
                          configured; bans are kept and will be applied when it does (see \
                          firewall-cmd --check-config and journalctl -u firewalld).";

pub(super) const CUT_OFF: &str = "the connection to the system bus is lost; the entries in \
                                  firewalld stay as they are until wardend is restarted.";

pub(super) const KEEPS: &str = "firewalld keeps the entries of ipsets during a reload and adds them again one by \
                                one (FlushAllOnReload=no in /etc/firewalld/firewalld.conf): with many bans, a \
                                reload takes long, and no client can connect in the meantime; set it to yes.";

pub(super) const CREATED: &str = "some of wardend's ipsets or its policy were not loaded in firewalld; added them \
                                  and reloading firewalld.";

pub(super) const TAKEN_OUT: &str = "wardend's ipsets and policy were removed from firewalld on request; reload or restart \
                                    wardend to restore them.";

pub(super) const RULES: &str = "the rules of firewalld's policy wardend did not match the jails; corrected \
                                them.";

/// What had to be changed in the permanent configuration; what was created is reported with the reload.
pub(super) fn repaired(repairs: &Repairs) -> Vec<String> {
    let mut told = Vec::new();
    if repairs.policy {
        told.push(
            "the permanent configuration of firewalld's policy wardend did not match the jails; corrected \
             it."
            .to_owned(),
        );
    }
    if !repairs.gone.is_empty() {
        told.push(format!(
            "removed ipsets that no jail uses any longer from firewalld's permanent configuration: \
             {}.",
            repairs.gone.join(", ")
        ));
    }
    for (name, number) in &repairs.baked {
        let entries = count(*number, "entry", "entries");
        told.push(format!(
            "removed {entries} from the permanent configuration of ipset {name} (firewall-cmd \
             --runtime-to-permanent saves them), because bans are runtime entries."
        ));
    }
    told
}

/// How much was written to put the entries right.
pub(super) fn changes(calls: usize) -> Option<String> {
    (calls > 0).then(|| format!("corrected the entries of the ipsets with {}.", count(calls, "change", "changes")))
}

/// Another policy comes before wardend's, and accepts.
pub(super) fn outranked(policy: &str, priority: i32) -> Bypass {
    Bypass {
        what: format!(
            "The firewalld policy {policy} (priority {priority}) accepts traffic before wardend's policy is evaluated, so \
             bans have no effect on what it accepts."
        ),
        mend: format!(
            "Remove what it accepts, or give it a priority above {PRIORITY} (firewall-cmd --permanent \
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
             forwards before any policy is evaluated, so bans have no effect on that port."
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
               is evaluated."
                .to_owned(),
        mend: "Set FirewallBackend=nftables in /etc/firewalld/firewalld.conf and restart firewalld.".to_owned(),
    }
}

/// Which services firewalld does not know.
pub(super) fn unknown(services: &BTreeSet<String>) -> Option<String> {
    let names: Vec<&str> = services.iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| {
        format!(
            "firewalld does not know a service named {}, so bans from its ports are not in force; correct ports in \
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
            "firewalld runs, but could not load its configuration, so bans are kept, but are not in force; repair it \
             (firewall-cmd --check-config, journalctl -u firewalld) and restart firewalld: {text}."
        ),
        Trouble::Flushed(text) => format!(
            "firewalld's rules are no longer in the kernel, as after nft flush ruleset; bans are kept and will be \
             applied when firewalld has created its rules again (systemctl restart firewalld): {text}."
        ),
        Trouble::Other(text) | Trouble::Refused(text) => format!(
            "firewalld could not carry out a request; bans are kept and wardend tries again (see journalctl -u \
             firewalld; if this persists, systemctl restart firewalld): {text}."
        ),
    }
}

pub(super) fn unheard(error: &zbus::Error) -> String {
    format!("the system bus does not let wardend listen to firewalld; restart wardend: {error}.")
}

pub(super) fn refused(entry: &str, reason: &str) -> String {
    format!("firewalld refuses to block {entry}, so it is not blocked: {reason}.")
}

fn not_removed(trouble: &Trouble) -> String {
    let reason = match trouble {
        Trouble::Denied => "polkit does not allow it (check /usr/share/polkit-1/rules.d/50-wardend.rules)",
        Trouble::Gone => "firewalld is not running (systemctl start firewalld)",
        Trouble::Silent => "firewalld does not reply (see journalctl -u firewalld)",
        Trouble::Missing => "one of them is not in the permanent configuration",
        Trouble::Already => "they have already been removed",
        Trouble::Panic => "firewalld is in panic mode (firewall-cmd --panic-off)",
        Trouble::Flushed(_) => "its rules are no longer in the kernel (systemctl restart firewalld)",
        Trouble::Other(text) | Trouble::Refused(text) | Trouble::Failed(text) => text,
    };
    format!("wardend's policy and ipsets could not be removed from firewalld: {reason}.")
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
pub(super) fn found(set: &IpsetId, found: &Found) -> Vec<String> {
    let name = set.name();
    let foreign = sample(&found.foreign)
        .map(|sample| format!("ipset {name} had entries that are not bans of wardend; removing them: {sample}."));
    let missing = sample(&found.missing)
        .map(|sample| format!("ipset {name} was missing active bans; adding them back: {sample}."));
    foreign.into_iter().chain(missing).collect()
}
