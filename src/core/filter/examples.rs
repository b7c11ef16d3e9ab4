//! The example lines that each rule carries, run whenever a filter is loaded.
//!
//! A rule's `match` lines must be read by that very rule, with the address and user they name;
//! its `ignore` lines must not be. So a filter states its meaning beside its patterns, and a
//! later edit that changes the meaning is refused with the line that shows it.

use super::{
    Filter, FilterError,
    checked::Written,
    proof::{ProofError, Work},
    records::Kinds,
};

impl Filter {
    /// `sizes`: the states of each rule, in the order in which they are tried.
    pub(super) fn run_examples(
        &self,
        rules: &[Written<'_>],
        sizes: &[usize],
        work: &mut Work,
    ) -> Result<(), FilterError> {
        let mut count = |message: &str| self.count(message.as_bytes(), sizes, work);
        for Written { table, text } in rules {
            let rule = table.name.get_ref();
            let texts = table.matches.iter().map(|example| (example.span().start, &example.get_ref().message));
            for (at, message) in texts.chain(table.ignore.iter().map(|line| (line.span().start, line.get_ref()))) {
                count(message).map_err(|_| {
                    text.error(
                        at,
                        format!(
                            "with this example of rule '{rule}' ({} bytes) the filter takes too long to check; \
                             give it fewer and shorter examples.",
                            message.len()
                        ),
                    )
                })?;
            }
            for example in &table.matches {
                let wanted = example.get_ref();
                self.check(rule, &wanted.message, wanted.address.as_deref(), wanted.user.as_deref()).map_err(
                    |what| text.error(example.span().start, format!("this example of rule '{rule}' {what}.")),
                )?;
            }
            for example in &table.ignore {
                let found = self.find(example.get_ref().as_bytes(), Kinds::ALL);
                if found.is_some_and(|(found, _)| *self.rule(found).name == **rule) {
                    return Err(text.error(
                        example.span().start,
                        format!("rule '{rule}' matches this line, which it says it ignores."),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Counts what it takes to match a message: at the worst, each byte is held against all states.
    fn count(&self, message: &[u8], sizes: &[usize], work: &mut Work) -> Result<(), ProofError> {
        let states: usize = self.dispatch.candidates(message).filter_map(|rule| sizes.get(rule)).sum();
        work.spend((message.len() + 1).saturating_mul(states + 1) / 4)
    }

    fn check(&self, rule: &str, message: &str, address: Option<&str>, user: Option<&str>) -> Result<(), Misread> {
        let Some((found, tokens)) = self.find(message.as_bytes(), Kinds::ALL) else {
            return Err(Misread::Unmatched);
        };
        if *self.rule(found).name != *rule {
            return Err(Misread::Other(self.rule(found).name.to_string()));
        }
        let seen = self.address(found, &tokens, message.len(), false).map(|address| address.to_string());
        if seen.as_deref() != address {
            return Err(Misread::Address(or_nothing(seen.as_deref()), or_nothing(address)));
        }
        let seen = tokens.user.map(|user| String::from_utf8_lossy(user).into_owned());
        if user.is_some() && seen.as_deref() != user {
            return Err(Misread::User(or_nothing(seen.as_deref()), or_nothing(user)));
        }
        Ok(())
    }
}

/// How an example is not read as it says: the end of a sentence.
#[derive(Debug, thiserror::Error)]
enum Misread {
    #[error("is matched by no rule")]
    Unmatched,
    #[error("is matched by rule '{0}', which goes first")]
    Other(String),
    /// What it names, and what it should.
    #[error("names {0}, not {1}")]
    Address(String, String),
    #[error("names the user {0}, not {1}")]
    User(String, String),
}

fn or_nothing(text: Option<&str>) -> String {
    text.unwrap_or("nothing").to_owned()
}
