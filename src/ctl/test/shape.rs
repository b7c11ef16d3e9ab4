//! The shape of a message: what stays of it when everything that varies is taken out.
//!
//! Thousands of messages that differ in their addresses, numbers and names are a handful of
//! shapes, and those can be read by a person who looks for a rule to write.

use std::net::IpAddr;

/// Words after which a name comes.
const BEFORE_NAMES: [&str; 3] = ["user", "User", "for"];
/// Words that come after those and are no names.
const NO_NAMES: [&str; 14] = [
    "invalid",
    "illegal",
    "user",
    "connection",
    "connections",
    "the",
    "a",
    "an",
    "this",
    "is",
    "key",
    "of",
    "not",
    "child",
];

/// Takes quoted texts, addresses, numbers, fingerprints, names and values out of a message.
pub(super) fn shape(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let mut words: Vec<String> = Vec::new();
    let mut name_next = false;
    for word in unquoted(&text).split(' ') {
        let is_name = (name_next && !NO_NAMES.contains(&word) && !word.ends_with(':')) || word.contains("(uid=");
        name_next = BEFORE_NAMES.contains(&word) || (name_next && !is_name);
        let word = if is_name { "NAME".to_owned() } else { generalised(word) };
        // Runs of what varies are one.
        if words.last().is_none_or(|last| *last != word || !is_variable(&word)) {
            words.push(word);
        }
    }
    words.join(" ")
}

fn is_variable(word: &str) -> bool {
    ["N", "ADDRESS", "NAME", "TEXT"].contains(&word)
}

/// Puts "TEXT" in place of what stands in quotation marks or square brackets.
fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find(['"', '\'', '[']) {
        let quote = rest.as_bytes()[open];
        let close = if quote == b'[' { ']' } else { char::from(quote) };
        let (before, after) = (&rest[..open], &rest[open + 1..]);
        // An apostrophe inside a word quotes nothing.
        let in_a_word = quote == b'\'' && before.ends_with(char::is_alphanumeric);
        let end = if in_a_word {
            None
        } else if quote == b'[' {
            after.find(close)
        } else {
            after.rfind(close)
        };
        out.push_str(before);
        out.push(char::from(quote));
        rest = after;
        if let Some(end) = end {
            let inside = &after[..end];
            out.push_str(if inside == "preauth" { inside } else { "TEXT" });
            out.push(close);
            rest = &after[end + close.len_utf8()..];
        }
    }
    out.push_str(rest);
    out
}

fn generalised(word: &str) -> String {
    let core = word.trim_matches([',', ';', ':', '(', ')', '.', '#']);
    if core.is_empty() {
        return word.to_owned();
    }
    if let Some((key, value)) = core.split_once('=').filter(|(_, value)| !value.is_empty()) {
        return word.replace(core, &format!("{key}={}", generalised(value).replace(value, "VALUE")));
    }
    let address = core.split('%').next().unwrap_or(core);
    let kind = if address.parse::<IpAddr>().is_ok() {
        "ADDRESS"
    } else if core.starts_with("SHA256:") || core.starts_with("MD5:") {
        "FINGERPRINT"
    } else if core.len() > 24 && core.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        "HEX"
    } else {
        return digits(word);
    };
    word.replacen(core, kind, 1)
}

/// Each run of digits becomes "N".
fn digits(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for c in word.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('N') {
            out.push('N');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::shape;

    #[test]
    fn messages_that_differ_in_names_and_numbers_have_one_shape() {
        for (messages, expected) in [
            (
                [
                    "pam_unix(sshd:session): session opened for user alice(uid=1000) by (uid=0)",
                    "pam_unix(sshd:session): session opened for user bob(uid=1001) by (uid=0)",
                ],
                "pam_unix(sshd:session): session opened for user NAME by NAME",
            ),
            (
                [
                    "Received disconnect from 203.0.113.7 port 4242:11: Bye Bye [preauth]",
                    "Received disconnect from 2001:db8::1 port 22:11: Bye Bye [preauth]",
                ],
                "Received disconnect from ADDRESS port N:N: Bye Bye [preauth]",
            ),
            (
                [
                    "User carol not allowed because account is locked",
                    "User mallory not allowed because account is locked",
                ],
                "User NAME not allowed because account is locked",
            ),
            (
                [
                    "kex_exchange_identification: client sent invalid protocol identifier \"GET / \"x\" HTTP/1.1\"",
                    "kex_exchange_identification: client sent invalid protocol identifier \"\"",
                ],
                "kex_exchange_identification: client sent invalid protocol identifier \"TEXT\"",
            ),
            (
                [
                    "srclimit_penalise: ipv4: new 203.0.113.7/32 active",
                    "srclimit_penalise: ipv4: new 10.0.0.1/32 active",
                ],
                "srclimit_penalise: ipvN: new N.N.N.N/N active",
            ),
        ] {
            for message in messages {
                assert_eq!(shape(message.as_bytes()), expected);
            }
        }
        assert_eq!(shape(b"\xff\x00 it's 5"), "\u{fffd}\0 it's N");
    }
}
