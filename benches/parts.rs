//! What the parts cost: a record taken from the journal, a message read by the filter, a line of a
//! session, a failure in the window, a filter loaded with its proof.
//!
//! criterion takes the time of each. Then valgrind, where it is installed, counts the instructions,
//! which no other load disturbs: it runs this program once more for each part, twice, so that what comes
//! before and after is the same in both and falls out (`WARDEND_BENCH_PART` names the part).

#![allow(clippy::expect_used, reason = "a bench that expects in vain has nothing to measure")]

use std::{env, fs, hint::black_box, path::Path, process::Command, sync::Arc};

use criterion::{Criterion, Throughput};
use maker::Plan;
use serde_json::Value;
use wardend::testing::{
    self, Cursor, Engine, FieldId, Fields, Filter, FilterText, Jails, Position, Reader, Record, Step, Where,
};

#[path = "../tests/support/maker.rs"]
mod maker;

const SSHD: &str = include_str!("../filters/sshd.toml");
/// How often a part runs in the second count of its instructions; once in the first.
const TIMES: u64 = 4;

/// Something to be measured, and how many there are of it in one go.
struct Part {
    name: &'static str,
    elements: u64,
    run: Box<dyn FnMut()>,
}

fn main() {
    let scratch = tempfile::tempdir().expect("a directory");
    if let Ok(name) = env::var("WARDEND_BENCH_PART") {
        let (name, times) = name.split_once(':').expect("NAME:TIMES");
        let mut parts = parts(scratch.path());
        let part = parts.iter_mut().find(|part| part.name == name).expect("there is such a part");
        (0..times.parse().expect("a number")).for_each(|_| (part.run)());
        return;
    }
    memory();
    let mut criterion = Criterion::default().configure_from_args();
    let mut parts = parts(scratch.path());
    for Part { name, elements, run } in &mut parts {
        let mut group = criterion.benchmark_group("part");
        group.throughput(Throughput::Elements(*elements));
        group.bench_function(*name, |bencher| bencher.iter(&mut *run));
    }
    criterion.final_summary();
    instructions(&parts);
}

/// All parts, ready to run.
fn parts(scratch: &Path) -> Vec<Part> {
    let mut fields = Fields::default();
    let filter = load(&mut fields);
    let (hits, misses): (Vec<Record>, Vec<Record>) =
        records(&filter, &fields).into_iter().partition(|record| filter.read(record).is_some());
    let hostile = longest_name(&fields, &hits);
    let filter = Arc::new(filter);
    let reading = |name, records: Vec<Record>| {
        let filter = Arc::clone(&filter);
        let elements = records.len() as u64;
        let run = move || {
            black_box(records.iter().filter(|record| filter.read(black_box(record)).is_some()).count());
        };
        Part { name, elements, run: Box::new(run) }
    };
    let mut parts =
        vec![reading("filter, hit", hits), reading("filter, miss", misses), reading("filter, hostile", hostile)];
    parts.push(decoding(scratch));
    parts.push(deciding("session", "127.0.0.1"));
    parts.push(deciding("session and window", "203.0.113.7"));
    let run = || {
        black_box(load(&mut Fields::default()));
    };
    parts.push(Part { name: "filter loaded, with its proof", elements: 1, run: Box::new(run) });
    parts
}

fn load(fields: &mut Fields) -> Filter {
    Filter::load("sshd", &[FilterText::new("sshd.toml", SSHD)], fields).expect("the shipped filter is sound")
}

/// Records taken from a journal: half of sshd's a rule may read.
fn decoding(scratch: &Path) -> Part {
    let plan = Plan { records: 20_000, sources: 1_000, begin: 1_795_412_957_978_061, step: 400_000, seed: 7 };
    maker::make(plan, &scratch.join("system.journal"));
    let jails = Jails::shipped();
    let (place, fields) = (Where::Directory(scratch.to_owned()), Arc::clone(jails.fields()));
    let mut reader = Reader::open(&place, jails.filters(), fields).expect("it opens");
    let mut record = Record::default();
    let run = move || {
        reader.seek(&Position::Head).expect("it seeks");
        let mut records = 0;
        while reader.next(&mut record).expect("it reads") != Step::End {
            records += 1;
        }
        assert_eq!(black_box(records), plan.records / 2);
    };
    Part { name: "record decoded", elements: plan.records / 2, run: Box::new(run) }
}

/// Connections of one source through an engine: each fails once and closes. Who is never banned has
/// sessions, and no window.
fn deciding(name: &'static str, source: &'static str) -> Part {
    const CONNECTIONS: u64 = 1_000;
    let jails = Jails::shipped().with_maxretry(10);
    let mut records = Vec::new();
    for number in 0..CONNECTIONS {
        for (line, message) in [
            format!("Failed password for root from {source} port 4242 ssh2"),
            format!("Connection closed by authenticating user root {source} port 4242 [preauth]"),
        ]
        .iter()
        .enumerate()
        {
            // Hours apart: the window slides, and nobody is banned.
            let time = 1_795_412_957_978_061 + number * 3_600_000_000 + line as u64;
            let cursor = format!(
                "s=28444e2dcb874e5c9b78c69e2373aee2;i={:x};b=2f912356a2424dec8328a1f012cbcb78;m={:x};t={time:x};x={time:x}",
                2 * number + line as u64 + 1,
                time - 1_795_412_000_000_000,
            );
            let pid = u32::try_from(1000 + number).expect("there are not so many");
            records.push(testing::sshd(jails.fields(), time, cursor, pid, message));
        }
    }
    let elements = records.len() as u64;
    let run = move || {
        let mut engine = Engine::new(&jails);
        for record in &records {
            assert!(engine.record(black_box(record)));
        }
        assert_eq!(engine.ban_count(), 0);
    };
    Part { name, elements, run: Box::new(run) }
}

/// The records of the recordings that are this filter's, with all fields that it asks for.
fn records(filter: &Filter, fields: &Fields) -> Vec<Record> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut records = Vec::new();
    for name in ["sessions-openssh9.2", "sessions-openssh10.0", "injection-openssh9.2"] {
        let text = fs::read_to_string(folder.join(format!("{name}.jsonl"))).expect("the recording is there");
        for entry in text.lines() {
            let entry: Value = serde_json::from_str(entry).expect("a recording is JSON");
            let values = entry.as_object().expect("an entry is an object").iter();
            let texts = values.filter_map(|(name, value)| Some((name, value.as_str()?)));
            let record = Record::with(fields, 0, Cursor::from("c"), texts);
            if testing::asks_for(filter, &record) {
                records.push(record);
            }
        }
    }
    records
}

/// A copy with another message.
fn with_message(fields: &Fields, record: &Record, message: &[u8]) -> Record {
    let mut copy = Record::new(fields, 0, Cursor::from("c"));
    copy.set(FieldId::MESSAGE, message);
    for name in ["_TRANSPORT", "_UID", "SYSLOG_IDENTIFIER", "_SYSTEMD_UNIT", "_BOOT_ID", "_PID", "SYSLOG_PID"] {
        let Some(field) = fields.find(name.as_bytes()) else { continue };
        if let Some(value) = record.get(field) {
            copy.set(field, value);
        }
    }
    copy
}

/// A failed password whose user name holds as many ends of a message as there is room for.
fn longest_name(fields: &Fields, hits: &[Record]) -> Vec<Record> {
    let message = format!(
        "Failed password for invalid user {} from 203.0.113.7 port 1 ssh2",
        " from 10.66.0.1 port 1 ssh2".repeat(15)
    );
    let copies = hits.iter().take(1).map(|record| with_message(fields, record, message.as_bytes()));
    // One alone is less than what the order of a hash table changes from run to run.
    copies.flat_map(|record| std::iter::repeat_n(record, 1_000)).collect()
}

/// What a loaded filter keeps, after it has read: the growth of this process's own memory by many
/// of them, each having read every message once.
fn memory() {
    const FILTERS: u64 = 20;
    let private = || -> u64 {
        let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    let mut fields = Fields::default();
    let records = records(&load(&mut fields), &fields);
    let before = private();
    let filters: Vec<Filter> = (0..FILTERS).map(|_| load(&mut fields)).collect();
    for filter in &filters {
        assert!(records.iter().filter_map(|record| filter.read(record)).count() > 0);
    }
    println!("memory of one loaded filter   {} KiB", private().saturating_sub(before) / FILTERS);
}

/// How many instructions an element of each part takes.
fn instructions(parts: &[Part]) {
    if !Path::new("/usr/bin/valgrind").exists() {
        println!("left out: instruction counts (apt-get install valgrind)");
        return;
    }
    let this = env::current_exe().expect("/proc is mounted");
    println!("instructions");
    for Part { name, elements, .. } in parts {
        let count = |times: u64| -> u64 {
            let output = Command::new("valgrind")
                .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
                .arg(&this)
                .env("WARDEND_BENCH_PART", format!("{name}:{times}"))
                .output()
                .expect("valgrind starts");
            let text = String::from_utf8_lossy(&output.stderr);
            let collected = text.lines().find_map(|line| line.split("Collected : ").nth(1));
            collected.and_then(|count| count.trim().parse().ok()).expect("callgrind says how many")
        };
        let each = count(1 + TIMES).saturating_sub(count(1)) / (TIMES * elements);
        println!("{name:<30} {each:>10}");
    }
}
