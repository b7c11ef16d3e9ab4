//! The manual pages, as far as this machine has what reads them: groff by man(1), and mandoc.

#![allow(clippy::expect_used, reason = "a test that expects in vain has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let of = |folder: &str| fs::read_dir(root.join(folder)).expect("there are pages").flatten().map(|page| page.path());
    let pages: Vec<PathBuf> = of("man").chain(of("fleet/man")).collect();
    assert!(pages.len() >= 6);
    pages
}

/// What a program complains of a page; nothing if there is no such program.
fn complaint(program: &str, options: &[&str], page: &Path) -> Option<String> {
    let output = Command::new(program).args(options).arg(page).env("LC_ALL", "C.UTF-8").output().ok()?;
    let complaint = [output.stderr, if program == "mandoc" { output.stdout } else { Vec::new() }].concat();
    Some(String::from_utf8_lossy(&complaint).into_owned())
}

#[test]
fn no_page_has_anything_to_warn_of() {
    for (program, options) in [
        ("man", &["--warnings", "--encoding=UTF-8", "--troff-device=utf8", "--ditroff", "--local-file"][..]),
        ("mandoc", &["-Tlint", "-Wwarning"]),
    ] {
        for page in pages() {
            match complaint(program, options, &page) {
                Some(complaint) => assert_eq!(complaint, "", "{program}: {}", page.display()),
                None => println!("left out: {program} is not installed"),
            }
        }
    }
}
