//! A batch as people read it.
//!
//! What an attacker may have chosen (a user name, where the handler asks for it) is shown without
//! anything that controls a terminal, and never longer than a line.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::received::Received;
use crate::{core::time::Usec, util::time::format};

/// The longest sentence that is shown of an event.
const LONGEST: usize = 500;
/// The most lines of commands.
const MOST_COMMANDS: usize = 10;

fn word<'e>(event: &'e Map<String, Value>, name: &str) -> &'e str {
    event.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(event: &Map<String, Value>, name: &str) -> Option<u64> {
    event.get(name).and_then(Value::as_u64)
}

/// Text in one line, and without controls.
fn plain(text: &str) -> String {
    let mut out: String = text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

/// The subject of a mail, the title of a message.
pub(super) fn title(batch: &Received) -> String {
    let test = if batch.head.test { "Test: " } else { "" };
    format!("{test}wardend on {}: {}", batch.head.host, batch.head.summary)
}

/// Why a source was banned.
fn why(event: &Map<String, Value>) -> String {
    let message = word(event, "message");
    let (failures, rule) = (number(event, "failures").unwrap_or(0), word(event, "rule"));
    if !message.is_empty() {
        // "Banned … until …: WHY."
        let why = message.split_once(": ").map_or(message, |(_, why)| why);
        return plain(why.trim_end_matches('.'));
    }
    let [one, many, by] =
        if word(event, "counted") == "bans" { ["ban", "bans", "in jail "] } else { ["failure", "failures", ""] };
    let rule = if rule.is_empty() { String::new() } else { format!(", the last {by}{rule}") };
    plain(&format!("{failures} {}{rule}", if failures == 1 { one } else { many }))
}

fn until(event: &Map<String, Value>) -> String {
    number(event, "until_usec").map_or_else(|| "permanent".to_owned(), format)
}

fn time(event: &Map<String, Value>) -> String {
    number(event, "time_usec").map_or_else(String::new, |usec: Usec| format(usec))
}

/// A point in time as journalctl takes it, in local time.
fn second(usec: Usec) -> String {
    format(usec).split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// The bans as a table.
fn bans(events: &[&Map<String, Value>], text: &mut String) {
    let rows: Vec<[String; 5]> = events
        .iter()
        .map(|event| {
            let count = number(event, "count").unwrap_or(1).to_string();
            [plain(word(event, "source")), plain(word(event, "jail")), until(event), count, why(event)]
        })
        .collect();
    let header = ["SOURCE", "JAIL", "UNTIL", "BAN", "WHY"];
    let mut widths = header.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in std::iter::once(&header.map(str::to_owned)).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell}{}", " ".repeat(width - cell.chars().count() + 2));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// The whole batch.
pub(super) fn body(batch: &Received) -> String {
    let mut text = String::new();
    let (banned, others): (Vec<_>, Vec<_>) = batch.events.iter().partition(|event| word(event, "event") == "banned");
    for event in &others {
        let message = word(event, "message");
        if word(event, "event") == "digest" {
            for line in message.lines() {
                let _ = writeln!(text, "{}", plain(line));
            }
        } else {
            let _ = writeln!(text, "{}  {}", time(event), plain(message));
        }
    }
    if !others.is_empty() && !banned.is_empty() {
        text.push('\n');
    }
    if !banned.is_empty() {
        bans(&banned, &mut text);
    }
    if batch.head.omitted > 0 {
        let _ =
            writeln!(text, "\nAnd {} more, which are not listed (batch= in the handler's file).", batch.head.omitted);
    }
    if !banned.is_empty() && !batch.head.test {
        text.push_str("\nTo see the evidence, and to end a ban, on this machine:\n\n");
        for event in banned.iter().take(MOST_COMMANDS) {
            let _ = writeln!(text, "    wardenctl explain {}", plain(word(event, "source")));
        }
        if banned.len() > MOST_COMMANDS {
            let _ = writeln!(text, "    wardenctl explain SOURCE      # and so on");
        }
        let since = banned.iter().filter_map(|event| number(event, "since_usec")).min().unwrap_or(0);
        let _ = writeln!(text, "    journalctl -u wardend --since \"{}\"", second(since));
        let _ = writeln!(text, "    wardenctl unban {}", plain(word(banned[0], "source")));
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A batch with text that is hostile wherever an attacker can put some.
    pub(in crate::notify) fn hostile() -> Received {
        let lines = concat!(
            r#"{"event":"batch","handler":"mail","host":"web1","key":"0123","summary":"2 bans, 1 change of wardend's health","events":3,"omitted":4}"#,
            "\n",
            r#"{"event":"banned","time_usec":1795459200000000,"jail":"sshd","source":"203.0.113.7","address":"203.0.113.7","since_usec":1795459200000000,"until_usec":1795459800000000,"count":2,"failures":5,"rule":"failed-password","evidence":[],"message":"Banned 203.0.113.7 in jail sshd until then: 5 failures, the last failed-password for user '$(touch /tmp/x)`id`;\n.\nBcc: x@y \u001b[2J @everyone <!channel>'.","key":"a"}"#,
            "\n",
            r#"{"event":"banned","time_usec":1795459200000000,"jail":"sshd","source":"2001:db8::/64","since_usec":1795459300000000,"until_usec":null,"count":1,"failures":1,"rule":"invalid-user","key":"b"}"#,
            "\n",
            r#"{"event":"degraded","time_usec":1795459200000000,"problem":"journal","message":"The journal can't be read.","key":"c"}"#,
            "\n"
        );
        Received::parse(lines.as_bytes()).unwrap()
    }

    #[test]
    fn a_jail_over_bans_has_counted_bans() {
        let mut batch = hostile();
        batch.events.remove(0);
        batch.events[0].insert("counted".to_owned(), "bans".into());
        batch.events[0].insert("failures".to_owned(), 3.into());
        batch.events[0].insert("rule".to_owned(), "portal".into());
        assert!(body(&batch).contains("  3 bans, the last in jail portal\n"), "{}", body(&batch));
    }

    #[test]
    fn a_digest_is_the_report_line_by_line() {
        let mut batch = hostile();
        batch.events.truncate(1);
        batch.events[0].insert("event".to_owned(), "digest".into());
        batch.events[0].insert("message".to_owned(), "From then\n  Bans: 3\u{1b}\n".into());
        batch.head.omitted = 0;
        assert_eq!(body(&batch), "From then\n  Bans: 3\u{fffd}\n");
    }

    #[test]
    fn a_batch_is_a_table_with_the_commands_that_show_the_evidence() {
        let batch = hostile();
        assert_eq!(title(&batch), "wardend on web1: 2 bans, 1 change of wardend's health");
        let text = body(&batch);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("The journal can't be read."), "{text}");
        assert!(lines[2].starts_with("SOURCE         JAIL  UNTIL"), "{text}");
        assert!(lines[4].contains("permanent") && lines[4].ends_with("1 failure, the last invalid-user"), "{text}");
        assert!(text.contains("And 4 more") && text.contains("    wardenctl explain 203.0.113.7\n"), "{text}");
        let since = format!("journalctl -u wardend --since \"{}\"\n", second(1_795_459_200_000_000));
        assert!(text.contains(&since) && since.len() == 52, "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        assert!(!text.lines().any(|line| line.starts_with("Bcc") || line == "."), "{text}");
    }
}
