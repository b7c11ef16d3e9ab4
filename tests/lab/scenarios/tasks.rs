//! The everyday tasks of docs/tasks.md on one machine: its commands, and what they print.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use crate::harness::attack::Guesses;
use crate::harness::machine::{Machine, Release};

/// A part of the document: text, or a command with what it prints.
enum Part {
    Text(String),
    Command { prompt: char, command: String, output: Vec<String> },
}

fn parts(document: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for line in document.lines() {
        let block = line.strip_prefix("    ");
        let command = block.and_then(|block| Some((block.chars().next()?, block.get(1..)?.strip_prefix(' ')?)));
        match (command, block, parts.last_mut()) {
            (Some((prompt @ ('#' | '$'), command)), ..) => {
                parts.push(Part::Command { prompt, command: command.to_owned(), output: Vec::new() });
            }
            (_, Some(block), Some(Part::Command { output, .. })) => output.push(block.to_owned()),
            (_, None, Some(Part::Command { output, .. })) if line.is_empty() => output.push(String::new()),
            _ => parts.push(Part::Text(line.to_owned())),
        }
    }
    parts
}

/// Whether a word is a time or a span, which differ from run to run.
fn is_time(word: &str) -> bool {
    let word = word.trim_matches(|sign: char| !sign.is_alphanumeric() && sign != '-');
    let units = ["us", "µs", "ms", "s", "min", "h", "d", "w", "month", "y", "week"];
    let number = word.trim_start_matches(|sign: char| sign.is_ascii_digit() || sign == '.');
    let span = number.len() < word.len() && units.contains(&number);
    let date = word.len() >= 8
        && word.matches([':', '-']).count() == 2
        && word.chars().all(|sign| sign.is_ascii_digit() || [':', '-', '.'].contains(&sign));
    let day = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "UTC"].contains(&word);
    // Microseconds since the epoch, in JSON.
    let moment = word.len() >= 16 && word.ends_with(|sign: char| sign.is_ascii_digit()) && {
        let digits = word.trim_start_matches(|sign: char| !sign.is_ascii_digit());
        digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    // A number before its unit, as in 34.8 ms.
    let decimal = word.matches('.').count() == 1 && word.chars().all(|sign| sign.is_ascii_digit() || sign == '.');
    span || date || day || moment || decimal
}

/// What sshd has written, and which of its sessions are still open, is not the same in every run.
const OF_SSHD: [&str; 8] = ["record", "records", "known", "open", "record,", "records,", "session)", "sessions)"];

/// The words of a text that are the same in every run: neither times nor cursors nor how much sshd has
/// written.
fn words(text: &str) -> Vec<&str> {
    let words: Vec<&str> = text.split([' ', '\n', '\t', ',']).filter(|word| !word.is_empty()).collect();
    let same = |number: &usize| {
        let (word, next) = (words[*number], words.get(number + 1));
        let of_sshd = OF_SSHD.contains(&word) || next.is_some_and(|next| OF_SSHD.contains(next));
        !is_time(word) && !word.starts_with("--cursor=") && !of_sshd
    };
    (0..words.len()).filter(same).map(|number| words[number]).collect()
}

fn document() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/tasks.md")
}

pub(crate) fn everyday_tasks_take_the_commands_of_the_documents(release: Release) {
    let penalties = if release.penalises_sources() { "PerSourcePenalties no\n" } else { "" };
    let machine = Machine::prepare(release)
        .with_cockpit()
        .hasty_passwords()
        .file("/root/bridge.py", include_str!("../guest/bridge.py"))
        .file("/etc/ssh/sshd_config.d/test.conf", penalties)
        .file("/etc/hosts", "127.0.0.1 localhost\n192.0.2.77 home.example.org\n")
        .command("sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf")
        .command("for a in $(seq 0 79); do for b in $(seq 0 249); do echo 10.$a.$b.0/24; done; done >/root/networks")
        .boot();
    machine.attacker("203.0.113.8").guess(Guesses { prompts: 2, ..Guesses::default() });
    machine.attacker("203.0.113.7").wrong_passwords("root", 5);
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    machine.wait_until("all is read", || machine.run("wardenctl status").contains("Failures: 7"));

    let (mut written, mut differences) = (String::new(), Vec::new());
    for part in parts(&fs::read_to_string(document()).expect("the document is there")) {
        let (prompt, command, output) = match part {
            Part::Text(text) => {
                written.push_str(&format!("{text}\n"));
                continue;
            }
            Part::Command { prompt, command, output } => (prompt, command, output),
        };
        machine.write("/tmp/step", &format!("{command}\n"));
        let user = if prompt == '#' { "root" } else { "alice" };
        let run = || machine.try_run(&format!("runuser -u {user} -- sh /tmp/step 2>&1")).stdout;
        let is_same = |said: &str| words(said) == words(&output.join("\n"));
        let mut said = run();
        // What changes nothing may show a moment later what the command before it has begun.
        let patience = Instant::now() + Duration::from_secs(if prompt == '$' { 10 } else { 0 });
        while !is_same(&said) && Instant::now() < patience {
            thread::sleep(Duration::from_millis(200));
            said = run();
        }
        println!("{}: {prompt} {command}\n{said}", release.name());
        let same = is_same(&said);
        if !same {
            differences.push(format!("{prompt} {command}\n--- documented\n{}\n--- real\n{said}", output.join("\n")));
        }
        let gap = output.iter().rev().take_while(|line| line.is_empty()).count();
        let real =
            || said.trim_end().lines().map(|line| line.trim_end().to_owned()).chain(vec![String::new(); gap]).collect();
        let lines = if same { output } else { real() };
        written.push_str(&format!("    {prompt} {command}\n"));
        for line in lines {
            written.push_str(if line.is_empty() { "" } else { "    " });
            written.push_str(&line);
            written.push('\n');
        }
    }
    if std::env::var_os("WARDEND_WRITE_TASKS").is_some() {
        fs::write(document(), written).expect("the document is writable");
        differences.clear();
    }
    assert!(differences.is_empty(), "{}: {}", release.name(), differences.join("\n\n"));
    a_page_in_cockpit_bans_permanently_and_reads_so(&machine);
}

/// What passes through cockpit-bridge, which has a double for each number.
fn a_page_in_cockpit_bans_permanently_and_reads_so(machine: &Machine) {
    let said = machine.run("python3 /root/bridge.py");
    println!("{}:\n{said}", machine.release().name());
    let expected = [
        r#"Ban: ["192.0.2.66", true, true]"#,
        r#"an hour: ["192.0.2.67", false, 3600.0]"#,
        r#"BanMany: [["192.0.2.68", "banned", true], ["192.0.2.69", "banned", false]]"#,
        r#"ListBans: [["192.0.2.67", false, false], ["192.0.2.69", false, false], ["192.0.2.66", true, true], ["192.0.2.68", true, true], 4.0]"#,
        r#"Ignore: [["192.0.2.200", true, true]]"#,
        "History: true",
        "2⁶⁴−1: true",
    ];
    for line in expected {
        assert!(said.lines().any(|said| said == line), "{line} is not in:\n{said}");
    }
}
