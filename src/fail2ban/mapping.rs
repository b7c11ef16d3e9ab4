//! From a set-up's jails to wardend's: what converts, what converts with a difference, and what does not.
//!
//! Whether a jail converts depends on its filter alone: [`FILTERS`] says which of wardend's filters reads
//! the same service, and it counts only if it is installed.

use std::collections::BTreeMap;

use super::{
    ignore,
    ini::shortened,
    jail::Jail,
    rules::{self, OwnRule, Proposal},
    setup::{Error, Files, Place, Remark, Setup},
};
use crate::core::filter::{BANS, Filter};

/// The jail that wardend has without any configuration.
pub(super) const BUILT_IN: &str = "sshd";
/// wardend's defaults, in seconds.
pub(super) const BANTIME: u64 = 600;

/// What there is on wardend's side.
pub(crate) trait Installed {
    /// The modes of an installed filter; none if there is no such filter.
    fn modes(&self, filter: &str) -> Option<Vec<String>>;
    /// Why an installed filter can't be used on this machine; none if it can.
    fn obstacle(&self, filter: &str) -> Option<String>;
    /// The names of all installed filters.
    fn names(&self) -> Vec<String>;
    /// An installed filter, proven with a drop-in of this text, unless that is empty. The error is a sentence.
    fn load(&self, filter: &str, drop_in: &str) -> Result<Filter, String>;
}

impl Installed for BTreeMap<String, Vec<String>> {
    fn modes(&self, filter: &str) -> Option<Vec<String>> {
        self.get(filter).cloned()
    }

    fn obstacle(&self, _filter: &str) -> Option<String> {
        None
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }

    fn load(&self, filter: &str, _drop_in: &str) -> Result<Filter, String> {
        Err(format!("The filter {filter} is a name alone."))
    }
}

/// A line of the drop-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) key: &'static str,
    /// As TOML.
    pub(crate) value: String,
    /// Where it is from, or why it is there.
    pub(crate) from: String,
}

/// What will be different, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) place: Option<Place>,
    pub(crate) what: String,
}

/// A jail of wardend's.
#[derive(Clone, Debug)]
pub(crate) struct Converted {
    /// As fail2ban calls it.
    pub(crate) theirs: String,
    pub(crate) name: String,
    pub(crate) filter: String,
    pub(crate) place: Place,
    pub(crate) settings: Vec<Setting>,
    pub(crate) ignored: Vec<ignore::Entry>,
    pub(super) ignored_is_shared: bool,
    pub(crate) warnings: Vec<Warning>,
    pub(super) grows: bool,
    pub(super) has_blocktype: bool,
}

/// A jail that stays with fail2ban.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub(crate) jail: String,
    pub(crate) place: Place,
    pub(crate) why: String,
    /// fail2ban can go on with it as it is.
    pub(crate) stays: bool,
}

/// All that an import finds.
#[derive(Debug, Default)]
pub(crate) struct Conversion {
    /// For all jails.
    pub(crate) shared_ignored: Vec<ignore::Entry>,
    pub(crate) converted: Vec<Converted>,
    pub(crate) left: Vec<Left>,
    pub(crate) remarks: Vec<Remark>,
    pub(crate) differences: Vec<String>,
    pub(crate) rules: Vec<OwnRule>,
    pub(crate) proposals: Vec<Proposal>,
}

impl Conversion {
    /// The jails that fail2ban goes on with.
    pub(crate) fn left_running(&self) -> impl Iterator<Item = &Left> {
        self.left.iter().filter(|left| left.stays)
    }

    /// The jails to leave on there. One that looks over all others stays while there is one.
    pub(super) fn stays_on(&self) -> impl Iterator<Item = &str> {
        let over_all = self.converted.iter().filter(|jail| jail.counts_bans() && self.left_running().next().is_some());
        self.left_running().map(|left| &*left.jail).chain(over_all.map(|jail| &*jail.theirs))
    }

    /// The jails to turn off there.
    pub(super) fn turned_off(&self) -> impl Iterator<Item = &str> {
        let off = |jail: &&Converted| !jail.counts_bans() || self.left_running().next().is_none();
        self.converted.iter().filter(off).map(|jail| &*jail.theirs)
    }
}

impl Converted {
    /// It counts the bans of the others.
    fn counts_bans(&self) -> bool {
        self.filter == BANS
    }
}

/// Converts a set-up.
pub(crate) fn convert(
    setup: &Setup,
    files: &dyn Files,
    installed: &dyn Installed,
    exact: bool,
) -> Result<Conversion, Error> {
    let mut all = Conversion { remarks: setup.remarks.clone(), ..Conversion::default() };
    let enabled = enabled(setup, &mut all.remarks)?;
    for section in &enabled {
        let jail = Jail { setup, section, files, installed, warnings: Vec::new() };
        match jail.convert(exact, &mut all.rules) {
            Ok(converted) => all.converted.push(converted),
            Err(left) => all.left.push(left),
        }
    }
    count_bans(&mut all);
    name(&mut all.converted);
    share_ignored(&mut all.converted, &mut all.shared_ignored);
    unknown_keys(setup, &enabled, &mut all.remarks);
    all.differences = differences(&all.converted, exact);
    all.proposals = rules::propose(&mut all.rules, installed);
    Ok(all)
}

/// The jails that are on.
fn enabled(setup: &Setup, remarks: &mut Vec<Remark>) -> Result<Vec<String>, Error> {
    const MOST_BY_DEFAULT: usize = 10;
    let (mut on, mut by_default) = (Vec::new(), None);
    let mut number = 0;
    for section in setup.sections() {
        let Some(found) = setup.get(section, "enabled") else { continue };
        let text = match setup.resolve(section, &found.value.raw) {
            Ok(text) => text,
            Err(what) => {
                remarks.push(Remark {
                    place: found.value.place.clone(),
                    what: format!("enabled of [{section}] {what}; the jail was taken as off"),
                });
                continue;
            }
        };
        let word = text.to_lowercase();
        let is_on = ["1", "yes", "true", "on"].contains(&word.as_str());
        if !is_on && !["0", "no", "false", "off", ""].contains(&word.as_str()) {
            let meant = word.split('#').next().unwrap_or_default().trim().to_owned();
            let comment =
                if word.contains('#') && !meant.is_empty() { "; ' #' does not begin a comment there" } else { "" };
            remarks.push(Remark {
                place: found.value.place.clone(),
                what: format!("enabled of [{section}] is '{}', which fail2ban takes as false{comment}; write true to convert the jail", shortened(&text)),
            });
        }
        if is_on {
            on.push(section.to_owned());
            if found.shared {
                by_default = Some(found.value.place.clone());
                number += 1;
            }
        }
    }
    match by_default {
        Some(place) if number > MOST_BY_DEFAULT => Err(Error::At(
            place.file.to_string(),
            place.line,
            format!(
                "enabled = true under [DEFAULT] turns on {number} jails, most of them for services that are not there; remove the line, and write it under the jails that are meant."
            ),
        )),
        _ => Ok(on),
    }
}

/// Gives each jail a name that wardend takes, and the first that reads sshd the one of the built-in jail.
fn name(converted: &mut [Converted]) {
    if !converted.iter().any(|jail| jail.theirs == BUILT_IN)
        && let Some(first) = converted.iter_mut().find(|jail| jail.filter == BUILT_IN)
    {
        BUILT_IN.clone_into(&mut first.name);
    }
    let mut taken: Vec<String> = Vec::new();
    for jail in converted {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let mut name: String = jail.name.chars().map(|c| if fits(c) { c } else { '-' }).take(60).collect();
        let base = name.clone();
        let mut number = 2;
        while taken.contains(&name) {
            name = format!("{base}-{number}");
            number += 1;
        }
        taken.push(name.clone());
        if name != jail.theirs {
            let what = format!("[{}] is called [jail.{name}] here", shortened(&jail.theirs));
            jail.warnings.insert(0, Warning { place: Some(jail.place.clone()), what });
        }
        jail.name = name;
    }
}

/// What counts the bans of others needs others, and there goes on for those that stay.
fn count_bans(all: &mut Conversion) {
    let (over_all, others): (Vec<_>, Vec<_>) = all.converted.drain(..).partition(Converted::counts_bans);
    let alone = others.is_empty();
    all.converted = others;
    for jail in over_all {
        if alone {
            let why = "it counts the bans of other jails, and none of them was converted".to_owned();
            all.left.push(Left { jail: jail.theirs, place: jail.place, why, stays: true });
            continue;
        }
        if all.left_running().next().is_some() {
            let what = format!(
                "[{}] counts the bans of wardend's jails here; leave it on in fail2ban, too, for the jails that stay there",
                shortened(&jail.theirs)
            );
            all.remarks.push(Remark { place: jail.place.clone(), what });
        }
        all.converted.push(jail);
    }
}

/// The list of `[DEFAULT]` goes where it protects jails to come as well, if no jail has another one.
fn share_ignored(converted: &mut [Converted], shared: &mut Vec<ignore::Entry>) {
    if converted.iter().all(|jail| jail.ignored_is_shared)
        && let Some(first) = converted.first()
    {
        shared.clone_from(&first.ignored);
        for jail in converted {
            jail.ignored.clear();
        }
    }
}

/// Keys that fail2ban takes in silence and does not know.
fn unknown_keys(setup: &Setup, enabled: &[String], remarks: &mut Vec<Remark>) {
    const KNOWN: [&str; 44] = [
        "enabled",
        "backend",
        "maxretry",
        "maxmatches",
        "findtime",
        "bantime",
        "bantime.increment",
        "bantime.factor",
        "bantime.formula",
        "bantime.multipliers",
        "bantime.maxtime",
        "bantime.rndtime",
        "bantime.overalljails",
        "ignorecommand",
        "ignoreself",
        "ignoreip",
        "ignorecache",
        "filter",
        "logtimezone",
        "logencoding",
        "logpath",
        "action",
        "prefregex",
        "failregex",
        "ignoreregex",
        "maxlines",
        "datepattern",
        "journalmatch",
        "usedns",
        "port",
        "protocol",
        "chain",
        "banaction",
        "banaction_allports",
        "mode",
        "destemail",
        "sender",
        "mta",
        "blocktype",
        "sendername",
        "fail2ban_agent",
        "skip_if_nologs",
        "systemd_if_nologs",
        "before",
    ];
    let texts: Vec<&str> = setup.all().map(|value| value.raw.as_str()).collect();
    let used = |key: &str| {
        texts.iter().any(|text| {
            let text = text.to_lowercase();
            text.contains(&format!("%({key})s"))
                || text.contains(&format!("/{key})s"))
                || text.contains(&format!("<{key}>"))
        })
    };
    let own = enabled.iter().flat_map(|section| setup.own(section));
    for (key, value) in setup.shared().chain(own) {
        if !value.place.shipped && !KNOWN.contains(&key) && !key.starts_with("action_") && !used(key) {
            let near = [
                "ban.",
                "bantime",
                "findtime",
                "maxretry",
                "ignore",
                "interpolation",
                "loglevel",
                "actionban",
                "actionunban",
                "dbpurgeage",
                "logtarget",
            ];
            if near.iter().any(|part| key.starts_with(part)) {
                let what = format!("fail2ban knows no '{key}' here, so it has no effect there and was not converted");
                let remark = Remark { place: value.place.clone(), what };
                if !remarks.contains(&remark) {
                    remarks.push(remark);
                }
            }
        }
    }
}

/// What is different without being asked for.
fn differences(converted: &[Converted], exact: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if converted.is_empty() {
        return Vec::new();
    }
    lines.push("One attempt is one failure here; fail2ban counts one wrong password up to three times, so the same maxretry is milder.");
    if !exact {
        lines.push("An IPv6 address counts and is banned with its /64 (ipv6-prefix = 128 for single addresses).");
        lines.push("A source from which somebody has logged in within the last hour is reported, not banned (spare-logins = false).");
        lines.push("Open connections of a banned source are closed (cut = false).");
        if converted.iter().any(|jail| !jail.grows) {
            lines.push("Each further ban of a source is twice as long, up to bantime-max (bantime-factor = 1).");
        }
        if converted.iter().any(|jail| !jail.has_blocktype) {
            lines.push("Packets of a banned source are dropped; fail2ban refuses them (action = \"reject\").");
        }
    }
    if converted.iter().all(|jail| jail.name != BUILT_IN) {
        lines.push("wardend guards sshd without being told to, although no jail here does; to have it not do that, set enabled = false under [jail.sshd].");
    }
    lines.push("Bans go through firewalld, whatever banaction was.");
    lines.into_iter().map(str::to_owned).collect()
}

pub(super) fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
