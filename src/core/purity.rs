//! Holds the core to what it says of itself: every file of it is read, without its tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What does I/O, waits, or reads a clock.
const IMPURE: [&str; 17] = [
    "tokio",
    "zbus",
    "systemd::",
    "jiff",
    "rustix",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixDatagram",
    "SystemTime",
    "Instant",
    "async ",
];

/// The rooms that the core stands on, and itself.
const BELOW: [&str; 5] = ["core", "util::fnv", "util::packed", "util::suggest", "util::text"];

/// What is compiled into the program: a file's text without comments, and without what begins at
/// `#[cfg(test)]` and ends with the item.
fn production(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let indent = &line[..line.len() - line.trim_start().len()];
            let closing = format!("{indent}}}");
            // Either a declaration on the next lines, or a block that closes at this indentation.
            for line in lines.by_ref() {
                if line.ends_with(';') && line.starts_with(indent) && !line[indent.len()..].starts_with(' ')
                    || line == closing
                {
                    break;
                }
            }
            continue;
        }
        if !line.trim_start().starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The paths from the root of the crate that a text names, those in braces as well.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in text.split("crate::").skip(1) {
        collect("", rest, &mut found);
    }
    found
}

/// Reads one path or a group of them at the beginning of a text; gives back what follows.
fn collect<'t>(before: &str, text: &'t str, found: &mut Vec<String>) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            if rest.is_empty() {
                return rest;
            }
            rest = collect(before, rest, found).trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = if before.is_empty() { name.to_owned() } else { format!("{before}::{name}") };
    match rest.strip_prefix("::") {
        Some(rest) => collect(&path, rest, found),
        None => {
            found.push(path);
            // At least one character, or a group with something unknown in it would never end.
            if end == 0 { rest.get(1..).unwrap_or_default() } else { rest }
        }
    }
}

/// What a text does that the core must not.
fn faults(text: &str) -> Vec<String> {
    let text = production(text);
    let mut faults: Vec<String> = IMPURE.iter().filter(|word| text.contains(**word)).map(ToString::to_string).collect();
    let allowed = |path: &str| {
        BELOW.iter().any(|room| path == *room || path.strip_prefix(room).is_some_and(|rest| rest.starts_with("::")))
    };
    faults.extend(paths(&text).into_iter().filter(|path| !allowed(path)).map(|path| format!("crate::{path}")));
    faults
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if name != "tests" {
                files(&path, found);
            }
        } else if name != "tests.rs" && name != "purity.rs" {
            found.push(path);
        }
    }
}

#[test]
fn the_core_does_no_io_reads_no_clock_and_knows_no_room_above_it() {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core"), &mut found);
    assert!(found.len() > 30, "{found:?}");
    for file in found {
        let faults = faults(&fs::read_to_string(&file).unwrap());
        assert!(faults.is_empty(), "{}: {faults:?}", file.display());
    }
}

#[test]
fn what_is_impure_is_found_wherever_it_stands() {
    for (text, fault) in [
        ("use tokio::sync::mpsc;", "tokio"),
        ("use std::{\n    fs,\n    net::TcpStream,\n};", "TcpStream"),
        ("let now = std::time::Instant::now();", "Instant"),
        ("use crate::daemon::run;", "crate::daemon::run"),
        ("use crate::{\n    core::time::Usec,\n    util::{text::count, time::now},\n};", "crate::util::time::now"),
        ("let text = crate::util::time::format(usec);", "crate::util::time::format"),
        ("#[cfg(test)]\nmod tests {\n    use tokio::sync;\n}\n\nuse zbus::proxy;", "zbus"),
        ("#[cfg(test)]\nmod tests;\nuse zbus::proxy;", "zbus"),
    ] {
        assert_eq!(faults(text), [fault], "{text}");
    }
    for text in [
        "// An Instant would be wrong here.\nuse crate::core::{self, time::{USEC_PER_SEC, Usec}};",
        "#[cfg(test)]\nmod tests {\n    use std::fs;\n    use crate::config::Settings;\n}\n",
        "use crate::util::{fnv, suggest::instead};",
    ] {
        assert_eq!(faults(text), [""; 0], "{text}");
    }
}
