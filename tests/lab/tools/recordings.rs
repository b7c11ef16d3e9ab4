//! The main job without a machine: what `wardenctl replay` says of attacks that were recorded.

use std::path::Path;
use std::process::Command;

#[path = "../../support/mod.rs"]
mod support;

pub(crate) fn recordings() {
    let this = std::env::current_exe().expect("/proc is mounted");
    let wardenctl = this.ancestors().nth(2).expect("a program has a directory").join("wardenctl");
    for recording in ["sessions-openssh9.2", "sessions-openssh10.0", "injection-openssh9.2"] {
        println!("\n$ wardenctl replay --file {recording}.journal");
        let journal = support::journal(recording);
        let status = Command::new(&wardenctl).args([Path::new("replay"), Path::new("--file"), &journal]).status();
        assert!(status.expect("wardenctl is built").success(), "replay of {recording} fails");
        let _ = std::fs::remove_dir_all(journal.parent().expect("a file has a directory"));
    }
}
