//! What is on a machine before it boots for the first time.
//!
//! The tree is bare Debian. A plan lays an empty layer over it, adds the users that get
//! attacked, installs wardend as a package would, and puts a test's own files on top, so
//! that the very first boot is already the one that the test is about.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::host::{self, Lease, Slot};
use crate::harness::machine::{Machine, Release};
use crate::harness::network::Network;

/// The password of root and of the users `alice` and `bob` on every machine.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// Timers that would work on the tree, or ask the network for packages, during a test.
const UNWANTED: [&str; 4] = ["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"];

/// A machine before its first boot: the place for files that must be there from the start.
pub(crate) struct Plan {
    release: Release,
    wardend: bool,
    aside: bool,
    packages: Vec<&'static str>,
    files: Vec<(String, String)>,
    copies: Vec<(PathBuf, String)>,
    commands: Vec<String>,
}

impl Plan {
    pub(crate) fn new(release: Release) -> Self {
        Self {
            release,
            wardend: true,
            aside: false,
            packages: Vec::new(),
            files: Vec::new(),
            copies: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// Leaves wardend out.
    pub(crate) fn without_wardend(mut self) -> Self {
        self.wardend = false;
        self
    }

    /// Boots it without waiting for its turn: a machine that does little, or that others wait for.
    pub(crate) fn aside(mut self) -> Self {
        self.aside = true;
        self
    }

    /// Has Cockpit on it, and what administrators read JSON with: one layer for all who need either.
    pub(crate) fn with_cockpit(self) -> Self {
        self.packages(include_str!("../cockpit.packages").split_whitespace())
    }

    /// Has packages of Debian on it that the tree lacks.
    pub(crate) fn packages(mut self, packages: impl IntoIterator<Item = &'static str>) -> Self {
        self.packages.extend(packages);
        self
    }

    /// Puts a file on the machine.
    pub(crate) fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    /// Puts a copy of a file of the host on the machine.
    pub(crate) fn copy(mut self, from: &Path, path: &str) -> Self {
        self.copies.push((from.to_owned(), path.to_owned()));
        self
    }

    /// Runs a command in the machine's root directory, after everything is installed.
    pub(crate) fn command(mut self, command: &str) -> Self {
        self.commands.push(command.to_owned());
        self
    }

    /// Has PAM say soon that a password is wrong: after 0.2 to 0.6 seconds, where Debian's takes two.
    /// Without any delay sshd's process may be gone before journald has looked up whose it is, and
    /// nothing vouches for its records (wardend(8)): a busy machine would lose failures.
    pub(crate) fn hasty_passwords(self) -> Self {
        self.command("sed -i '/pam_unix.so/s/nullok/nullok nodelay/' /etc/pam.d/common-auth")
            .command("sed -i '1i auth optional pam_faildelay.so delay=400000' /etc/pam.d/common-auth")
    }

    /// Has wardend take what a script in one of sshd's units writes for sshd's: for floods that no
    /// real sshd could make.
    pub(crate) fn scripts_speak_for_sshd(self) -> Self {
        let programs = r#"["python3", "python3.11", "python3.13", "python3.14"]"#;
        self.file("/etc/wardend/filters/sshd.d/lab.toml", &format!("[records]\nprograms = {programs}\n"))
    }

    /// Boots it, and returns when systemd has nothing left to start.
    pub(crate) fn boot(self) -> Machine {
        host::require_lab();
        let tree = host::tree(self.release);
        let layer = (!self.packages.is_empty()).then(|| host::layer(self.release, &self.packages));
        let slot = (!self.aside).then(Slot::take);
        let lease = Lease::new();
        let network = host::exclusively(|| {
            lease.mount(layer.iter().chain([&tree]));
            Network::new(lease.name())
        });
        self.furnish(&lease.root());
        Machine::new(self.release, tree, lease, network, slot)
    }

    fn furnish(&self, root: &Path) {
        // The journal has to outlive a reboot.
        fs::create_dir_all(root.join("var/log/journal")).expect("the layer is writable");
        for timer in UNWANTED {
            let mask = root.join("etc/systemd/system").join(timer);
            let _ = fs::remove_file(&mask);
            symlink("/dev/null", mask).expect("the layer is writable");
        }
        in_root(root, "useradd --create-home alice; useradd --create-home bob");
        let passwords = ["root", "alice", "bob"].map(|user| format!("{user}:{PASSWORD}\n"));
        in_root(root, &format!("printf %s '{}' | chpasswd", passwords.concat()));
        if self.wardend {
            install(root);
        }
        for (path, text) in &self.files {
            fs::write(place(root, path), text).expect("the layer is writable");
        }
        for (from, path) in &self.copies {
            fs::copy(from, place(root, path)).expect("the layer is writable");
        }
        for command in &self.commands {
            in_root(root, command);
        }
    }
}

/// Where a file of the machine is for the host, in a directory that is there.
fn place(root: &Path, path: &str) -> PathBuf {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().expect("a file has a directory")).expect("the layer is writable");
    path
}

/// Installs wardend below `root` as a package would: the Makefile's files, then what a
/// maintainer script does for a machine that is not running.
pub(crate) fn install(root: &Path) {
    make_install(root);
    in_root(root, "systemd-sysusers && systemctl enable --quiet wardend.service");
}

/// Where the programs are: a test knows, and an example only lies one directory below them. As for `make`,
/// `WARDEND_BINDIR_BUILT` names others: optimized ones, for measurements.
pub(crate) fn built() -> PathBuf {
    let this = std::env::current_exe().expect("/proc is mounted");
    let wardend = option_env!("CARGO_BIN_EXE_wardend").map(Path::new);
    let built = wardend.and_then(Path::parent).or_else(|| this.ancestors().nth(2)).expect("a program has a directory");
    std::env::var_os("WARDEND_BINDIR_BUILT").map_or_else(|| built.to_owned(), PathBuf::from)
}

/// The Makefile's files alone.
pub(crate) fn make_install(root: &Path) {
    let built = built();
    assert!(built.join("wardend").exists(), "no wardend in {}: cargo build --bins", built.display());
    let made = Command::new("make")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "--no-print-directory", "install"])
        .arg(format!("DESTDIR={}", root.display()))
        .env("WARDEND_BINDIR_BUILT", &built)
        // A `make` that runs the tests has no say in this one.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .expect("make is installed");
    assert!(
        made.status.success(),
        "make install fails:\n{}{}",
        String::from_utf8_lossy(&made.stdout),
        String::from_utf8_lossy(&made.stderr)
    );
}

fn in_root(root: &Path, command: &str) {
    let root = root.to_string_lossy();
    let path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    host::run("env", &["-i", path, "chroot", &root, "sh", "-ec", command]).unwrap_or_else(|error| panic!("{error}"));
}
