//! The report of an import: for people, and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    converted::{Conversion, Warning},
    rules::OwnRule,
    setup::{Place, Remark},
};

/// Where fail2ban's configuration is.
const DIRECTORY: &str = "/etc/fail2ban";

/// What the steps to come depend on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Next {
    /// fail2ban's directory.
    pub(crate) directory: String,
    /// The import keeps to fail2ban's ways.
    pub(crate) exact: bool,
    /// The drop-in is in place.
    pub(crate) written: bool,
    /// The bans were taken over.
    pub(crate) bans: bool,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) converted: Vec<Jail>,
    pub(crate) not_converted: Vec<Left>,
    /// Of the files and of values of no jail.
    pub(crate) remarks: Vec<Line>,
    /// Rules of the administrator's own.
    pub(crate) rules: Vec<Rule>,
    /// Drop-ins for filters, with those that could be rules here. They are never written.
    pub(crate) proposals: Vec<Proposal>,
    /// What is different without being asked for.
    pub(crate) differences: Vec<String>,
    /// Commands and what they are for, in order.
    pub(crate) next: Vec<String>,
    /// The jails to leave on in fail2ban, and to turn off there.
    pub(crate) leave_on: Vec<String>,
    pub(crate) turn_off: Vec<String>,
}

/// A jail that was converted.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are those of the JSON")]
pub(crate) struct Jail {
    pub(crate) jail: String,
    /// Its name here.
    pub(crate) name: String,
    pub(crate) filter: String,
    pub(crate) from: String,
    pub(crate) settings: Vec<Value>,
    pub(crate) ignoreip: Vec<String>,
    pub(crate) warnings: Vec<Line>,
}

/// A setting of the drop-in.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are those of the JSON")]
pub(crate) struct Value {
    pub(crate) setting: String,
    /// As TOML.
    pub(crate) value: String,
    pub(crate) from: String,
}

/// A rule of the administrator's own.
#[derive(Debug, Serialize)]
pub(crate) struct Rule {
    pub(crate) from: String,
    pub(crate) what: String,
    /// wardend's filter for the same service.
    pub(crate) filter: String,
    /// The name of the rule that is proposed.
    pub(crate) proposed: Option<String>,
    /// Why none is.
    pub(crate) why_not: Option<String>,
}

impl Rule {
    fn new(rule: &OwnRule) -> Self {
        let (proposed, why_not) = match &rule.outcome {
            Some(Ok(name)) => (Some(name.clone()), None),
            Some(Err(why)) => (None, Some(why.to_string())),
            None => (None, None),
        };
        Self { from: rule.place.to_string(), what: rule.shown(), filter: rule.filter.clone(), proposed, why_not }
    }

    fn text(&self) -> String {
        let became = match (&self.proposed, &self.why_not) {
            (Some(name), _) => format!("could be the rule '{name}' of the filter {}, see below", self.filter),
            (None, why) => format!("was left out, because it {}", why.as_deref().unwrap_or_default()),
        };
        format!("{}: {}\n      {became}.", self.from, self.what)
    }
}

/// A drop-in for a filter.
#[derive(Debug, Serialize)]
pub(crate) struct Proposal {
    pub(crate) filter: String,
    /// Where it would be.
    pub(crate) file: String,
    pub(crate) text: String,
    pub(crate) proof: String,
}

/// A jail that was not.
#[derive(Debug, Serialize)]
pub(crate) struct Left {
    pub(crate) jail: String,
    pub(crate) from: String,
    pub(crate) why: String,
    /// fail2ban can go on with it.
    pub(crate) stays: bool,
}

/// A sentence with its place.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) from: Option<String>,
    pub(crate) what: String,
}

impl Line {
    fn new(place: Option<&Place>, what: &str) -> Self {
        Self { from: place.map(ToString::to_string), what: what.to_owned() }
    }

    fn text(&self) -> String {
        match &self.from {
            Some(from) => format!("{from}: {}.", self.what),
            None => format!("{}.", self.what),
        }
    }
}

pub(super) fn report(all: &Conversion, next: &Next) -> Report {
    let converted = all.converted.iter().map(|jail| Jail {
        jail: jail.theirs.clone(),
        name: jail.name.clone(),
        filter: jail.filter.clone(),
        from: jail.place.to_string(),
        settings: jail
            .settings
            .iter()
            .map(|setting| Value {
                setting: setting.key.to_owned(),
                value: setting.value.clone(),
                from: setting.from.clone(),
            })
            .collect(),
        ignoreip: all.shared_ignored.iter().chain(&jail.ignored).map(|entry| entry.text.clone()).collect(),
        warnings: jail.warnings.iter().map(|Warning { place, what }| Line::new(place.as_ref(), what)).collect(),
    });
    let converted: Vec<Jail> = converted.collect();
    let not_converted = all.left.iter().map(|left| Left {
        jail: left.jail.clone(),
        from: left.place.to_string(),
        why: left.why.clone(),
        stays: left.stays,
    });
    let leave_on: Vec<String> = all.stays_on().map(str::to_owned).collect();
    let turn_off: Vec<String> = all.turned_off().map(str::to_owned).collect();
    Report {
        not_converted: not_converted.collect(),
        remarks: all.remarks.iter().map(|Remark { place, what }| Line::new(Some(place), what)).collect(),
        rules: all.rules.iter().map(Rule::new).collect(),
        proposals: all
            .proposals
            .iter()
            .map(|proposal| Proposal {
                filter: proposal.filter.clone(),
                file: format!("/etc/wardend/filters/{}.d/50-fail2ban.toml", proposal.filter),
                text: proposal.text.clone(),
                proof: proposal.proof.clone(),
            })
            .collect(),
        differences: all.differences.clone(),
        next: steps(next, &converted, &leave_on, &turn_off),
        converted,
        leave_on,
        turn_off,
    }
}

/// What to do, in the order that leaves no gap.
fn steps(next: &Next, converted: &[Jail], leave_on: &[String], turn_off: &[String]) -> Vec<String> {
    let mut steps = Vec::new();
    if converted.is_empty() {
        steps.push("There is nothing to write. Leave fail2ban running as it is.".to_owned());
        return steps;
    }
    let mut step = |text: String| steps.push(text);
    let directory = if next.directory.is_empty() { DIRECTORY } else { next.directory.trim_end_matches('/') };
    let mut command = "wardenctl import fail2ban".to_owned();
    if directory != DIRECTORY {
        let _ = write!(command, " {}", quoted(directory));
    }
    if next.exact {
        command.push_str(" --exact");
    }
    step("See that firewalld runs and lets in what you need: firewall-cmd --state; firewall-cmd --list-all (wardend(8), Servers that had no firewall)".to_owned());
    if !next.bans {
        step("Start wardend: systemctl enable --now wardend".to_owned());
        let (write, option) = if next.written {
            ("have wardend read the drop-in", "")
        } else {
            ("write the drop-in, have wardend read it", " --write")
        };
        step(format!("While fail2ban still runs, {write} and take over the bans in force: {command}{option} --bans"));
    }
    step("See that the bans are in force: wardenctl list; wardenctl firewall status".to_owned());
    if leave_on.is_empty() {
        step("Only then turn fail2ban off, for nothing is left for it: systemctl disable --now fail2ban".to_owned());
    } else {
        let sections: String = turn_off.iter().fold(String::new(), |mut text, jail| {
            let jail = jail.replace('\\', "\\\\").replace('%', "%%").replace('\'', "'\\''");
            let _ = write!(text, "[{jail}]\\nenabled = false\\n");
            text
        });
        let file = quoted(&format!("{directory}/jail.d/zz-wardend.local"));
        step(format!(
            "Only then turn off in fail2ban what wardend guards now, and leave the rest: printf '{sections}' >{file} && fail2ban-client reload"
        ));
    }
    steps
}

/// A text as a word of a shell.
fn quoted(text: &str) -> String {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte)) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

impl Report {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let plain: Vec<&Jail> = self.converted.iter().filter(|jail| jail.warnings.is_empty()).collect();
        let warned: Vec<&Jail> = self.converted.iter().filter(|jail| !jail.warnings.is_empty()).collect();
        for (title, jails) in [("Converted", plain), ("Converted, with a difference", warned)] {
            if jails.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{title}:");
            for jail in jails {
                let values: Vec<String> =
                    jail.settings.iter().map(|value| format!("{} = {}", value.setting, value.value)).collect();
                let _ = writeln!(text, "  [{}] {}: {}", jail.jail, jail.from, values.join(", "));
                for warning in &jail.warnings {
                    let _ = writeln!(text, "    - {}", warning.text());
                }
            }
            text.push('\n');
        }
        if !self.not_converted.is_empty() {
            let _ = writeln!(text, "Not converted:");
            for left in &self.not_converted {
                let stays = if left.stays { " fail2ban can go on guarding it." } else { "" };
                let _ = writeln!(text, "  [{}] {}: {}.{stays}", left.jail, left.from, left.why);
            }
            text.push('\n');
        }
        if !self.leave_on.is_empty() && !self.turn_off.is_empty() {
            let _ = writeln!(text, "Leave on in fail2ban: {}", self.leave_on.join(", "));
            let _ = writeln!(text, "Turn off in fail2ban: {}\n", self.turn_off.join(", "));
        }
        if !self.remarks.is_empty() {
            let _ = writeln!(text, "Notes:");
            for line in &self.remarks {
                let _ = writeln!(text, "  - {}", line.text());
            }
            text.push('\n');
        }
        if !self.rules.is_empty() {
            let _ = writeln!(text, "Rules of your own:");
            for rule in &self.rules {
                let _ = writeln!(text, "  - {}", rule.text());
            }
            text.push('\n');
        }
        for proposal in &self.proposals {
            let _ = writeln!(text, "{} could be, and is never written by an import:\n", proposal.file);
            for line in proposal.text.trim_end().lines() {
                let _ = writeln!(text, "{}", format!("    {line}").trim_end());
            }
            let _ = writeln!(text, "\n  {}.\n", proposal.proof);
        }
        if !self.differences.is_empty() {
            let _ = writeln!(text, "What differs anyway:");
            for line in &self.differences {
                let _ = writeln!(text, "  - {line}");
            }
            text.push('\n');
        }
        let _ = writeln!(text, "Next steps:");
        for (index, step) in self.next.iter().enumerate() {
            let _ = writeln!(text, "  {}. {step}", index + 1);
        }
        text
    }
}
