//! Makes journals of any size: sshd's records as journald stores them, with all trusted fields,
//! mixed half and half with those of other units.
//!
//! Connections come from sources by Zipf's law, as attacks do: a few hosts are most of it. Most
//! connections fail one to three times and close, and write what real sshd and PAM write in the
//! recordings. A seed makes the same journal again.

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

const USERS: [&str; 8] = ["root", "admin", "ubuntu", "test", "postgres", "git", "oracle", "deploy"];

/// Writes a journal file.
pub fn make(plan: Plan, file: &Path) {
    if file.exists() {
        fs::remove_file(file).expect("the earlier journal can be removed");
    }
    let mut remote = Command::new("/lib/systemd/systemd-journal-remote")
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
            entry(&mut out, time, plan.begin, &sshd.pop().expect("a connection has lines"));
        } else {
            entry(&mut out, time, plan.begin, &other(&mut dice));
        }
    }
    drop(out.into_inner().expect("it takes the entries"));
    assert!(remote.wait().expect("it ends").success(), "systemd-journal-remote made {}", file.display());
}

/// The lines of a connection, the last one first: a guess or some at an account that exists, the
/// same at one that does not, or a scan. Most lines that PAM and sshd write are no attempt.
fn connection(dice: &mut Dice, sources: u32, number: u64) -> Vec<Line> {
    let source = Ipv4Addr::from(0x0b00_0000 + dice.rank(sources));
    let pid = 1_000 + u32::try_from(number % 4_000_000).expect("it fits");
    let port = 1024 + dice.below(60_000);
    let user = USERS[usize::try_from(dice.below(8)).expect("small")];
    let (kind, guesses) = (dice.below(8), 1 + dice.below(3));
    let mut lines = Vec::new();
    let mut line = |unit: &'static Unit, message: String| lines.push(Line { unit, pid, message });
    let pam = "authentication failure; logname= uid=0 euid=0 tty=ssh ruser=";
    match kind {
        // journald finds no unit for a process that has gone.
        0 => line(&GONE, format!("Connection closed by {source} port {port}")),
        1..4 => {
            line(&SSHD, format!("Invalid user {user}1 from {source} port {port}"));
            for _ in 0..guesses {
                line(&SSHD, "pam_unix(sshd:auth): check pass; user unknown".to_owned());
                line(&SSHD, format!("pam_unix(sshd:auth): {pam} rhost={source} "));
                line(&SSHD, format!("Failed password for invalid user {user}1 from {source} port {port} ssh2"));
            }
            line(&SSHD, format!("Connection closed by invalid user {user}1 {source} port {port} [preauth]"));
        }
        _ => {
            line(&SSHD, format!("pam_unix(sshd:auth): {pam} rhost={source}  user={user}"));
            for _ in 0..guesses {
                line(&SSHD, format!("Failed password for {user} from {source} port {port} ssh2"));
            }
            line(&SSHD, format!("Received disconnect from {source} port {port}:11: Bye Bye [preauth]"));
            line(&SSHD, format!("Disconnected from authenticating user {user} {source} port {port} [preauth]"));
            if guesses > 1 {
                line(&SSHD, format!("PAM {} more authentication failure; logname= rhost={source}", guesses - 1));
            }
        }
    }
    lines.reverse();
    lines
}

/// The next line of something else.
fn other(dice: &mut Dice) -> Line {
    let pid = 900 + u32::try_from(dice.below(50)).expect("small");
    let (unit, message) = match dice.below(3) {
        0 => (&CRON, "pam_unix(cron:session): session closed for user root".to_owned()),
        1 => (&SYSTEMD, format!("run-{}.scope: Deactivated successfully.", dice.below(100_000))),
        _ => (&APP, format!("GET /item/{} 200 {} ms", dice.below(10_000), dice.below(500))),
    };
    Line { unit, pid, message }
}

/// A line, and who writes it.
struct Line {
    unit: &'static Unit,
    pid: u32,
    message: String,
}

struct Unit {
    transport: &'static str,
    identifier: &'static str,
    exe: &'static str,
    /// Its cgroup's unit and slice; none if nobody could find it.
    home: Option<(&'static str, &'static str)>,
    uid: u32,
}

const SSHD: Unit = Unit {
    transport: "syslog",
    identifier: "sshd",
    exe: "/usr/sbin/sshd",
    home: Some(("ssh.service", "system.slice")),
    uid: 0,
};
const GONE: Unit = Unit { home: None, ..SSHD };
const CRON: Unit =
    Unit { identifier: "CRON", exe: "/usr/sbin/cron", home: Some(("cron.service", "system.slice")), ..SSHD };
const SYSTEMD: Unit = Unit {
    transport: "journal",
    identifier: "systemd",
    exe: "/usr/lib/systemd/systemd",
    home: Some(("init.scope", "-.slice")),
    uid: 0,
};
const APP: Unit = Unit {
    transport: "stdout",
    identifier: "shop",
    exe: "/usr/bin/shop",
    home: Some(("shop.service", "system.slice")),
    uid: 1000,
};

fn entry(out: &mut impl Write, time: u64, begin: u64, line: &Line) {
    let monotonic = 10_000_000 + time - begin;
    let Line { unit: Unit { transport, identifier, exe, home, uid }, pid, message } = line;
    write!(
        out,
        "__REALTIME_TIMESTAMP={time}\n__MONOTONIC_TIMESTAMP={monotonic}\n_BOOT_ID=2f912356a2424dec8328a1f012cbcb78\n\
         _MACHINE_ID=b5e3d9f0a1c84d0f9be6d1a2c3e4f506\n_HOSTNAME=server\n_RUNTIME_SCOPE=system\n\
         _TRANSPORT={transport}\nPRIORITY=6\nSYSLOG_IDENTIFIER={identifier}\n_UID={uid}\n_GID={uid}\n_PID={pid}\n\
         _COMM={identifier}\n_EXE={exe}\n_CMDLINE={identifier}: [accepted]\n_CAP_EFFECTIVE=1ffffffffff\n\
         _SELINUX_CONTEXT=unconfined\nMESSAGE={message}\n"
    )
    .expect("it takes the entries");
    if let Some((unit, slice)) = home {
        write!(
            out,
            "_SYSTEMD_CGROUP=/{slice}/{unit}\n_SYSTEMD_UNIT={unit}\n_SYSTEMD_SLICE={slice}\n\
             _SYSTEMD_INVOCATION_ID=0fb6d4bc2a6c4a8f9d6c1b1a2d3e4f50\n"
        )
        .expect("it takes the entries");
    }
    if *transport == "syslog" {
        write!(
            out,
            "SYSLOG_FACILITY=4\nSYSLOG_PID={pid}\nSYSLOG_TIMESTAMP=Nov 23 05:49:{:02} \n\
             _SOURCE_REALTIME_TIMESTAMP={time}\n",
            time / 1_000_000 % 60
        )
        .expect("it takes the entries");
    }
    writeln!(out).expect("it takes the entries");
}
