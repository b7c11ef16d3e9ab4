//! Any bytes as a message of sshd's: nothing panics, and an address that the shipped filter reads
//! stands in the message.

#![no_main]

use std::{net::IpAddr, sync::OnceLock};

use libfuzzer_sys::fuzz_target;
use wardend::testing::{Fields, Filter, FilterText, of_filter};

const SSHD: &str = include_str!("../../filters/sshd.toml");

fn sshd() -> &'static (Filter, Fields) {
    static SSHD_FILTER: OnceLock<(Filter, Fields)> = OnceLock::new();
    SSHD_FILTER.get_or_init(|| {
        let mut fields = Fields::default();
        let text = FilterText::new("sshd.toml", SSHD);
        let filter = Filter::load("sshd", &[text], &mut fields).expect("the shipped filter is sound");
        (filter, fields)
    })
}

/// Whether some part of the message is the address, however it is written.
fn stands_in(address: IpAddr, message: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || b".:".contains(byte);
    let words = message.split(|byte| !is_part(byte)).filter_map(|word| std::str::from_utf8(word).ok());
    let mut parts = words.flat_map(|word| {
        (0..word.len()).flat_map(move |from| (from..=word.len().min(from + 45)).map(move |to| &word[from..to]))
    });
    parts.any(|part| part.parse::<IpAddr>().is_ok_and(|it| it.to_canonical() == address))
}

fuzz_target!(|message: &[u8]| {
    let (filter, fields) = sshd();
    let record = of_filter(filter, fields, message);
    if let Some(address) = filter.read(&record).and_then(|sighting| sighting.address) {
        assert!(stands_in(address, message), "{address} was read in {}", message.escape_ascii());
    }
});
