//! From the text of a rule's pattern to a compiled, anchored bytes regex.
//!
//! A pattern is a regular expression of the crate `regex` with tokens in angle brackets. It
//! always matches the whole message: `\A…\z` is implied, and so are `(?s-u)`: any byte is one
//! character, and no line break ends anything. That is what keeps an attacker, who chooses the
//! bytes of a user name, inside the user name. The crate matches in linear time and the
//! compiled size is bounded, so neither message nor pattern can stall the daemon.

use regex::bytes::{Regex, RegexBuilder};

/// Upper bound of one compiled pattern.
pub(crate) const SIZE_LIMIT: usize = 1 << 20;

/// A token of a pattern: its name between the angle brackets, and what it stands for.
struct Token {
    name: &'static str,
    group: Option<&'static str>,
    expression: &'static str,
    attacker: bool,
}

/// The tokens. `<ADDR>` takes any run of address characters: more than an IP parser accepts,
/// so what is proven of it holds for real addresses.
const TOKENS: [Token; 6] = [
    Token { name: "ADDR", group: Some(ADDR), expression: "[0-9A-Fa-f:.]+(?:%[0-9A-Za-z_.-]+)?", attacker: false },
    Token { name: "USER", group: Some(USER), expression: ".*", attacker: true },
    Token { name: "TEXT", group: None, expression: ".*", attacker: true },
    Token { name: "PORT", group: None, expression: "[0-9]{1,5}", attacker: false },
    Token { name: "PID", group: Some(PID), expression: "[0-9]{1,10}", attacker: false },
    Token { name: "NUM", group: None, expression: "[0-9]+", attacker: false },
];

/// Name of the capture group of `<ADDR>`.
pub(crate) const ADDR: &str = "ADDR";
/// Name of the capture group of `<USER>`.
pub(crate) const USER: &str = "USER";
/// Name of the capture group of `<PID>`.
pub(crate) const PID: &str = "PID";

/// A pattern with its tokens replaced.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// The regular expression, anchored, with its flags.
    pub(crate) expression: String,
    /// It has text that an attacker chooses ahead of the address, so a message that sshd cut
    /// off may end on a forged address.
    pub(crate) attacker_first: bool,
    /// It has an `<ADDR>`.
    pub(crate) has_address: bool,
}

impl Pattern {
    /// Replaces the tokens of `text`. The error is the end of a sentence that begins with the
    /// rule's name.
    pub(crate) fn expand(text: &str) -> Result<Self, String> {
        let mut expression = String::with_capacity(text.len() + 64);
        let mut seen: Vec<&str> = Vec::new();
        let mut attacker_seen = false;
        let mut attacker_first = false;
        let mut rest = text;
        expression.push_str(r"\A(?s-u:");
        while let Some(open) = rest.find('<') {
            let (before, after) = rest.split_at(open);
            expression.push_str(before);
            // `(?<name>` and `(?P<name>` are groups of the regex itself, and `(?<` may begin a
            // look-behind, which the compiler refuses on its own.
            if before.ends_with("(?") || before.ends_with("(?P") {
                return Err(
                    "has a named group; write plain groups as (?:…), and use the tokens for what is to be kept"
                        .to_owned(),
                );
            }
            let Some(close) = after.find('>').filter(|_| !before.ends_with('\\')) else {
                expression.push('<');
                rest = &after[1..];
                continue;
            };
            let name = &after[1..close];
            let Some(token) = TOKENS.iter().find(|token| token.name == name) else {
                let known: Vec<String> = TOKENS.iter().map(|token| format!("<{}>", token.name)).collect();
                return Err(format!(
                    "has the unknown token <{name}>; there are {} (write a plain '<' as \\x3c)",
                    known.join(", ")
                ));
            };
            if let Some(group) = token.group {
                if seen.contains(&group) {
                    return Err(format!("has <{name}> more than once; a message has one {name}"));
                }
                seen.push(group);
                expression.push_str(&format!("(?P<{group}>{})", token.expression));
            } else {
                expression.push_str(&format!("(?:{})", token.expression));
            }
            attacker_first |= token.name == ADDR && attacker_seen;
            attacker_seen |= token.attacker;
            rest = &after[close + 1..];
        }
        expression.push_str(rest);
        expression.push_str(r")\z");
        // A hand-written `.*` or `.+` ahead of the address is attacker text as well.
        let has_address = seen.contains(&ADDR);
        if let (true, Some(at)) = (has_address, text.find("<ADDR>")) {
            attacker_first |= has_free_text(&text[..at]);
        }
        Ok(Self { expression, attacker_first, has_address })
    }

    /// Compiles the expression.
    pub(crate) fn compile(&self) -> Result<Regex, String> {
        RegexBuilder::new(&self.expression).unicode(false).size_limit(SIZE_LIMIT).build().map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("compiles to more than {limit} bytes; write it with fewer counted repetitions")
            }
            other => format!("is no regular expression: {}", last_line(&other.to_string())),
        })
    }
}

/// Whether an expression can take a run of any text: an unescaped dot that is repeated, or a
/// class that excludes (`[^…]`, `\S`, `\D`, `\W`) and is repeated.
fn has_free_text(expression: &str) -> bool {
    let bytes = expression.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let (end, free) = match bytes[at] {
            b'\\' => (at + 2, matches!(bytes.get(at + 1), Some(b'S' | b'D' | b'W'))),
            b'.' => (at + 1, true),
            b'[' => {
                let mut close = at + 2;
                while close < bytes.len() && bytes[close] != b']' {
                    close += if bytes[close] == b'\\' { 2 } else { 1 };
                }
                (close + 1, bytes.get(at + 1) == Some(&b'^'))
            }
            _ => (at + 1, false),
        };
        if free && matches!(bytes.get(end), Some(b'*' | b'+' | b'{')) {
            return true;
        }
        at = end;
    }
    false
}

/// A regex error draws a picture over several lines; its last one is the sentence.
fn last_line(text: &str) -> &str {
    let line = text.lines().last().unwrap_or(text);
    line.strip_prefix("error: ").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn a_pattern_takes_the_whole_message_and_nothing_less() {
        let regex = Pattern::expand("from <ADDR> port <PORT>").unwrap().compile().unwrap();
        assert!(regex.is_match(b"from 203.0.113.7 port 22"));
        assert!(!regex.is_match(b"from 203.0.113.7 port 22 "));
        assert!(!regex.is_match(b"x from 203.0.113.7 port 22"));
        assert!(!regex.is_match(b"x\nfrom 203.0.113.7 port 22"));
        let regex = Pattern::expand("a|b").unwrap().compile().unwrap();
        assert!(!regex.is_match(b"ax"), "alternatives are inside the anchors");
    }

    #[test]
    fn attacker_text_before_the_address_is_noticed() {
        for (text, first) in [
            ("for <USER> from <ADDR>", true),
            ("from <ADDR>: <TEXT>", false),
            (".*from <ADDR>", true),
            ("[^ ]+ from <ADDR>", true),
            (r"\S+ from <ADDR>", true),
            (r"\.* from <ADDR>", false),
            ("[a-z]+ from <ADDR>", false),
            ("no address, <USER>", false),
        ] {
            assert_eq!(Pattern::expand(text).unwrap().attacker_first, first, "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_mend() {
        for (text, says) in [
            ("from <HOST>", "unknown token <HOST>"),
            ("<ADDR> and <ADDR>", "more than once"),
            ("(?P<x>a) <ADDR>", "named group"),
            ("(unclosed <ADDR>", "unclosed group"),
            ("(?=x)<ADDR>", "look-around"),
            ("(?:(?:a{900}){900}){900}<ADDR>", "more than"),
        ] {
            let error = Pattern::expand(text).and_then(|pattern| pattern.compile()).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
