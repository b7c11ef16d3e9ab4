//! The proof against trying all messages, with a matcher that shares nothing with it.

use std::{collections::BTreeSet, fmt::Write as _};

use proptest::prelude::*;

use super::*;

/// A small pattern, and a matcher for it that shares nothing with the proof.
#[derive(Debug, Clone)]
enum Ast {
    Leaf(&'static str),
    Concat(Vec<Ast>),
    Either(Vec<Ast>),
    Star(Box<Ast>),
    Optional(Box<Ast>),
    Address(Box<Ast>),
}

/// The end of a reading, and where it has seen the address.
type Reading = (usize, Option<(usize, usize)>);

impl Ast {
    fn pattern(&self, out: &mut String) {
        let join = |parts: &[Ast], between: &str, out: &mut String| {
            out.push_str("(?:");
            for (at, part) in parts.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { between });
                part.pattern(out);
            }
            out.push(')');
        };
        let wrap = |open: &str, part: &Ast, close: &str, out: &mut String| {
            out.push_str(open);
            part.pattern(out);
            out.push_str(close);
        };
        match self {
            Self::Leaf(leaf) => write!(out, "(?:{leaf})").unwrap(),
            Self::Concat(parts) => join(parts, "", out),
            Self::Either(parts) => join(parts, "|", out),
            Self::Star(part) => wrap("(?:", part, ")*", out),
            Self::Optional(part) => wrap("(?:", part, ")?", out),
            Self::Address(part) => wrap("(?P<ADDR>", part, ")", out),
        }
    }

    fn automaton(&self) -> Result<Automaton, ProofError> {
        let mut pattern = String::new();
        self.pattern(&mut pattern);
        Automaton::new(&pattern, &mut Work::new())
    }

    /// Every way to go on from a reading.
    fn all(&self, text: &[u8], from: Reading) -> BTreeSet<Reading> {
        let (at, place) = from;
        match self {
            Self::Leaf(leaf) => {
                let width = usize::from(!matches!(*leaf, "" | "^" | "$"));
                let good = match *leaf {
                    "" => true,
                    "^" => at == 0,
                    "$" => at == text.len(),
                    "." => at < text.len(),
                    "[ab]" => matches!(text.get(at), Some(b'a' | b'b')),
                    "[^a]" => text.get(at).is_some_and(|&byte| byte != b'a'),
                    letter => text.get(at..=at) == Some(letter.as_bytes()),
                };
                if good { BTreeSet::from([(at + width, place)]) } else { BTreeSet::new() }
            }
            Self::Concat(parts) => parts.iter().fold(BTreeSet::from([from]), |open, part| {
                open.into_iter().flat_map(|from| part.all(text, from)).collect()
            }),
            Self::Either(parts) => parts.iter().flat_map(|part| part.all(text, from)).collect(),
            Self::Star(part) => {
                let (mut done, mut open) = (BTreeSet::from([from]), vec![from]);
                while let Some(from) = open.pop() {
                    open.extend(part.all(text, from).into_iter().filter(|to| done.insert(*to)));
                }
                done
            }
            Self::Optional(part) => part.all(text, from).into_iter().chain([from]).collect(),
            Self::Address(part) => part.all(text, from).into_iter().map(|(end, _)| (end, Some((at, end)))).collect(),
        }
    }

    /// All places where the address of a whole message may stand.
    fn places(&self, text: &[u8]) -> BTreeSet<Option<(usize, usize)>> {
        let readings = self.all(text, (0, None)).into_iter();
        readings.filter(|(end, _)| *end == text.len()).map(|(_, place)| place).collect()
    }

    fn has_place(&self, text: &[u8], place: &Range<usize>) -> bool {
        self.places(text).contains(&Some((place.start, place.end)))
    }
}

/// All messages up to a length that tell the leaves apart: a third byte would be read by no leaf
/// that doesn't read `b` as well.
fn messages() -> impl Iterator<Item = Vec<u8>> {
    (0..=6_u32).flat_map(|length| {
        (0..1_u32 << length).map(move |bits| (0..length).map(|at| b'a' + u8::from(bits >> at & 1 == 1)).collect())
    })
}

fn plain() -> impl Strategy<Value = Ast> + Clone {
    let leaf = prop_oneof![
        12 => prop::sample::select(vec!["a", "b", "a", "b", "[ab]", ".", "[^a]"]),
        1 => prop::sample::select(vec!["", "^", "$"]),
    ];
    leaf.prop_map(Ast::Leaf).prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 1..4).prop_map(Ast::Concat),
            2 => prop::collection::vec(inner.clone(), 2..4).prop_map(Ast::Either),
            1 => inner.clone().prop_map(|part| Ast::Star(Box::new(part))),
            1 => inner.prop_map(|part| Ast::Optional(Box::new(part))),
        ]
    })
}

/// A pattern that names its address once, at any place.
fn with_address() -> impl Strategy<Value = Ast> + Clone {
    let address = plain().prop_map(|part| Ast::Address(Box::new(part)));
    address.prop_recursive(3, 12, 3, |inner| {
        let some = || prop::collection::vec(plain(), 0..3);
        prop_oneof![
            12 => (some(), inner.clone(), some()).prop_map(|(mut parts, address, after)| {
                parts.push(address);
                parts.extend(after);
                Ast::Concat(parts)
            }),
            2 => (plain(), inner.clone(), any::<bool>()).prop_map(|(other, address, first)| {
                Ast::Either(if first { vec![address, other] } else { vec![other, address] })
            }),
            1 => inner.clone().prop_map(|part| Ast::Star(Box::new(part))),
            1 => inner.prop_map(|part| Ast::Optional(Box::new(part))),
        ]
    })
}

/// The two addresses differ in a shortest message of this length.
fn shortest(a: &Automaton, b: &Automaton, mirrored: bool) -> Option<usize> {
    let walk = Search::new(a, b, mirrored, true, &mut Work::new()).unwrap().run().unwrap();
    walk.map(|walk| walk.len() - 1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn alone_agrees_with_trying_all_messages(ast in with_address()) {
        let all: Vec<_> = messages().map(|text| (text.len(), ast.places(&text))).collect();
        let missing = all.iter().any(|(_, places)| places.contains(&None));
        let two = all.iter().find(|(_, places)| places.len() > 1).map(|(length, _)| *length);
        match ast.automaton() {
            Ok(automaton) => {
                prop_assert!(!missing, "a reading without address was overlooked");
                let length = shortest(&automaton, &automaton, true);
                prop_assert_eq!(length.filter(|length| *length <= 6), two);
                match alone(&automaton).unwrap() {
                    None => prop_assert_eq!(length, None),
                    Some(fooled) => {
                        prop_assert_ne!(&fooled.first, &fooled.second);
                        prop_assert!(ast.has_place(&fooled.message, &fooled.first), "{}", fooled);
                        prop_assert!(ast.has_place(&fooled.message, &fooled.second), "{}", fooled);
                    }
                }
            }
            Err(error) => {
                let shape = format!("{ast:?}");
                let optional = ["Optional", "Either", "Star"].iter().any(|it| shape.contains(it));
                prop_assert!(matches!(error, ProofError::Missing | ProofError::Repeated));
                prop_assert!(missing || optional, "{} for no reason", error);
            }
        }
    }

    #[test]
    fn together_agrees_with_trying_all_messages(one in with_address(), other in with_address()) {
        let (Ok(a), Ok(b)) = (one.automaton(), other.automaton()) else {
            return Ok(());
        };
        let differ = |text: &Vec<u8>| {
            let (one, other) = (one.places(text), other.places(text));
            one.iter().any(|place| other.iter().any(|it| it != place))
        };
        let two = messages().find(differ).map(|text| text.len());
        let length = shortest(&a, &b, false);
        prop_assert_eq!(length.filter(|length| *length <= 6), two);
        match together(&a, &b).unwrap() {
            None => prop_assert_eq!(length, None),
            Some(fooled) => {
                prop_assert_ne!(&fooled.first, &fooled.second);
                prop_assert!(one.has_place(&fooled.message, &fooled.first), "{}", fooled);
                prop_assert!(other.has_place(&fooled.message, &fooled.second), "{}", fooled);
            }
        }
    }

    #[test]
    fn overlap_agrees_with_trying_all_messages(one in plain(), other in with_address()) {
        let (Ok(a), Ok(b)) = (one.automaton(), other.automaton()) else {
            return Ok(());
        };
        let both = |text: &Vec<u8>| !one.places(text).is_empty() && !other.places(text).is_empty();
        let found = overlap(&a, &b).unwrap();
        let length = found.as_ref().map(Vec::len).filter(|length| *length <= 6);
        prop_assert_eq!(length, messages().find(both).map(|text| text.len()));
        prop_assert!(found.is_none_or(|text| both(&text)));
    }
}
