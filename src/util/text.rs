//! Numbers as people read them.

/// A number with its noun: "1 ban", "2 bans".
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
