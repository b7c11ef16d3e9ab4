//! Any bytes as a set-up of fail2ban: nothing panics, and what is made of it is TOML.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| wardend::testing::read_fail2ban(bytes));
