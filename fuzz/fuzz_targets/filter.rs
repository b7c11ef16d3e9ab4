//! Any text as a filter file: nothing panics, and a refusal is a sentence with its line. What
//! loads is asked to read a message.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wardend::testing::{Fields, Filter, FilterText, of_filter};

fuzz_target!(|text: &str| {
    let mut fields = Fields::default();
    match Filter::load("fuzz", &[FilterText::new("fuzz.toml", text)], &mut fields) {
        Ok(filter) => {
            let message = "Failed password for root from 203.0.113.7 port 4242 ssh2";
            let _ = filter.read(&of_filter(&filter, &fields, message));
        }
        Err(error) => assert!(error.line > 0 && error.what.ends_with(['.', '?']), "{error}"),
    }
});
