//! Numbers and others' text as people read them.

use std::fmt::Display;

/// A number with its noun: "1 ban", "2 bans". Every number that people read beside a noun goes through
/// this; tests/style.rs looks for those that do not.
pub fn count<N: Copy + Display + PartialEq + From<u8>>(number: N, one: &str, many: &str) -> String {
    let noun = if number == N::from(1) { one } else { many };
    format!("{number} {noun}")
}

/// Text of unknown origin, without anything that controls a terminal or ends a line.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
