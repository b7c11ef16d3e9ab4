//! A machine under attack, for people who want to see it once.
//!
//! It boots a release with wardend on it and shows what happens there.

use crate::machine::{Machine, Release};

pub(crate) fn demo(release: Release) {
    let machine = Machine::boot(release);
    println!("{} is up: {}", release.name(), machine.run("uname -a").trim());
}
