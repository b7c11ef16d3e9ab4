//! Reading and deciding, beside the floor.
//!
//! One journal, made of recorded sshd sessions repeated over and over, is read by three loops in
//! turn, several times over: a bare one that does no more than libsystemd must (the same matches,
//! `next`, MESSAGE), the reader that makes records, and the whole way to the bans. What counts is
//! the ratio: all three run side by side on the same machine.

#![allow(clippy::expect_used, reason = "a bench that expects in vain has nothing to measure")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use systemd::journal::OpenFilesOptions;
use wardend::{
    config::Settings,
    engine::Engine,
    filter::Filter,
    journal::{Entry, Position, Reader, Where},
};

#[path = "../tests/support/mod.rs"]
mod support;

/// How often the recording is repeated: about 25,000 records, 16,000 of them of sshd.
const REPEATS: u64 = 20;
/// How often each loop runs.
const RUNS: usize = 11;

fn main() {
    let file = journal();
    let settings = Settings::load(&[]).expect("the shipped configuration is right");
    let filters: Vec<Arc<Filter>> = settings.jails.iter().map(|jail| jail.filter.clone()).collect();
    let mut loops: [(&str, Vec<Duration>, u64); 3] =
        [("floor", Vec::new(), 0), ("reader", Vec::new(), 0), ("replay", Vec::new(), 0)];
    for _ in 0..RUNS {
        for (name, times, records) in &mut loops {
            let start = Instant::now();
            *records = match *name {
                "floor" => floor(&file, &filters),
                "reader" => read(&file, &filters, &settings, |_| ()),
                _ => {
                    let mut engine = Engine::new(settings.jails.clone());
                    let mut effects = Vec::new();
                    read(&file, &filters, &settings, |record| {
                        engine.record(record, &mut effects);
                        effects.clear();
                    })
                }
            };
            times.push(start.elapsed());
        }
    }
    let median = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort_unstable();
        times[times.len() / 2]
    };
    let floor = median(&loops[0].1);
    println!("{:<8} {:>9} {:>12} {:>8}   ({RUNS} runs each, medians)", "loop", "records", "µs/record", "ratio");
    for (name, times, records) in &loops {
        let time = median(times);
        #[expect(clippy::cast_precision_loss, reason = "some ten thousand records")]
        let each = time.as_secs_f64() * 1e6 / *records as f64;
        println!("{name:<8} {records:>9} {each:>12.2} {:>8.2}", time.as_secs_f64() / floor.as_secs_f64());
    }
}

/// libsystemd and nothing else.
fn floor(file: &Path, filters: &[Arc<Filter>]) -> u64 {
    let name = std::ffi::CString::new(file.to_str().expect("the path is text")).expect("and has no zero byte");
    let mut journal = OpenFilesOptions::default().open_files([name]).expect("the journal opens");
    for (field, _, values) in &filters[0].records.fields {
        for value in values {
            journal.match_add(field, value.as_str()).expect("a match");
        }
    }
    let (mut records, mut bytes) = (0, 0);
    while journal.next().expect("the journal reads") != 0 {
        if let Some(message) = journal.get_data(c"MESSAGE").expect("the entry reads") {
            bytes += message.data().len();
        }
        records += 1;
    }
    assert!(bytes > 0);
    records
}

fn read(
    file: &Path,
    filters: &[Arc<Filter>],
    settings: &Settings,
    mut each: impl FnMut(&wardend::record::Record),
) -> u64 {
    let journal = Where::Files(vec![file.to_owned()]);
    let filters = filters.iter().map(AsRef::as_ref);
    let mut reader = Reader::open(&journal, filters, settings.fields.clone()).expect("the journal opens");
    reader.seek(&Position::Head).expect("the journal seeks");
    let mut records = 0;
    while let Some(entry) = reader.next().expect("the journal reads") {
        if let Entry::Record(record) = entry {
            each(&record);
            records += 1;
        }
    }
    records
}

/// The recording, repeated: each time an hour later.
fn journal() -> std::path::PathBuf {
    const HOUR: u64 = 3_600_000_000;
    let text = std::fs::read_to_string(support::recordings().join("sessions-openssh10.0.jsonl")).expect("a recording");
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let later = |value: &Value, repeat: u64| {
        let time: u64 = value.as_str().and_then(|time| time.parse().ok()).expect("a time");
        Value::String((time + repeat * HOUR).to_string())
    };
    let repeated = (0..REPEATS).flat_map(|repeat| {
        entries.iter().map(move |entry| {
            let mut entry = entry.clone();
            for field in ["__REALTIME_TIMESTAMP", "__MONOTONIC_TIMESTAMP"] {
                entry[field] = later(&entry[field], repeat);
            }
            entry
        })
    });
    support::journal_of("bench", repeated)
}
