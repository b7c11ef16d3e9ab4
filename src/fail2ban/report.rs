//! The report of an import: for people, and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    mapping::{Conversion, Warning},
    setup::{Place, Remark},
};

/// What the steps to come depend on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Next {
    /// The command line of the import, without options.
    pub(crate) command: String,
    /// fail2ban's directory.
    pub(crate) directory: String,
    /// The drop-in is in place.
    pub(crate) written: bool,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) converted: Vec<Jail>,
    pub(crate) not_converted: Vec<Left>,
    /// Of the files and of values of no jail.
    pub(crate) remarks: Vec<Line>,
    /// Rules of the administrator's own.
    pub(crate) rules: Vec<Line>,
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
    let leave_on: Vec<String> = all.left_running().map(|left| left.jail.clone()).collect();
    let mut turn_off: Vec<String> = converted.iter().map(|jail| jail.jail.clone()).collect();
    // It looks over all jails, so it stays while there is one.
    if all.recidive.is_some() && leave_on.is_empty() {
        turn_off.push("recidive".to_owned());
    }
    Report {
        not_converted: not_converted.collect(),
        remarks: all.remarks.iter().map(|Remark { place, what }| Line::new(Some(place), what)).collect(),
        rules: all.rules.iter().map(|rule| Line::new(Some(&rule.place), &rule.shown())).collect(),
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
    let command = if next.command.is_empty() { "wardenctl import fail2ban" } else { &next.command };
    step("See that firewalld runs and lets in what you need: firewall-cmd --state; firewall-cmd --list-all (wardend(8), Servers that had no firewall)".to_owned());
    if !next.written {
        step(format!("Write the drop-in: {command} --write"));
    }
    step(
        "Start wardend, or have it read the drop-in: systemctl enable --now wardend && systemctl reload wardend"
            .to_owned(),
    );
    for jail in converted {
        step(format!(
            "Hand over the bans of {} that are in force, while fail2ban still runs; each then lasts for the bantime of the jail: fail2ban-client get {} banip | wardenctl ban - --jail {} --origin import",
            jail.jail,
            quoted(&jail.jail),
            jail.name
        ));
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
        let directory = if next.directory.is_empty() { "/etc/fail2ban" } else { next.directory.trim_end_matches('/') };
        step(format!(
            "Only then turn off in fail2ban what wardend guards now, and leave the rest: printf '{sections}' >{directory}/jail.d/zz-wardend.local && fail2ban-client reload"
        ));
    }
    steps
}

/// A name as a word of a shell.
fn quoted(name: &str) -> String {
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', "'\\''"))
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
        for (title, lines) in [("Notes", &self.remarks), ("Rules of your own", &self.rules)] {
            if !lines.is_empty() {
                let _ = writeln!(text, "{title}:");
                for line in lines {
                    let _ = writeln!(text, "  - {}", line.text());
                }
                text.push('\n');
            }
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
