//! Which rules a message can belong to, by its beginning.
//!
//! sshd's messages begin with fixed words, so most rules are ruled out by comparing a few bytes,
//! and most messages that no rule knows never reach a regex. (Asking one automaton for all rules
//! first, and then the rule's own for the captures, costs several times as much.)

/// The bytes that the matches of a rule begin with.
type Beginning = (Box<[u8]>, usize);

/// For each first byte of a message: beginnings, and the rules whose matches begin so, in the
/// order in which the rules are tried.
#[derive(Debug)]
pub(super) struct Dispatch {
    by_first: Box<[Vec<Beginning>; 256]>,
    /// Rules that match messages of any beginning, so perhaps the empty one too.
    any: Vec<usize>,
}

impl Dispatch {
    /// For rules in their order: what the matches of each begin with (an empty text stands for
    /// anything).
    pub(super) fn new(rules: &[Vec<Box<[u8]>>]) -> Self {
        let mut by_first = Box::new([const { Vec::new() }; 256]);
        let mut any = Vec::new();
        for (rule, beginnings) in rules.iter().enumerate() {
            if beginnings.iter().any(|beginning| beginning.is_empty()) {
                any.push(rule);
                by_first.iter_mut().for_each(|list: &mut Vec<Beginning>| list.push((Box::default(), rule)));
                continue;
            }
            for beginning in beginnings {
                by_first[usize::from(beginning[0])].push((beginning.clone(), rule));
            }
        }
        Self { by_first, any }
    }

    /// All beginnings, each with its rule. The empty one stands for anything.
    pub(super) fn beginnings(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let of_any = self.any.iter().map(|rule| (&[][..], *rule));
        self.by_first.iter().flatten().map(|(beginning, rule)| (&**beginning, *rule)).chain(of_any)
    }

    /// The rules that may match a message, in their order. A rule can come up more than once.
    pub(super) fn candidates(&self, message: &[u8]) -> impl Iterator<Item = usize> {
        let (listed, any) = match message.first() {
            Some(first) => (self.by_first[usize::from(*first)].as_slice(), [].as_slice()),
            None => ([].as_slice(), self.any.as_slice()),
        };
        let listed = listed.iter().filter(move |(beginning, _)| message.starts_with(beginning)).map(|(_, rule)| *rule);
        listed.chain(any.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::Dispatch;

    #[test]
    fn a_message_meets_only_rules_that_begin_like_it() {
        let beginnings = |words: &[&str]| words.iter().map(|word| word.as_bytes().into()).collect::<Vec<Box<[u8]>>>();
        let dispatch = Dispatch::new(&[
            beginnings(&["Failed password"]),
            beginnings(&["Connection closed", "Connection reset"]),
            beginnings(&[""]),
            beginnings(&["Fa"]),
        ]);
        for (message, rules) in [
            ("Failed password for", vec![0, 2, 3]),
            ("Failed none for", vec![2, 3]),
            ("Connection reset by", vec![1, 2]),
            ("Connection from", vec![2]),
            ("", vec![2]),
        ] {
            assert_eq!(dispatch.candidates(message.as_bytes()).collect::<Vec<_>>(), rules, "{message}");
        }
    }
}
