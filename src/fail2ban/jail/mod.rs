//! One jail of fail2ban's, key by key.

mod closes;
mod filter;
mod warnings;

use super::{
    actions::Kind,
    call::{Call, calls},
    converted::{BANTIME, Converted, Left, Setting, Warning, quoted},
    growth::{self, Growth},
    ignore,
    ini::shortened,
    installed::Installed,
    rules::OwnRule,
    setup::{Files, Found, Place, Setup, Unresolved},
    span::Span,
};

/// The most failures that wardend counts.
const MOST_FAILURES: i64 = 1000;

/// What keeps to fail2ban's ways.
fn exactly() -> impl Iterator<Item = Setting> {
    [
        ("ipv6-prefix", "128", "IPv6 addresses count one by one there"),
        ("ipv6-hopping", "{}", "IPv6 addresses count one by one there"),
        ("spare-logins", "false", "a login does not spare there"),
        ("cut", "false", "open connections stay open there"),
    ]
    .into_iter()
    .map(|(key, value, why)| Setting { key, value: value.to_owned(), from: format!("--exact: {why}") })
}

/// A jail while it is converted.
pub(super) struct Jail<'s> {
    pub(super) setup: &'s Setup,
    pub(super) section: &'s str,
    pub(super) files: &'s dyn Files,
    pub(super) installed: &'s dyn Installed,
    pub(super) warnings: Vec<Warning>,
}

impl Jail<'_> {
    fn get(&self, key: &str) -> Option<Found<'_>> {
        self.setup.get(self.section, key)
    }

    /// A value with its names resolved and its place.
    fn text(&self, key: &str) -> Option<(Result<String, Unresolved>, Place)> {
        let found = self.get(key)?;
        Some((self.setup.resolve(self.section, &found.value.raw), found.value.place.clone()))
    }

    /// As [`Self::text`], where nothing and what can't be resolved are the same.
    fn plain(&self, key: &str) -> Option<(String, Place)> {
        let (text, place) = self.text(key)?;
        text.ok().filter(|text| !text.trim().is_empty()).map(|text| (text, place))
    }

    fn warn(&mut self, place: &Place, what: impl Into<String>) {
        self.warnings.push(Warning { place: Some(place.clone()), what: what.into() });
    }

    fn left(&self, place: Option<Place>, why: impl Into<String>, stays: bool) -> Left {
        let place = place.or_else(|| self.setup.place(self.section).cloned());
        let place = place.unwrap_or_else(|| Place { file: "jail.conf".into(), line: 0, shipped: true });
        Left { jail: self.section.to_owned(), place, why: why.into(), stays }
    }

    /// The filter that the jail names, with its options.
    fn call(&self) -> Result<(Call, Place), Left> {
        let (filter, place) = match self.text("filter") {
            Some((Ok(text), place)) => (text, place),
            Some((Err(what), place)) => {
                let why = format!("its filter {what}, so fail2ban does not start it either");
                return Err(self.left(Some(place), why, false));
            }
            None => return Err(self.left(None, "it has no filter", false)),
        };
        match calls(&filter).into_iter().next() {
            Some(call) => Ok((call, place)),
            None => Err(self.left(Some(place), "its filter is empty, so fail2ban counts nothing there", false)),
        }
    }

    pub(super) fn convert(mut self, exact: bool, rules: &mut Vec<OwnRule>) -> Result<Converted, Left> {
        let (call, place) = self.call()?;
        let Some((ours, named_mode)) = self.filter(&call.name) else {
            return Err(self.no_filter(&call.name, rules));
        };
        if let Some(obstacle) = self.installed.obstacle(&ours) {
            let why = format!("wardend's filter {ours} can't be used yet: {}", obstacle.trim_end_matches('.'));
            return Err(self.left(None, why, true));
        }
        let actions = self.actions();
        if let Some((list, place)) = &actions
            && !list.is_empty()
            && !list.iter().any(|action| action.may_ban() || action.kind == Kind::BanElsewhere)
        {
            return Err(self.left(
                Some(place.clone()),
                "its actions ban nobody, they only report, and a jail of wardend bans",
                true,
            ));
        }
        let mut settings = Vec::new();
        let mut set = |key, value: String, from: String| settings.push(Setting { key, value, from });
        if let Some((mode, from)) = self.mode(&call, named_mode, &ours, &place) {
            set("mode", mode, from);
        }
        let (maxretry, from) = self.maxretry()?;
        if let Some(from) = from {
            set("maxretry", maxretry.to_string(), from);
        }
        if let Some((span, place)) = self.span("findtime")? {
            set("findtime", quoted(&span.text()), place);
        }
        let bantime = self.span("bantime")?;
        if let Some((span, place)) = &bantime {
            set("bantime", quoted(&span.text()), place.clone());
        }
        let seconds = bantime.map_or(BANTIME, |(span, _)| span.seconds());
        let growth = self.growth(seconds)?;
        let grows = growth.is_some();
        match growth {
            Some(growth) => {
                for (key, value, place) in growth.settings {
                    set(key, value, place);
                }
                self.warnings.extend(growth.warnings);
            }
            None if exact => set("bantime-factor", "1".to_owned(), "--exact: bans do not grow there".to_owned()),
            None => {}
        }
        let (ignored, ignored_is_shared) = self.ignored();
        let (ports, from) = self.ports(actions.as_ref().map(|(list, _)| list.as_slice()));
        set("ports", ports.toml(), from);
        let blocktype = self.blocktype(actions.as_ref().map(|(list, _)| list.as_slice()));
        match &blocktype {
            Some((refuses, from)) => set("action", quoted(if *refuses { "reject" } else { "drop" }), from.clone()),
            None if exact => set("action", quoted("reject"), "--exact: the default there".to_owned()),
            None => {}
        }
        if exact {
            settings.extend(exactly());
        }
        self.warn_of_actions(actions.as_ref());
        self.warn_of_the_rest(&call, &ours);
        self.note_rules(&call.name, &ours, rules);
        let place = self.setup.place(self.section).cloned().unwrap_or(place);
        Ok(Converted {
            theirs: self.section.to_owned(),
            name: self.section.to_owned(),
            filter: ours,
            place,
            settings,
            ignored,
            ignored_is_shared,
            warnings: self.warnings,
            grows,
            has_blocktype: blocktype.is_some(),
        })
    }

    /// The number, and where it is from unless it is the default.
    fn maxretry(&mut self) -> Result<(i64, Option<String>), Left> {
        const DEFAULT: i64 = 5;
        let Some((text, place)) = self.text("maxretry") else { return Ok((DEFAULT, None)) };
        let text = match text {
            Ok(text) => text,
            Err(what) => return Err(self.left(Some(place), format!("maxretry {what}"), false)),
        };
        let number = |text: &str| text.trim().replace('_', "").parse::<i64>().ok();
        let before = text.split('#').next().unwrap_or_default().to_owned();
        let maxretry = match (number(&text), number(&before)) {
            (Some(number), _) => number,
            (None, Some(number)) => {
                self.warn(&place, format!("maxretry is '{}', which fail2ban can't read, because ' #' does not begin a comment there; it was taken as {number}", shortened(&text)));
                number
            }
            (None, None) => {
                return Err(self.left(
                    Some(place),
                    format!("maxretry is '{}', which is not a number", shortened(&text)),
                    false,
                ));
            }
        };
        if maxretry > MOST_FAILURES {
            return Err(self.left(Some(place), format!("maxretry is {maxretry}, and wardend counts at most {MOST_FAILURES} failures of a source; write a smaller number"), true));
        }
        if maxretry < 1 {
            self.warn(&place, format!("maxretry = {maxretry} bans at the first failure, as 1 does; it became 1"));
        }
        let maxretry = maxretry.max(1);
        Ok((maxretry, (!place.shipped || maxretry != DEFAULT).then(|| place.to_string())))
    }

    /// A span that is not the default of both.
    fn span(&mut self, key: &'static str) -> Result<Option<(Span, String)>, Left> {
        let Some((text, place)) = self.text(key) else { return Ok(None) };
        let text = match text {
            Ok(text) => text,
            Err(what) => return Err(self.left(Some(place), format!("{key} {what}"), false)),
        };
        let span = match Span::parse(&text) {
            Ok(span) => span,
            Err(what) => {
                let why = format!("{key} is '{}', which {what}", shortened(&text));
                return Err(self.left(Some(place), why, false));
            }
        };
        match span {
            Span::Seconds(0) if key == "bantime" => {
                return Err(self.left(
                    Some(place),
                    "bantime = 0 ends each ban at once; write -1 for permanent bans",
                    false,
                ));
            }
            Span::Seconds(0) => {
                return Err(self.left(
                    Some(place),
                    format!("{key} = 0 counts nothing; write a span such as 10m"),
                    false,
                ));
            }
            Span::Permanent if key == "findtime" => {
                return Err(self.left(
                    Some(place),
                    "findtime is negative, so nothing counts there; write a span such as 10m",
                    false,
                ));
            }
            _ if span.is_too_long() && key == "findtime" => {
                return Err(self.left(Some(place), "findtime is longer than 100 years; write a shorter one", true));
            }
            _ if span.is_too_long() => {
                self.warn(&place, format!("{key} is longer than 100 years; it became \"infinity\""));
            }
            _ => {}
        }
        let default = span == Span::Seconds(BANTIME);
        Ok((!place.shipped || !default).then(|| (span, place.to_string())))
    }

    fn growth(&self, bantime: u64) -> Result<Option<Growth>, Left> {
        let on = self
            .plain("bantime.increment")
            .filter(|(text, _)| ["1", "yes", "true", "on"].contains(&text.trim().to_lowercase().as_str()));
        let Some((_, place)) = on else { return Ok(None) };
        let text = |key: &str| self.plain(key);
        growth::growth(&text, &place, bantime).map(Some).map_err(|(place, why)| self.left(Some(place), why, false))
    }

    fn ignored(&mut self) -> (Vec<ignore::Entry>, bool) {
        let Some(found) = self.get("ignoreip") else { return (Vec::new(), true) };
        let (value, shared) = (found.value.clone(), found.shared);
        let text = match self.setup.resolve(self.section, &value.raw) {
            Ok(text) => text,
            Err(what) => {
                self.warn(&value.place, format!("ignoreip {what}, so it was left out; write the addresses"));
                return (Vec::new(), shared);
            }
        };
        let list = ignore::parse(&value, &text, self.files);
        for (place, what) in list.warnings {
            self.warn(&place, format!("ignoreip: {what}"));
        }
        if !list.names.is_empty() {
            self.warn(
                &value.place,
                format!(
                    "ignoreip has host names ({}); see with `wardenctl status` that wardend knows their addresses",
                    list.names.join(", ")
                ),
            );
        }
        (list.entries, shared)
    }
}
