//! A booted Debian machine, for as long as a test holds it.
//!
//! It runs what a server runs: systemd, journald, sshd, D-Bus, polkit, firewalld, and
//! wardend as `make install` puts it. Its files are a layer over a shared tree, so that a
//! reboot keeps them and the end of the test does not. Commands enter through the
//! namespaces of its first process; what boots and reboots it is systemd-nspawn, which
//! tells over `sd_notify` how far it is.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::host::{self, Lease, Slot};
use crate::harness::network::Network;
use crate::harness::plan::Plan;

/// How long a machine may take to come up, and a command or a condition to come true.
/// Both hold for a busy host; an idle one needs a tenth of it.
const BOOT: Duration = Duration::from_secs(90);
const PATIENCE: Duration = Duration::from_secs(60);

/// A Debian release that the lab can boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    Debian12,
    Debian13,
    Debian14,
}

impl Release {
    pub(crate) const ALL: [Self; 3] = [Self::Debian12, Self::Debian13, Self::Debian14];

    /// What `tests/lab/build` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Debian12 => "debian12",
            Self::Debian13 => "debian13",
            Self::Debian14 => "debian14",
        }
    }

    /// Whether sshd itself turns a source away that has failed a few times (PerSourcePenalties,
    /// since OpenSSH 9.8).
    pub(crate) fn penalises_sources(self) -> bool {
        self != Self::Debian12
    }

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|release| release.name() == name)
    }
}

/// What a command in the machine left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running machine. When it goes, everything of it goes.
pub(crate) struct Machine {
    release: Release,
    tree: PathBuf,
    network: Network,
    /// What systemd-nspawn tells, read at all times: what nobody reads would hold it up, and with
    /// it the machine's process 1.
    notifications: Mutex<mpsc::Receiver<String>>,
    nspawn: Option<Child>,
    /// The machine's process 1, as the host counts.
    leader: u32,
    since: Instant,
    lease: Lease,
    _slot: Option<Slot>,
}

impl Machine {
    /// Boots a machine with wardend on it.
    pub(crate) fn boot(release: Release) -> Self {
        Self::prepare(release).boot()
    }

    /// A machine to be furnished before it boots.
    pub(crate) fn prepare(release: Release) -> Plan {
        Plan::new(release)
    }

    /// Boots on what a plan has laid out.
    pub(crate) fn new(release: Release, tree: PathBuf, lease: Lease, network: Network, slot: Option<Slot>) -> Self {
        let notify = UnixDatagram::bind(lease.dir().join("notify")).expect("the machine's directory is new");
        let (sender, notifications) = mpsc::channel();
        thread::spawn(move || read_all(&notify, &sender));
        let mut machine = Self {
            release,
            tree,
            network,
            notifications: Mutex::new(notifications),
            nspawn: None,
            leader: 0,
            since: Instant::now(),
            lease,
            _slot: slot,
        };
        machine.power_on();
        machine
    }

    pub(crate) fn release(&self) -> Release {
        self.release
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// The release's tree: for programs of the attackers, so that the host needs none.
    pub(crate) fn tree(&self) -> &Path {
        &self.tree
    }

    /// The machine's root directory as the host sees it, without `/run` and `/tmp`, which
    /// the machine mounts for itself.
    pub(crate) fn root(&self) -> PathBuf {
        self.lease.root()
    }

    /// A directory on the host for what the attackers need.
    pub(crate) fn attackers_dir(&self) -> PathBuf {
        self.lease.dir().join("attacker")
    }

    /// Runs a shell command as root in the machine and returns its output.
    #[track_caller]
    pub(crate) fn run(&self, command: &str) -> String {
        let output = self.try_run(command);
        if output.code != 0 {
            self.give_up(&format!("`{command}` failed with {}:\n{}{}", output.code, output.stdout, output.stderr));
        }
        output.stdout
    }

    /// Runs a shell command as root in the machine, whatever comes of it. A command that
    /// does not end is stopped, with code 124.
    pub(crate) fn try_run(&self, command: &str) -> Output {
        self.try_run_for(120, command)
    }

    /// As [`Self::try_run`], for a command that may take this number of seconds.
    pub(crate) fn try_run_for(&self, seconds: u32, command: &str) -> Output {
        let mut enter = self.enter(&["timeout", "--kill-after=5", &seconds.to_string(), "sh", "-c", command]);
        let output = enter.stdin(Stdio::null()).output().expect("sh starts");
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Writes a file in the machine, with the directories above it.
    #[track_caller]
    pub(crate) fn write(&self, path: &str, text: &str) {
        let script = r#"mkdir -p "$(dirname "$1")" && cat >"$1""#;
        let mut child = self.enter(&["sh", "-c", script, "sh", path]).stdin(Stdio::piped()).spawn().expect("sh starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        let written = stdin.write_all(text.as_bytes());
        drop(stdin);
        let status = child.wait().expect("sh was started here");
        if written.is_err() || !status.success() {
            self.give_up(&format!("cannot write {path}"));
        }
    }

    /// A command that runs in all namespaces of the machine and, so that the machine's
    /// services know it as one of theirs, in the cgroup of its process 1.
    pub(crate) fn enter(&self, command: &[&str]) -> Command {
        let script = r#"echo $$ >"$1/cgroup.procs" && shift && exec nsenter "$@""#;
        let leader = self.leader.to_string();
        let mut enter = Command::new("sh");
        enter.args(["-c", script, "sh"]).arg(self.leader_cgroup());
        enter.args(["--target", &leader, "--all", "--root", "--wd", "--", "env", "-i"]);
        enter.args(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
        enter.args(["HOME=/root", "LANG=C.UTF-8", "TERM=linux"]).args(command);
        enter
    }

    fn leader_cgroup(&self) -> PathBuf {
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", self.leader));
        let groups = groups.unwrap_or_default();
        let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        host::unified_cgroups().join(group)
    }

    /// Asks until the answer is yes. For what no event tells; `what` completes the sentence
    /// "waited in vain until".
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, condition: impl FnMut() -> bool) {
        self.wait_for(PATIENCE, what, condition);
    }

    /// As [`Self::wait_until`], for what takes its time.
    #[track_caller]
    pub(crate) fn wait_for(&self, patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + patience;
        while !condition() {
            if Instant::now() >= deadline {
                self.give_up(&format!("waited {} s in vain until {what}", patience.as_secs()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a journal record of this boot whose message holds `text`, and returns the
    /// message. A record that is there already counts.
    #[track_caller]
    pub(crate) fn wait_for_message(&self, text: &str) -> String {
        let limit = PATIENCE.as_secs().to_string();
        let follow = ["journalctl", "--boot", "--follow", "--no-tail", "--output=cat", "--all"];
        let command = [&["timeout", &limit], &follow[..]].concat();
        let mut journal = self.enter(&command).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("sh starts");
        let stdout = BufReader::new(journal.stdout.take().expect("it is piped"));
        let found = stdout.lines().map_while(Result::ok).find(|line| line.contains(text));
        // The pipe is closed now, and journalctl leaves when it sees that.
        let _ = journal.wait();
        found.unwrap_or_else(|| self.give_up(&format!("waited {limit} s in vain for a message with {text:?}")))
    }

    /// Messages of this boot that hold `text`, oldest first.
    pub(crate) fn messages(&self, text: &str) -> Vec<String> {
        let journal = self.run("journalctl --boot --output=cat --all --no-pager");
        journal.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// Restarts the machine in an orderly way, and returns when it is up again.
    #[track_caller]
    pub(crate) fn reboot(&mut self) {
        // systemd may be gone before it can answer.
        let _ = self.try_run("systemctl --no-block reboot");
        // Run as a part of somebody's unit (`--keep-unit`), systemd-nspawn does not boot
        // again by itself: it ends and leaves that to the unit's owner.
        self.wait_for_end();
        self.power_on();
    }

    /// Shuts the machine down in an orderly way. Its files stay for [`Machine::power_on`].
    #[track_caller]
    pub(crate) fn power_off(&mut self) {
        let _ = self.try_run("systemctl --no-block poweroff");
        self.wait_for_end();
    }

    /// Kills everything in the machine at once. Its files stay for [`Machine::power_on`].
    #[track_caller]
    pub(crate) fn power_cut(&mut self) {
        // Process 1 takes all others along; systemd-nspawn then ends by itself.
        let _ = host::run("kill", &["-KILL", &self.leader.to_string()]);
        self.wait_for_end();
    }

    /// Boots a machine that is off.
    #[track_caller]
    pub(crate) fn power_on(&mut self) {
        assert!(self.nspawn.is_none(), "the machine is on already");
        // What earlier boots notified.
        while self.notifications().try_recv().is_ok() {}
        let console = File::options().append(true).create(true).open(self.console_path());
        let console = console.expect("the machine's directory is writable");
        // The shell moves itself into the cgroup; the container inherits it.
        let script = r#"echo $$ >"$1/cgroup.procs" && shift && exec systemd-nspawn "$@""#;
        let nspawn = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(self.lease.cgroup())
            .args(["--quiet", "--boot", "--register=no", "--keep-unit", "--notify-ready=yes"])
            // Neither the host's journal nor its resolver nor its clock's zone.
            .args(["--link-journal=no", "--resolv-conf=off", "--timezone=off"])
            .args(["--console=pipe", "--capability=CAP_NET_ADMIN"])
            .arg(format!("--machine={}", self.lease.name()))
            .arg(format!("--hostname={}", self.release.name()))
            .arg(format!("--network-namespace-path={}", self.network.server_path()))
            .arg("--directory")
            .arg(self.lease.root())
            // Debian 13's systemd does not start on the old cgroup hierarchies.
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .env("NOTIFY_SOCKET", self.lease.dir().join("notify"))
            .stdin(Stdio::null())
            .stdout(console.try_clone().expect("it is open"))
            .stderr(console)
            .spawn();
        self.nspawn = Some(nspawn.expect("sh starts"));
        self.wait_for_boot();
    }

    /// Follows systemd-nspawn's notifications: first the new process 1, then its READY.
    #[track_caller]
    fn wait_for_boot(&mut self) {
        let begin = Instant::now();
        let before = self.leader;
        loop {
            let nspawn = self.nspawn.as_mut().expect("it was started");
            if let Ok(Some(status)) = nspawn.try_wait() {
                self.nspawn = None;
                self.give_up(&format!("systemd-nspawn ended while it booted: {status}"));
            }
            if begin.elapsed() >= BOOT {
                self.give_up(&format!("not up after {} s", BOOT.as_secs()));
            }
            let Ok(text) = self.notifications().recv_timeout(Duration::from_secs(1)) else { continue };
            for line in text.lines() {
                if let Some(pid) = line.strip_prefix("X_NSPAWN_LEADER_PID=") {
                    self.leader = pid.parse().expect("systemd-nspawn sends a number");
                }
            }
            if self.leader != before && text.lines().any(|line| line == "READY=1") {
                break;
            }
        }
        let state = self.try_run("systemctl is-system-running --wait");
        if !["running", "degraded"].contains(&state.stdout.trim()) {
            self.give_up(&format!("systemd says: {}{}", state.stdout, state.stderr));
        }
        println!("{}: up after {:.1} s", self.release.name(), begin.elapsed().as_secs_f64());
    }

    fn notifications(&mut self) -> &mut mpsc::Receiver<String> {
        self.notifications.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_end(&mut self) {
        let Some(mut nspawn) = self.nspawn.take() else { return };
        let deadline = Instant::now() + BOOT;
        while let Ok(None) = nspawn.try_wait() {
            if Instant::now() >= deadline {
                let _ = nspawn.kill();
            }
            // The standard library can wait for a child, but not until a time.
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn console_path(&self) -> PathBuf {
        self.lease.dir().join("console")
    }

    /// Fails the test with `what`, and with all that may tell why.
    #[track_caller]
    pub(crate) fn give_up(&self, what: &str) -> ! {
        let mut story = format!("{}: {what}\n", self.release.name());
        let console = fs::read_to_string(self.console_path()).unwrap_or_default();
        if !console.trim().is_empty() {
            let _ = writeln!(story, "--- console\n{}", tail(&console, 20));
        }
        if self.nspawn.is_some() {
            let journal = self.try_run("journalctl --boot --no-pager -n 40 -o short-monotonic");
            let _ = writeln!(story, "--- journal\n{}", journal.stdout.trim_end());
        }
        panic!("{story}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.nspawn.is_some() {
            self.power_cut();
        }
        // `--show-output` shows what the scenario costs, and how much of it is waiting.
        let (held, cpu) = (self.since.elapsed().as_secs_f64(), self.lease.cpu().as_secs_f64());
        println!("{}: gone after {held:.1} s, of which {cpu:.1} s were CPU", self.release.name());
        // The lease gives back the rest.
    }
}

/// Hands on every notification, as long as somebody may want it.
fn read_all(notify: &UnixDatagram, sender: &mpsc::Sender<String>) {
    let mut message = [0; 4096];
    while let Ok(length) = notify.recv(&mut message) {
        if sender.send(String::from_utf8_lossy(&message[..length]).into_owned()).is_err() {
            return;
        }
    }
}

fn tail(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A root shell in the machine, on this terminal.
pub(crate) fn interactive_shell(machine: &Machine) -> io::Result<()> {
    let prompt = format!("PS1={}:\\w# ", machine.release().name());
    let terminal = format!("TERM={}", std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned()));
    machine.enter(&[&terminal, &prompt, "bash", "--norc", "-i"]).status().map(drop)
}
