//! fail2ban on a machine of the lab, to be measured beside wardend.
//!
//! The trees hold no fail2ban, so its packages are fetched on the host from the same archive that
//! the tree is from, with all that they need and the tree has not, and installed into the machine's
//! own layer. They are kept in the lab's cache. It is set up as Debian has it, but for the backend,
//! firewalld's action, and the attack's unit, which is not the one that its filter looks at.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::machine::{Machine, Release};
use crate::harness::plan::Plan;

/// What to ask the archive for. `firewallcmd-ipset` needs both of the last.
const PACKAGES: [&str; 4] = ["fail2ban", "python3-systemd", "ipset", "iptables"];

/// maxretry, findtime and bantime are those of wardend. It need not find out whether an attacker is
/// the machine itself: nobody is there to ask for the machine's name, and that takes 40 s. What is
/// banned is reported by a second action, which runs when firewalld's is done.
const JAIL: &str = "[sshd]\nenabled = true\nbackend = systemd\njournalmatch = _SYSTEMD_UNIT=sshd@load.service + _SYSTEMD_UNIT=sshd@noise.service\n\
                    ignoreself = false\nmaxretry = 5\nfindtime = 10m\nbantime = 10m\nbanaction = firewallcmd-ipset\n\
                    action = %(action_)s\n         lab\n";
const TELL: &str = "[Definition]\nactionban = echo <ip> $(date +%%s%%N) >>/run/lab-bans\nactionunban =\n";

/// Its packages for a release, or the sentence why they can't be had.
pub(crate) fn packages(release: Release, tree: &Path) -> Result<Vec<PathBuf>, String> {
    let folder = tree.parent().expect("a tree lies in the lab's cache").join(format!("fail2ban-{}", release.name()));
    let archives = folder.join("archives");
    for part in ["lists/partial", "archives/partial"] {
        fs::create_dir_all(folder.join(part))
            .map_err(|error| format!("{} can't be made: {error}", folder.display()))?;
    }
    let apt = |arguments: &[&str]| -> Result<(), String> {
        let mut apt = Command::new("apt-get");
        for (option, value) in [
            ("Dir::Etc::SourceList", tree.join("etc/apt/sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".into()),
            ("Dir::Etc::TrustedParts", tree.join("etc/apt/trusted.gpg.d")),
            ("Dir::State::Lists", folder.join("lists")),
            ("Dir::State::status", tree.join("var/lib/dpkg/status")),
            ("Dir::Cache", folder.clone()),
            ("Dir::Cache::Archives", archives.clone()),
        ] {
            apt.arg("-o").arg(format!("{option}={}", value.display()));
        }
        let output = apt.args(["-qq", "-o", "Debug::NoLocking=1"]).args(arguments).output();
        let output = output.map_err(|error| format!("apt-get can't be started: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(said.lines().next().unwrap_or("apt-get failed").to_owned()) }
    };
    let fetch = ["install", "--download-only", "--no-install-recommends", "--yes"];
    // Where no archive can be reached, what was fetched before does.
    let _ = apt(&["update"]);
    apt(&[&fetch[..], &PACKAGES].concat())?;
    let files = fs::read_dir(&archives).map_err(|error| error.to_string())?;
    let files = files.filter_map(|file| Some(file.ok()?.path()));
    Ok(files.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).collect())
}

/// Adds it to a machine, to be measured.
pub(crate) fn furnish(plan: Plan, packages: &[PathBuf]) -> Plan {
    let plan = plan.file("/etc/fail2ban/jail.d/zz-lab.local", JAIL).file("/etc/fail2ban/action.d/lab.conf", TELL);
    install(plan, packages)
}

/// Adds it to a machine as the packages have it.
pub(crate) fn install(mut plan: Plan, packages: &[PathBuf]) -> Plan {
    for package in packages {
        let name = package.file_name().expect("a package has a name").to_string_lossy();
        plan = plan.copy(package, &format!("/root/packages/{name}"));
    }
    plan.command("dpkg --install --force-confold /root/packages/*.deb")
}

/// From the journal timestamp of the record that decided to the end of firewalld's action, for each
/// ban so far, in µs, the oldest first.
pub(crate) fn latencies(machine: &Machine) -> Vec<u64> {
    let bans = machine.run("cat /run/lab-bans 2>/dev/null || :");
    let failed = "journalctl -q -u sshd@load -u sshd@noise -o short-unix | sed -n 's/^\\([0-9.]*\\) .*Failed password.* from \\(10[0-9.]*\\) port.*/\\2 \\1/p'";
    let failed = machine.run(failed);
    let decided = |address: &str| -> Option<u64> {
        let line =
            failed.lines().filter_map(|line| line.split_once(' ')).filter(|(source, _)| *source == address).nth(4)?;
        line.1.replace('.', "").parse().ok()
    };
    let of = |line: &str| -> Option<u64> {
        let (address, nanoseconds) = line.split_once(' ')?;
        (nanoseconds.parse::<u64>().ok()? / 1000).checked_sub(decided(address)?)
    };
    bans.lines().filter_map(of).collect()
}
