//! Whether what the watched services write is read.
//!
//! A service can run, be attacked, and write nothing that a filter reads: a level of logging at
//! which it says nothing, a journald that does not store it, a unit or a name that the filter does
//! not know. Silence alone says nothing, because most of the time nobody comes. So here is looked
//! for signs that somebody did: messages of PAM about the service, which it never writes without a
//! message of its own ([`crate::core::filter`], `signs`); and messages that a rule would read, if they
//! were from a unit or under a name that the filter asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use tokio::{task::JoinHandle, time::Instant};

use super::{health::Health, visits::Visits};
use crate::{
    contract::problem::{Kind, Problem},
    core::{
        filter::{Claim, Filter, Stranger},
        record::{FieldId, Record},
        time::{USEC_PER_SEC, Usec},
    },
    journal::{
        events::shown,
        journald_conf::{JournaldConf, Said},
    },
    util::{text::count, time::now},
};

/// How many processes must have shown that the service is used, with no message of its own since.
const SIGNS: usize = 3;
/// How long a message of the service's own may take after a sign: PAM waits before it refuses.
const PATIENCE: Usec = 30 * USEC_PER_SEC;
/// How many attempts must look like the service's.
const LOOKALIKES: usize = 5;
/// For how long they count.
const MEMORY: Usec = 3600 * USEC_PER_SEC;
/// The most that is remembered.
const MOST: usize = 64;

/// Whose messages look like those of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lookalike {
    /// The filter that would read them.
    filter: String,
    /// As the message says.
    unit: String,
    why: Unread,
}

/// Why they are not read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unread {
    /// It is another unit, and the program if that is known.
    Unit(Option<String>),
    /// Its processes have other numbers for themselves: a container.
    Container,
    /// It is one of the filter's units, but they are written under another name.
    Name(String),
}

/// What was seen and not read.
#[derive(Debug, Default)]
pub(super) struct Blind {
    /// Processes that have shown that a service is used since it last wrote something that was read,
    /// with the time.
    signs: BTreeMap<Vec<u8>, Usec>,
    lookalikes: BTreeMap<Lookalike, Vec<Usec>>,
    /// When something of a service's was last read.
    read: Usec,
    visits: Visits,
    /// The cause is being looked for, in files: on another thread, because a disk may be slow.
    search: Option<JoinHandle<Problem>>,
}

/// What speaks for a service that is not read.
#[derive(Debug)]
enum Finding {
    /// This number of signs without a message.
    Unheard(usize),
    /// This number of visits without one.
    Unseen(usize),
    /// As many messages that look like the service's.
    Unlisted(Lookalike, usize),
}

impl Blind {
    /// Something has come that a filter asks for, whether a rule reads it or not.
    pub(super) fn hear(&mut self) {
        self.visits.heard();
    }

    /// Takes one record; `known` if a rule has read it.
    pub(super) fn see<'f>(&mut self, record: &Record, known: bool, filters: impl Iterator<Item = &'f Filter>) {
        let message = record.message();
        if message.is_empty() {
            return;
        }
        for filter in filters {
            if filter.is_sign(message) {
                if self.signs.len() < MOST && filter.records.matches(record) {
                    let process = record.get(FieldId::PID).unwrap_or_default().to_vec();
                    self.signs.entry(process).or_insert(record.time);
                }
            } else if known {
                self.signs.clear();
                self.read = self.read.max(record.time);
            } else if filter.reads_attempt(message) {
                self.look_at(record, filter);
            }
        }
    }

    /// An attempt that no jail counts.
    fn look_at(&mut self, record: &Record, filter: &Filter) {
        let unit = record.get(FieldId::UNIT).unwrap_or_default();
        let why = match filter.records.claim(record) {
            // Whoever may run a program as root could raise an alarm whenever they like.
            Claim::Stranger(_) if unit.is_empty() || unit.starts_with(b"session-") || unit.starts_with(b"user@") => {
                return;
            }
            Claim::Stranger(Stranger::Unit(_)) => Unread::Unit(None),
            Claim::Stranger(Stranger::Program(program)) => Unread::Unit(Some(shown(&String::from_utf8_lossy(program)))),
            Claim::Stranger(Stranger::Differs) => Unread::Container,
            // The index has found it by the unit or the program, and it has another name.
            Claim::No if filter.records.is_roots(record) && filter.records.is_unit(unit) => {
                let name = filter.records.identifier(record).unwrap_or_default();
                Unread::Name(shown(&String::from_utf8_lossy(name)))
            }
            _ => return,
        };
        let unit = shown(&String::from_utf8_lossy(unit));
        let lookalike = Lookalike { filter: filter.name.clone(), unit, why };
        if self.lookalikes.len() < MOST || self.lookalikes.contains_key(&lookalike) {
            let times = self.lookalikes.entry(lookalike).or_default();
            if times.len() >= MOST {
                times.remove(0);
            }
            times.push(record.time);
        }
    }

    /// logind reports this number of new logins.
    pub(super) fn see_logins(&mut self, sessions: u64, now: Usec) {
        // The service's own message comes just before, and a session that is reported now may have begun a
        // while ago.
        if self.read.saturating_add(PATIENCE) > now {
            return;
        }
        for number in 0..sessions {
            if self.signs.len() < MOST {
                self.signs.entry(format!("login {number} at {now}").into_bytes()).or_insert(now);
            }
        }
    }

    /// What there is to say at the time `now`.
    fn finding(&mut self, now: Usec) -> Option<Finding> {
        let late = self.signs.values().filter(|time| time.saturating_add(PATIENCE) <= now).count();
        if late >= SIGNS {
            return Some(Finding::Unheard(late));
        }
        for times in self.lookalikes.values_mut() {
            times.retain(|time| time.saturating_add(MEMORY) >= now);
        }
        self.lookalikes.retain(|_, times| !times.is_empty());
        let found = self.lookalikes.iter().find(|(_, times)| times.len() >= LOOKALIKES);
        found.map(|(lookalike, times)| Finding::Unlisted(lookalike.clone(), times.len()))
    }

    /// Reports whether what the watched services do can be read. Where that takes a look into files, the
    /// report comes out of [`Self::explained`].
    pub(super) fn look<'f>(&mut self, filters: impl Iterator<Item = &'f Filter>, health: &mut Health) {
        // A web server has visitors all day that its error log does not mention.
        let units = filters.filter(|filter| filter.has_signs()).flat_map(|filter| filter.records.units());
        let visits = self.visits.look(units.map(String::as_str), Instant::now());
        match self.finding(now()).or(visits.map(Finding::Unseen)) {
            Some(finding @ Finding::Unlisted(..)) => {
                health.report(Kind::Records, Some(finding.problem(&Causes::default())));
            }
            Some(finding) if self.search.is_none() => {
                let look = move || finding.problem(&Causes::of_this_machine());
                self.search = Some(tokio::task::spawn_blocking(look));
            }
            Some(_) => {}
            None => {
                self.search = None;
                health.report(Kind::Records, None);
            }
        }
    }

    /// A problem, with its cause if that was found; never, if none is looked for.
    pub(super) async fn explained(&mut self) -> Problem {
        loop {
            let Some(search) = self.search.as_mut() else { return std::future::pending().await };
            let outcome = search.await;
            self.search = None;
            if let Ok(problem) = outcome {
                return problem;
            }
        }
    }
}

impl Finding {
    fn problem(&self, causes: &Causes) -> Problem {
        let what = match self {
            Self::Unheard(signs) => format!(
                "People log in, or try to, and the service writes nothing about it that could be read ({} without a message of its own).",
                count(*signs, "process or session", "processes or sessions")
            ),
            Self::Unseen(visits) => format!(
                "The service's unit has used CPU time as it does when somebody connects ({} minute by minute), and nothing at all of it reached the journal.",
                count(*visits, "visit", "visits")
            ),
            Self::Unlisted(lookalike, times) => return unlisted(lookalike, *times),
        };
        let what = match &causes.found {
            Some(cause) => format!("{what} {cause}"),
            None => what,
        };
        let mend = "Let sshd log at LogLevel INFO or VERBOSE (sshd -T | grep -i loglevel), without -q and -E, and journald store it (MaxLevelStore= in journald.conf).";
        Problem { what, mend: mend.to_owned() }
    }
}

fn unlisted(lookalike: &Lookalike, times: usize) -> Problem {
    let attempts = count(times, "failed attempt", "failed attempts");
    let Lookalike { filter, unit, why } = lookalike;
    match why {
        Unread::Unit(program) => {
            let programs =
                program.as_ref().map_or_else(String::new, |program| format!(" and `programs = [\"{program}\"]`"));
            Problem {
                what: format!(
                    "The unit {unit} writes messages that look like those of {filter} ({attempts} within an hour), and they are not counted: the filter does not ask for this unit and program."
                ),
                mend: format!(
                    "If that service runs there, add `[records]` with `units = [\"{unit}\"]`{programs} in a file in /etc/wardend/filters/{filter}.d (wardend.filter(5)); wardenctl test {filter} --journal shows the messages."
                ),
            }
        }
        Unread::Container => Problem {
            what: format!(
                "The unit {unit} writes messages that look like those of {filter} ({attempts} within an hour), and they are not counted: the process number in them is not the sender's, as in a container."
            ),
            mend: format!(
                "Run wardend where that service runs, or let the container share the machine's process numbers; wardenctl test {filter} --journal shows the messages."
            ),
        },
        Unread::Name(name) => Problem {
            what: format!(
                "{unit} writes under the name {name} ({attempts} within an hour), which the filter does not read, so they are not counted."
            ),
            mend: format!(
                "Add `[records]` with `SYSLOG_IDENTIFIER = [\"{name}\"]` in a file in /etc/wardend/filters/{filter}.d (wardend.filter(5)); wardenctl test {filter} --journal shows the messages."
            ),
        },
    }
}

/// Why nothing may be heard, as far as configuration files tell.
#[derive(Debug, Default)]
struct Causes {
    found: Option<String>,
}

impl Causes {
    fn of_this_machine() -> Self {
        Self::below(Path::new("/"))
    }

    fn below(root: &Path) -> Self {
        let sshd = root.join("etc/ssh/sshd_config");
        let mut found = drop_ins(&[root.join("etc/ssh/sshd_config.d")]);
        found.push(sshd);
        let quiet = |file: &PathBuf| {
            value_in(file, "loglevel", |c| c.is_whitespace() || c == '=')
                .map(|(line, value)| (file.clone(), line, value))
        };
        // The first value counts.
        if let Some((file, line, value)) = found.iter().find_map(quiet)
            && ["quiet", "fatal", "error"].contains(&value.to_ascii_lowercase().as_str())
        {
            let found = format!("{}:{line} says LogLevel {value}, at which it logs no failed login.", file.display());
            return Self { found: Some(found) };
        }
        let journald = JournaldConf::below(root);
        if let Some(said @ Said { value, place }) = journald.get("MaxLevelStore")
            && said.leaves_out_info()
        {
            let found =
                format!("{place} says MaxLevelStore={value}, so journald does not store what sshd logs at level info.");
            return Self { found: Some(found) };
        }
        Self::default()
    }
}

/// The files *.conf of directories, sorted by their names.
fn drop_ins(directories: &[PathBuf]) -> Vec<PathBuf> {
    let mut names = BTreeSet::new();
    for directory in directories {
        let files = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "conf"));
        names.extend(files.filter_map(|path| Some((path.file_name()?.to_owned(), path))));
    }
    names.into_iter().map(|(_, path)| path).collect()
}

/// The first value of a key in a file of keys and values, with its line.
fn value_in(file: &Path, key: &str, separates: impl Fn(char) -> bool + Copy) -> Option<(usize, String)> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().enumerate().find_map(|(index, line)| {
        let line = line.trim();
        let (name, value) = line.split_once(separates)?;
        let value = value.trim_matches(|c: char| separates(c) || c == '"' || c.is_whitespace());
        name.trim().eq_ignore_ascii_case(key).then(|| (index + 1, value.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{filter::FilterText, record::Fields};

    const FILTER: &str = "[records]\n_UID = ['0']\nSYSLOG_IDENTIFIER = ['sshd']\nunits = ['ssh.service']\nprograms = ['sshd']\n\
                          [message]\nsigns = ['pam_unix(sshd:session): session opened']\n[modes]\nnormal = ['auth']\n\
                          [[rule]]\nname = 'failed'\nclass = 'auth'\ncounts = 'failure'\npattern = 'Failed <ADDR>'\n\
                          [[rule]]\nname = 'accepted'\ncounts = 'nothing'\npattern = 'Accepted <ADDR>'\n";
    const OPENED: &str = "pam_unix(sshd:session): session opened for user alice";
    const FAILED: &str = "Failed 203.0.113.7";

    struct Scene {
        filter: Filter,
        fields: Fields,
        blind: Blind,
        now: Usec,
    }

    impl Scene {
        fn new() -> Self {
            let mut fields = Fields::default();
            let filter = Filter::load("sshd", &[FilterText::new("x.toml", FILTER)], &mut fields).unwrap();
            Self { filter, fields, blind: Blind::default(), now: 1_000 * USEC_PER_SEC }
        }

        fn see(&mut self, pid: u32, values: &[(&str, &str)], message: &str) {
            self.now += USEC_PER_SEC;
            let pid = pid.to_string();
            let usual = [("_UID", "0"), ("SYSLOG_IDENTIFIER", "sshd"), ("_PID", &pid), ("MESSAGE", message)];
            let values = values.iter().chain(&usual).copied();
            let record = Record::with(&self.fields, self.now, "".into(), values);
            let known = self.filter.records.claim(&record) == Claim::Ours && self.filter.read(&record).is_some();
            self.blind.see(&record, known, [&self.filter].into_iter());
        }

        fn problem(&mut self, seconds: u64) -> Option<Problem> {
            self.now += seconds * USEC_PER_SEC;
            self.blind.finding(self.now).map(|finding| finding.problem(&Causes::default()))
        }
    }

    const SSH: (&str, &str) = ("_SYSTEMD_UNIT", "ssh.service");

    #[test]
    fn logins_that_the_service_says_nothing_about_are_noticed() {
        let mut scene = Scene::new();
        for pid in 1..=3 {
            assert_eq!(scene.problem(60), None);
            scene.see(pid, &[SSH], OPENED);
        }
        assert_eq!(scene.problem(1), None, "its own message may be on its way");
        assert!(scene.problem(60).unwrap().what.contains("3 processes or sessions without a message of its own"));
        scene.see(4, &[SSH], "Accepted 203.0.113.7");
        assert_eq!(scene.problem(60), None, "it speaks again");
    }

    #[test]
    fn sessions_that_the_service_says_nothing_about_are_noticed() {
        let mut scene = Scene::new();
        scene.see(1, &[SSH], "Accepted 203.0.113.7");
        for _ in 0..9 {
            scene.blind.see_logins(1, scene.now);
        }
        assert_eq!(scene.problem(60), None, "its message came before");
        for _ in 0..3 {
            scene.blind.see_logins(1, scene.now);
            assert_eq!(scene.problem(10), None, "its message may be on its way");
        }
        assert!(scene.problem(30).unwrap().what.contains("3 processes or sessions"));
        scene.see(2, &[SSH], "Accepted 203.0.113.7");
        assert_eq!(scene.problem(60), None, "it speaks again");
    }

    #[test]
    fn many_who_come_and_go_on_a_host_where_all_is_well_raise_no_alarm() {
        let mut scene = Scene::new();
        for pid in 1..500 {
            scene.see(pid, &[SSH], "Accepted 203.0.113.7");
            scene.see(pid, &[SSH], OPENED);
            assert_eq!(scene.problem(u64::from(pid % 90)), None);
        }
    }

    #[test]
    fn one_process_that_opens_many_sessions_is_one_sign() {
        let mut scene = Scene::new();
        for _ in 0..20 {
            scene.see(1, &[SSH], OPENED);
        }
        assert_eq!(scene.problem(60), None);
    }

    #[test]
    fn attempts_in_another_unit_or_under_another_name_are_noticed_for_an_hour() {
        for (values, wanted) in [
            (&[("_SYSTEMD_UNIT", "gate.service")][..], "units = [\"gate.service\"]"),
            (&[("_SYSTEMD_UNIT", "gate.service"), ("_EXE", "/opt/gate")], "and `programs = [\"gate\"]`"),
            (&[SSH, ("SYSLOG_IDENTIFIER", "gate"), ("_COMM", "gate")], "SYSLOG_IDENTIFIER = [\"gate\"]"),
        ] {
            let mut scene = Scene::new();
            for pid in 1..=5 {
                assert_eq!(scene.problem(1), None);
                scene.see(pid, values, FAILED);
            }
            let problem = scene.problem(1).unwrap();
            assert!(problem.mend.contains(wanted), "{problem:?}");
            assert!(problem.mend.contains("/etc/wardend/filters/sshd.d "), "{problem:?}");
            assert_eq!(scene.problem(3700), None);
        }
    }

    #[test]
    fn of_another_service_its_own_filter_is_named() {
        let mut fields = Fields::default();
        let filter = FILTER.replace("sshd", "mail").replace("ssh.service", "mail.service");
        let filter = Filter::load("mail", &[FilterText::new("x.toml", filter)], &mut fields).unwrap();
        let mut scene = Scene { filter, fields, ..Scene::new() };
        for pid in 1..=5 {
            scene.see(pid, &[("SYSLOG_IDENTIFIER", "mail"), ("_SYSTEMD_UNIT", "relay.service")], FAILED);
        }
        let Problem { what, mend } = scene.problem(1).unwrap();
        assert!(what.contains("look like those of mail (5 failed attempts") && !what.contains("ssh"), "{what}");
        assert!(mend.contains("/etc/wardend/filters/mail.d ") && !mend.contains("ssh"), "{mend}");
    }

    #[test]
    fn what_users_write_and_what_is_counted_raises_no_alarm() {
        let session = ("_SYSTEMD_UNIT", "session-3.scope");
        for values in [&[SSH][..], &[("_UID", "1000"), SSH], &[("_COMM", "tail"), session], &[session], &[]] {
            let mut scene = Scene::new();
            for pid in 1..=50 {
                scene.see(pid, values, FAILED);
            }
            assert_eq!(scene.problem(1), None, "{values:?}");
        }
    }

    #[test]
    fn the_cause_is_named_where_a_file_tells_it() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let cause = || Causes::below(root.path()).found.unwrap_or_default();
        assert_eq!(cause(), "");
        write("etc/ssh/sshd_config", "#LogLevel QUIET\nPort 22\n");
        write("etc/systemd/journald.conf", "[Journal]\n#MaxLevelStore=debug\n");
        assert_eq!(cause(), "");
        write("etc/systemd/journald.conf.d/10-less.conf", "[Journal]\nMaxLevelStore=warning\n");
        assert!(cause().contains("10-less.conf:2 says MaxLevelStore=warning"), "{}", cause());
        write("etc/ssh/sshd_config.d/50-quiet.conf", "\nloglevel=ERROR\n");
        assert!(cause().contains("50-quiet.conf:2 says LogLevel ERROR"), "{}", cause());
        write("etc/ssh/sshd_config.d/10-first.conf", "LogLevel INFO\n");
        assert!(cause().contains("MaxLevelStore"), "the first value counts: {}", cause());
    }
}
