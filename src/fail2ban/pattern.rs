//! A failregex as a pattern of wardend's, where that can be done without understanding it.
//!
//! Only what is anchored is taken: fail2ban searches for its expressions anywhere in a line, and one that
//! may begin anywhere can begin in what an attacker typed. What comes out is proven like any other rule;
//! nothing here decides whether it is safe.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Stands for `%(__prefix_line)s` in a text whose other names are resolved.
pub(super) const PREFIX: &str = "\u{1}";

/// What an expression became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Without what may follow, in wardend's syntax.
    pub(super) text: String,
    /// It takes the message to its end.
    pub(super) ends: bool,
}

impl Pattern {
    /// What may be tried, the one that reads most first.
    pub(super) fn variants(&self) -> Vec<String> {
        if self.ends {
            return vec![self.text.clone()];
        }
        ["<TEXT>", "(?: <TEXT>)?", ""].iter().map(|end| format!("{}{end}", self.text)).collect()
    }
}

/// Why an expression is no pattern: the end of a sentence that begins with the expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("is not anchored at the beginning (^), so it also matches within what an attacker typed")]
    NotAnchored,
    #[error("names no address (<HOST>)")]
    NoAddress,
    #[error("has <HOST> in more than one place")]
    TwoAddresses,
    #[error("goes on after its end ($)")]
    GoesOn,
    #[error("has alternatives outside of parentheses, of which only one is anchored")]
    Alternatives,
    #[error("has a ^ that is not at its beginning")]
    LateBeginning,
    #[error("has a $ that is not at its end")]
    EarlyEnd,
    #[error("has a control character")]
    ControlCharacter,
    #[error("ends with a backslash")]
    EndsWithBackslash,
    #[error("refers back to one of its groups, which no pattern here can")]
    RefersBack,
    #[error("looks around itself ((?=, (?!, (?<), which no pattern here can")]
    LooksAround,
    #[error("has a group of a kind that no pattern here has")]
    OtherGroup,
    #[error("bans by <F-ID>, not by address")]
    BansById,
    #[error("reads a host name (<DNS>), which whoever owns its zone has chosen")]
    HostName,
    #[error("spans several lines (<SKIPLINES>)")]
    SeveralLines,
    #[error("has <F-USER> without its end")]
    UserWithoutEnd,
    #[error("has a '{0}' too many")]
    TooMany(char),
    #[error("has an end tag too many")]
    EndTag,
    #[error("has \\{0}, which means nothing here")]
    Escape(char),
    #[error("has a group of its own for the address (?P<{0}>…), not <HOST>")]
    OwnAddress(String),
    #[error("has <{0}>, so it counts nothing by itself")]
    CountsNothing(String),
    #[error("reads a network (<{0}>)")]
    Network(String),
    #[error("has <{0}>, which stands for something that is set elsewhere")]
    Elsewhere(String),
}

/// Reads an expression. `programs` are the names under which the service logs.
pub(super) fn parse(text: &str, programs: &[&str]) -> Result<Pattern, Unusable> {
    let text = text.trim();
    let Some(rest) = text.strip_prefix('^').or_else(|| text.strip_prefix("\\A")) else {
        return Err(Unusable::NotAnchored);
    };
    let rest = rest.strip_prefix("\\s*").unwrap_or(rest);
    let mut message = match rest.strip_prefix(PREFIX) {
        Some(rest) => rest,
        None => behind_the_program(rest, programs).unwrap_or(rest),
    }
    .to_owned();
    // An address is read with or without it.
    for mapped in ["(?:::f{4,6}:)?", "(?:::ffff:)?", "(::ffff:)?", "(::f{4,6}:)?"] {
        message = message.replace(mapped, "");
    }
    let mut scan = Scan { rest: &message, out: String::new(), depth: 0, addresses: 0, ends: false };
    scan.run()?;
    match scan.addresses {
        1 => {}
        0 => return Err(Unusable::NoAddress),
        _ => return Err(Unusable::TwoAddresses),
    }
    let (ends, mut out) = (scan.ends, scan.out);
    if ends {
        for blank in ["\\s*", " *", "\\s?"] {
            if let Some(cut) = out.strip_suffix(blank) {
                out.truncate(cut.len());
            }
        }
    }
    Ok(Pattern { text: out, ends })
}

/// What follows `HOST PROGRAM[PID]: `, which is no part of a message in the journal.
fn behind_the_program<'t>(text: &'t str, programs: &[&str]) -> Option<&'t str> {
    let names = programs.iter().map(|name| regex::escape(&regex::escape(name)).replace("\\\\\\-", "\\\\?-"));
    let names = names.collect::<Vec<_>>().join("|");
    // Whatever reads the time and the host, and the number of the process.
    let before = r"(?:\.[*+]|\\S[*+]|\\w[*+]|\\s[*+]?|\[\^?[^\]]*\][*+]| |\?|\(\?:|\(|\)|\||-|\\-)*?";
    let pid = r"(?:\((?:\?:)?)?(?:\\?\[(?:\\d[*+]?|\[0-9\][*+]|\.[*+]|\[\^\\?\]\][*+]|\(\?:\\d\+\))\\?\])?(?:\)\??)?";
    let prefix = format!(r"^{before}(?:{names}){pid}:(?:\\s[*+]?| |$)");
    let found = regex::Regex::new(&prefix).ok()?.find(text)?;
    Some(&text[found.end()..])
}

/// The state of a walk through an expression.
struct Scan<'t> {
    rest: &'t str,
    out: String,
    depth: usize,
    addresses: usize,
    ends: bool,
}

impl Scan<'_> {
    fn run(&mut self) -> Result<(), Unusable> {
        while let Some(c) = self.rest.chars().next() {
            if self.ends {
                return Err(Unusable::GoesOn);
            }
            match c {
                '\\' => self.escape()?,
                '<' => self.tag()?,
                '[' => self.class()?,
                '(' => self.group()?,
                ')' => {
                    self.depth = self.depth.checked_sub(1).ok_or(Unusable::TooMany(')'))?;
                    self.take(1);
                }
                '|' if self.depth == 0 => {
                    return Err(Unusable::Alternatives);
                }
                '^' => return Err(Unusable::LateBeginning),
                '$' if self.depth == 0 => {
                    self.skip(1);
                    self.ends = true;
                }
                '$' => return Err(Unusable::EarlyEnd),
                '*' | '+' | '?' | '}' => {
                    self.take(1);
                    // Where the whole message is matched, it makes no difference which end is tried first.
                    if self.rest.starts_with(['?', '+']) {
                        self.skip(1);
                    }
                }
                c if c.is_control() => return Err(Unusable::ControlCharacter),
                c => self.take(c.len_utf8()),
            }
        }
        if self.depth > 0 { Err(Unusable::TooMany('(')) } else { Ok(()) }
    }

    fn take(&mut self, bytes: usize) {
        self.out.push_str(&self.rest[..bytes]);
        self.rest = &self.rest[bytes..];
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn put(&mut self, text: &str, bytes: usize) {
        self.out.push_str(text);
        self.skip(bytes);
    }

    fn escape(&mut self) -> Result<(), Unusable> {
        let next = self.rest[1..].chars().next().ok_or(Unusable::EndsWithBackslash)?;
        match next {
            'Z' => {
                self.skip(2);
                self.ends = true;
            }
            '1'..='9' => return Err(Unusable::RefersBack),
            // Letters that have a meaning in both, and that mean the same.
            'd' | 'D' | 's' | 'S' | 'w' | 'W' | 'b' | 'B' | 't' | 'n' | 'r' | 'x' => self.take(2),
            c if c.is_ascii_alphanumeric() => return Err(Unusable::Escape(c)),
            '<' => self.put("\\x3c", 2),
            c if c.is_ascii_punctuation() => self.take(2),
            // An escaped blank, for one.
            c => self.put(&c.to_string(), 1 + c.len_utf8()),
        }
        Ok(())
    }

    fn class(&mut self) -> Result<(), Unusable> {
        let mut end = 1 + usize::from(self.rest[1..].starts_with('^'));
        end += usize::from(self.rest[end..].starts_with(']'));
        let mut escaped = false;
        let close = self.rest[end..].char_indices().find(|(_, c)| {
            let closes = *c == ']' && !escaped;
            escaped = *c == '\\' && !escaped;
            closes
        });
        let close = end + close.ok_or(Unusable::TooMany('['))?.0;
        // A class within a class is one only here.
        let inner = self.rest[1..close].replace("\\[", "[").replace('[', "\\[").replace("&&", "&\\&");
        self.put(&format!("[{}]", inner.replace("~~", "~\\~").replace("--", "-\\-")), close + 1);
        Ok(())
    }

    fn group(&mut self) -> Result<(), Unusable> {
        self.depth += 1;
        let Some(inner) = self.rest.strip_prefix("(?") else {
            self.put("(?:", 1);
            return Ok(());
        };
        if inner.starts_with(['=', '!']) || inner.starts_with("<=") || inner.starts_with("<!") {
            return Err(Unusable::LooksAround);
        }
        if inner.starts_with("P=") || inner.starts_with('(') {
            return Err(Unusable::RefersBack);
        }
        if let Some((name, rest)) = inner.strip_prefix("P<").and_then(|inner| inner.split_once('>')) {
            if matches!(name, "host" | "ip4" | "ip6" | "ip" | "cidr" | "dns" | "fid") {
                return Err(Unusable::OwnAddress(name.to_owned()));
            }
            let bytes = self.rest.len() - rest.len();
            self.put("(?:", bytes);
            return Ok(());
        }
        if inner.starts_with(':') {
            self.take(3);
            return Ok(());
        }
        Err(Unusable::OtherGroup)
    }

    fn tag(&mut self) -> Result<(), Unusable> {
        let Some((name, rest)) = self.rest[1..].split_once('>').filter(|(name, _)| is_tag(name)) else {
            self.put("\\x3c", 1);
            return Ok(());
        };
        let bytes = self.rest.len() - rest.len();
        let address = match name {
            "HOST" | "ADDR" => "<ADDR>",
            "IP4" => "<ADDR4>",
            "IP6" => "<ADDR6>",
            "F-USER" => return self.user(rest),
            "F-NOFAIL" | "F-MLFFORGET" | "F-MLFGAINED" | "F-MLFID" => {
                return Err(Unusable::CountsNothing(name.to_owned()));
            }
            "F-ID" => return Err(Unusable::BansById),
            "CIDR" | "SUBNET" => return Err(Unusable::Network(name.to_owned())),
            "DNS" => return Err(Unusable::HostName),
            "SKIPLINES" => return Err(Unusable::SeveralLines),
            _ if name.starts_with("F-") => {
                self.depth += 1;
                self.put("(?:", bytes);
                return Ok(());
            }
            _ if name.starts_with("/F-") => {
                self.depth = self.depth.checked_sub(1).ok_or(Unusable::EndTag)?;
                self.put(")", bytes);
                return Ok(());
            }
            _ => return Err(Unusable::Elsewhere(name.to_owned())),
        };
        self.addresses += 1;
        self.put(address, bytes);
        Ok(())
    }

    /// `<F-USER>…</F-USER>`: if it takes anything, that is what wardend's token says, too.
    fn user(&mut self, rest: &str) -> Result<(), Unusable> {
        const END: &str = "</F-USER>";
        let (inner, behind) = rest.split_once(END).ok_or(Unusable::UserWithoutEnd)?;
        let any = regex::Regex::new(r"^(?:(?:\\S|\.|\[\^(?:\\.|[^\]])*\])[*+]\??\|?)+$");
        if any.is_ok_and(|any| any.is_match(inner)) && !self.out.contains("<USER>") {
            self.put("<USER>", self.rest.len() - behind.len());
        } else {
            self.depth += 1;
            self.put("(?:", "<F-USER>".len());
        }
        Ok(())
    }
}

fn is_tag(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/".contains(&byte))
}

/// A message that a pattern reads, for its example; none if there is none that can be shown.
pub(super) fn example(pattern: &str) -> Option<String> {
    let mut text = pattern.to_owned();
    for (token, stands) in [
        ("<ADDR>", "203\\.0\\.113\\.7"),
        ("<ADDR4>", "203\\.0\\.113\\.7"),
        ("<ADDR6>", "2001:db8::7"),
        ("<USER>", "alice"),
        ("(?: <TEXT>)?", ""),
        ("<TEXT>", ""),
    ] {
        text = text.replace(token, stands);
    }
    let hir = regex_syntax::ParserBuilder::new().utf8(false).unicode(false).build().parse(&text).ok()?;
    let mut bytes = Vec::new();
    sample(&hir, &mut bytes);
    // What ends on a blank is stored without it.
    String::from_utf8(bytes).ok().filter(|message| message.trim_end().len() == message.len())
}

/// A text of an expression, such as people would write it.
fn sample(hir: &Hir, out: &mut Vec<u8>) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.extend_from_slice(&literal.0),
        HirKind::Class(class) => {
            let has = |byte: u8| match class {
                Class::Bytes(class) => class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&byte)),
                Class::Unicode(class) => {
                    class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&char::from(byte)))
                }
            };
            out.push((*b"x1 A").into_iter().chain(b' '..=b'~').find(|byte| has(*byte)).unwrap_or(b'?'));
        }
        HirKind::Repetition(repetition) => {
            let optional = repetition.min == 0 && repetition.max == Some(1);
            for _ in 0..repetition.min.max(u32::from(!optional)).min(64) {
                sample(&repetition.sub, out);
            }
        }
        HirKind::Capture(capture) => sample(&capture.sub, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| sample(part, out)),
        HirKind::Alternation(parts) => parts.iter().take(1).for_each(|part| sample(part, out)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_anchored_becomes_a_pattern() {
        for (regex, expected, ends) in [
            ("^Bad thing from <HOST>$", "Bad thing from <ADDR>", true),
            ("^Bad thing from <HOST>\\s*$", "Bad thing from <ADDR>", true),
            ("^\u{1}Bad thing from <HOST> port \\d+", "Bad thing from <ADDR> port \\d+", false),
            ("^.*sshd\\[\\d+\\]: Bad thing from <HOST>$", "Bad thing from <ADDR>", true),
            ("^\\s*\\S+ sshd\\[[0-9]+\\]: Bad from <IP4>$", "Bad from <ADDR4>", true),
            ("^.* sshd(?:\\[\\d+\\])?: Bad from <HOST>$", "Bad from <ADDR>", true),
            ("^.*sshd-session\\[.*\\]:\\s+Bad from <HOST>$", "Bad from <ADDR>", true),
            ("^Bad <F-USER>\\S+</F-USER> from <HOST>$", "Bad <USER> from <ADDR>", true),
            ("^Bad <F-USER>\\S+|.*?</F-USER> from <HOST>$", "Bad <USER> from <ADDR>", true),
            ("^Bad <F-USER>root</F-USER> from <HOST>$", "Bad (?:root) from <ADDR>", true),
            ("^Bad <F-ALT_USER>\\S+</F-ALT_USER> <HOST>$", "Bad (?:\\S+) <ADDR>", true),
            ("^Bad (?P<user>.*?) from (?:::f{4,6}:)?<HOST>$", "Bad (?:.*) from <ADDR>", true),
            ("^(a|b) [^]\"[]+ <HOST>\\Z", "(?:a|b) [^]\"\\[]+ <ADDR>", true),
            ("^a < b <HOST>$", "a \\x3c b <ADDR>", true),
        ] {
            assert_eq!(
                parse(regex, &["sshd", "sshd-session"]),
                Ok(Pattern { text: expected.to_owned(), ends }),
                "{regex}"
            );
        }
    }

    #[test]
    fn what_can_not_become_one_says_why() {
        for (regex, says) in [
            ("Bad thing from <HOST>$", "is not anchored"),
            ("^Bad thing$", "names no address"),
            ("^<HOST> <HOST>$", "more than one place"),
            ("^Bad from <HOST>|^Worse from <HOST>", "alternatives outside"),
            ("^Bad (?!x).* from <HOST>$", "looks around"),
            ("^(a)\\1 <HOST>$", "refers back"),
            ("^(?P<host>\\S+)$", "a group of its own"),
            ("^a<SKIPLINES>b <HOST>$", "several lines"),
            ("^<F-NOFAIL>a</F-NOFAIL> <HOST>$", "counts nothing by itself"),
            ("^<mdre-normal> <HOST>$", "<mdre-normal>, which stands for"),
            ("^a (b <HOST>", "a '(' too many"),
            ("^a b) <HOST>$", "a ')' too many"),
            ("^a [b <HOST>$", "a '[' too many"),
            ("^a <DNS>$", "reads a host name"),
            ("^a$ <HOST>", "goes on after its end"),
            ("^a <HOST>\\", "ends with a backslash"),
        ] {
            let error = parse(regex, &["sshd"]).unwrap_err().to_string();
            assert!(error.contains(says), "{regex}: {error}");
        }
    }

    #[test]
    fn an_example_is_a_message_that_the_pattern_reads() {
        for (pattern, expected) in [
            ("Bad (?:\\S+) from <ADDR> port \\d+<TEXT>", Some("Bad x from 203.0.113.7 port 1")),
            ("Bad <USER> from <ADDR6>(?: <TEXT>)?", Some("Bad alice from 2001:db8::7")),
            ("(?:a|b)? [^x]* <ADDR>", Some(" 1 203.0.113.7")),
            ("a <ADDR>\\s", None),
        ] {
            assert_eq!(example(pattern).as_deref(), expected, "{pattern}");
        }
    }
}
