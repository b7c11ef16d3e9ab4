//! The words for wardend's records in the journal, as `wardenctl events` has them, and their fields as JSON.

use serde_json::{Map, Value};

use super::journal::{
    BAD_CONFIG, BAN, CLOCK_SET, CROWDED, CUT, EXTENDED, FIREWALL_BACK, FIREWALL_LOST, FIREWALL_REPAIRED, IGNORED,
    IN_FORCE, JOURNAL_GONE, JOURNAL_LOSS, JOURNAL_REOPENED, LEAK, LIST_TAKEN, NO_ADDRESS, NO_CLIENT_NAME, NO_STATE,
    NOT_CUT, PAUSED, PROBLEM, PROBLEM_GONE, READ_AGAIN, REFUSED, RELOADED, RESUMED, SNAPSHOT, SNAPSHOT_BACK, SPARED,
    SUSPECTED, UNBAN, UNIGNORED, UNREAD, UNSUSPECTED, WITHHELD,
};
use crate::core::time::{USEC_PER_SEC, Usec};

/// The word for a kind of record, by its MESSAGE_ID. A kind that only a newer daemon writes has none.
const WORDS: [(&str, &str); 36] = [
    (BAN, "banned"),
    (UNBAN, "unbanned"),
    (EXTENDED, "extended"),
    (LIST_TAKEN, "list"),
    (IN_FORCE, "in-force"),
    (CUT, "cut"),
    (NOT_CUT, "not-cut"),
    (SPARED, "spared"),
    (LEAK, "leak"),
    (WITHHELD, "withheld"),
    (IGNORED, "ignored"),
    (UNIGNORED, "unignored"),
    (SUSPECTED, "suspected"),
    (UNSUSPECTED, "unsuspected"),
    (PAUSED, "paused"),
    (RESUMED, "resumed"),
    (PROBLEM, "degraded"),
    (PROBLEM_GONE, "healthy"),
    (FIREWALL_LOST, "degraded"),
    (FIREWALL_BACK, "healthy"),
    (FIREWALL_REPAIRED, "repaired"),
    (JOURNAL_LOSS, "lost"),
    (JOURNAL_GONE, "lost"),
    (JOURNAL_REOPENED, "reopened"),
    (SNAPSHOT, "state"),
    (SNAPSHOT_BACK, "state"),
    (NO_STATE, "state"),
    (CROWDED, "crowded"),
    (CLOCK_SET, "clock-set"),
    (RELOADED, "reloaded"),
    (BAD_CONFIG, "refused"),
    (REFUSED, "refused"),
    (NO_ADDRESS, "unresolved"),
    (UNREAD, "bus"),
    (READ_AGAIN, "bus"),
    (NO_CLIENT_NAME, "bus"),
];

/// How long a problem may take to be reported again after a restart, if it is still there: some are looked
/// for only once a minute.
pub(crate) const COMES_BACK: Usec = 180 * USEC_PER_SEC;

/// The word for a MESSAGE_ID.
pub(crate) fn word(id: &str) -> &'static str {
    WORDS.iter().find(|(known, _)| *known == id).map_or("other", |(_, word)| word)
}

/// All words, each once.
pub(crate) fn words() -> Vec<&'static str> {
    let mut words: Vec<_> = WORDS.iter().map(|(_, word)| *word).chain(["other"]).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// The promise that a record is about, if it says whether wardend keeps one.
pub(crate) fn problem<'r>(id: &str, field: &'r str) -> Option<&'r str> {
    match id {
        FIREWALL_LOST | FIREWALL_BACK => Some("firewall"),
        PROBLEM | PROBLEM_GONE => Some(field),
        _ => None,
    }
}

/// The name and the value of a field in JSON. Times end in `_usec`; the end of a permanent ban is null.
pub(crate) fn field(name: &str, value: &str) -> Option<(String, Value)> {
    let name = name.strip_prefix("WARDEND_")?.to_ascii_lowercase();
    let number = |value: &str| value.parse::<i64>().map_or_else(|_| Value::from(value), Value::from);
    Some(match name.as_str() {
        "since" => ("since_usec".to_owned(), number(value)),
        "until" if value == "infinity" => ("until_usec".to_owned(), Value::Null),
        "until" => ("until_usec".to_owned(), number(value)),
        "ban_count" => ("count".to_owned(), number(value)),
        "evidence" => (name, value.split_ascii_whitespace().map(Value::from).collect()),
        "failures" | "lost" | "bans" | "uid" => (name, number(value)),
        _ if name.ends_with("_usec") => (name, number(value)),
        _ => (name, Value::from(value)),
    })
}

/// All fields of a record as JSON.
pub(crate) fn fields<'f>(fields: impl Iterator<Item = (&'f str, &'f str)>) -> Map<String, Value> {
    fields.filter_map(|(name, value)| field(name, value)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_is_listed_once_and_an_unknown_one_has_a_word_too() {
        let ids: BTreeSet<&str> = WORDS.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids.len(), WORDS.len());
        assert_eq!((word(BAN), word("0123456789abcdef0123456789abcdef")), ("banned", "other"));
        assert_eq!(
            (problem(FIREWALL_LOST, ""), problem(PROBLEM, "journal"), problem(BAN, "")),
            (Some("firewall"), Some("journal"), None)
        );
    }

    #[test]
    fn fields_have_types_in_json() {
        let record = [
            ("WARDEND_SOURCE", "203.0.113.7"),
            ("WARDEND_UNTIL", "infinity"),
            ("WARDEND_SINCE", "12"),
            ("WARDEND_BAN_COUNT", "2"),
            ("WARDEND_CLOCK_USEC", "-5"),
            ("WARDEND_EVIDENCE", "a b"),
            ("MESSAGE", "left out"),
        ];
        let expected = json!({
            "source": "203.0.113.7", "until_usec": null, "since_usec": 12, "count": 2, "clock_usec": -5, "evidence": ["a", "b"],
        });
        assert_eq!(Value::Object(fields(record.into_iter())), expected);
    }
}
