//! `wardenctl replay` over recorded journals of real sshd under real attacks, against the truth
//! that the attacking client counted.

mod support;

use std::{collections::HashMap, fs, net::IpAddr, path::Path, process::Command};

use serde_json::Value;

/// What replay says: a line by source, and the summary.
struct Replay {
    lines: HashMap<String, Value>,
    summary: Value,
}

fn replay(journal: &Path, configuration: &str) -> Replay {
    let directory = journal.with_extension("config");
    fs::create_dir_all(directory.join("wardend.conf.d")).unwrap();
    fs::write(directory.join("wardend.conf.d/test.conf"), configuration).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_wardenctl"))
        .args(["replay", "--json=short", "--config"])
        .arg(&directory)
        .arg("--file")
        .arg(journal)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut objects: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let summary = objects.pop().unwrap()["summary"].clone();
    let lines = objects.into_iter().map(|line| (line["source"].as_str().unwrap().to_owned(), line)).collect();
    Replay { lines, summary }
}

impl Replay {
    fn failures(&self, source: &str) -> u64 {
        self.lines.get(source).map_or(0, |line| line["failures"].as_u64().unwrap())
    }

    fn banned(&self, source: &str) -> bool {
        self.lines.get(source).is_some_and(|line| !line["banned_at_usec"].is_null())
    }
}

fn scenarios(recording: &str) -> Vec<Value> {
    let path = support::recordings().join(format!("{recording}.labels.json"));
    let labels: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    labels["scenarios"].as_array().unwrap().clone()
}

/// The source of an address as labels write it.
fn source(address: &str) -> String {
    let address: IpAddr = address.split('%').next().unwrap().parse().unwrap();
    match address {
        IpAddr::V6(v6) if !v6.is_unicast_link_local() => ipnet::Ipv6Net::new(v6, 64).unwrap().trunc().to_string(),
        other => other.to_string(),
    }
}

fn number(scenario: &Value, key: &str) -> u64 {
    scenario["truth"][key].as_u64().unwrap_or(0)
}
#[test]
fn print_it() {
    for r in ["sessions-openssh9.2", "sessions-openssh10.0"] {
        let journal = support::journal(r);
        let out = replay(&journal, "[default]\nmaxretry = 3\nipv6-prefix=128\n");
        println!("{r} {}", out.summary);
        for s in scenarios(r) {
            let a = s["addr"][0].as_str().unwrap_or("").split('%').next().unwrap().to_owned();
            let truth = number(&s, "password_failures") + number(&s, "kbdint_failures");
            if out.failures(&a) != truth {
                println!(
                    "{} {} truth {} got {} {}  {}",
                    s["id"],
                    a,
                    s["truth"],
                    out.failures(&a),
                    s["desc"],
                    out.lines.get(&a).map(|l| l["rules"].to_string()).unwrap_or_default()
                );
            }
        }
    }
}
