//! The filter of a jail and its mode: which of wardend's reads the same.

use std::path::Path;

use super::Jail;
use crate::{
    core::filter::BANS,
    fail2ban::{
        call::Call,
        converted::{Left, Warning, quoted},
        ini::shortened,
        rules::{self, OwnRule},
        setup::Place,
    },
    util::text::count,
};

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

impl Jail<'_> {
    /// Rules of an administrator's own, which are listed and not converted.
    pub(super) fn note_rules(&mut self, theirs: &str, ours: &str, rules: &mut Vec<OwnRule>) {
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
    pub(super) fn filter(&self, theirs: &str) -> Option<(String, Option<&'static str>)> {
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
    pub(super) fn reads_files(&self) -> bool {
        !self.plain("backend").is_some_and(|(backend, _)| backend.trim().to_lowercase().starts_with("systemd"))
    }

    pub(super) fn no_filter(&mut self, filter: &str, rules: &mut Vec<OwnRule>) -> Left {
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

    pub(super) fn mode(
        &mut self,
        call: &Call,
        named: Option<&str>,
        ours: &str,
        place: &Place,
    ) -> Option<(String, String)> {
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
}
