//! Machines that share bans: a wire between them, certificates, and brokers on one of them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
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

/// The commands of docs/fleet.md for certificates, in a directory of this machine's.
const CERTIFICATES: &str = r#"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=fleet" -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca-key.pem -out ca.pem
for name in "$@"; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$name-key.pem" -out "$name.csr"
    printf 'subjectAltName=DNS:%s\n' "$name" |
        openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 825 -extfile /dev/stdin -out "$name.pem"
done
"#;

/// Adds a network device to each machine; those of the others end in a bridge in the broker's.
const WIRE: &str = r#"
hub=$1
shift
ip -netns "$hub" link add fleet type bridge
ip -netns "$hub" link set fleet up
ip -netns "$hub" address add 198.51.100.9/24 dev fleet
number=10
for spoke in "$@"; do
    ip link add fleet netns "$spoke" type veth peer name "port$number" netns "$hub"
    ip -netns "$hub" link set "port$number" master fleet up
    ip -netns "$spoke" link set fleet up
    ip -netns "$spoke" address add "198.51.100.$number/24" dev fleet
    number=$((number + 1))
done
"#;

/// How the broker is set up with its certificate, as docs/fleet.md says; the names of the machines follow.
const NATS: &str = r#"
mkdir -p /etc/nats
install -m 644 ca.pem /etc/nats/ca.pem
install -m 644 broker.example.pem /etc/nats/broker.pem
install -m 640 -g nats broker.example-key.pem /etc/nats/broker-key.pem
install -d -o nats -g nats /var/lib/nats
wardenctl fleet acl "$@" >/etc/nats-server.conf
systemctl restart nats-server
"#;
const MOSQUITTO: &str = r#"
install -m 644 ca.pem /etc/mosquitto/certs/fleet-ca.pem
install -m 644 broker.example.pem /etc/mosquitto/certs/fleet.pem
install -m 640 -g mosquitto broker.example-key.pem /etc/mosquitto/certs/fleet-key.pem
wardenctl fleet acl --broker mosquitto "$@" >/etc/mosquitto/fleet.acl
chgrp mosquitto /etc/mosquitto/fleet.acl
chmod 640 /etc/mosquitto/fleet.acl
cat >/etc/mosquitto/conf.d/fleet.conf <<EOF
listener 8883
cafile /etc/mosquitto/certs/fleet-ca.pem
certfile /etc/mosquitto/certs/fleet.pem
keyfile /etc/mosquitto/certs/fleet-key.pem
require_certificate true
use_identity_as_username true
use_username_as_clientid true
acl_file /etc/mosquitto/fleet.acl
message_size_limit 65536
EOF
mkdir -p /etc/systemd/system/mosquitto.service.d
printf '[Service]\nLimitNOFILE=65536\n' >/etc/systemd/system/mosquitto.service.d/fleet.conf
systemctl daemon-reload
systemctl restart mosquitto
"#;

/// A kind of broker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Nats,
    Mosquitto,
}

impl Kind {
    fn set_up(self) -> &'static str {
        match self {
            Self::Nats => NATS,
            Self::Mosquitto => MOSQUITTO,
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

/// The machines. The first one has the brokers.
pub(crate) struct FleetOf {
    pub(crate) machines: Vec<Machine>,
    pub(crate) brokers: Vec<Kind>,
}

/// The name of a machine in its certificate.
pub(crate) fn name(number: usize) -> String {
    format!("web{number}.example")
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
    install(machine, false, &built());
}

/// Puts wardend-fleet on a machine: the files as `make install-fleet` has them, or the Debian package.
fn install(machine: &Machine, packaged: bool, built: &Path) {
    if !packaged {
        make("install-fleet", &format!("DESTDIR={}", machine.root().display()), built);
        machine.run("systemd-sysusers && systemctl daemon-reload && systemctl reload dbus && systemctl reload wardend");
        return;
    }
    let said = make("package-fleet-deb", "REVISION=1", built);
    let package = said
        .lines()
        .rev()
        .find(|line| Path::new(line.trim()).extension().is_some_and(|end| end == "deb"))
        .expect("it names its package");
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join(package.trim());
    fs::copy(package, machine.root().join("root/fleet.deb")).expect("the package is there");
    // wardend itself is there without its package.
    machine.run("DEBIAN_FRONTEND=noninteractive dpkg --force-depends --install /root/fleet.deb >/root/dpkg.log 2>&1 || { cat /root/dpkg.log; exit 1; }");
}

impl FleetOf {
    /// Boots a machine of each release, and sets up a fleet of them as docs/fleet.md does.
    pub(crate) fn boot(releases: &[Release], brokers: &[Kind]) -> Self {
        Self::of(releases, brokers, false, 0)
    }

    /// The same; the last one has wardend-fleet by its Debian package.
    pub(crate) fn boot_packaged(releases: &[Release], brokers: &[Kind]) -> Self {
        Self::of(releases, brokers, true, 0)
    }

    /// The same, with a crowd of `number` machines, whose certificates and program are on the first one.
    pub(crate) fn boot_with_crowd(releases: &[Release], brokers: &[Kind], crowd: usize) -> Self {
        let fleet = Self::of(releases, brokers, false, crowd);
        let built = example("crowd");
        fs::copy(built, fleet.machines[0].root().join("root/crowd")).expect("it is built");
        fleet
    }

    fn of(releases: &[Release], brokers: &[Kind], packaged: bool, crowd: usize) -> Self {
        let built = built();
        // Two fleets that wait for the last machine of each other would never end.
        let guard = BOOTING.lock().unwrap_or_else(PoisonError::into_inner);
        let machines: Vec<Machine> = releases
            .iter()
            .enumerate()
            .map(|(number, release)| {
                let plan = Machine::prepare(*release)
                    .hasty_passwords()
                    .file("/etc/wardend/wardend.conf.d/lab.conf", "[default]\nlow-latency = true\n")
                    .command(&format!("echo '{BROKER_ADDRESS} {BROKER}' >>/etc/hosts"));
                let plan = if number == 0 { plan.packages(["nats-server", "mosquitto", "openssl"]) } else { plan };
                plan.boot()
            })
            .collect();
        drop(guard);
        let namespaces: Vec<String> = machines
            .iter()
            .map(|machine| machine.network().server_path().rsplit('/').next().unwrap_or_default().to_owned())
            .collect();
        let mut wire = vec!["-euc", WIRE, "sh"];
        wire.extend(namespaces.iter().map(String::as_str));
        host::run("sh", &wire).unwrap_or_else(|error| panic!("{error}"));
        let hub = &machines[0];
        let names: Vec<String> =
            (0..machines.len()).map(name).chain((0..crowd).map(|number| format!("crowd{number}.example"))).collect();
        hub.write("/root/pki/make", CERTIFICATES);
        let made = hub.try_run_for(
            900,
            &format!(
                "cd /root/pki && sh -euc '. ./make' sh {BROKER} {} >log 2>&1 || {{ cat log; exit 1; }}",
                names.join(" ")
            ),
        );
        assert_eq!(made.code, 0, "{}", made.stdout);
        hub.run("firewall-cmd --quiet --zone=trusted --add-interface=fleet");
        for broker in brokers {
            hub.write(&format!("/root/pki/{}", broker.unit()), broker.set_up());
            hub.run(&format!("cd /root/pki && sh -euc '. ./{}' sh {}", broker.unit(), names.join(" ")));
        }
        let urls: Vec<String> = brokers.iter().map(|broker| format!("{:?}", broker.url())).collect();
        let pki = hub.root().join("root/pki");
        for (number, machine) in machines.iter().enumerate() {
            install(machine, packaged && number + 1 == machines.len(), &built);
            let name = name(number);
            machine.run("mkdir -p /etc/wardend/fleet /etc/wardend/fleet.conf.d");
            for (from, to, mode) in [
                ("ca.pem".to_owned(), "ca.pem", "644"),
                (format!("{name}.pem"), "certificate.pem", "644"),
                (format!("{name}-key.pem"), "key.pem", "600"),
            ] {
                let text = fs::read_to_string(pki.join(from)).expect("openssl has written it");
                machine.write(&format!("/etc/wardend/fleet/{to}"), &text);
                machine.run(&format!("chmod {mode} /etc/wardend/fleet/{to}"));
            }
            machine.write(
                "/etc/wardend/fleet.conf.d/local.conf",
                &format!(
                    "[fleet]\nbrokers = [{}]\nmachine = \"{name}\"\nmachines = {}\n",
                    urls.join(", "),
                    crowd + releases.len()
                ),
            );
            machine.run("systemctl enable --now --quiet wardend-fleet");
        }
        Self { machines, brokers: brokers.to_vec() }
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
