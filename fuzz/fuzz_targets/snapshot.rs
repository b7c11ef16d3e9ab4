//! Any bytes as a saved state: nothing panics, and time passes in whatever was taken.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use wardend::testing::{Jails, check_snapshot};

fuzz_target!(|state: &[u8]| {
    static JAILS: OnceLock<Jails> = OnceLock::new();
    check_snapshot(state, JAILS.get_or_init(Jails::shipped));
});
