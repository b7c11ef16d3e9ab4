//! Those who attack a machine, and what they get to see.
//!
//! An attacker is an address on the far side of the veth. It guesses passwords with
//! OpenSSH's own client, taken from the machine's tree, so that sshd writes what it writes
//! for real ones; and it looks at port 22 as a stranger would, because whether a ban works
//! is decided by packets and not by what anyone's list says.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::harness::host;
use crate::harness::machine::Machine;
use crate::harness::network::server_for;
use crate::harness::plan::PASSWORD;

/// What came of an attempt to reach sshd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    /// sshd sent its banner.
    Open,
    /// No answer within two seconds: the packets were dropped.
    TimedOut,
    /// The connection was refused, by a reset or by ICMP.
    Refused,
    /// It was taken and then closed without a banner: sshd itself does not want this
    /// client, for its penalties or because it is full.
    HungUp,
}

/// A series of guesses: `connections` times ssh, each with `prompts` wrong passwords.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guesses<'a> {
    pub(crate) user: &'a str,
    pub(crate) connections: usize,
    /// 1 to 3 as people's ssh does; sshd ends the connection after the sixth.
    pub(crate) prompts: usize,
    /// All connections together instead of one after the other.
    pub(crate) at_once: bool,
}

impl Default for Guesses<'_> {
    fn default() -> Self {
        Self { user: "root", connections: 1, prompts: 1, at_once: false }
    }
}

/// Connects, reads the banner, says in one word what happened. The system's own limits are
/// minutes, and bash cannot choose its source address.
const PROBE: &str = r#"
import socket, sys
source, target, port = sys.argv[1:]
with socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET) as probe:
    probe.settimeout(2)
    try:
        probe.bind((source, 0))
        probe.connect((target, int(port)))
    except TimeoutError:
        sys.exit("timed out")
    except ConnectionRefusedError:
        sys.exit("refused")
    except OSError as error:
        # EHOSTUNREACH, EACCES: ICMP. Anything else is a fault of the lab.
        sys.exit("refused" if error.errno in (13, 113) else str(error))
    try:
        # Accepted already: a busy machine may take its time over the banner.
        probe.settimeout(10)
        banner = probe.recv(64)
    except TimeoutError:
        sys.exit("timed out")
    except ConnectionResetError:
        sys.exit("hung up")
    sys.exit("open" if banner.startswith(b"SSH-") else "hung up")
"#;

/// Connects, reads the banner, and then only listens: says when the connection ends, and how.
const HOLD: &str = r#"
import socket, sys, time
source, target, port = sys.argv[1:]
with socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET) as held:
    held.settimeout(10)
    held.bind((source, 0))
    held.connect((target, int(port)))
    held.recv(64)
    print("held", flush=True)
    held.settimeout(55)
    try:
        while held.recv(64):
            pass
        print("ended", flush=True)
    except ConnectionResetError:
        print("cut", int(time.time() * 1000000), flush=True)
"#;

/// Runs a program of the tree `$1` among the attackers, with their own files at `/mnt`.
/// `ip netns exec` has made a mount namespace of its own, so the mount ends with it.
const AMONG_ATTACKERS: &str = r#"mount --bind "$2" "$1/mnt" && root=$1 patience=$3 && shift 3 &&
    exec chroot "$root" timeout --kill-after=5 "$patience" "$@""#;

/// ssh asks this for the password. Unlike sshpass it answers every prompt of a connection,
/// and needs no terminal.
const ASKPASS: &str = "#!/bin/sh\nprintf '%s\\n' \"$LAB_PASSWORD\"\n";

/// One address among the attackers of a machine.
#[derive(Clone, Copy)]
pub(crate) struct Attacker<'a> {
    machine: &'a Machine,
    address: IpAddr,
    /// How long its programs may take, in seconds.
    patience: u8,
}

impl Machine {
    /// Somebody at `address`, IPv4 or IPv6. Any address will do but the machine's own.
    pub(crate) fn attacker(&self, address: &str) -> Attacker<'_> {
        let askpass = self.attackers_dir().join("askpass");
        if !askpass.exists() {
            // Renamed into place: several attackers may arrive at once, and a script that
            // is open for writing cannot be run.
            let unfinished = askpass.with_extension(address.replace(':', "-"));
            fs::write(&unfinished, ASKPASS).expect("the machine's directory is writable");
            fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o755)).expect("it was made here");
            fs::rename(&unfinished, &askpass).expect("both are in one directory");
        }
        Attacker { machine: self, address: self.network().attacker_address(address), patience: 60 }
    }
}

impl Attacker<'_> {
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// The same attacker, who gives up each program after `seconds`. Until it has logged in,
    /// OpenSSH's client waits without an end for a server that no longer answers.
    pub(crate) fn patient_for(self, seconds: u8) -> Self {
        Self { patience: seconds, ..self }
    }

    /// Looks whether sshd answers this address.
    #[track_caller]
    pub(crate) fn can_connect(&self) -> Connection {
        self.can_connect_to(22)
    }

    /// The same for another port on which sshd listens.
    #[track_caller]
    pub(crate) fn can_connect_to(&self, port: u16) -> Connection {
        let target = server_for(self.address).to_string();
        let source = self.address.to_string();
        let mut probe = self.command(&["python3", "-c", PROBE, &source, &target, &port.to_string()]);
        let output = probe.output().expect("ip starts");
        match String::from_utf8_lossy(&output.stderr).trim() {
            "open" => Connection::Open,
            "timed out" => Connection::TimedOut,
            "refused" => Connection::Refused,
            "hung up" => Connection::HungUp,
            other => panic!("the probe from {source} failed: {other}"),
        }
    }

    /// Logs in with the right password, as `alice` or `bob`.
    pub(crate) fn can_login(&self, user: &str) -> bool {
        self.ssh(user, PASSWORD, 1, "true").status.success()
    }

    /// Guesses `count` passwords for `user`, three to a connection as people's ssh does, and
    /// returns how many sshd judged. Each takes two seconds: PAM's delay.
    pub(crate) fn wrong_passwords(&self, user: &str, count: usize) -> usize {
        let whole = Guesses { user, connections: count / 3, prompts: 3, at_once: false };
        let rest = Guesses { user, connections: usize::from(!count.is_multiple_of(3)), prompts: count % 3, ..whole };
        self.guess(whole) + self.guess(rest)
    }

    /// Guesses passwords, and returns how many sshd judged wrong. It is less than asked for
    /// when somebody stopped the attack.
    pub(crate) fn guess(&self, guesses: Guesses<'_>) -> usize {
        let Guesses { user, connections, prompts, at_once } = guesses;
        let connection = || denials(&self.ssh(user, "wrong", prompts, "true"));
        if !at_once {
            return (0..connections).map(|_| connection()).sum();
        }
        thread::scope(|scope| {
            let running: Vec<_> = (0..connections).map(|_| scope.spawn(connection)).collect();
            running.into_iter().map(|thread| thread.join().expect("ssh starts")).sum()
        })
    }

    /// Guesses passwords for root at another port, one a connection.
    pub(crate) fn guess_at(&self, port: u16, connections: usize) -> usize {
        let connection = || {
            let mut ssh = self.ssh_command_at(port, "root", "wrong", 1, "true");
            denials(&ssh.output().expect("ip starts"))
        };
        (0..connections).map(|_| connection()).sum()
    }

    /// One run of OpenSSH's client with `password` for every prompt.
    pub(crate) fn ssh(&self, user: &str, password: &str, prompts: usize, run: &str) -> Output {
        self.ssh_command(user, password, prompts, run).output().expect("ip starts")
    }

    fn ssh_command(&self, user: &str, password: &str, prompts: usize, run: &str) -> Command {
        self.ssh_command_at(22, user, password, prompts, run)
    }

    fn ssh_command_at(&self, port: u16, user: &str, password: &str, prompts: usize, run: &str) -> Command {
        let target = format!("{user}@{}", server_for(self.address));
        let source = self.address.to_string();
        let prompts = format!("NumberOfPasswordPrompts={prompts}");
        let port = port.to_string();
        let mut command = vec!["ssh", "-F", "/dev/null", "-b", &source, "-p", &port];
        for option in [
            "PreferredAuthentications=password",
            "PubkeyAuthentication=no",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=10",
            &prompts,
        ] {
            command.extend(["-o", option]);
        }
        command.extend([&target, run]);
        let mut ssh = self.command(&command);
        ssh.env("LAB_PASSWORD", password);
        ssh
    }

    /// Logs in with the right password and stays. For what becomes of a live connection when
    /// its address is banned. A minute later it ends by itself.
    #[track_caller]
    pub(crate) fn log_in(&self, user: &str) -> Login {
        let mut ssh = self.ssh_command(user, PASSWORD, 1, "echo welcome; exec cat");
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut ssh = ssh.spawn().expect("ip starts");
        let lines = lines_of(&mut ssh);
        let login = Login { ssh, lines };
        let welcome = login.lines.recv_timeout(Duration::from_secs(20));
        assert_eq!(welcome.as_deref(), Ok("welcome"), "{user} cannot log in from {}", self.address);
        login
    }

    /// Connects to sshd and says nothing, for at most a minute.
    #[track_caller]
    pub(crate) fn hold(&self) -> Held {
        self.hold_at(22)
    }

    /// The same at another port on which sshd listens.
    #[track_caller]
    pub(crate) fn hold_at(&self, port: u16) -> Held {
        let target = server_for(self.address).to_string();
        let source = self.address.to_string();
        let mut client = self.command(&["python3", "-c", HOLD, &source, &target, &port.to_string()]);
        let mut client = client.stdout(Stdio::piped()).spawn().expect("ip starts");
        let lines = lines_of(&mut client);
        let held = Held { client, lines };
        let first = held.lines.recv_timeout(Duration::from_secs(20));
        assert_eq!(first.as_deref(), Ok("held"), "{} cannot connect", self.address);
        held
    }

    /// A program of the tree, run on the attackers' side of the wire.
    pub(crate) fn command(&self, program: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.machine.network().attackers()]);
        command.args(["sh", "-c", AMONG_ATTACKERS, "sh"]).arg(self.machine.tree());
        command.arg(self.machine.attackers_dir()).arg(self.patience.to_string()).args(program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        command.env("SSH_ASKPASS", "/mnt/askpass").env("SSH_ASKPASS_REQUIRE", "force");
        command.stdin(Stdio::null());
        command
    }
}

/// A login that stays.
pub(crate) struct Login {
    ssh: Child,
    lines: mpsc::Receiver<String>,
}

impl Login {
    /// Whether the machine still answers on this connection.
    pub(crate) fn is_alive(&mut self) -> bool {
        let stdin = self.ssh.stdin.as_mut().expect("it is piped");
        stdin.write_all(b"still there?\n").is_ok() && self.lines.recv_timeout(Duration::from_secs(20)).is_ok()
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        // Not SIGKILL: ssh is a child of timeout(1), which hands this on.
        let _ = host::run("kill", &[self.ssh.id().to_string()]);
        let _ = self.ssh.wait();
    }
}

/// A connection that only listens.
pub(crate) struct Held {
    client: Child,
    lines: mpsc::Receiver<String>,
}

impl Held {
    /// Whether it was reset, and not ended by sshd, within 20 seconds.
    pub(crate) fn was_cut(&self) -> bool {
        self.cut_at().is_some()
    }

    /// When it was reset, in µs since the epoch.
    pub(crate) fn cut_at(&self) -> Option<u64> {
        self.lines.recv_timeout(Duration::from_secs(20)).ok()?.strip_prefix("cut ")?.parse().ok()
    }

    /// Whether it is there still.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.lines.try_recv(), Err(mpsc::TryRecvError::Empty))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = host::run("kill", &[self.client.id().to_string()]);
        let _ = self.client.wait();
    }
}

/// What a child writes, line by line.
fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    lines
}

/// ssh says it after every wrong password: `please try again`, and after the last one the
/// methods that are left.
fn denials(output: &Output) -> usize {
    String::from_utf8_lossy(&output.stderr).matches("Permission denied").count()
}
