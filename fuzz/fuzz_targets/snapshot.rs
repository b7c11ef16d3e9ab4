//! Any bytes as a saved state: nothing panics, and time passes in whatever was taken.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use wardend::{config::Settings, testing::check_snapshot};

fuzz_target!(|state: &[u8]| {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    let settings = SETTINGS.get_or_init(|| Settings::load(&[]).expect("the shipped configuration is right"));
    check_snapshot(state, settings.jails.clone());
});
