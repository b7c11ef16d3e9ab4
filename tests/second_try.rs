//! What `tests/lab/twice` makes of scenarios that fail: what is broken still fails, and what passes the second
//! time is named. A shell script stands for cargo here.

#![allow(clippy::expect_used, reason = "a test that expects in vain has failed")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

/// Fails the scenarios in `fail-1` in the first run and those in `fail-2` in the second, as libtest does, and
/// keeps what it was asked for.
const CARGO: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
echo x >>runs
run=$(grep -c . runs)
echo "$@" >"asked-$run"
echo "test result: of run $run"
[ -s "fail-$run" ] || exit 0
printf 'failures:\n\n---- of one stdout ----\n    not::one of them\n\nfailures:\n'
sed 's/^/    /' "fail-$run"
exit 101
"#;

/// The code, what it says, and what cargo was asked for in the second run.
fn twice(first: &str, second: &str) -> (Option<i32>, String, Option<String>) {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let file = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("it is writable");
    file("cargo", CARGO);
    file("fail-1", first);
    file("fail-2", second);
    let cargo = fs::Permissions::from_mode(0o755);
    fs::set_permissions(directory.path().join("cargo"), cargo).expect("it was written");
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").expect("there is a PATH"));
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/twice"))
        .args(["--test-threads", "3"])
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", directory.path())
        .output()
        .expect("sh starts");
    let asked = fs::read_to_string(directory.path().join("asked-2")).ok();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), asked)
}

#[test]
fn scenarios_that_pass_are_run_once() {
    let (code, said, again) = twice("", "");
    assert_eq!((code, again), (Some(0), None));
    assert!(!said.contains("UNSTEADY") && said.contains("of run 1"), "{said}");
}

#[test]
fn one_that_passes_the_second_time_is_named() {
    let (code, said, again) = twice("debian12::a_b\ndebian14::c\n", "");
    assert_eq!(code, Some(0));
    assert!(said.contains("UNSTEADY, failed once and passed once, to be traced: debian12::a_b debian14::c"), "{said}");
    let again = again.expect("they are tried again");
    assert!(again.trim().ends_with("--test-threads 1 --exact debian12::a_b debian14::c"), "{again}");
}

#[test]
fn one_that_fails_twice_fails() {
    let (code, said, again) = twice("debian12::a_b\n", "debian12::a_b\n");
    assert_eq!(code, Some(1));
    assert!(again.is_some() && !said.contains("UNSTEADY"), "{said}");
}

#[test]
fn more_than_chance_explains_are_not_tried_again() {
    let (code, said, again) = twice("debian12::a\ndebian12::b\ndebian13::a\ndebian13::b\n", "");
    assert_eq!((code, again), (Some(1), None), "{said}");
}
