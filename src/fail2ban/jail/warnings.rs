//! What else a jail says, and what is different about it here.

use super::Jail;
use crate::{
    core::filter::BANS,
    fail2ban::{
        actions::Action,
        call::Call,
        converted::{BUILT_IN, Warning},
        ini::shortened,
        setup::Place,
    },
};

/// What brings the records of a service into the journal, for services whose records are often not there.
const JOURNAL: [(&str, &str); 2] = [
    ("proftpd", "ProFTPD logs to the journal only if its configuration has no SystemLog"),
    ("vsftpd", "vsftpd's own log is a file; PAM's records, which wardend reads, are in the journal"),
];

impl Jail<'_> {
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

    pub(super) fn warn_of_actions(&mut self, actions: Option<&(Vec<Action>, Place)>) {
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

    pub(super) fn warn_of_the_rest(&mut self, call: &Call, ours: &str) {
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
            self.warn_of_file_units(ours, &units, setup);
        } else if ours != BUILT_IN {
            self.warn_of_the_journal(ours);
        } else {
            self.warn_of_sshds_records();
        }
    }

    /// What an administrator has said of where sshd's records are.
    fn warn_of_sshds_records(&mut self) {
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

    /// The filter reads a text file that wardend-file brings into the journal.
    fn warn_of_file_units(&mut self, ours: &str, units: &[String], setup: Option<String>) {
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
    }

    /// wardend reads the journal, where the service's records may not be.
    fn warn_of_the_journal(&mut self, ours: &str) {
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
    }
}
