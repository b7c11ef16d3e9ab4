//! One jail of fail2ban's, key by key.

use std::path::Path;

use super::{
    actions::{self, Action, Kind},
    call::{Call, calls},
    growth::{self, Growth},
    ignore,
    ini::shortened,
    mapping::{BANTIME, BUILT_IN, Converted, Installed, Left, Setting, Warning, quoted},
    ports::Ports,
    rules::{self, OwnRule},
    setup::{Files, Found, Place, Setup},
    span::Span,
};
use crate::{core::filter::BANS, util::text::count};

/// Filters of fail2ban, and those of wardend that read the same, the first that is installed. The mode is
/// that of wardend's, where the name alone decides it.
const FILTERS: &[(&str, &[&str], Option<&str>)] = &[
    ("sshd", &["sshd"], None),
    ("sshd-ddos", &["sshd"], Some("aggressive")),
    ("sshd-aggressive", &["sshd"], Some("aggressive")),
    ("dropbear", &["dropbear"], None),
    ("rsync", &["rsyncd"], None),
    ("postfix", &["postfix"], None),
    ("postfix-sasl", &["postfix-sasl", "postfix"], None),
    ("dovecot", &["dovecot"], None),
    ("exim", &["exim"], None),
    ("sendmail-auth", &["sendmail"], None),
    ("cyrus-imap", &["cyrus", "cyrus-imap"], None),
    ("courier-auth", &["courier"], None),
    ("nginx-http-auth", &["nginx-http-auth", "nginx"], None),
    ("apache-auth", &["apache-auth", "apache"], None),
    ("lighttpd-auth", &["lighttpd-auth", "lighttpd"], None),
    ("haproxy-http-auth", &["haproxy-http-auth", "haproxy"], None),
    ("traefik-auth", &["traefik-auth", "traefik"], None),
    ("proftpd", &["proftpd"], None),
    ("vsftpd", &["vsftpd"], None),
    ("pure-ftpd", &["pure-ftpd", "pureftpd"], None),
    ("mysqld-auth", &["mysqld-auth", "mariadb", "mysql"], None),
    ("named-refused", &["named-refused", "named"], None),
    ("asterisk", &["asterisk"], None),
    ("freeswitch", &["freeswitch"], None),
    ("murmur", &["murmur", "mumble"], None),
    ("monit", &["monit"], None),
    ("webmin-auth", &["webmin"], None),
    ("roundcube-auth", &["roundcube"], None),
    ("ejabberd-auth", &["ejabberd"], None),
    ("slapd", &["slapd", "openldap"], None),
    ("squid", &["squid"], None),
    ("openvpn", &["openvpn"], None),
    ("gitlab", &["gitlab"], None),
    ("grafana", &["grafana"], None),
    ("bitwarden", &["vaultwarden"], None),
    ("vaultwarden", &["vaultwarden"], None),
    ("nextcloud", &["nextcloud"], None),
];

/// The filters of fail2ban that have modes. Others are given one, too, and do nothing with it.
const WITH_MODES: [&str; 10] = [
    "sshd",
    "apache-auth",
    "dovecot",
    "exim",
    "freeswitch",
    "nginx-http-auth",
    "postfix",
    "postfix-sasl",
    "sendmail-reject",
    "traefik-auth",
];

/// What brings the records of a service into the journal, for services whose records are often not there.
const JOURNAL: [(&str, &str); 2] = [
    ("proftpd", "ProFTPD logs to the journal only if its configuration has no SystemLog"),
    ("vsftpd", "vsftpd's own log is a file; PAM's records, which wardend reads, are in the journal"),
];

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
    fn text(&self, key: &str) -> Option<(Result<String, String>, Place)> {
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

    pub(super) fn convert(mut self, exact: bool, rules: &mut Vec<OwnRule>) -> Result<Converted, Left> {
        let (filter, place) = match self.text("filter") {
            Some((Ok(text), place)) => (text, place),
            Some((Err(what), place)) => {
                return Err(self.left(
                    Some(place),
                    format!("its filter {what}, so fail2ban does not start it either"),
                    false,
                ));
            }
            None => return Err(self.left(None, "it has no filter", false)),
        };
        let Some(call) = calls(&filter).into_iter().next() else {
            return Err(self.left(Some(place), "its filter is empty, so fail2ban counts nothing there", false));
        };
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

    /// Rules of an administrator's own, which are listed and not converted.
    fn note_rules(&mut self, theirs: &str, ours: &str, rules: &mut Vec<OwnRule>) {
        let found = match rules::of_jail(self.setup, self.section, theirs, ours, self.files) {
            Ok(found) => found,
            Err(error) => {
                let what = format!("whether there are rules of your own can't be told: {error}");
                return self.warnings.push(Warning { place: None, what: what.trim_end_matches('.').to_owned() });
            }
        };
        if let Some(first) = found.first() {
            let number = found.len();
            self.warn(
                &first.place.clone(),
                format!(
                    "{} of your own on this filter {} not converted; see \"Rules of your own\" below",
                    count(number, "rule", "rules"),
                    if number == 1 { "was" } else { "were" }
                ),
            );
        }
        // Several jails may use one filter.
        for rule in found {
            if rules.iter().all(|known| known.place != rule.place || known.filter != rule.filter) {
                rules.push(rule);
            }
        }
    }

    /// wardend's filter for one of fail2ban's, and the mode that its name means.
    fn filter(&self, theirs: &str) -> Option<(String, Option<&'static str>)> {
        // A jail over the bans of the others has one that is in no file.
        if theirs == "recidive" {
            return Some((BANS.to_owned(), None));
        }
        let Some((_, candidates, mode)) = FILTERS.iter().find(|(name, ..)| *name == theirs) else {
            // Of the same name.
            return self.installed.modes(theirs).map(|_| (theirs.to_owned(), None));
        };
        let ours = candidates.iter().find(|name| self.installed.modes(name).is_some())?;
        Some(((*ours).to_owned(), *mode))
    }

    /// Whether the jail reads text files there.
    fn reads_files(&self) -> bool {
        !self.plain("backend").is_some_and(|(backend, _)| backend.trim().to_lowercase().starts_with("systemd"))
    }

    fn no_filter(&mut self, filter: &str, rules: &mut Vec<OwnRule>) -> Left {
        let file = Path::new("filter.d").join(filter);
        let there = |ending: &str| -> Option<Place> {
            let path = file.with_file_name(format!("{filter}.{ending}"));
            self.files.read(&path).ok().flatten()?;
            Some(Place { file: path.display().to_string().into(), line: 1, shipped: false })
        };
        let of_theirs = FILTERS.iter().any(|(name, ..)| *name == filter);
        let place = there("conf").or_else(|| there("local")).filter(|_| !of_theirs);
        let Some(place) = place else { return self.left(None, format!("wardend has no filter for '{filter}'"), true) };
        let mut why = format!("wardend has no filter for '{filter}' ({})", place.file);
        if let Some(ours) = rules::service(filter, self.files, self.installed) {
            let before = rules.len();
            self.note_rules(filter, &ours, rules);
            if rules.len() > before {
                why.push_str(&format!(", which reads what {ours} does; see \"Rules of your own\" below"));
            }
        }
        self.left(None, why, true)
    }

    fn mode(&mut self, call: &Call, named: Option<&str>, ours: &str, place: &Place) -> Option<(String, String)> {
        if ours == BANS {
            return None;
        }
        let modes = self.installed.modes(ours).unwrap_or_default();
        if let Some(mode) = named {
            self.warn(place, format!("'{}' counts what mode = \"{mode}\" of the filter {ours} counts and no more; here that mode counts failed logins too", call.name));
            return Some((quoted(mode), place.to_string()));
        }
        if !WITH_MODES.contains(&call.name.as_str()) {
            if let Some((mode, place)) = self.plain("mode").filter(|(mode, place)| mode != "normal" && !place.shipped) {
                self.warn(
                    &place,
                    format!(
                        "mode = {} has no effect there, because the filter {} has no modes; it was not converted{}",
                        shortened(&mode),
                        call.name,
                        if modes.contains(&mode) {
                            format!(" (wardend's filter {ours} has this mode, which counts more)")
                        } else {
                            String::new()
                        }
                    ),
                );
            }
            return None;
        }
        // The default filter takes its mode from the key beside it.
        let written = self.get("mode").map(|found| found.value.place.clone());
        let Some(mode) = call.option("mode").map(str::to_owned) else {
            if let Some((mode, place)) = self.plain("mode").filter(|(mode, place)| mode != "normal" && !place.shipped) {
                self.warn(&place, format!("mode = {mode} has no effect there, because filter = {} does not take it; it was not converted (write mode = \"aggressive\" into the drop-in if it is meant)", call.name));
            }
            return None;
        };
        let from = written.filter(|written| !written.shipped).unwrap_or_else(|| place.clone());
        match mode.as_str() {
            "normal" | "" => None,
            "aggressive" if modes.iter().any(|known| known == "aggressive") => {
                Some((quoted("aggressive"), from.to_string()))
            }
            "ddos" | "extra" | "more" | "aggressive" if modes.iter().any(|known| known == "aggressive") => {
                self.warn(&from, format!("mode = {mode} became mode = \"aggressive\", which counts more; remove the line for mode = \"normal\""));
                Some((quoted("aggressive"), from.to_string()))
            }
            _ => {
                self.warn(&from, format!("mode = {} is not a mode of wardend's filter {ours} and was left out, so the mode is \"normal\"; there are: {}", shortened(&mode), modes.join(", ")));
                None
            }
        }
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
        let span = match text
            .and_then(|text| Span::parse(&text).map_err(|what| format!("is '{}', which {what}", shortened(&text))))
        {
            Ok(span) => span,
            Err(what) => return Err(self.left(Some(place), format!("{key} {what}"), false)),
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

    /// All actions of the jail; none if they can't be determined.
    fn actions(&mut self) -> Option<(Vec<Action>, Place)> {
        let (text, place) = self.text("action")?;
        match text {
            Ok(text) => Some((actions::actions(&text), place)),
            Err(what) => {
                self.warn(&place, format!("action {what}; look yourself what else it does than ban"));
                let banaction = self.plain("banaction")?;
                Some((actions::actions(&banaction.0), banaction.1))
            }
        }
    }

    fn ports(&mut self, actions: Option<&[Action]>) -> (Ports, String) {
        let bans: Vec<&Action> = actions.unwrap_or_default().iter().filter(|action| action.may_ban()).collect();
        let key = self.text("port");
        if let Some(action) = bans.iter().find(|action| action.kind == Kind::BanAll) {
            let place = self.get("banaction").filter(|found| !found.value.place.shipped).or_else(|| self.get("action"));
            let from = place.map_or_else(|| "fail2ban's defaults".to_owned(), |found| found.value.place.to_string());
            return (Ports::All, format!("{}, {from}", action.call.name));
        }
        // An action may be given its port itself.
        let own = bans.iter().find_map(|action| {
            let port = action.call.option("port").filter(|port| !port.trim().is_empty())?;
            Some((port.to_owned(), action.call.option("protocol").unwrap_or("tcp").to_owned()))
        });
        let place = key.as_ref().map(|(_, place)| place.clone());
        let port = own.as_ref().map(|(port, _)| Ok(port.clone())).or_else(|| key.map(|(text, _)| text));
        let protocol = own.map(|(_, protocol)| protocol).or_else(|| self.plain("protocol").map(|(text, _)| text));
        let ports = match port {
            Some(Ok(port)) => Ports::parse(&port, &protocol.unwrap_or_default()).map_err(|what| (port, what)),
            Some(Err(what)) => Err((String::new(), what)),
            None => Ok(Ports::All),
        };
        let from = place.as_ref().map_or_else(|| "the default there".to_owned(), ToString::to_string);
        match ports {
            Ok(ports) => (ports, from),
            Err((port, what)) => {
                let what = format!(
                    "port = {}: {what}; bans of this jail close all ports until ports is corrected in the drop-in",
                    shortened(&port)
                );
                match &place {
                    Some(place) => self.warn(place, what),
                    None => self.warnings.push(Warning { place: None, what }),
                }
                (Ports::All, from)
            }
        }
    }

    /// The units that bring the text files into the journal that a filter can read, if the jail reads such: a
    /// program that writes its own does not log to the journal. And how to change that.
    fn file_units(&self, ours: &str) -> (Vec<String>, Option<String>) {
        let may_read = ours != BUILT_IN && self.reads_files();
        let Some(filter) = may_read.then(|| self.installed.load(ours, "").ok()).flatten() else {
            return (Vec::new(), None);
        };
        let units = filter.units().into_iter().filter(|unit| unit.starts_with("wardend-file@")).map(str::to_owned);
        (units.collect(), filter.setup)
    }

    /// Whether bans refuse, if somebody has chosen that.
    fn blocktype(&self, actions: Option<&[Action]>) -> Option<(bool, String)> {
        let bans = actions.unwrap_or_default().iter().filter(|action| matches!(action.kind, Kind::Ban | Kind::BanAll));
        for action in bans {
            for key in ["blocktype", "rich-blocktype"] {
                if let Some(refuses) = action.call.option(key).and_then(actions::refuses) {
                    let key = ["action", "banaction", "banaction_allports"];
                    let written =
                        key.iter().filter_map(|key| self.get(key)).find(|found| found.value.raw.contains("blocktype"));
                    let from =
                        written.map_or_else(|| "fail2ban's defaults".to_owned(), |found| found.value.place.to_string());
                    return Some((refuses, from));
                }
            }
            let path = Path::new("action.d").join(format!("{}.conf", action.call.name));
            if let Ok(Some(file)) = Setup::read_one(&path, self.files) {
                for key in ["blocktype", "rich-blocktype"] {
                    let found = file.get("Init", key).filter(|found| !found.value.place.shipped);
                    if let Some(found) = found
                        && let Some(refuses) = actions::refuses(&found.value.raw)
                    {
                        return Some((refuses, found.value.place.to_string()));
                    }
                }
            }
        }
        let (text, place) = self.plain("blocktype").filter(|(_, place)| !place.shipped)?;
        Some((actions::refuses(&text)?, place.to_string()))
    }

    fn warn_of_actions(&mut self, actions: Option<&(Vec<Action>, Place)>) {
        let Some((list, place)) = actions else { return };
        let mut told: Vec<&str> = Vec::new();
        for action in list {
            if !told.contains(&action.call.name.as_str())
                && let Some(what) = action.remedy()
            {
                told.push(&action.call.name);
                self.warn(place, what);
            }
        }
        let chains = list.iter().filter_map(|action| action.call.option("chain")).map(str::to_owned).next();
        let chain = chains.map(|chain| (chain, place.clone())).filter(|(chain, _)| !chain.contains('<'));
        if let Some((chain, place)) = chain.or_else(|| self.plain("chain"))
            && !chain.contains('<')
            && !chain.trim().eq_ignore_ascii_case("INPUT")
        {
            let place = self.get("chain").map_or(place, |found| found.value.place.clone());
            self.warn(&place, format!("chain = {}: firewalld decides where bans apply, and ports that containers publish are out of reach (wardend(8), Limits)", shortened(&chain)));
        }
    }

    fn warn_of_the_rest(&mut self, call: &Call, ours: &str) {
        if let Some((command, place)) = self.plain("ignorecommand") {
            self.warn(
                &place,
                format!(
                    "ignorecommand = {}: wardend runs no command; list the addresses in ignoreip",
                    shortened(&command)
                ),
            );
        }
        if let Some((_, place)) = self
            .plain("bantime.overalljails")
            .filter(|(text, _)| ["1", "yes", "true", "on"].contains(&text.to_lowercase().as_str()))
        {
            self.warn(&place, "bantime.overalljails: wardend counts earlier bans in each jail by itself; where one jail can do, join them");
        }
        if let Some(key) = call.option("publickey").filter(|key| *key == "any") {
            let place = self.get("filter").map(|found| found.value.place.clone());
            self.warnings.push(Warning {
                place,
                what: format!("publickey={key} counts each refused key; wardend counts the refused keys of a connection once, because agents offer several unasked"),
            });
        }
        // It counts bans, wherever they are logged.
        if ours == BANS {
            return;
        }
        let (units, setup) = self.file_units(ours);
        if !units.is_empty() {
            let logpath =
                self.plain("logpath").map(|(path, place)| (format!("logpath = {}: ", shortened(path.trim())), place));
            let (logpath, place) = logpath.map_or((String::new(), None), |(path, place)| (path, Some(place)));
            let place = place.or_else(|| self.setup.place(self.section).cloned());
            let units = units.join(" or ");
            let setup = setup.map_or_else(String::new, |setup| format!(", or have it log to the journal: {setup}"));
            let what = format!(
                "{logpath}the filter {ours} reads what {units} brings into the journal (wardend-file@.service(8)); \
                 enable it with `systemctl enable --now`{setup}"
            );
            self.warnings.push(Warning { place, what });
            return;
        }
        if ours != BUILT_IN {
            let note = JOURNAL.iter().find(|(filter, _)| *filter == ours).map(|(_, note)| format!(" ({note})"));
            let reads = format!(
                "wardend reads the journal, not files; see with `wardenctl test {ours} --journal` that the records are there"
            );
            match (self.plain("logpath"), note) {
                (Some((path, place)), note) if note.is_some() || !place.shipped => {
                    let note = note.unwrap_or_default();
                    self.warn(&place, format!("logpath = {}: {reads}{note}", shortened(path.trim())));
                }
                (None, Some(note)) => {
                    let place = self.setup.place(self.section).cloned();
                    self.warnings.push(Warning { place, what: format!("{reads}{note}") });
                }
                _ => {}
            }
            return;
        }
        if let Some((path, place)) = self.plain("logpath").filter(|(_, place)| !place.shipped) {
            const USUAL: [&str; 6] = [
                "/var/log/auth.log",
                "/var/log/secure",
                "/var/log/messages",
                "/var/log/syslog",
                "/var/log/daemon.log",
                "/var/log/sshd.log",
            ];
            let other = path.split_whitespace().find(|word| {
                let plain = word.trim_end_matches('*');
                *word != "tail" && *word != "head" && !USUAL.contains(word) && !USUAL.contains(&plain)
            });
            if let Some(other) = other {
                self.warn(&place, format!("logpath = {}: wardend reads the journal, not files; see with `wardenctl test sshd --journal` that sshd's records are there", shortened(other)));
            }
        }
        if let Some((text, place)) = self.plain("journalmatch").filter(|(_, place)| !place.shipped) {
            let usual = |word: &str| {
                word == "+"
                    || word.split_once('=').is_some_and(|(field, value)| {
                        field == "_COMM" && matches!(value, "sshd" | "sshd-session" | "sshd-auth")
                            || field == "_SYSTEMD_UNIT" && matches!(value, "ssh.service" | "sshd.service")
                            || field == "SYSLOG_IDENTIFIER" && value.starts_with("sshd")
                    })
            };
            if let Some(other) = text.split_whitespace().find(|word| !usual(word)) {
                self.warn(&place, format!("journalmatch has {}: wardend reads sshd wherever it runs as root; to read another unit, add it to [records] in filters/sshd.d (wardend.filter(5))", shortened(other)));
            }
        }
    }
}
