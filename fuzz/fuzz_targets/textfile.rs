//! Any bytes as a text file that wardend-file brings into the journal: nothing panics, no byte is lost or read
//! twice, and each line becomes the message of one record, and nothing else of it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| wardend::file::check(bytes));
