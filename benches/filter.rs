//! What a filter costs: to load, with its proof, and for each message.
//!
//! The messages are those of the recordings that the journal matches let through, in their order.
//! Below are the floor and what was not taken: one pass of a set automaton over all patterns says
//! only which rule it is, and costs more than the whole reading.

#![allow(clippy::expect_used, reason = "a bench that expects in vain has nothing to measure")]

use std::{fs, hint::black_box, path::Path};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use wardend::{
    filter::{Filter, FilterText},
    record::{Cursor, FieldId, Fields, Record},
};

const SSHD: &str = include_str!("../filters/sshd.toml");

fn load(fields: &mut Fields) -> Filter {
    Filter::load("sshd", &[FilterText::new("sshd.toml", SSHD)], fields).expect("the shipped filter is sound")
}

/// The records of the recordings that are this filter's, with all fields that it asks for.
fn records(filter: &Filter, fields: &Fields) -> Vec<Record> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut records = Vec::new();
    for name in ["sessions-openssh9.2", "sessions-openssh10.0", "injection-openssh9.2"] {
        let text = fs::read_to_string(folder.join(format!("{name}.jsonl"))).expect("the recording is there");
        for entry in text.lines() {
            let entry: Value = serde_json::from_str(entry).expect("a recording is JSON");
            let mut record = Record::new(fields, 0, Cursor::from("c"));
            for (name, value) in entry.as_object().expect("an entry is an object") {
                if let (Some(field), Value::String(value)) = (fields.find(name.as_bytes()), value) {
                    record.set(field, value.as_bytes());
                }
            }
            if filter.records.matches(&record) {
                records.push(record);
            }
        }
    }
    records
}

fn messages(criterion: &mut Criterion) {
    let mut fields = Fields::default();
    let filter = load(&mut fields);
    let (hits, misses): (Vec<Record>, Vec<Record>) =
        records(&filter, &fields).into_iter().partition(|record| filter.read(record).is_some());
    let longest = longest_name(&fields, &hits);

    let mut group = criterion.benchmark_group("message");
    for (name, records) in [("hit", &hits), ("miss", &misses), ("hostile", &longest)] {
        group.throughput(Throughput::Elements(records.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| records.iter().filter(|record| filter.read(black_box(record)).is_some()).count());
        });
    }
    let foreign: Vec<Record> = misses.iter().map(|record| with_message(&fields, record, b"", false)).collect();
    group.throughput(Throughput::Elements(foreign.len() as u64));
    group.bench_function("record-of-others", |bencher| {
        bencher.iter(|| foreign.iter().filter(|record| filter.read(black_box(record)).is_some()).count());
    });
    group.finish();
}

/// A copy with another message; `own` says whether it still is this filter's.
fn with_message(fields: &Fields, record: &Record, message: &[u8], own: bool) -> Record {
    let mut copy = Record::new(fields, 0, Cursor::from("c"));
    copy.set(FieldId::MESSAGE, message);
    for name in ["_TRANSPORT", "_UID", "SYSLOG_IDENTIFIER", "_SYSTEMD_UNIT", "_BOOT_ID", "_PID", "SYSLOG_PID"] {
        let (Some(field), true) = (fields.find(name.as_bytes()), own || name != "_UID") else { continue };
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
    hits.first().map(|record| with_message(fields, record, message.as_bytes(), true)).into_iter().collect()
}

fn loading(criterion: &mut Criterion) {
    criterion.bench_function("load with proof", |bencher| {
        bencher.iter_batched(Fields::default, |mut fields| load(&mut fields), BatchSize::SmallInput);
    });
}

/// What a loaded filter keeps, after it has read: the growth of this process's own memory by many
/// of them, each having read every message once.
fn memory(_: &mut Criterion) {
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

criterion_group!(benches, memory, messages, loading);
criterion_main!(benches);
