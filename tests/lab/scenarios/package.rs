//! The Debian package on real machines: installed, attacked, upgraded, purged.
//!
//! The package is wrapped once per run, from the programs that cargo has built for this test and
//! by `make package-deb` as a builder does it, and once more as the next revision. The machine
//! has only what its tree has, so what the package depends on must be there already.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::harness::attack::{Attacker, Connection};
use crate::harness::machine::{Machine, Release};
use crate::harness::network::server_for;

const ATTACKER: &str = "203.0.113.7";

/// What `make package-deb` builds.
pub(crate) struct Packages {
    pub(crate) wardend: PathBuf,
    /// The page in Cockpit.
    pub(crate) page: PathBuf,
}

/// The packages in the first or the second of two revisions.
pub(crate) fn packages(which: usize) -> &'static Packages {
    static PACKAGES: [OnceLock<Packages>; 2] = [OnceLock::new(), OnceLock::new()];
    // They are laid out in one place.
    static BUILDING: Mutex<()> = Mutex::new(());
    PACKAGES[which].get_or_init(|| {
        let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        let wardend = option_env!("CARGO_BIN_EXE_wardend").map(Path::new);
        let built = wardend.and_then(Path::parent).expect("a test knows where the programs are").to_owned();
        // Other programs, for figures: those of a release build.
        let built = std::env::var_os("WARDEND_BINDIR_BUILT").map_or(built, PathBuf::from);
        let made = Command::new("make")
            .args(["-C", env!("CARGO_MANIFEST_DIR"), "--no-print-directory", "--silent", "package-deb"])
            .arg(format!("REVISION={}", which + 1))
            .arg("DEB_OPTIONS=--fast")
            .env("WARDEND_BINDIR_BUILT", &built)
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .output()
            .expect("make is installed");
        let (said, complaint) = (String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
        assert!(made.status.success(), "make package-deb fails:\n{said}{complaint}");
        let package = |name: &str| {
            let is_named = |path: &&Path| {
                let file = path.file_name().map(|file| file.to_string_lossy()).unwrap_or_default();
                file.starts_with(&format!("{name}_")) && path.extension().is_some_and(|end| end == "deb")
            };
            let path = said.lines().map(|line| Path::new(line.trim())).find(is_named);
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path.expect("what builds a package names it"));
            lint(&path);
            path
        };
        Packages { wardend: package("wardend"), page: package("cockpit-wardend") }
    })
}

/// What Debian's own checker says of a package, if this machine has it.
fn lint(package: &Path) {
    match Command::new("lintian").args(["--fail-on", "error,warning"]).arg(package).output() {
        Ok(said) => {
            assert!(said.status.success(), "lintian: {}", String::from_utf8_lossy(&said.stdout));
        }
        Err(_) => println!("left out: lintian is not installed"),
    }
}

/// Tries to connect to port 22 fifty times a second until its input ends, and says how often it
/// has tried and how often somebody answered.
const KNOCK: &str = r"
import select, socket, sys, time
source, target = sys.argv[1:]
pending, tried, answered = {}, 0, 0
while not select.select([sys.stdin], [], [], 0)[0]:
    knock = socket.socket()
    knock.setblocking(False)
    knock.bind((source, 0))
    knock.connect_ex((target, 22))
    pending[knock] = time.monotonic()
    tried += 1
    for done in select.select([], list(pending), [], 0.02)[1]:
        answered += done.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        pending.pop(done)
        done.close()
    for late in [knock for knock, since in pending.items() if time.monotonic() - since > 1]:
        pending.pop(late)
        late.close()
    time.sleep(0.02)
print(tried, answered)
";

/// Somebody who knocks at sshd's door without a pause.
struct Knocking(Child);

impl Knocking {
    fn begin(attacker: Attacker<'_>) -> Self {
        let (source, target) = (attacker.address().to_string(), server_for(attacker.address()).to_string());
        let mut command = attacker.command(&["python3", "-c", KNOCK, &source, &target]);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ip starts"))
    }

    /// How often it has knocked, and how often somebody answered.
    fn end(mut self) -> (u64, u64) {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().expect("it was started here");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers: Vec<u64> = said.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [tried, answered] = numbers[..] else { panic!("knocking failed: {said}") };
        (tried, answered)
    }
}

/// Every file outside the places where a machine only works: what a package may leave behind.
pub(crate) fn files(machine: &Machine) -> BTreeSet<String> {
    let listed = machine.run(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /root -o -path /var/log \
         -o -path /var/tmp -o -path /var/cache -o -path /var/lib/dpkg -o -path /var/lib/systemd/timers \\) -prune -o -print",
    );
    listed.lines().map(str::to_owned).collect()
}

/// What of wardend is known outside of files.
fn traces(machine: &Machine) -> String {
    machine.run(
        "getent passwd wardend wardend-notify wardend-mail; getent group wardend wardend-notify wardend-mail; firewall-cmd --get-ipsets | grep wardend; \
         firewall-cmd --permanent --get-ipsets | grep wardend; firewall-cmd --get-policies | grep wardend; \
         firewall-cmd --permanent --get-policies | grep wardend; nft list ruleset | grep wardend; \
         systemctl list-units --all --plain --no-legend 'wardend*' '*wardend1*'; \
         systemctl list-unit-files --no-legend 'wardend*' '*wardend1*'; dpkg -l wardend 2>/dev/null | grep wardend; \
         journalctl --list-catalog 2>/dev/null | grep wardend; true",
    )
}

/// Copies a package in and has dpkg install it.
#[track_caller]
pub(crate) fn install(machine: &Machine, package: &Path) {
    fs::copy(package, machine.root().join("root/package.deb")).expect("the package is there");
    dpkg(machine, "--install /root/package.deb");
}

/// Has dpkg do something without a question.
#[track_caller]
pub(crate) fn dpkg(machine: &Machine, what: &str) {
    machine.run(&format!(
        "DEBIAN_FRONTEND=noninteractive dpkg {what} >/root/dpkg.log 2>&1 || {{ cat /root/dpkg.log; exit 1; }}"
    ));
}

pub(crate) fn the_package_comes_works_and_goes_without_a_trace(release: Release) {
    let [first, second] = [0, 1].map(|which| &packages(which).wardend);
    let machine = Machine::prepare(release).without_wardend().hasty_passwords().boot();
    machine.run("firewall-cmd --state");
    let (files_before, traces_before) = (files(&machine), traces(&machine));
    assert_eq!(traces_before, "", "the machine has never heard of wardend");

    install(&machine, first);
    assert_eq!(machine.run("systemctl is-enabled wardend; systemctl is-active wardend"), "enabled\nactive\n");
    machine.wait_until("it watches", || {
        machine.run("systemctl show -p StatusText --value wardend").contains("Watching 1 jail, 0 bans in force.")
    });
    let (attacker, second_attacker) = (machine.attacker(ATTACKER), machine.attacker("203.0.113.9"));
    attacker.wrong_passwords("root", 5);
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    assert_eq!(attacker.can_connect(), Connection::TimedOut);
    let stranger = Knocking::begin(machine.attacker("203.0.113.50"));
    std::thread::sleep(Duration::from_millis(500));
    let (tried, answered) = stranger.end();
    assert!(answered > 0, "who is not banned is answered; tried {tried} times");

    // The completion that was installed offers what is banned.
    machine.write(
        "/root/complete",
        "source /usr/share/bash-completion/completions/wardenctl\n\
         COMP_WORDS=(wardenctl unban ''); COMP_CWORD=2\n\
         _clap_complete_wardenctl wardenctl '' unban 2>/dev/null; printf '%s\\n' \"${COMPREPLY[@]}\"\n",
    );
    let offered = machine.run("bash /root/complete");
    assert!(offered.lines().any(|line| line.trim() == ATTACKER), "{offered}");

    // The upgrade, while one who is banned knocks without a pause, another asks firewalld's set
    // whether the ban is in it, and a third of the others' guesses fall into the time without a daemon.
    machine.write(
        "/root/probe",
        "while [ ! -e /root/enough ]; do\n\
         nft list set inet firewalld wardend4 | grep -q 203.0.113.7 && echo held || echo hole\n\
         done >/root/probed\n",
    );
    machine.run("systemd-run --quiet --unit=probe sh /root/probe");
    second_attacker.wrong_passwords("root", 2);
    let others: Vec<Attacker<'_>> = (20..26).map(|last| machine.attacker(&format!("203.0.113.{last}"))).collect();
    let knocking = Knocking::begin(attacker);
    let before = machine.run("systemctl show -p MainPID --value wardend");
    std::thread::scope(|scope| {
        scope.spawn(|| second_attacker.wrong_passwords("root", 3));
        scope.spawn(|| others.iter().map(|other| other.wrong_passwords("root", 5)).sum::<usize>());
        install(&machine, second);
    });
    assert!(machine.run("dpkg-query -W -f '${Version} ${Status}' wardend").ends_with("-2 install ok installed"));
    assert_ne!(machine.run("systemctl show -p MainPID --value wardend"), before, "the new daemon runs");
    // The old daemon may have gone between a ban and firewalld's answer, so it is the kernel that is
    // asked.
    for attacker in others.iter().chain([&second_attacker]) {
        machine.wait_for_message(&format!("Banned {} in jail sshd", attacker.address()));
        machine.wait_until("the kernel has the ban", || {
            let element = format!("nft get element inet firewalld wardend4 '{{ {} }}'", attacker.address());
            machine.try_run(&element).code == 0
        });
    }
    let (tried, answered) = knocking.end();
    machine.run("touch /root/enough; while systemctl --quiet is-active probe; do sleep 0.1; done");
    let (held, holes) = (
        machine.run("grep -c held /root/probed || :").trim().to_owned(),
        machine.run("grep -c hole /root/probed || :").trim().to_owned(),
    );
    println!(
        "{}: during the upgrade a banned host knocked {tried} times and was answered {answered} times; the ban was \
         seen {held} times and missed {holes} times",
        release.name()
    );
    assert!(tried > 20 && held != "0", "both probes have looked");
    assert_eq!((answered, holes.as_str()), (0, "0"), "the ban was in force throughout");
    // What the daemons have counted, the old one and the new one, is what the journal holds.
    let replayed = machine.run("wardenctl replay --json | tail -n 1");
    let of = |text: &str, key: &str| {
        let value: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
        value.pointer(key).and_then(serde_json::Value::as_u64).expect("it has numbers")
    };
    machine.wait_until("no failure is lost", || {
        let counted = of(&machine.run("wardenctl status --json"), "/failures");
        counted == of(&machine.run("wardenctl replay --json | tail -n 1"), "/summary/failures")
    });
    println!("{}: {} failures counted", release.name(), of(&replayed, "/summary/failures"));
    assert_eq!(attacker.can_connect(), Connection::TimedOut);
    assert_eq!(second_attacker.can_connect(), Connection::TimedOut);
    assert_eq!(machine.messages("Banned 203.0.113.7 in jail").len(), 1, "nobody is banned twice");

    // Removed, it locks nobody out any more; what it knew and what the admin wrote is kept.
    machine.write("/etc/wardend/wardend.conf.d/local.conf", "[default]\nmaxretry = 3\n");
    machine.write("/etc/systemd/system/wardend.service.d/local.conf", "[Service]\nNice=1\n");
    machine.write("/etc/systemd/system/wardend-cut@.service.d/local.conf", "[Service]\nNice=1\n");
    dpkg(&machine, "--remove wardend");
    assert_eq!(attacker.can_connect(), Connection::Open, "nobody would ever end the ban");
    assert_ne!(machine.run("systemctl is-active wardend || :"), "active\n");
    machine.run("test -e /etc/wardend/wardend.conf.d/local.conf && ls -A /var/lib/wardend | grep -q .");

    dpkg(&machine, "--purge wardend");
    assert_eq!(traces(&machine), "", "nothing of wardend is known any more");
    let left: Vec<String> = files(&machine).difference(&files_before).cloned().collect();
    // firewalld makes these for any first policy or ipset, and keeps them.
    let kept = ["/etc/firewalld/policies", "/etc/firewalld/ipsets"];
    let left: Vec<&String> = left.iter().filter(|path| !kept.contains(&path.as_str())).collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
    // useradd and userdel keep the list before the last change as /etc/passwd- and the like.
    let named = machine.run("grep -rl wardend /etc /var/lib --exclude-dir=dpkg --exclude='*-' || :");
    assert_eq!(named, "", "no file names it");
    assert_eq!(machine.run("systemctl --failed --plain --no-legend"), "");
}

pub(crate) fn purged_while_the_daemon_is_down_it_leaves_nothing_either(release: Release) {
    let machine = Machine::prepare(release).without_wardend().boot();
    machine.run("firewall-cmd --state");
    install(&machine, &packages(0).wardend);
    machine.wait_until("firewalld has the policy", || machine.run("firewall-cmd --get-policies").contains("wardend"));
    machine.run("systemctl stop wardend");
    dpkg(&machine, "--purge wardend");
    assert_eq!(traces(&machine), "");
    machine.run("firewall-cmd --check-config");
}
