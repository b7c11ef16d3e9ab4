//! What docs/style.md asks of prose, as far as patterns can tell.

#![allow(clippy::expect_used, reason = "a test that expects in vain has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use regex::RegexBuilder;

/// A pattern that keeps coming back, and what to write instead.
const PATTERNS: [(&str, &str); 10] = [
    (r"how manieth", "\"which ban of the source it is\", or a number"),
    (r"\banew\b", "\"again\", or a verb with \"re-\""),
    (r"\bfor ever\b", "\"permanently\""),
    (r"\b(he|his|him|himself)\b", "\"they\""),
    (r"\b(is|are) told\b", "\"is reported\", \"is logged\" or \"is asked to\""),
    (r"\b(has|have) the last word\b", "\"takes precedence\""),
    (r"^\s*(//[/!]?|#) (.*\b)?so many\b", "\"the number of …\""),
    (r#"("[^"]*|^[^"/]*)('|\b(which|that|this|it)) is no [a-z]"#, "\"is not a valid …\""),
    (r"\bbelongs? into\b", "\"belongs in\""),
    (r"\b(its|their) begin\b", "\"beginning\" or \"start\""),
];

/// "is no longer" and its like.
const PROPER: [&str; 4] = ["is no longer", "is no more", "is no such", "is no need"];

fn files(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory is readable").flatten() {
            files(&entry.path(), found);
        }
    } else {
        found.push(path.to_owned());
    }
}

#[test]
fn patterns_that_keep_coming_back_are_rejected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for part in [
        "src",
        "fleet",
        "man",
        "units",
        "dbus",
        "docs",
        "filters",
        "cockpit",
        "packaging",
        "benches",
        "tests",
        "fuzz/fuzz_targets",
        "Makefile",
        "CHANGELOG.md",
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ] {
        files(&root.join(part), &mut found);
    }
    // What others wrote, and this file.
    let foreign =
        ["tests/recordings/", "tests/import/", "tests/style.rs", "cockpit/package-lock.json", "cockpit/node_modules"]
            .map(|path| root.join(path));
    found.retain(|file| {
        file.extension().is_none_or(|kind| kind != "webp") && !foreign.iter().any(|path| file.starts_with(path))
    });
    assert!(found.len() > 100, "the tree is read");
    let patterns = PATTERNS.map(|(pattern, instead)| {
        (RegexBuilder::new(pattern).case_insensitive(true).build().expect("it is a pattern"), instead)
    });
    let mut wrong = Vec::new();
    for file in found {
        let text = fs::read_to_string(&file).expect("a source is text");
        for (number, line) in text.lines().enumerate() {
            // The name of a test is a sentence.
            let line = line.replace('_', " ");
            let line = PROPER.iter().fold(line, |line, proper| line.replace(proper, ""));
            for (pattern, instead) in &patterns {
                if pattern.is_match(&line) {
                    wrong.push(format!("{}:{}: write {instead}: {}", file.display(), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is counted before people's eyes. After a number that may be 1, each of these is wrong.
const COUNTED: &str = "addresses|attempts|bans|bytes|connections|days|entries|events|failures|filters|handlers|hosts|\
                       hours|jails|lines|messages|minutes|names|networks|problems|records|rules|seconds|sessions|sources|words";

/// Numbers that are not 1: constants, and what is reported because it is too much or too little; and what is not a
/// number.
const NEVER_ONE: [&str; 14] = [
    "{entries} entries; wardend keeps at most",
    "addresses.len()",
    "{0} seconds; write more than zero",
    "({} bytes) the filter takes too long",
    "{size} bytes",
    "{length} bytes",
    "more than {0} bytes",
    "is {0} bytes long",
    "holds {0} entries",
    "ports has {0} entries",
    "within {} seconds",
    "# UNIT {",
    "} bans it",
    "} bans at",
];

#[test]
fn a_number_and_its_noun_agree() {
    let number =
        format!(r"\{{[a-z_.0-9()]*(:[^}}]*)?\}} ((of \{{[^}}]*\}}|more|open|new|other|lost|wrong) )*({COUNTED})\b");
    let number = RegexBuilder::new(&number).build().expect("it is a pattern");
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let mut wrong = Vec::new();
    for file in found.iter().filter(|file| !file.to_string_lossy().contains("test")) {
        let text = fs::read_to_string(file).expect("a source is text");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (at, line) in text.lines().enumerate() {
            let comment = line.trim_start().starts_with("//");
            if number.is_match(line) && !comment && !NEVER_ONE.iter().any(|proper| line.contains(proper)) {
                wrong.push(format!("{}:{}: use util::text::count: {}", file.display(), at + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(number.is_match("{} open sessions") && number.is_match("{others} of {limit} failures for"));
}

#[test]
fn each_pattern_finds_what_it_is_for() {
    let samples = [
        "the how manieth ban",
        "read anew",
        "banned for ever",
        "what he types",
        "an admin is told",
        "the file has the last word",
        "    /// So many failures",
        "\"'x' is no port\"",
        "it belongs into the list",
        "their begin, and their end",
    ];
    for ((pattern, _), sample) in PATTERNS.iter().zip(samples) {
        let pattern = RegexBuilder::new(pattern).case_insensitive(true).build().expect("it is a pattern");
        assert!(pattern.is_match(sample), "{sample}");
    }
}
