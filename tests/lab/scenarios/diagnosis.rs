//! `wardenctl doctor`: the lines that are rarely seen, each with its remedy; doctor.rs has the others.

use crate::harness::machine::{Machine, Release};

const LOCAL: &str = "/etc/wardend/wardend.conf.d/local.conf";
/// A jail whose service is not there.
const JAIL: &str = "[jail.postfix]\nenabled = true\n";

/// Waits until doctor prints a line that begins and goes on like this, or no longer does.
#[track_caller]
fn until(machine: &Machine, prints: bool, line: (&str, &str, &str), before: &str) {
    let (word, check, text) = line;
    let start = format!("{word:<7}  {check:<10}  ");
    machine.wait_until(&format!("doctor {} {start}{text}", if prints { "prints" } else { "no longer prints" }), || {
        let said = machine.try_run(&format!("{before} wardenctl doctor"));
        said.stdout.lines().any(|line| line.starts_with(&start) && line.contains(text)) == prints
    });
}

/// What breaks a link, the line that says so, and its remedy.
#[track_caller]
fn step(machine: &Machine, break_it: &str, line: (&str, &str, &str), remedy: &str) {
    machine.run(break_it);
    until(machine, true, line, "");
    machine.run(remedy);
    until(machine, false, line, "");
}

pub(crate) fn doctor_says_what_is_rare_and_what_it_could_not_look_at(release: Release) {
    let machine = Machine::prepare(release)
        .file("/etc/hosts", "127.0.0.1 localhost\n192.0.2.77 home.example.org\n")
        .command("sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf")
        .boot();
    machine.wait_until("firewalld is up", || machine.run("wardenctl status").contains("Firewall: up"));
    machine.run("mkdir -p /etc/wardend/wardend.conf.d");

    // Units that do not come back at the next boot.
    step(
        &machine,
        "systemctl disable --quiet firewalld",
        ("note", "wardend", "firewalld.service is disabled, so after a reboot no ban is in force."),
        "systemctl enable --quiet firewalld.service",
    );
    step(
        &machine,
        "systemctl mask --quiet firewalld",
        ("note", "wardend", "Run `systemctl unmask firewalld.service` and `systemctl enable firewalld.service`."),
        "systemctl unmask --quiet firewalld.service && systemctl enable --quiet firewalld.service",
    );
    // What an administrator has ordered is no problem.
    step(
        &machine,
        "wardenctl pause sshd --for 1h --reason rollout",
        ("note", "wardend", "(rollout), so it bans nobody. To end that now, run `wardenctl resume sshd`."),
        "wardenctl resume sshd",
    );
    // A name that means something else by now.
    machine.write(LOCAL, "default.ignoreip = [\"home.example.org\"]\n");
    machine.run("systemctl reload wardend");
    until(&machine, true, ("ok", "ignoreip", "home.example.org is 192.0.2.77."), "");
    step(
        &machine,
        "sed -i s/192.0.2.77/192.0.2.78/ /etc/hosts",
        ("problem", "ignoreip", "home.example.org is 192.0.2.78, and wardend does not ignore 192.0.2.78."),
        "systemctl reload wardend",
    );
    // A jail for a service that is not there.
    step(
        &machine,
        &format!("printf '{JAIL}' >>{LOCAL} && systemctl reload wardend"),
        ("note", "jail", "postfix: the service is not running, and no record of it was ever seen."),
        &format!("sed -i 's/^enabled = true/enabled = false/' {LOCAL} && systemctl reload wardend"),
    );
    step(
        &machine,
        &format!("cp {LOCAL} /root/local && echo 'default.maxretires = 1' >>{LOCAL}"),
        ("unknown", "journal", "Which records to look for is not known. Correct the configuration first."),
        &format!("mv /root/local {LOCAL}"),
    );
    step(
        &machine,
        "systemctl mask --quiet --runtime --now systemd-timedated",
        (
            "unknown",
            "clock",
            "Run `systemctl restart systemd-timedated` (`systemctl unmask` before it, if it is masked).",
        ),
        "systemctl unmask --quiet --runtime systemd-timedated && systemctl restart systemd-timedated",
    );
    // Settings that sshd itself can't read.
    step(
        &machine,
        "echo 'Nonsense yes' >/etc/ssh/sshd_config.d/nonsense.conf",
        ("unknown", "sshd", "`sshd -T` does not print its settings: "),
        "rm /etc/ssh/sshd_config.d/nonsense.conf",
    );
    asked_and_mute(&machine);
    // In a sandbox, the kernel does not tell all.
    let sandbox = "systemd-run --quiet --pipe --wait -p RestrictAddressFamilies=AF_UNIX";
    until(&machine, true, ("unknown", "addresses", "The kernel does not list them: "), sandbox);
    until(&machine, false, ("unknown", "addresses", "The kernel does not list them: "), "");
    let hidden = "unshare --mount sh -c 'mount -t tmpfs none /proc/$$/net && exec \"$@\"' sh";
    until(&machine, true, ("unknown", "ports", "/proc/net/tcp can't be read: "), hidden);
    until(&machine, false, ("unknown", "ports", "/proc/net/tcp can't be read: "), "");
    // firewalld off, with a port open that it would close; and one whose configuration is broken.
    machine.run(
        "systemd-run --quiet --unit=web python3 -m http.server 8080 && until ss -Hltn | grep -q :8080; do sleep 0.1; done",
    );
    step(
        &machine,
        "systemctl stop firewalld",
        ("note", "ports", "Programs listen on 8080/tcp, which firewalld, as shipped, closes as soon as it starts."),
        "firewall-offline-cmd --quiet --add-port=8080/tcp && systemctl start firewalld",
    );
    until(&machine, true, ("ok", "ports", "firewalld closes no TCP port that a program listens on."), "");
    step(
        &machine,
        "firewall-cmd --quiet --permanent --new-ipset=gone --type=hash:net && \
         firewall-cmd --quiet --permanent --new-policy=broken && rule='--permanent --policy=broken' && \
         firewall-cmd --quiet $rule --add-ingress-zone=ANY && firewall-cmd --quiet $rule --add-egress-zone=HOST && \
         firewall-cmd --quiet $rule --add-rich-rule='rule family=ipv4 source ipset=gone drop' && \
         rm /etc/firewalld/ipsets/gone.xml && systemctl restart firewalld",
        ("problem", "firewalld", "firewalld runs, but could not load its configuration, so no ban is in force."),
        "rm /etc/firewalld/policies/broken.xml && systemctl restart firewalld",
    );

    // What can't be looked at is said, and why.
    until(
        &machine,
        true,
        ("unknown", "you", "of which logind has only the name"),
        "SSH_CONNECTION='host.example 1 2 3'",
    );
    let no_bus = "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/nothing";
    machine.run(&format!("sed -i 's/^enabled = false/enabled = true/' {LOCAL}"));
    until(&machine, true, ("note", "jail", "postfix: no record of the service was ever seen."), no_bus);
    for check in ["wardend", "firewalld", "others", "clock"] {
        until(&machine, true, ("unknown", check, "The system bus can't be reached: "), no_bus);
    }
    println!("{}: {}", release.name(), machine.try_run(&format!("{no_bus} wardenctl doctor")).stdout);
    machine.run("dbus-daemon --session --fork --address=unix:path=/run/empty");
    let empty = "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/empty";
    until(&machine, true, ("problem", "wardend", "wardend is not running, so nobody is banned."), empty);
    until(&machine, true, ("unknown", "wardend", "systemd does not say whether wardend.service is enabled: "), empty);
    until(&machine, true, ("unknown", "others", "systemd does not say which units are active: "), empty);
    until(&machine, true, ("unknown", "clock", "systemd-timedated does not answer: "), empty);

    // Without any journal, sshd has never been heard of, so this comes last.
    step(
        &machine,
        "mv /var/log/journal /var/log/old",
        ("problem", "journal", "No journal file can be read: "),
        "mkdir /var/log/journal && systemctl restart systemd-journald",
    );
}

/// Who is there and does not answer, is of another version, or has lost its unit; and what somebody has changed
/// in firewalld.
fn asked_and_mute(machine: &Machine) {
    // An upgrade without a restart: the program that runs is older than the file.
    let (version, older) =
        (env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_VERSION").replace(|sign: char| sign != '.', "0"));
    let pattern = version.replace('.', "\\.");
    machine.run(&format!(
        "it=$(readlink /proc/$(systemctl show -p MainPID --value wardend)/exe) && \
         LC_ALL=C sed 's/{pattern}/{older}/g' $it >/root/older && chmod 755 /root/older && cp -p $it /root/newer && \
         mv /root/older $it && systemctl restart wardend && mv /root/newer $it"
    ));
    step(
        machine,
        "true",
        ("note", "wardend", &format!("The daemon is of version {older}, and wardenctl of another.")),
        "systemctl restart wardend",
    );
    for (unit, without) in [("wardend.service", "nobody is banned"), ("firewalld.service", "no ban is in force")] {
        let file = machine.run(&format!("systemctl show -p FragmentPath --value {unit}"));
        let file = file.trim();
        step(
            machine,
            &format!("mv {file} /root/unit && systemctl daemon-reload"),
            ("problem", "wardend", &format!("There is no {unit}, so {without}. Install it (wardend(8)).")),
            &format!("mv /root/unit {file} && systemctl daemon-reload"),
        );
    }
    step(
        machine,
        "systemctl kill --signal=STOP wardend",
        ("problem", "wardend", "wardend runs, but does not answer on the bus. Run `systemctl restart wardend`"),
        "systemctl restart wardend",
    );
    machine.wait_until("firewalld is up", || machine.run("wardenctl status").contains("Firewall: up"));
    step(
        machine,
        "systemctl kill --signal=STOP firewalld",
        ("problem", "firewalld", "firewalld runs, but does not answer, so no ban comes into force or ends."),
        "systemctl restart firewalld",
    );
    machine.wait_until("firewalld is up", || machine.run("wardenctl status").contains("Firewall: up"));
    step(
        machine,
        "systemctl kill --signal=STOP 'wardend-addresses@*' && ip address add 192.0.2.201/32 dev lo",
        ("problem", "addresses", "Run `systemctl stop 'wardend-addresses@*'`: wardend asks again."),
        "systemctl stop 'wardend-addresses@*'",
    );
    machine.run("wardenctl ban 203.0.113.77");
    machine.wait_for_message("firewalld blocks 203.0.113.77");
    let sync = "wardenctl firewall sync";
    for (break_it, line) in [
        ("--ipset=wardend4 --remove-entry=203.0.113.77", ("problem", "1 ban is not in its ipset.")),
        ("--ipset=wardend4 --add-entry=203.0.113.78", ("note", "1 entry is not a ban of wardend")),
        (
            "--policy=wardend --add-rich-rule='rule family=ipv4 source address=203.0.113.79 accept'",
            ("problem", "wardend's policy has other rules than it should"),
        ),
    ] {
        step(machine, &format!("firewall-cmd --quiet {break_it}"), (line.0, "firewalld", line.1), sync);
    }
}
