//! Any bytes as messages of other machines: nothing panics, and nothing is held beyond the policy. A message
//! that can be read is written as it can be read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wardend_fleet::core::{fleet::Fleet, message::Message, policy::Policy};

const NOW: u64 = 1_800_000_000;

fuzz_target!(|bytes: &[u8]| {
    let policy = Policy { voices: 50, machine_voices: 20, machines: 3, ..Policy::default() };
    let mut fleet = Fleet::new("me", policy);
    // Messages are apart by a zero byte; the first byte of each says whose it is and when it comes.
    for (at, part) in bytes.split(|byte| *byte == 0).enumerate() {
        let Some((head, message)) = part.split_first() else { continue };
        let now = NOW + at as u64 + u64::from(head >> 4) * 100;
        fleet.receive(["a", "b", "c", "d"][usize::from(head & 3)], message, head & 4 != 0, now);
        if head & 8 != 0 {
            fleet.tick(now);
            fleet.wanted(now);
        }
        for source in fleet.take_touched(usize::MAX) {
            fleet.decide(&source, now);
            fleet.voices(&source);
        }
        let held: usize = ["a", "b", "c", "d"].iter().filter_map(|name| fleet.ledger(name)).map(|it| it.len()).sum();
        assert!(held == fleet.entries() && held <= 50, "{held} entries are held");
        if let Ok(read) = Message::parse(message) {
            let again = Message::parse(&read.write()).expect("what was written can be read");
            assert_eq!(again, read);
        }
    }
});
