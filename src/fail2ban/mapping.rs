//! From a set-up's jails to wardend's: what converts, what converts with a difference, and what does not.
//!
//! Whether a jail converts depends on its filter alone, see [`super::jail`].

use super::{
    converted::{BUILT_IN, Conversion, Converted, Left, Warning},
    ignore,
    ini::shortened,
    installed::Installed,
    jail::Jail,
    rules,
    setup::{Error, Files, Remark, Setup},
};
use crate::util::text::count;

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
                "enabled = true under [DEFAULT] turns on {}, most of them for services that are not there; remove the line, and write it under the jails that are meant.",
                count(number, "jail", "jails")
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
