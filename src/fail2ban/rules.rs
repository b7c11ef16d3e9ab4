//! Rules that an administrator has added to a filter of fail2ban's: where they are, and what could be
//! rules here.
//!
//! They are never converted unasked. Where an expression becomes a pattern of wardend's by itself, and
//! that is proven beside all other rules of the filter, it is proposed as a drop-in.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use super::{
    ini::shortened,
    installed::{Installed, NotLoaded},
    pattern::{self, PREFIX, Unusable},
    setup::{Error, Files, Place, Setup, Unresolved, Value},
};

/// The names under which services log, where they are not that of the filter alone.
const PROGRAMS: [(&str, &[&str]); 3] = [
    ("sshd", &["sshd-session", "sshd-auth", "sshd"]),
    ("cockpit", &["cockpit-session"]),
    ("rsyncd", &["rsyncd", "rsync"]),
];

/// A rule of an administrator's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnRule {
    /// wardend's filter that reads the same service.
    pub(crate) filter: String,
    /// The key: failregex or another one.
    pub(crate) key: String,
    pub(crate) text: String,
    /// With its names resolved.
    resolved: Result<String, Unresolved>,
    pub(crate) place: Place,
    /// The name of the rule that is proposed, or why there is none; nothing before [`propose`] has looked.
    pub(crate) outcome: Option<Result<String, Unproposed>>,
}

/// Why no rule is proposed: the end of a sentence that begins with the expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unproposed {
    #[error(
        "takes failures back; wardend counts what its rules read, so list addresses in ignoreip, or mask a rule (wardend.filter(5))"
    )]
    TakesBack,
    #[error("selects lines, which the table [records] of a filter does here")]
    SelectsLines,
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error(transparent)]
    NotLoaded(#[from] NotLoaded),
    #[error("has no class that a mode counts")]
    NoClass,
    /// `class` is nothing, or the end of what is in parentheses.
    #[error("needs no rule: wardend's '{rule}' reads such messages already ({counts}{class})")]
    Needless { rule: String, counts: &'static str, class: String },
    #[error("has quotation marks that can't be written")]
    Quotes,
    #[error("can't be proven: {0}")]
    Unproven(String),
}

/// A drop-in for a filter, shown and not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) filter: String,
    pub(crate) text: String,
    pub(crate) proof: String,
}

/// What an administrator has changed about the filter of a jail.
pub(crate) fn of_jail(
    setup: &Setup,
    section: &str,
    theirs: &str,
    ours: &str,
    files: &dyn Files,
) -> Result<Vec<OwnRule>, Error> {
    let mut found = Vec::new();
    for key in ["failregex", "ignoreregex", "prefregex"] {
        if let Some(value) = setup.get(section, key).map(|found| found.value).filter(|value| !value.place.shipped) {
            found.extend(lines(key, value, ours, &|text| setup.resolve(section, text)));
        }
    }
    if let Some(file) = file_of(theirs, files)? {
        for key in ["failregex", "ignoreregex", "prefregex"] {
            let own = file.own("Definition").find(|(name, value)| *name == key && !value.place.shipped);
            if let Some((_, value)) = own {
                found.extend(lines(key, value, ours, &|text| file.resolve("Definition", text)));
            }
        }
    }
    Ok(found)
}

fn file_of(theirs: &str, files: &dyn Files) -> Result<Option<Setup>, Error> {
    Setup::read_one(&Path::new("filter.d").join(format!("{theirs}.conf")), files)
}

/// The service of ours that a filter of an administrator's own is about, as far as it says so.
pub(crate) fn service(theirs: &str, files: &dyn Files, installed: &dyn Installed) -> Option<String> {
    let file = file_of(theirs, files).ok()??;
    let says = |key: &str| file.get("Definition", key).map(|found| found.value.raw.clone()).unwrap_or_default();
    let (daemon, regex, records) = (says("_daemon"), says("failregex"), says("journalmatch"));
    let filters = installed.names();
    let found = filters.iter().find(|filter| {
        programs(filter).iter().any(|program| {
            let words =
                |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == *program);
            let named = |text: &str| text.contains(&format!("{program}[")) || text.contains(&format!("{program}\\["));
            words(&daemon) || named(&regex) || words(&records)
        })
    });
    found.cloned()
}

fn programs(filter: &str) -> Vec<&str> {
    let known = PROGRAMS.iter().find(|(name, _)| *name == filter);
    known.map_or_else(|| vec![filter], |(_, programs)| programs.to_vec())
}

/// Each line of a value that says something of its own.
fn lines(key: &str, value: &Value, ours: &str, resolve: &dyn Fn(&str) -> Result<String, Unresolved>) -> Vec<OwnRule> {
    let numbered = value.raw.split('\n').zip(value.lines.iter().copied().chain(std::iter::repeat(value.place.line)));
    let mut rules = Vec::new();
    for (text, line) in numbered {
        let text = text.replace("%(known/failregex)s", "").replace("%(known/ignoreregex)s", "").trim().to_owned();
        if !text.is_empty() {
            let place = Place { line, ..value.place.clone() };
            let resolved = resolve(&text.replace("%(__prefix_line)s", PREFIX));
            rules.push(OwnRule { filter: ours.to_owned(), key: key.to_owned(), text, resolved, place, outcome: None });
        }
    }
    rules
}

/// Says of each rule what it could become, and gives the drop-ins with those that could.
pub(super) fn propose(rules: &mut [OwnRule], installed: &dyn Installed) -> Vec<Proposal> {
    let mut texts: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for rule in rules {
        let (text, number) = texts.entry(rule.filter.clone()).or_default();
        let name = format!("own-{}", *number + 1);
        rule.outcome = Some(rule.proposed(&name, text, installed).map(|more| {
            text.push_str(&more);
            *number += 1;
            name
        }));
    }
    let made = texts.into_iter().filter(|(_, (_, number))| *number > 0);
    made.map(|(filter, (text, number))| {
        let all = installed.load(&filter, &text).map_or(0, |filter| filter.rules().count());
        let proof = format!(
            "{} with the {} of the filter {filter}: no message can be read with two addresses, or by two rules that mean different things",
            if number == 1 { "It is proven together" } else { "They are proven together" },
            crate::util::text::count(all.saturating_sub(number), "rule", "rules"),
        );
        Proposal { filter, text, proof }
    })
    .collect()
}

impl OwnRule {
    /// For a list.
    pub(crate) fn shown(&self) -> String {
        format!("{} = {}", self.key, shortened(&self.text))
    }

    /// This rule in wardend's words, as it can be added to a drop-in that says `before`.
    fn proposed(&self, name: &str, before: &str, installed: &dyn Installed) -> Result<String, Unproposed> {
        match self.key.as_str() {
            "failregex" => {}
            "ignoreregex" => return Err(Unproposed::TakesBack),
            _ => return Err(Unproposed::SelectsLines),
        }
        let pattern = pattern::parse(self.resolved.as_ref().map_err(Clone::clone)?, &programs(&self.filter))?;
        let filter = installed.load(&self.filter, "")?;
        let class = filter.mode("normal").and_then(<[String]>::first).cloned();
        let class = class.ok_or(Unproposed::NoClass)?;
        let variants = pattern.variants();
        let example = variants.first().and_then(|text| pattern::example(text));
        if let Some(reading) = example.as_ref().and_then(|example| filter.examine(example.as_bytes(), false)) {
            let rule = reading.rule;
            return Err(Unproposed::Needless {
                rule: rule.name.to_string(),
                counts: rule.counts.as_str(),
                class: rule.class.as_ref().map(|class| format!(", class {class}")).unwrap_or_default(),
            });
        }
        let mut refused = None;
        for text in variants {
            let rule = self.written(name, &class, &text, example.as_deref())?;
            match installed.load(&self.filter, &format!("{before}{rule}")) {
                Ok(_) => return Ok(rule),
                Err(what) => refused = refused.or(Some(what)),
            }
        }
        let what = refused.map(|refused| refused.to_string()).unwrap_or_default();
        // The mend is for those who write a rule themselves.
        let what = what.split(". Spell out").next().unwrap_or_default();
        Err(Unproposed::Unproven(
            what.trim_end_matches('.')
                .replace(&format!("rule '{name}'"), "the rule made of it")
                .replace(&format!("'{name}'"), "the one made of it"),
        ))
    }

    fn written(&self, name: &str, class: &str, pattern: &str, example: Option<&str>) -> Result<String, Unproposed> {
        let mut text = format!(
            "# {}: {}\n[[rule]]\nname = \"{name}\"\nclass = \"{class}\"\ncounts = \"failure\"\npattern = {}\n",
            shortened(&self.place.to_string()),
            shortened(&self.text),
            literal(pattern).ok_or(Unproposed::Quotes)?
        );
        if let Some((example, quoted)) = example.and_then(|example| Some((example, literal(example)?))) {
            let address = if example.contains("2001:db8::7") { "2001:db8::7" } else { "203.0.113.7" };
            let _ = writeln!(text, "match = [{{ message = {quoted}, address = \"{address}\" }}]");
        }
        text.push('\n');
        Ok(text)
    }
}

/// As a literal string of TOML.
fn literal(text: &str) -> Option<String> {
    if text.chars().any(char::is_control) {
        return None;
    }
    if !text.contains('\'') {
        return Some(format!("'{text}'"));
    }
    (!text.contains("'''") && !text.ends_with('\'')).then(|| format!("'''{text}'''"))
}
