//! wardend-file@.service: a text file's lines come into the journal once each, whatever becomes of the file
//! and of the program that brings them, and a filter reads them there.

use std::{collections::BTreeMap, thread, time::Duration};

use crate::harness::machine::{Machine, Release};

const UNIT: &str = "wardend-file@var-log-portal.log.service";

/// A program that writes numbered lines, and whose file is rotated in both ways: renamed, while it goes on for a
/// while in the old one, and copied and emptied.
const WRITER: &str = r#"
import os, shutil, sys, time
path, first, last = "/var/log/portal.log", int(sys.argv[1]), int(sys.argv[2])
def shift():
    for n in range(8, 0, -1):
        if os.path.exists(f"{path}.{n}"): os.rename(f"{path}.{n}", f"{path}.{n + 1}")
log = open(path, "ab", buffering=0)
late = 0
for n in range(first, last):
    log.write(f"{n} Login of x from 203.0.113.99 failed\n".encode())
    time.sleep(0.002)
    if n % 600 == 299:
        shift()
        os.rename(path, path + ".1")
        open(path, "wb").close()
        late = n + 20
    if n == late:
        log = open(path, "ab", buffering=0)
    if n % 600 == 599:
        # Nobody can find what is written between the copy and the end of the file.
        time.sleep(0.1)
        shift()
        shutil.copyfile(path, path + ".1")
        os.truncate(path, 0)
"#;

const FILTER: &str = r#"
ports = ["http"]
[records]
_TRANSPORT = ["journal"]
units = ["wardend-file@var-log-portal.log.service"]
[message]
framing = "lines"
truncated-at = 49151
client-text = '<TEXT without "\n">'
[modes]
normal = ["auth"]
[[rule]]
name = "failed-login"
class = "auth"
counts = "failure"
pattern = '<NUM> Login of <USER> from <ADDR> failed'
match = [{ message = "1 Login of x from 203.0.113.7 failed", address = "203.0.113.7" }]
"#;

/// How often each number stands in the journal.
fn numbers(machine: &Machine) -> BTreeMap<u32, usize> {
    let mut numbers = BTreeMap::new();
    for line in machine.run(&format!("journalctl -q -o cat -u '{UNIT}' _TRANSPORT=journal || :")).lines() {
        if let Some(number) = line.split(' ').next().and_then(|word| word.parse().ok()) {
            *numbers.entry(number).or_default() += 1;
        }
    }
    numbers
}

/// Waits for the last number, and returns those that are not there once.
fn not_once(machine: &Machine, last: u32) -> Vec<(u32, usize)> {
    machine.wait_until("the last line is there", || numbers(machine).contains_key(&last));
    let numbers = numbers(machine);
    (0..=last)
        .map(|number| (number, numbers.get(&number).copied().unwrap_or(0)))
        .filter(|(_, count)| *count != 1)
        .collect()
}

pub(crate) fn a_text_file_comes_into_the_journal_each_line_once(release: Release) {
    let mut machine = Machine::prepare(release).file("/opt/writer.py", WRITER).boot();
    machine.write("/etc/wardend/filters/portal.toml", FILTER);
    machine.write("/etc/wardend/wardend.conf.d/portal.conf", "[jail.portal]\nbantime = 60\n");
    machine.run("wardenctl verify && systemctl reload wardend");
    machine.run("printf 'old line\\nanother' > /var/log/portal.log && chmod 600 /var/log/portal.log");
    machine.run("systemctl daemon-reload");
    machine.run(&format!("systemctl enable --now '{UNIT}'"));
    let rated = machine.run(&format!("systemd-analyze security --no-pager '{UNIT}' | tail -n 1"));
    println!("{}: {}", release.name(), rated.trim());
    let score: f64 = rated.split_whitespace().find_map(|word| word.parse().ok()).expect("it is rated");
    assert!(score <= 1.0, "{rated}");
    machine.run("echo ' half' >> /var/log/portal.log");

    // It is killed at any moment while the file grows and is rotated.
    machine.run("systemd-run --quiet --unit=writer python3 /opt/writer.py 0 2500");
    for _ in 0..6 {
        thread::sleep(Duration::from_millis(700));
        machine.run(&format!("systemctl kill --signal=KILL '{UNIT}' || :"));
        machine
            .wait_until("it is back", || machine.run(&format!("systemctl is-active '{UNIT}' || :")).trim() == "active");
    }
    assert_eq!(not_once(&machine, 2499), []);
    machine.wait_for_message("Banned 203.0.113.99 in jail portal");

    // It is stopped while the file is rotated several times.
    machine.run(&format!("systemctl stop '{UNIT}'"));
    machine.run("python3 /opt/writer.py 2500 4000");
    machine.run(&format!("systemctl start '{UNIT}'"));
    assert_eq!(not_once(&machine, 3999), []);

    // What is no text.
    machine.run("head -c 60000 /dev/zero | tr '\\0' x >> /var/log/portal.log; printf '\\n\\377\\0z\\n\\n' >> /var/log/portal.log");
    machine.wait_until("the long line is cut", || {
        machine.run(&format!("journalctl -q -o cat -u '{UNIT}' WARDEND_FILE_CUT=1 || :")).trim().len() == 49_151
    });
    machine.wait_until("odd lines are counted", || {
        machine.run(&format!("systemctl status '{UNIT}' || :")).contains("1 too long, 1 with NUL bytes or not UTF-8")
    });

    // Over a reboot. What was there before the first start was never read, and a line that had begun was.
    machine.run("python3 /opt/writer.py 4000 4010");
    machine.power_cut();
    machine.power_on();
    machine.run("python3 /opt/writer.py 4010 4020");
    assert_eq!(not_once(&machine, 4019), []);
    let all = machine.run(&format!("journalctl -q -o cat -u '{UNIT}' _TRANSPORT=journal"));
    assert!(!all.contains("old line") && all.contains("\nanother half\n"), "{all:.200}");

    // A directory that it does not see is named with the mend.
    machine.run("systemctl start --no-block wardend-file@srv-portal-log.service");
    machine.wait_until("the mend is named", || {
        machine
            .run("journalctl -q -o cat -u wardend-file@srv-portal-log.service")
            .contains("BindReadOnlyPaths=/srv/portal")
    });
}
