//! Makes journals of any size: sshd's records as journald stores them, with all trusted fields,
//! mixed half and half with those of other units.
//!
//! Connections come from sources by Zipf's law, as attacks do: a few hosts are most of it. Each
//! connection fails one to three times and closes. A seed makes the same journal again.

#![allow(clippy::expect_used, unreachable_pub, dead_code, reason = "shared by crates that use parts of it")]

use std::{
    fs,
    io::{BufWriter, Write},
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
};

/// A journal to be made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Records, half of them of sshd.
    pub records: u64,
    /// Sources that attack, at the most.
    pub sources: u32,
    /// The time of the first record, in µs.
    pub begin: u64,
    /// From one record to the next, in µs.
    pub step: u64,
    pub seed: u64,
}

/// xorshift64*, which is enough for a made-up attack.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    /// A rank below `most`, by Zipf's law: the logarithm of a rank is uniform.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a die")]
    fn rank(&mut self, most: u32) -> u32 {
        let uniform = self.below(1 << 30) as f64 / f64::from(1 << 30);
        f64::from(most).powf(uniform) as u32 - 1
    }
}

const USERS: [&str; 6] = ["root", "admin", "ubuntu", "test", "postgres", "git"];

/// Writes a journal file.
pub fn make(plan: Plan, file: &Path) {
    if file.exists() {
        fs::remove_file(file).expect("the earlier journal can be removed");
    }
    let mut remote = Command::new("/usr/lib/systemd/systemd-journal-remote")
        .args(["--split-mode=none", "--compress=no", "--output"])
        .args([file, Path::new("-")])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("systemd-journal-remote starts (apt-get install systemd-journal-remote)");
    let mut out = BufWriter::with_capacity(1 << 20, remote.stdin.take().expect("it has an input"));
    let mut dice = Dice(plan.seed | 1);
    let mut sshd = Vec::new();
    for number in 0..plan.records {
        let time = plan.begin + number * plan.step;
        if number % 2 == 0 {
            if sshd.is_empty() {
                sshd = connection(&mut dice, plan.sources, number);
            }
            let (pid, message) = sshd.pop().expect("a connection has lines");
            entry(&mut out, time, plan.begin, &SSHD, pid, &message);
        } else {
            let pid = 900 + u32::try_from(dice.below(50)).expect("small");
            entry(&mut out, time, plan.begin, &CRON, pid, "pam_unix(cron:session): session closed for user root");
        }
    }
    drop(out.into_inner().expect("it takes the entries"));
    assert!(remote.wait().expect("it ends").success(), "systemd-journal-remote made {}", file.display());
}

/// The lines of a connection, the last one first.
fn connection(dice: &mut Dice, sources: u32, number: u64) -> Vec<(u32, String)> {
    let source = Ipv4Addr::from(0x0b00_0000 + dice.rank(sources));
    let pid = 1_000 + u32::try_from(number % 4_000_000).expect("it fits");
    let (port, user) = (1024 + dice.below(60_000), USERS[usize::try_from(dice.below(6)).expect("small")]);
    let mut lines =
        vec![(pid, format!("Connection closed by authenticating user {user} {source} port {port} [preauth]"))];
    for _ in 0..=dice.below(3) {
        lines.push((pid, format!("Failed password for {user} from {source} port {port} ssh2")));
    }
    lines
}

/// Who writes.
struct Unit {
    identifier: &'static str,
    exe: &'static str,
    unit: &'static str,
    facility: u8,
}

const SSHD: Unit = Unit { identifier: "sshd", exe: "/usr/sbin/sshd", unit: "ssh.service", facility: 4 };
const CRON: Unit = Unit { identifier: "CRON", exe: "/usr/sbin/cron", unit: "cron.service", facility: 10 };

fn entry(out: &mut impl Write, time: u64, begin: u64, unit: &Unit, pid: u32, message: &str) {
    let monotonic = 10_000_000 + time - begin;
    let Unit { identifier, exe, unit, facility } = unit;
    write!(
        out,
        "__REALTIME_TIMESTAMP={time}\n__MONOTONIC_TIMESTAMP={monotonic}\n_BOOT_ID=2f912356a2424dec8328a1f012cbcb78\n\
         _MACHINE_ID=b5e3d9f0a1c84d0f9be6d1a2c3e4f506\n_HOSTNAME=server\n_RUNTIME_SCOPE=system\n_TRANSPORT=syslog\n\
         PRIORITY=6\nSYSLOG_FACILITY={facility}\nSYSLOG_IDENTIFIER={identifier}\nSYSLOG_PID={pid}\n\
         SYSLOG_TIMESTAMP=Nov 23 05:49:17 \n_UID=0\n_GID=0\n_PID={pid}\n_COMM={identifier}\n_EXE={exe}\n\
         _CMDLINE={identifier}: [accepted]\n_CAP_EFFECTIVE=1ffffffffff\n_SELINUX_CONTEXT=unconfined\n\
         _SYSTEMD_CGROUP=/system.slice/{unit}\n_SYSTEMD_UNIT={unit}\n_SYSTEMD_SLICE=system.slice\n\
         _SYSTEMD_INVOCATION_ID=0fb6d4bc2a6c4a8f9d6c1b1a2d3e4f50\n_SOURCE_REALTIME_TIMESTAMP={time}\n\
         MESSAGE={message}\n\n"
    )
    .expect("it takes the entries");
}
