//! The quick way to read most messages: from both ends.
//!
//! Most rules have attacker text in the middle, `HEAD <USER> TAIL`, and the address in the tail. A
//! regex for the whole has to try every place in the attacker text at which the tail may begin, and
//! that is most of the time that a hit takes. But if a tail can begin at one place of any message
//! only, which the machinery of [`super::proof`] can say when the filter is loaded, then it is found
//! by walking backwards from the message's end, and what is ahead of it is the head and the text.
//! Nothing is read otherwise than by the whole pattern; a pattern of another form keeps to that.

use std::collections::HashMap;

use regex::bytes::Regex;

use super::{
    pattern::{self, Pattern},
    proof::{self, Automaton, ProofError, Work},
    tokens::{self, Tokens},
};

/// A pattern in two.
#[derive(Debug)]
pub(super) struct TwoEnded {
    head: Head,
    tail: Regex,
    /// The text in the middle is a `<USER>`.
    user: bool,
}

/// What stands ahead of the attacker text.
#[derive(Debug)]
enum Head {
    Words(Box<[u8]>),
    Choice(Regex),
}

impl Head {
    fn of(expression: &str) -> Option<Self> {
        pattern::literal(expression)
            .map(Self::Words)
            .or_else(|| pattern::build(&format!(r"\A(?:{expression})")).ok().map(Self::Choice))
    }

    /// Where it ends, in what is ahead of the tail.
    fn end(&self, message: &[u8]) -> Option<usize> {
        match self {
            Self::Words(words) => message.starts_with(words).then_some(words.len()),
            Self::Choice(regex) => Some(regex.find(message)?.end()),
        }
    }
}

/// The tails of a filter's patterns, each of which is proven once: many patterns have the same. None is
/// kept of one that can begin at several places.
#[derive(Debug, Default)]
pub(super) struct Tails(HashMap<Box<str>, Option<Regex>>);

impl Tails {
    fn get(&mut self, tail: &str, work: &mut Work) -> Result<Option<Regex>, ProofError> {
        if let Some(known) = self.0.get(tail) {
            return Ok(known.clone());
        }
        let made = Self::make(tail, work)?;
        self.0.insert(tail.into(), made.clone());
        Ok(made)
    }

    fn make(tail: &str, work: &mut Work) -> Result<Option<Regex>, ProofError> {
        let nameless = [tokens::ADDR, tokens::PID, tokens::PORT, tokens::COUNT, tokens::SESSION]
            .iter()
            .fold(tail.to_owned(), |tail, name| tail.replace(&format!("(?P<{name}>"), "(?:"));
        let place = format!("(?s-u:.*)(?P<{}>{nameless})", tokens::ADDR);
        match Automaton::new(&place, work).and_then(|place| proof::alone(&place, work)) {
            Ok(None) => {}
            Err(ProofError::TooMuch) => return Err(ProofError::TooMuch),
            Ok(Some(_)) | Err(_) => return Ok(None),
        }
        Ok(pattern::build(&format!(r"(?:{tail})\z")).ok())
    }
}

impl TwoEnded {
    /// Of a pattern that has them, with a tail that can begin at one place only. The one error is that
    /// the filter has cost too much.
    pub(super) fn of(pattern: &Pattern, tails: &mut Tails, work: &mut Work) -> Result<Option<Self>, ProofError> {
        let Some((head, user, tail)) = pattern.halves() else { return Ok(None) };
        let Some(tail) = tails.get(tail, work)? else { return Ok(None) };
        Ok(Head::of(head).map(|head| Self { head, tail, user }))
    }

    /// What the pattern takes from a message, if it matches.
    pub(super) fn read<'m>(&self, message: &'m [u8]) -> Option<Tokens<'m>> {
        let tail = self.tail.captures(message)?;
        let rest = &message[..tail.get(0)?.start()];
        let begin = self.head.end(rest)?;
        let tokens = Tokens::of(&self.tail, &tail);
        Some(if self.user { Tokens { user: Some(&rest[begin..]), ..tokens } } else { tokens })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::filter::tokens::ClientText;

    /// The patterns of the shipped filter.
    fn patterns() -> Vec<Pattern> {
        let text = include_str!("../../../filters/sshd.toml");
        let lines = text.lines().filter_map(|line| line.strip_prefix("pattern = "));
        lines.map(|line| Pattern::expand(line.trim_matches('\''), &ClientText::default()).unwrap()).collect()
    }

    #[test]
    fn the_lines_of_an_attack_are_read_from_both_ends() {
        for text in [
            "Failed password for (?:invalid user )?<USER> from <ADDR> port <PORT> ssh2",
            r"Connection closed by invalid user <USER> <ADDR> port <PORT> \[preauth\]",
            "Invalid user <USER> from <ADDR>(?: port <PORT>)?",
            r"refused connect from <TEXT> \(<ADDR>\)",
        ] {
            assert!(
                TwoEnded::of(
                    &Pattern::expand(text, &ClientText::default()).unwrap(),
                    &mut Tails::default(),
                    &mut Work::new()
                )
                .unwrap()
                .is_some(),
                "{text}"
            );
        }
        let sshd = patterns();
        assert!(
            sshd.iter()
                .filter(|pattern| TwoEnded::of(pattern, &mut Tails::default(), &mut Work::new()).unwrap().is_some())
                .count()
                >= 9
        );
    }

    #[test]
    fn a_pattern_of_another_form_has_none() {
        for text in [
            "from <ADDR>: <TEXT>",
            "a (?:of <USER> )?from <ADDR>",
            "a|b of <USER> from <ADDR>",
            "a of <USER> from <ADDR>|b",
            "(?i)a of <USER> from <ADDR>",
            "<USER> of <TEXT> from <ADDR>",
            "a of <USER>+ from <ADDR>",
            "a of <USER>$ from <ADDR>",
            // The tail could begin at each of several words.
            "a of <USER>(?: from)* <ADDR>",
            "a of <USER>[a-z ]*<ADDR>",
        ] {
            let pattern = Pattern::expand(text, &ClientText::default()).unwrap();
            assert!(TwoEnded::of(&pattern, &mut Tails::default(), &mut Work::new()).unwrap().is_none(), "{text}");
        }
    }

    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "Failed password for ",
            "invalid user ",
            "authenticating user ",
            "root",
            " from ",
            "203.0.113.7",
            "2001:db8::7",
            " port ",
            "4242",
            " ssh2",
            " [preauth]",
            "Connection closed by ",
            "Invalid user ",
            " ",
            "x",
            "error: PAM: Authentication failure for ",
            "illegal user ",
            "\n",
            "refused connect from ",
            "(203.0.113.7)",
            "error: maximum authentication attempts exceeded for ",
            "Bad protocol version identification '",
            "'",
        ]);
        prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn both_ways_read_the_same(text in pieces(), first in 0usize..64) {
            let patterns = patterns();
            let begin = patterns[first % patterns.len()].beginnings();
            for message in [text.clone(), format!("{}{text}", String::from_utf8_lossy(&begin[0]))] {
                for pattern in &patterns {
                    let Some(halves) = TwoEnded::of(pattern, &mut Tails::default(), &mut Work::new()).unwrap() else { continue };
                    let whole = pattern.compile().unwrap();
                    let captures = whole.captures(message.as_bytes());
                    prop_assert_eq!(halves.read(message.as_bytes()), captures.map(|captures| Tokens::of(&whole, &captures)));
                }
            }
        }
    }
}
