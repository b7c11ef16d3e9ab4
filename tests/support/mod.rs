//! What several test crates share: recorded journals, turned into real ones.
//!
//! A recording is the output of `journalctl -o json --all`. `systemd-journal-remote` makes a
//! journal file of it, with all its trusted fields, so the tests read recordings with the very
//! reader that the daemon has.

#![allow(
    clippy::expect_used,
    unreachable_pub,
    dead_code,
    reason = "shared by crates that use parts of it, and fail by it"
)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// The folder of recordings.
pub fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings")
}

/// A recording as a journal file, in a folder of its own.
pub fn journal(recording: &str) -> PathBuf {
    let text = fs::read_to_string(recordings().join(format!("{recording}.jsonl"))).expect("the recording is there");
    let entries = text.lines().map(|line| serde_json::from_str(line).expect("a recording is JSON"));
    journal_of(recording, entries)
}

/// A journal file made of entries as `journalctl -o json` prints them.
pub fn journal_of(name: &str, entries: impl Iterator<Item = Value>) -> PathBuf {
    // Cargo gives tests a folder for such things, and examples none.
    let scratch = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = scratch.join(format!("wardend-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("the test's folder can be made");
    let file = directory.join("system.journal");
    if file.exists() {
        fs::remove_file(&file).expect("the earlier journal can be removed");
    }
    let export: Vec<u8> = entries.flat_map(|entry| export(&entry)).collect();
    let remote = ["/usr/lib/systemd/systemd-journal-remote", "/lib/systemd/systemd-journal-remote"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("systemd-journal-remote is installed (apt-get install systemd-journal-remote)");
    let mut child = Command::new(remote)
        .args(["--split-mode=none", "--compress=no", "--output"])
        .args([&file, Path::new("-")])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("systemd-journal-remote starts");
    child.stdin.take().expect("it has an input").write_all(&export).expect("it takes the entries");
    assert!(child.wait().expect("it ends").success(), "systemd-journal-remote made a journal of {name}");
    file
}

/// One entry in the journal export format (systemd.io/JOURNAL_EXPORT_FORMATS).
fn export(entry: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in entry.as_object().expect("an entry is an object") {
        for value in values(value) {
            out.extend(name.as_bytes());
            if value.iter().all(|byte| (0x20..0x7f).contains(byte) || *byte == b'\t') {
                out.push(b'=');
            } else {
                out.push(b'\n');
                out.extend((value.len() as u64).to_le_bytes());
            }
            out.extend(value);
            out.push(b'\n');
        }
    }
    out.push(b'\n');
    out
}

/// The values of a field: a text, bytes as numbers, or several of these.
fn values(value: &Value) -> Vec<Vec<u8>> {
    match value {
        Value::String(text) => vec![text.as_bytes().to_vec()],
        Value::Array(bytes) if bytes.iter().all(Value::is_number) => {
            vec![bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect()]
        }
        Value::Array(several) => several.iter().flat_map(values).collect(),
        _ => Vec::new(),
    }
}
