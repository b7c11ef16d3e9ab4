//! From the text of a rule's pattern to a compiled, anchored bytes regex.
//!
//! A pattern is a regular expression of the crate `regex` with tokens in angle brackets. It
//! always matches the whole message: `\A…\z` is implied, and any byte is one character, line
//! breaks too, so no line break ends anything. That is what keeps an attacker, who chooses the
//! bytes of a user name, inside the user name. The crate matches in linear time and the
//! compiled size is bounded, so neither message nor pattern can stall the daemon.
//!
//! What is matched is what is proven: [`Pattern::compile`] and [`Pattern::automaton`] read the
//! same text with the same flags, and the text is parsed by itself before it is put between the
//! anchors, so no stray bracket can reach outside them.

use std::ops::Range;

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::{
    ParserBuilder,
    ast::{self, Ast},
    hir::{Capture, Class, Dot, Hir, HirKind, Repetition, literal::Extractor},
};

use super::{
    proof::{Automaton, ProofError, Work},
    tokens::{self, ADDR, Claimed, ClientText, PORT, SESSION, TokenError, USER},
};

/// The longest text of a pattern, in bytes, with its tokens filled in.
const LONGEST: usize = 1 << 14;

/// Upper bound of one compiled pattern.
pub(crate) const SIZE_LIMIT: usize = 1 << 18;

/// Why a pattern can't be used: the end of a sentence that begins with the pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("has a named group; write plain groups as (?:…), and use the tokens for what is to be kept")]
    NamedGroup,
    #[error(
        "has <SESSION> behind text that a client may choose, who could name the session of somebody else; let it stand \
         ahead of all that varies"
    )]
    LateSession,
    /// A token, the same or another for the same, and what a message has one of.
    #[error("has {both}; a message has one {2}", both = both(.0, .1))]
    Twice(&'static str, &'static str, &'static str),
    #[error("is {0} bytes long; write it with at most {most}", most = LONGEST)]
    TooLong(usize),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("is not a valid regular expression: {0}")]
    Regex(String),
    #[error("compiles to more than {0} bytes; write it with fewer counted repetitions")]
    TooBig(usize),
}

/// A pattern with its tokens replaced.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// The regular expression, without its anchors.
    expression: String,
    /// Where the attacker text stands in it, if there is one such token, and whether it is a
    /// `<USER>`.
    attacker: Option<(Range<usize>, bool)>,
    hir: Hir,
    /// The same without what the author's own classes claim; none if there are none.
    doubted: Option<Hir>,
    /// What its tokens claim.
    pub(crate) claims: Vec<Claimed>,
    /// It has text that an attacker may choose ahead of the address, so a message that was cut
    /// off may end on a forged address.
    pub(crate) attacker_first: bool,
    /// Its token for an address, as written.
    pub(crate) address: Option<&'static str>,
}

/// The token that a pattern has for a group.
fn of_group(seen: &[(&str, &'static str)], group: &str) -> Option<&'static str> {
    seen.iter().find(|(other, _)| *other == group).map(|(_, token)| *token)
}

/// Two tokens of which a pattern can only have one, for a sentence.
fn both(first: &str, second: &str) -> String {
    if first == second { format!("<{first}> more than once") } else { format!("both <{first}> and <{second}>") }
}

impl Pattern {
    /// Replaces the tokens of `text`.
    pub(crate) fn expand(text: &str, clients: &ClientText) -> Result<Self, PatternError> {
        Self::expand_with(text, clients, None)
    }

    /// The same, with another expression in place of `<ADDR>`: for saying what a message lacks.
    pub(crate) fn expand_with(text: &str, clients: &ClientText, address: Option<&str>) -> Result<Self, PatternError> {
        let mut expression = String::with_capacity(text.len() + 64);
        // With all tokens in named groups, which no author can write.
        let mut marked = String::with_capacity(text.len() + 64);
        // The groups, and the token of each.
        let mut seen = Vec::new();
        let mut own_class = false;
        let mut attacker_seen = false;
        let mut attacker_first = false;
        let mut attackers: Vec<(Range<usize>, bool)> = Vec::new();
        let mut limited = false;
        let mut claims = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('<') {
            let (before, after) = rest.split_at(open);
            expression.push_str(before);
            marked.push_str(before);
            own_class |= has_class(before);
            // `(?<name>` and `(?P<name>` are groups of the regex itself, and `(?<` may begin a
            // look-behind, which the compiler refuses on its own.
            if before.ends_with("(?") || before.ends_with("(?P") {
                return Err(PatternError::NamedGroup);
            }
            let Some(close) = tokens::end(&after[1..]).map(|end| end + 1).filter(|_| !before.ends_with('\\')) else {
                expression.push('<');
                marked.push('<');
                rest = &after[1..];
                continue;
            };
            let token = tokens::find(&after[1..close], clients)?;
            attacker_seen |= has_repetition(before);
            if token.group == Some(SESSION) && attacker_seen {
                return Err(PatternError::LateSession);
            }
            let begin = expression.len();
            // Behind the client's port there may be the server's.
            if let Some(group) = token.group.filter(|group| *group != PORT || of_group(&seen, group).is_none()) {
                if let Some(first) = of_group(&seen, group) {
                    return Err(PatternError::Twice(first, token.name, tokens::what(group)));
                }
                seen.push((group, token.name));
                let stands_for = address.filter(|_| group == ADDR).unwrap_or(&token.expression);
                let named = format!("(?P<{group}>{stands_for})");
                expression.push_str(&named);
                marked.push_str(&named);
            } else {
                expression.push_str(&format!("(?:{})", token.expression));
                marked.push_str(&format!("(?P<TOKEN{begin}>{})", token.expression));
            }
            attacker_first |= token.group == Some(ADDR) && attacker_seen;
            // A token that is repeated is a run of text like any other.
            attacker_seen |= token.chosen;
            if token.anything {
                attackers.push((begin..expression.len(), token.group == Some(USER)));
            }
            limited |= token.chosen && !token.anything;
            claims.extend(token.claim);
            rest = &after[close + 1..];
        }
        expression.push_str(rest);
        marked.push_str(rest);
        own_class |= has_class(rest);
        if expression.len() > LONGEST {
            return Err(PatternError::TooLong(expression.len()));
        }
        let hir = parse(&expression)?;
        let doubted = if own_class { doubt(&parse(&marked)?) } else { None };
        let attacker = attackers.pop().filter(|_| attackers.is_empty() && !limited);
        let address = of_group(&seen, ADDR);
        Ok(Self { expression, attacker, hir, doubted, claims, attacker_first, address })
    }

    /// Whether it has a token of this group.
    pub(crate) fn has(&self, group: &str) -> bool {
        self.expression.contains(&format!("(?P<{group}>"))
    }

    /// What stands before and behind the attacker text, if these are expressions by themselves and
    /// the address is in the second; and whether the text is a `<USER>`.
    pub(crate) fn halves(&self) -> Option<(&str, bool, &str)> {
        let (place, user) = self.attacker.clone()?;
        let (head, tail) = (&self.expression[..place.start], &self.expression[place.end..]);
        let group = format!("(?P<{ADDR}>");
        // What is to be kept must be in the second.
        if head.contains("(?P<") {
            return None;
        }
        ([head, tail].into_iter().all(stands_alone) && tail.contains(&group)).then_some((head, user, tail))
    }

    /// Compiles the expression between its anchors.
    pub(crate) fn compile(&self) -> Result<Regex, PatternError> {
        build(&format!(r"\A(?:{})\z", self.expression))
    }

    /// Compiles the expression without anchors: for saying what a message has too much.
    pub(crate) fn compile_anywhere(&self) -> Result<Regex, PatternError> {
        build(&self.expression)
    }

    /// The expression as the proof walks it.
    pub(crate) fn automaton(&self, work: &mut Work) -> Result<Automaton, ProofError> {
        Automaton::of(&self.hir, self.expression.len(), work)
    }

    /// The same without what the author's own classes claim: as if clients chose every byte for which
    /// the pattern lets most bytes stand. None, if it has no such class.
    pub(crate) fn doubted(&self, work: &mut Work) -> Option<Result<Automaton, ProofError>> {
        Some(Automaton::of(self.doubted.as_ref()?, self.expression.len(), work))
    }

    /// The texts of which every match begins with one; a single empty one if it may begin with
    /// anything.
    pub(crate) fn beginnings(&self) -> Vec<Box<[u8]>> {
        let beginnings = Extractor::new().extract(&self.hir);
        match beginnings.literals() {
            Some(literals) if literals.iter().all(|literal| !literal.is_empty()) => {
                literals.iter().map(|literal| literal.as_bytes().into()).collect()
            }
            _ => vec![Box::default()],
        }
    }
}

/// Parses an expression by the rules of all patterns.
fn parse(expression: &str) -> Result<Hir, PatternError> {
    ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true)
        .build()
        .parse(expression)
        .map_err(|error| PatternError::Regex(last_line(&error.to_string()).to_owned()))
}

/// A class of more bytes than these says what a text is without, rather than what it is made of. (Letters,
/// digits and a dozen others are no more than 80.)
const MOST_OF_A_CLASS: usize = 80;

/// An expression with any byte in place of each class of most bytes, but for those of tokens. None, if
/// there is no such class.
fn doubt(hir: &Hir) -> Option<Hir> {
    let each = |parts: &[Hir]| -> Option<Vec<Hir>> {
        let doubted: Vec<Option<Hir>> = parts.iter().map(doubt).collect();
        let some = doubted.iter().any(Option::is_some);
        some.then(|| doubted.into_iter().zip(parts).map(|(it, part)| it.unwrap_or_else(|| part.clone())).collect())
    };
    match hir.kind() {
        HirKind::Class(Class::Bytes(class)) => {
            let size: usize = class.iter().map(|range| usize::from(range.end() - range.start()) + 1).sum();
            (size > MOST_OF_A_CLASS && size < 256).then(|| Hir::dot(Dot::AnyByte))
        }
        HirKind::Repetition(part) => {
            let sub = Box::new(doubt(&part.sub)?);
            Some(Hir::repetition(Repetition { sub, ..part.clone() }))
        }
        HirKind::Capture(Capture { name: None, index, sub }) => {
            Some(Hir::capture(Capture { name: None, index: *index, sub: Box::new(doubt(sub)?) }))
        }
        HirKind::Concat(parts) => each(parts).map(Hir::concat),
        HirKind::Alternation(parts) => each(parts).map(Hir::alternation),
        _ => None,
    }
}

/// Whether a piece of an expression may have a class of most bytes.
fn has_class(piece: &str) -> bool {
    piece.contains('[') || ["\\S", "\\D", "\\W", "\\P"].iter().any(|class| piece.contains(class))
}

/// Whether a piece of an expression means the same without what is around it: it is whole, with
/// no alternative to all of it, and neither flags nor a look at its surroundings.
fn stands_alone(piece: &str) -> bool {
    let groups = piece.match_indices("(?").all(|(at, _)| {
        let kind = &piece[at + 2..];
        kind.starts_with(':') || kind.starts_with("P<")
    });
    let alternative = |ast: &Ast| matches!(ast, Ast::Alternation(_));
    let whole = ast::parse::Parser::new().parse(piece).is_ok_and(|ast| !alternative(&ast));
    let meaning = ParserBuilder::new().unicode(false).utf8(false).build().parse(piece);
    groups && whole && meaning.is_ok_and(|hir| hir.properties().look_set().is_empty())
}

/// Whether a piece of an expression can stretch: an unescaped `*`, `+` or `{` outside a class.
/// What stretches ahead of the address may be an attacker's choice, whatever it is made of.
fn has_repetition(expression: &str) -> bool {
    let bytes = expression.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        at = match bytes[at] {
            b'\\' => at + 2,
            b'[' => {
                // A bracket that stands first in a class is a plain one.
                let mut close = at + if bytes.get(at + 1) == Some(&b'^') { 3 } else { 2 };
                while close < bytes.len() && bytes[close] != b']' {
                    close += if bytes[close] == b'\\' { 2 } else { 1 };
                }
                close + 1
            }
            b'*' | b'+' | b'{' => return true,
            _ => at + 1,
        };
    }
    false
}

/// The text that is the only one to match an expression, if there is one.
pub(super) fn literal(expression: &str) -> Option<Box<[u8]>> {
    let meaning = ParserBuilder::new().unicode(false).utf8(false).dot_matches_new_line(true).build().parse(expression);
    match meaning.ok()?.kind() {
        HirKind::Literal(literal) => Some(literal.0.clone()),
        _ => None,
    }
}

/// A regex error draws a picture over several lines; its last one is the sentence.
fn last_line(text: &str) -> &str {
    let line = text.lines().last().unwrap_or(text);
    line.strip_prefix("error: ").unwrap_or(line)
}

/// Flags and limits that every pattern is compiled with.
pub(super) fn build(expression: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(expression).unicode(false).dot_matches_new_line(true).size_limit(SIZE_LIMIT).build().map_err(
        |error| match error {
            regex::Error::CompiledTooBig(limit) => PatternError::TooBig(limit),
            other => PatternError::Regex(last_line(&other.to_string()).to_owned()),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::{Pattern, PatternError, tokens::ClientText};

    fn expand(text: &str) -> Result<Pattern, PatternError> {
        Pattern::expand(text, &ClientText::default())
    }

    #[test]
    fn a_pattern_takes_the_whole_message_and_nothing_less() {
        let regex = expand("from <ADDR> port <PORT>").unwrap().compile().unwrap();
        assert!(regex.is_match(b"from 203.0.113.7 port 22"));
        assert!(!regex.is_match(b"from 203.0.113.7 port 22 "));
        assert!(!regex.is_match(b"x from 203.0.113.7 port 22"));
        assert!(!regex.is_match(b"x\nfrom 203.0.113.7 port 22"));
        let regex = expand("a|b").unwrap().compile().unwrap();
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
            (r"\.\* from <ADDR>", false),
            ("[a-z]+ from <ADDR>", true),
            ("(?:.)* from <ADDR>", true),
            ("(?:<NUM> )*from <ADDR>", true),
            (r"[*+]\{ #<NUM> from <ADDR>", false),
            ("no address, <USER>", false),
        ] {
            assert_eq!(expand(text).unwrap().attacker_first, first, "{text}");
        }
    }

    #[test]
    fn mistakes_are_reported_with_their_mend() {
        for (text, says) in [
            ("from <HOSTS>", "unknown token <HOSTS>"),
            ("<ADDR> and <ADDR>", "has <ADDR> more than once; a message has one address"),
            ("<ADDR4> or <ADDR6>", "has both <ADDR4> and <ADDR6>; a message has one address"),
            ("<ACCOUNT> and <USER>", "has both <ACCOUNT> and <USER>; a message has one user"),
            ("(?P<x>a) <ADDR>", "named group"),
            ("(unclosed <ADDR>", "unclosed group"),
            ("(?=x)<ADDR>", "look-around"),
            ("(?:(?:a{900}){900}){900}<ADDR>", "more than"),
            ("a)|(?:b <ADDR>", "unopened group"),
            (r"\p{Greek} <ADDR>", "is not a valid regular expression"),
        ] {
            let error = expand(text).and_then(|pattern| pattern.compile()).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
