//! Whether somebody comes to the watched services without leaving a word in the journal.
//!
//! An sshd without PAM that logs nothing is as silent as one that nobody connects to. But a listener
//! that waits uses no CPU time, and each connection is a process of its own, so the unit's control
//! group tells. It is looked at once a minute, and only what lies between two looks at which nobody
//! was there counts as a visit: a user who stays may use CPU time all day long. A service that logs
//! writes something about each visit, whether a rule reads it or not.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(60);
/// How much CPU time is a visit, in µs: to start sshd for a connection takes more.
const VISIT: u64 = 3_000;
/// How many visits in a row must have passed in silence.
const SILENT: usize = 3;

/// A unit at one look.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// CPU time so far, in µs.
    usage: u64,
    /// Nobody is connected.
    idle: bool,
}

/// The units of the watched services.
#[derive(Debug)]
pub(super) struct Visits {
    groups: PathBuf,
    looked: Option<Instant>,
    units: BTreeMap<PathBuf, Look>,
    silent: usize,
    /// Something was written since the last look.
    heard: bool,
}

impl Default for Visits {
    fn default() -> Self {
        Self::below("/sys/fs/cgroup".into())
    }
}

impl Visits {
    fn below(groups: PathBuf) -> Self {
        Self { groups, looked: None, units: BTreeMap::new(), silent: 0, heard: false }
    }

    /// A watched service has written something.
    pub(super) fn heard(&mut self) {
        (self.heard, self.silent) = (true, 0);
    }

    /// Looks at the units, if it is time to, and says how many visits have passed in silence if these
    /// are too many.
    pub(super) fn look<'u>(&mut self, units: impl Iterator<Item = &'u str>, now: Instant) -> Option<usize> {
        if self.looked.is_none_or(|looked| now.duration_since(looked) >= INTERVAL) {
            self.looked = Some(now);
            let mut visited = false;
            let mut found = BTreeMap::new();
            for path in units.filter_map(|unit| self.group_of(unit)) {
                let Some(look) = look_at(&path) else { continue };
                let quiet = self.units.get(&path).filter(|before| before.idle && look.idle);
                visited |= quiet.is_some_and(|before| look.usage >= before.usage.saturating_add(VISIT));
                found.insert(path, look);
            }
            self.units = found;
            let heard = std::mem::take(&mut self.heard);
            self.silent += usize::from(visited && !heard);
        }
        (self.silent >= SILENT).then_some(self.silent)
    }

    /// The control group of a unit, or of all units of a template.
    fn group_of(&self, unit: &str) -> Option<PathBuf> {
        let name = match unit.split_once('@') {
            Some((name, "*.service")) => format!("system-{name}.slice"),
            _ => unit.to_owned(),
        };
        if name.contains(['*', '/']) {
            return None;
        }
        let system = self.groups.join("system.slice").join(&name);
        if system.exists() {
            return Some(system);
        }
        // The admin may have given it another slice.
        let slices = fs::read_dir(&self.groups).ok()?.flatten().map(|entry| entry.path());
        let slices = slices.filter(|path| path.extension().is_some_and(|extension| extension == "slice"));
        slices.map(|slice| slice.join(&name)).find(|path| path.exists())
    }
}

/// What the kernel says of a control group; nothing, if it is gone or the kernel has the old kind.
fn look_at(group: &Path) -> Option<Look> {
    let number = |file: &str, key: &str| {
        let text = fs::read_to_string(group.join(file)).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
        value.parse::<u64>().ok()
    };
    let usage = number("cpu.stat", "usage_usec")?;
    let idle = if group.extension().is_some_and(|extension| extension == "slice") {
        number("cgroup.events", "populated")? == 0
    } else {
        // The listener alone.
        fs::read_to_string(group.join("cgroup.procs")).ok()?.lines().count() <= 1
    };
    Some(Look { usage, idle })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        directory: tempfile::TempDir,
        visits: Visits,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let visits = Visits::below(directory.path().to_owned());
            Self { directory, visits, now: Instant::now() }
        }

        /// Sets the CPU time that the unit has used so far, in ms, and its number of processes.
        fn unit(&self, path: &str, ms: u64, processes: usize) {
            let group = self.directory.path().join(path);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join("cpu.stat"), format!("usage_usec {}\nuser_usec 1\n", ms * 1000)).unwrap();
            fs::write(group.join("cgroup.procs"), "61\n".repeat(processes)).unwrap();
            fs::write(group.join("cgroup.events"), format!("populated {}\n", usize::from(processes > 0))).unwrap();
        }

        fn look(&mut self) -> Option<usize> {
            self.now += INTERVAL;
            self.visits.look(["ssh.service", "sshd.service", "ssh@*.service"].into_iter(), self.now)
        }
    }

    #[test]
    fn visits_that_leave_no_word_are_noticed_in_whatever_slice_and_behind_a_socket() {
        for (path, idle) in
            [("system.slice/ssh.service", 1), ("doors.slice/ssh.service", 1), ("system.slice/system-ssh.slice", 0)]
        {
            let mut scene = Scene::new();
            for ms in [10, 20, 30] {
                scene.unit(path, ms, idle);
                assert_eq!(scene.look(), None, "{path}");
            }
            scene.unit(path, 40, idle);
            assert_eq!(scene.look(), Some(3), "{path}");
            assert_eq!(scene.look(), Some(3), "nobody has come since");
            scene.visits.heard();
            assert_eq!(scene.look(), None, "it speaks again");
        }
    }

    #[test]
    fn a_service_that_speaks_waits_or_serves_somebody_all_day_raises_no_alarm() {
        let mut scene = Scene::new();
        for minute in 1..100 {
            scene.unit("system.slice/ssh.service", 100 * minute, 1);
            assert_eq!(scene.look(), None);
            // Its message may come a moment after the look.
            scene.visits.heard();
        }
        for minute in 100..200 {
            scene.unit("system.slice/ssh.service", 100 * minute, 2 - usize::from(minute % 2 == 0));
            assert_eq!(scene.look(), None, "a user comes and goes, and stays longer than a minute");
        }
        let mut scene = Scene::new();
        for minute in 0..100 {
            scene.unit("system.slice/ssh.service", 1000 + minute / 2, 1);
            assert_eq!(scene.look(), None, "it only waits");
        }
        // Started again, it begins at nothing.
        for _ in 0..100 {
            scene.unit("system.slice/ssh.service", 9, 1);
            assert_eq!(scene.look(), None);
        }
        assert_eq!(scene.look(), None);
    }

    #[test]
    fn looks_are_a_minute_apart() {
        let mut scene = Scene::new();
        for ms in 0..50 {
            scene.unit("system.slice/ssh.service", 100 * ms, 1);
            scene.now += Duration::from_secs(1);
            assert_eq!(scene.visits.look(["ssh.service"].into_iter(), scene.now), None);
        }
    }
}
