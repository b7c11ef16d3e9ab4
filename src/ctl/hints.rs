//! What in a configuration is valid and probably not meant: `verify` shows it, and it is no error.

use std::{path::PathBuf, thread, time::Duration};

use serde::Deserialize;
use toml::Spanned;

use crate::{
    config::{Settings, VENDOR_DIRECTORY, filters, origin},
    core::{filter::FilterText, jail::JailSettings},
    kernel::names,
};

/// How long a name may take to be resolved.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most names that are asked for.
const MOST: usize = 64;

/// A sentence, and what it is about.
#[derive(Debug)]
pub(super) struct Hint {
    pub(super) what: String,
    pub(super) sentence: String,
}

/// All of them.
pub(super) fn hints(directories: &[PathBuf], settings: Option<&Settings>) -> Vec<Hint> {
    let mut found = overridden(directories);
    for name in filters::names(directories).unwrap_or_default() {
        if let Ok(Some(texts)) = filters::texts(&name, directories) {
            found.extend(masked(&texts).into_iter().map(|sentence| Hint { what: name.clone(), sentence }));
        }
    }
    found.extend(settings.into_iter().flat_map(without_users));
    found.extend(settings.into_iter().flat_map(unresolved));
    found
}

/// Jails whose filter reads records of users, if none of these users exists here.
fn without_users(settings: &Settings) -> Vec<Hint> {
    let gone = settings.jails.iter().filter(|jail| {
        let users = jail.filter.users();
        !users.is_empty() && users.values().all(Option::is_none)
    });
    let hint = |jail: &JailSettings| {
        let users: Vec<&str> = jail.filter.users().keys().map(String::as_str).collect();
        Hint {
            what: jail.name.clone(),
            sentence: format!(
                "The filter '{}' reads records of {}, and there is no such user on this machine, so the jail may count \
                 nothing. If the service has been installed since, run systemctl reload wardend.",
                jail.filter.name,
                users.join(" or ")
            ),
        }
    };
    gone.map(hint).collect()
}

/// Values of `[default]` that hold for no jail.
fn overridden(directories: &[PathBuf]) -> Vec<Hint> {
    let values = origin::overridden(directories).unwrap_or_default();
    // The vendor's file is no administrator's mistake.
    let own = values.into_iter().filter(|(_, place)| !place.file.starts_with(VENDOR_DIRECTORY));
    own.map(|(setting, place)| Hint {
        what: "configuration".to_owned(),
        sentence: format!("{place}: {setting} in [default] has no effect, because each jail sets its own value (wardenctl cat-config)."),
    })
    .collect()
}

/// What is needed of a filter's file and its drop-ins here; loading the filter says whether they are valid.
#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    mask: Vec<Spanned<String>>,
    #[serde(rename = "rule", default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    name: String,
    counts: Option<String>,
}

/// Rules of the filter itself that read failed attempts, and that a drop-in masks without another in
/// their place.
fn masked(texts: &[FilterText]) -> Vec<String> {
    let files: Vec<(&FilterText, File)> =
        texts.iter().filter_map(|text| Some((text, toml::from_str(&text.text).ok()?))).collect();
    let Some(((_, main), drop_ins)) = files.split_first() else { return Vec::new() };
    let counts = |rule: &Rule| rule.counts.as_deref() == Some("failure");
    let added = |name: &str| drop_ins.iter().flat_map(|(_, file)| &file.rules).any(|rule| rule.name == name);
    let mut found = Vec::new();
    for (text, file) in drop_ins {
        for mask in &file.mask {
            let name = mask.get_ref();
            if main.rules.iter().any(|rule| rule.name == *name && counts(rule)) && !added(name) {
                let what = format!(
                    "rule '{name}' is masked, so the failed attempts that it reads are not counted; add a rule of this name to replace it."
                );
                found.push(text.error(mask.span().start, what).to_string());
            }
        }
    }
    found
}

/// Names in `ignoreip` that mean nothing on this machine now.
fn unresolved(settings: &Settings) -> Vec<Hint> {
    let mut names: Vec<_> = settings.jails.iter().flat_map(|jail| &*jail.names).collect();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    names.dedup_by(|a, b| a.name == b.name);
    thread::scope(|scope| {
        let asking: Vec<_> = names
            .into_iter()
            .take(MOST)
            .map(|name| (name, scope.spawn(|| names::addresses(&name.name, PATIENCE))))
            .collect();
        let answers = asking.into_iter().filter_map(|(name, answer)| Some((name, answer.join().ok()?.err()?)));
        answers
            .map(|(name, why)| Hint {
                what: "configuration".to_owned(),
                sentence: format!(
                    "{}: '{}' can't be resolved at the moment ({why}), so it protects nobody until it has been.",
                    name.because, name.name
                ),
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_masked_rule_is_named_unless_another_takes_its_place() {
        let main = FilterText::new(
            "sshd.toml",
            "[[rule]]\nname = 'failed'\ncounts = 'failure'\n[[rule]]\nname = 'bye'\ncounts = 'nothing'\n",
        );
        let of = |text: &str| masked(&[main.clone(), FilterText::new("sshd.d/a.toml", text)]);
        let found = of("# mine\nmask = ['bye', 'failed']\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("sshd.d/a.toml:2: rule 'failed' is masked"), "{found:?}");
        assert!(of("mask = ['failed']\n[[rule]]\nname = 'failed'\ncounts = 'evidence'\n").is_empty());
        assert!(of("mask = ['bye']\n").is_empty() && masked(std::slice::from_ref(&main)).is_empty());
    }

    #[test]
    fn what_has_no_effect_or_no_address_is_named_with_its_line() {
        let root = tempfile::tempdir().unwrap();
        let directories = [root.path().to_owned()];
        let write = |text: &str| fs::write(root.path().join("wardend.conf"), text).unwrap();
        let jails = "[jail.sshd]\nbantime = '1h'\n[jail.slow]\nfilter = 'sshd'\nbantime = '2h'\nmaxretry = 9\n";
        write(&format!("[default]\nmaxretry = 3\nbantime = '5min'\nignoreip = ['x.invalid']\n{jails}"));
        let settings = Settings::load(&directories).unwrap();
        let found = hints(&directories, Some(&settings));
        let sentences: Vec<&str> = found.iter().map(|hint| hint.sentence.as_str()).collect();
        assert_eq!(found.len(), 2, "{sentences:?}");
        assert!(sentences[0].contains("wardend.conf:3: bantime in [default] has no effect"), "{sentences:?}");
        assert!(
            sentences[1].contains("wardend.conf:4: ignoreip") && sentences[1].contains("'x.invalid' can't be resolved"),
            "{sentences:?}"
        );
    }
}
