//! Machines that share bans: a wire between them, and all that docs/fleet.md has an administrator do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock, PoisonError},
};

use crate::harness::{
    host,
    machine::{Machine, Release},
    plan,
};

/// One fleet boots at a time.
static BOOTING: Mutex<()> = Mutex::new(());

/// The name of the broker in its certificate, and where the machines find it.
pub(crate) const BROKER: &str = "broker.example";
const BROKER_ADDRESS: &str = "198.51.100.9";

/// Adds a network device to each machine; those of the others end in a bridge in the broker's.
const WIRE: &str = r#"
hub=$1
shift
ip -netns "$hub" link add fleet type bridge
ip -netns "$hub" link set fleet up
ip -netns "$hub" address add 198.51.100.9/24 dev fleet
number=$1
shift
for spoke in "$@"; do
    ip link add fleet netns "$spoke" type veth peer name "port$number" netns "$hub"
    ip -netns "$hub" link set "port$number" master fleet up
    ip -netns "$spoke" link set fleet up
    ip -netns "$spoke" address add "198.51.100.$number/24" dev fleet
    number=$((number + 1))
done
"#;

/// The document whose commands set each fleet up.
const DOCUMENT: &str = include_str!("../../../docs/fleet.md");
/// The machines in it.
const DOCUMENTED: &str = "web1.example web2.example web3.example";
/// Where these commands run.
const PLACE: &str = "/root/fleet";

/// A kind of broker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Nats,
    Mosquitto,
}

impl Kind {
    /// Where the document sets it up.
    fn part(self) -> &'static str {
        match self {
            Self::Nats => "**The broker: NATS.**",
            Self::Mosquitto => "**Or the broker: mosquitto.**",
        }
    }

    pub(crate) fn url(self) -> String {
        match self {
            Self::Nats => format!("nats://{BROKER}"),
            Self::Mosquitto => format!("mqtt://{BROKER}"),
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Nats => "nats-server",
            Self::Mosquitto => "mosquitto",
        }
    }

    /// Where it keeps what it was told.
    pub(crate) fn store(self) -> &'static str {
        match self {
            Self::Nats => "/var/lib/nats/*",
            Self::Mosquitto => "/var/lib/mosquitto/*",
        }
    }
}

/// The machines.
pub(crate) struct FleetOf {
    pub(crate) machines: Vec<Machine>,
    pub(crate) brokers: Vec<Kind>,
    /// A machine that has the brokers and is no part of the fleet.
    apart: Option<Machine>,
}

/// The name of a machine in its certificate.
pub(crate) fn name(number: usize) -> String {
    format!("web{}.example", number + 1)
}

/// The commands of the document in the part that begins with these words.
fn documented(beginning: &str) -> String {
    let (_, rest) =
        DOCUMENT.split_once(beginning).unwrap_or_else(|| panic!("docs/fleet.md does not say {beginning:?}"));
    let lines = rest.lines().skip_while(|line| !line.starts_with("    ")).map_while(|line| line.strip_prefix("    "));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// Carries out commands of the document.
#[track_caller]
fn follow(machine: &Machine, commands: &str) -> String {
    machine.write(&format!("{PLACE}/commands"), commands);
    let output = machine.try_run_for(900, &format!("cd {PLACE} && sh -eu ./commands 2>&1"));
    if output.code != 0 {
        machine.give_up(&format!("the commands of docs/fleet.md fail:\n{commands}{}", output.stdout));
    }
    output.stdout
}

/// Its name in the fleet.
pub(crate) fn subject(number: usize) -> String {
    name(number).replace('.', "_")
}

/// Where wardend-fleet is. It is built as the test of it that needs it, so that nothing is compiled twice.
fn built() -> PathBuf {
    let built = plan::built();
    if std::env::var_os("WARDEND_BINDIR_BUILT").is_some() {
        return built;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "--locked", "--no-run", "--test", "installed"]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo is there");
    assert!(output.status.success(), "wardend-fleet can't be built:\n{}", String::from_utf8_lossy(&output.stderr));
    built
}

/// An example of wardend-fleet, built with the features that the tests have, so that nothing is compiled twice.
fn example(name: &str) -> PathBuf {
    let built = plan::built();
    if std::env::var_os("WARDEND_BINDIR_BUILT").is_some() {
        return built.join("examples").join(name);
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--example", name]);
    if built.ends_with("release") {
        cargo.arg("--release");
    }
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo is there");
    assert!(output.status.success(), "{name} can't be built:\n{}", String::from_utf8_lossy(&output.stderr));
    built.join("examples").join(name)
}

/// Runs a target of the Makefile.
fn make(target: &str, setting: &str, built: &Path) -> String {
    let made = Command::new("make")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "--no-print-directory", "--silent", target, setting])
        .env("WARDEND_BINDIR_BUILT", built)
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .expect("make is installed");
    assert!(made.status.success(), "make {target} fails:\n{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8_lossy(&made.stdout).into_owned()
}

/// Puts the files of wardend-fleet on a machine.
pub(crate) fn install_files(machine: &Machine) {
    install(machine, &built());
}

/// Puts wardend-fleet on a machine: the files as `make install-fleet` has them.
fn install(machine: &Machine, built: &Path) {
    make("install-fleet", &format!("DESTDIR={}", machine.root().display()), built);
    machine.run("systemd-sysusers && systemctl daemon-reload && systemctl reload dbus && systemctl reload wardend");
}

/// The Debian package of wardend-fleet.
fn package(built: &Path) -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let said = make("package-fleet-deb", "REVISION=1", built);
        let is_package = |line: &&str| Path::new(line.trim()).extension().is_some_and(|end| end == "deb");
        let package = said.lines().rev().find(is_package).expect("it names its package");
        Path::new(env!("CARGO_MANIFEST_DIR")).join(package.trim())
    })
}

/// Copies a file into the directory of the commands.
fn hand(machine: &Machine, file: &Path) {
    let place = machine.root().join(PLACE.trim_start_matches('/'));
    fs::create_dir_all(&place).expect("the layer is writable");
    fs::copy(file, place.join(file.file_name().expect("it is a file"))).expect("the file is there");
}

impl FleetOf {
    /// Boots a machine of each release, and sets up a fleet of them as docs/fleet.md does; the first one has the brokers.
    pub(crate) fn boot(releases: &[Release], brokers: &[Kind]) -> Self {
        Self::of(releases, brokers, None, 0)
    }

    /// Sets up a fleet of three word for word as docs/fleet.md does: with a machine for the broker, and with the
    /// Debian packages, of which `wardend` is one.
    pub(crate) fn boot_packaged(releases: &[Release], broker: Kind, wardend: &Path) -> Self {
        Self::of(releases, &[broker], Some(wardend), 0)
    }

    /// As [`Self::boot`], with a crowd of `number` machines, whose certificates and program are on the first one.
    pub(crate) fn boot_with_crowd(releases: &[Release], brokers: &[Kind], crowd: usize) -> Self {
        let fleet = Self::of(releases, brokers, None, crowd);
        if brokers.contains(&Kind::Mosquitto) {
            follow(fleet.hub(), &documented("systemd limits mosquitto to"));
        }
        let built = example("crowd");
        fs::copy(built, fleet.machines[0].root().join("root/crowd")).expect("it is built");
        fleet
    }

    /// The machine with the brokers.
    pub(crate) fn hub(&self) -> &Machine {
        self.apart.as_ref().unwrap_or(&self.machines[0])
    }

    fn of(releases: &[Release], brokers: &[Kind], wardend: Option<&Path>, crowd: usize) -> Self {
        let built = built();
        let furnished = |release: Release| {
            Machine::prepare(release)
                .hasty_passwords()
                .file("/etc/wardend/wardend.conf.d/lab.conf", "[default]\nlow-latency = true\n")
                .command(&format!("echo '{BROKER_ADDRESS} {BROKER}' >>/etc/hosts"))
        };
        // What the document installs from Debian's archive is there already: the lab has no network.
        let packages = ["nats-server", "mosquitto", "openssl"];
        // Two fleets that wait for the last machine of each other would never end.
        let guard = BOOTING.lock().unwrap_or_else(PoisonError::into_inner);
        let machines: Vec<Machine> = releases
            .iter()
            .enumerate()
            .map(|(number, release)| match wardend {
                Some(_) => furnished(*release).without_wardend().boot(),
                None if number == 0 => furnished(*release).packages(packages).boot(),
                None => furnished(*release).boot(),
            })
            .collect();
        drop(guard);
        let apart = wardend.map(|_| furnished(Release::Debian13).packages(packages).aside().boot());
        let fleet = Self { machines, brokers: brokers.to_vec(), apart };
        fleet.wire();
        let names: Vec<String> = (0..fleet.machines.len())
            .map(name)
            .chain((0..crowd).map(|number| format!("crowd{number}.example")))
            .collect();
        let for_all = |commands: String| {
            assert!(commands.contains(DOCUMENTED), "docs/fleet.md does not name the machines: {commands}");
            commands.replace(DOCUMENTED, &names.join(" "))
        };
        follow(fleet.hub(), &for_all(documented("**Certificates.**")));
        for broker in brokers {
            println!("{}", follow(fleet.hub(), &for_all(documented(broker.part()))));
        }
        for (number, machine) in fleet.machines.iter().enumerate() {
            match wardend {
                None => install(machine, &built),
                Some(wardend) => {
                    hand(machine, wardend);
                    hand(machine, package(&built));
                    follow(machine, "apt-get install ./wardend_*.deb\n");
                }
            }
            if crowd > 0 {
                let known = format!("[fleet]\nmachines = {}\n", names.len());
                machine.write("/etc/wardend/fleet.conf.d/crowd.conf", &known);
            }
            println!("{}", fleet.take_part(number, wardend.is_some()));
        }
        fleet
    }

    /// A wire from each machine to the one with the brokers.
    fn wire(&self) {
        let namespace =
            |machine: &Machine| machine.network().server_path().rsplit('/').next().unwrap_or_default().to_owned();
        let spokes = if self.apart.is_some() { &self.machines[..] } else { &self.machines[1..] };
        let first = 11 + self.machines.len() - spokes.len();
        let wire = ["-euc".to_owned(), WIRE.to_owned(), "sh".to_owned(), namespace(self.hub()), first.to_string()];
        let wire: Vec<String> = wire.into_iter().chain(spokes.iter().map(namespace)).collect();
        host::run("sh", &wire).unwrap_or_else(|error| panic!("{error}"));
    }

    /// What the document has each machine do.
    fn take_part(&self, number: usize, packaged: bool) -> String {
        let (machine, name) = (&self.machines[number], name(number));
        let from = self.hub().root().join(PLACE.trim_start_matches('/'));
        for file in ["ca.pem".to_owned(), format!("{name}.pem"), format!("{name}-key.pem")] {
            let text = fs::read_to_string(from.join(&file)).expect("openssl has written it");
            machine.write(&format!("{PLACE}/{file}"), &text);
        }
        let urls: Vec<String> = self.brokers.iter().map(|broker| format!("{:?}", broker.url())).collect();
        let commands = documented("**Each machine**").replace("web1.example", &name);
        let lines = commands.lines().filter(|line| packaged || !line.starts_with("apt-get install "));
        let commands = lines.collect::<Vec<_>>().join("\n");
        follow(machine, &commands.replace(&format!("{:?}", Kind::Nats.url()), &urls.join(", ")))
    }

    /// What a machine says of the fleet.
    #[track_caller]
    pub(crate) fn status(&self, number: usize) -> serde_json::Value {
        let text = self.machines[number].try_run("wardenctl fleet status --json").stdout;
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Whether each machine has an exact copy of what each other one says.
    pub(crate) fn is_in_step(&self) -> bool {
        let states: Vec<_> = (0..self.machines.len()).map(|number| self.status(number)).collect();
        states.iter().enumerate().all(|(number, state)| {
            let others = (0..self.machines.len()).filter(|other| *other != number);
            others.into_iter().all(|other| {
                let known =
                    state["machines"].as_array().into_iter().flatten().find(|row| row["machine"] == subject(other));
                known.is_some_and(|row| row["state"] == "in-step" && row["digest"] == states[other]["digest"])
            })
        })
    }
}
