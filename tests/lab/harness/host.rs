//! What the host lends to a machine, and how it gets it back.
//!
//! A machine needs a Debian tree, a directory, an overlay mount, a cgroup and two network
//! namespaces. All of them carry one name, and the name says which process they were made
//! for. So a test that ends, well or by a panic, gives everything back; and what a killed
//! run left behind is found by its name and taken away before the next machine boots.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, Once, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::machine::Release;
use crate::harness::network;

/// A machine waits more than it computes, so that two processors serve three; `check` starts as many
/// scenarios at once.
const MACHINES_AT_ONCE: usize = 3;

/// Every name of ours on the host begins so.
const PREFIX: &str = "wardend-lab";

/// Making and removing namespaces, mounts and trees is done by one thread at a time.
static HOST: Mutex<()> = Mutex::new(());

/// Runs `body` while no other thread of ours changes the host.
pub(crate) fn exclusively<T>(body: impl FnOnce() -> T) -> T {
    let _guard = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    body()
}

/// Runs a program of the host: its standard output, or what it complained about.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<String, String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program} does not start: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
    Err(format!("{program} {}: {}: {}", arguments.join(" "), output.status, said.trim()))
}

/// A script of this directory. The programs of the lab are run from where they were built.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name)
}

/// Fails, with the sentence that helps, on a host that cannot run machines.
pub(crate) fn require_lab() {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    let answer = ANSWER.get_or_init(|| match Command::new(script("available")).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Err(error) => Err(format!("lab: cannot ask tests/lab/available: {error}")),
    });
    if let Err(sentence) = answer {
        panic!("{sentence}");
    }
}

/// The tree of a release, built now if this host has none yet.
pub(crate) fn tree(release: Release) -> PathBuf {
    static TREES: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut trees = TREES.lock().unwrap_or_else(PoisonError::into_inner);
    let tree = trees.entry(release.name()).or_insert_with(|| {
        // Its standard error is the terminal's: the first time it works for minutes.
        let build = Command::new(script("build")).arg(release.name()).stderr(Stdio::inherit()).output();
        let build = build.expect("tests/lab/build starts");
        assert!(build.status.success(), "there is no {} to boot", release.name());
        PathBuf::from(String::from_utf8_lossy(&build.stdout).trim())
    });
    tree.clone()
}

/// Whether there is a tree of a release, or one can be built now: Debian 14 is in development.
pub(crate) fn has(release: Release) -> bool {
    let built = Command::new(script("build")).arg(release.name()).stderr(Stdio::inherit()).output();
    built.is_ok_and(|built| built.status.success())
}

/// A layer with packages over the tree of a release, made now if this host has none yet.
pub(crate) fn layer(release: Release, packages: &[&str]) -> PathBuf {
    let build = Command::new(script("layer")).arg(release.name()).args(packages).stderr(Stdio::inherit()).output();
    let build = build.expect("tests/lab/layer starts");
    assert!(build.status.success(), "there is no {} with {packages:?} to boot", release.name());
    PathBuf::from(String::from_utf8_lossy(&build.stdout).trim())
}

/// The right to run one machine; waits while others hold all of them.
pub(crate) struct Slot;

static SLOTS: (Mutex<usize>, Condvar) = (Mutex::new(MACHINES_AT_ONCE), Condvar::new());

impl Slot {
    pub(crate) fn take() -> Self {
        let free = SLOTS.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = SLOTS.1.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *SLOTS.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        SLOTS.1.notify_one();
    }
}

/// A name, and all that the host holds under it.
pub(crate) struct Lease {
    name: String,
}

impl Lease {
    /// A fresh name with an empty directory; leftovers of dead processes go first.
    pub(crate) fn new() -> Self {
        static SWEPT: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(1);
        SWEPT.call_once(|| exclusively(sweep));
        let pid = std::process::id();
        let since = started(pid).expect("this process is in /proc");
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let lease = Self { name: format!("{PREFIX}-{pid}-{since}-{count}") };
        for part in ["upper", "work", "merged", "attacker"] {
            fs::create_dir_all(lease.dir().join(part)).expect("the cache directory is writable");
        }
        lease
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where the machine's own files live on the host.
    pub(crate) fn dir(&self) -> PathBuf {
        machines().join(&self.name)
    }

    /// The root directory of the machine, as the host sees it.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir().join("merged")
    }

    /// Lays an empty layer over the others, the uppermost first, so that the machine may change what it
    /// likes.
    pub(crate) fn mount<'p>(&self, lower: impl Iterator<Item = &'p PathBuf>) {
        let dir = self.dir();
        let lower: Vec<_> = lower.map(|path| path.to_string_lossy()).collect();
        // `volatile` leaves out fsync: what a machine writes need not outlive the host, and
        // power cuts here only kill processes.
        let options = format!(
            "volatile,lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            dir.join("upper").display(),
            dir.join("work").display()
        );
        let target = self.root();
        run("mount", &["-t", "overlay", "overlay", "-o", &options, &target.to_string_lossy()])
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// A cgroup for the machine alone. systemd-nspawn puts its `payload` beside itself, and
    /// two machines must not share one.
    pub(crate) fn cgroup(&self) -> PathBuf {
        let group = unified_cgroups().join(PREFIX).join(&self.name);
        fs::create_dir_all(&group).expect("root may make a cgroup");
        group
    }

    /// The CPU time that all processes of the machine have used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(self.cgroup().join("cpu.stat")).unwrap_or_default();
        let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
        Duration::from_micros(usage.unwrap_or_default())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        exclusively(|| give_back(&self.name));
    }
}

/// Where cgroup v2 is mounted: `/sys/fs/cgroup`, or `unified` in it beside the old ones.
pub(crate) fn unified_cgroups() -> PathBuf {
    cgroup_mounts()
        .into_iter()
        .find(|(kind, _)| kind == "cgroup2")
        .map(|(_, path)| path)
        .expect("tests/lab/available looks for a cgroup2 mount")
}

fn cgroup_mounts() -> Vec<(String, PathBuf)> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (path, kind) = (fields.next()?, fields.next()?);
            kind.starts_with("cgroup").then(|| (kind.to_owned(), PathBuf::from(path)))
        })
        .collect()
}

fn machines() -> PathBuf {
    let cache = std::env::var_os("WARDEND_LAB_CACHE");
    cache.map_or_else(|| PathBuf::from("/var/cache/wardend-lab"), PathBuf::from).join("machines")
}

/// When a process started, in the kernel's ticks: with the pid, a name nobody has twice.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command may hold blanks and brackets; the fields after the last bracket may not.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Gives back what belongs to processes that are gone.
fn sweep() {
    let Ok(entries) = fs::read_dir(machines()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(owner) = name.strip_prefix(PREFIX) else { continue };
        let mut numbers = owner.trim_start_matches('-').split('-');
        let pid = numbers.next().and_then(|number| number.parse().ok());
        let since = numbers.next().and_then(|number| number.parse().ok());
        let alive = pid.and_then(started).is_some_and(|start| Some(start) == since);
        if !alive {
            give_back(&name);
        }
    }
}

/// Ends and removes everything named `name`. Any part of it may be gone already.
fn give_back(name: &str) {
    kill_all(&unified_cgroups().join(PREFIX).join(name));
    // systemd-nspawn mirrors its groups into the old hierarchy where the host has it.
    for (_, hierarchy) in cgroup_mounts() {
        remove_groups(&hierarchy.join(PREFIX).join(name));
    }
    let dir = machines().join(name);
    // Lazily: a process on its way out may still hold a file in it.
    let _ = run("umount", &["--lazy".as_ref(), dir.join("merged").as_os_str()]);
    network::remove(name);
    // systemd-nspawn takes these away itself, unless it was killed.
    let unix_export = format!("/run/systemd/nspawn/unix-export/{name}");
    if Path::new(&unix_export).exists() {
        let _ = run("umount", &["--lazy", &unix_export]);
        let _ = fs::remove_dir(&unix_export);
    }
    let _ = fs::remove_dir(format!("/run/systemd/nspawn/propagate/{name}"));
    if let Err(error) = fs::remove_dir_all(&dir)
        && error.kind() != io::ErrorKind::NotFound
    {
        println!("lab: {} stays behind: {error}", dir.display());
    }
}

/// Kills every process of a cgroup and waits until the last one has gone.
fn kill_all(group: &Path) {
    if fs::write(group.join("cgroup.kill"), "1").is_err() {
        return;
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    let populated =
        || fs::read_to_string(group.join("cgroup.events")).is_ok_and(|events| events.contains("populated 1"));
    // The kernel tells this through poll(2) alone, which the standard library has not.
    while populated() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
}

fn remove_groups(group: &Path) {
    if let Ok(entries) = fs::read_dir(group) {
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}
