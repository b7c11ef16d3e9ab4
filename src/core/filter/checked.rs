//! A rule by itself: as it is written, and once it makes sense and is proven.

use std::collections::BTreeSet;

use regex::bytes::Regex;

use super::{
    FilterError, FilterText, MOST_TIMES,
    file::{Counts, RuleTable},
    pattern::Pattern,
    proof::{self, Automaton, ProofError, Work},
    tokens::{COUNT, ClientText, SESSION},
};
use crate::util::suggest::instead;

/// A rule as written, and the text that it stands in.
#[derive(Debug)]
pub(super) struct Written<'t> {
    pub(super) table: RuleTable,
    pub(super) text: &'t FilterText,
}

/// A rule that makes sense by itself.
pub(super) struct Checked {
    pub(super) pattern: Pattern,
    /// The whole, unless it may be read from both ends.
    pub(super) regex: Option<Regex>,
    pub(super) automaton: Automaton,
    /// The same without what the author's own classes claim, if they do.
    pub(super) doubted: Option<Automaton>,
}

impl Checked {
    /// All that the program may write, as far as the author's own classes are not believed.
    pub(super) fn broad(&self) -> &Automaton {
        self.doubted.as_ref().unwrap_or(&self.automaton)
    }
}

impl Written<'_> {
    pub(super) fn name(&self) -> &str {
        self.table.name.get_ref()
    }

    /// A mistake in the pattern.
    pub(super) fn pattern_error(&self, what: impl Into<String>) -> FilterError {
        self.text.error(self.table.pattern.span().start, what)
    }
}

/// Whether what a rule says of itself fits together.
pub(super) fn meaning(
    rule: &Written<'_>,
    has_session: bool,
    modes: &[(String, Vec<String>)],
) -> Result<(), FilterError> {
    let table = &rule.table;
    let (name, counts) = (rule.name(), table.counts.as_str());
    let at_name = |what: String| Err(rule.text.error(table.name.span().start, what));
    match &table.class {
        None if table.counts.has_class() => {
            return at_name(format!("rule '{name}' counts as {counts} and needs a class; name one of [modes]."));
        }
        Some(class) if !table.counts.has_class() => {
            return Err(rule.text.error(
                class.span().start,
                format!("rule '{name}' counts as {counts} in every jail, so it has no class; drop the line."),
            ));
        }
        Some(class) if !modes.iter().any(|(_, classes)| classes.contains(class.get_ref())) => {
            let known: BTreeSet<&str> =
                modes.iter().flat_map(|(_, classes)| classes.iter().map(String::as_str)).collect();
            return Err(rule.text.error(
                class.span().start,
                format!(
                    "no mode counts the class '{}'; name it in [modes] or use one of: {}.",
                    class.get_ref(),
                    known.into_iter().collect::<Vec<_>>().join(", ")
                ),
            ));
        }
        _ => {}
    }
    if let Some(attempt) = table.attempt.as_ref().filter(|_| table.counts != Counts::Failure) {
        return Err(rule.text.error(
            attempt.span().start,
            format!("rule '{name}' counts as {counts}; only failures can be views of one attempt. Drop the line."),
        ));
    }
    if let Some(weight) = &table.weight {
        let mistake = |what: String| Err(rule.text.error(weight.span().start, format!("rule '{name}' {what}")));
        if table.counts != Counts::Failure {
            return mistake(format!("counts as {counts}; only failures have a weight. Drop the line."));
        }
        if !(1..=MOST_TIMES).contains(weight.get_ref()) {
            return mistake(format!("has the weight {}; write a number from 1 to {MOST_TIMES}.", weight.get_ref()));
        }
    }
    let alone = table.standalone || !has_session;
    if table.counts == Counts::Refusal && !alone {
        return at_name(format!(
            "rule '{name}' counts as {counts}, which is turned away before there is a session; add standalone = true."
        ));
    }
    if alone && !matches!(table.counts, Counts::Failure | Counts::Refusal | Counts::Success | Counts::Nothing) {
        return at_name(format!(
            "rule '{name}' counts as {counts}, which says something of a session, but {}; let it count as failure.",
            if table.standalone { "the rule is standalone" } else { "[message] names no session" }
        ));
    }
    if table.gives_up && !table.ends_session {
        return at_name(format!(
            "rule '{name}' gives its session up and does not end it; add ends-session = true, or drop gives-up."
        ));
    }
    if table.after_login && (alone || table.counts != Counts::Evidence) {
        return at_name(format!(
            "rule '{name}' has after-login, which is for the evidence of sessions; drop the line."
        ));
    }
    if alone && table.ends_session {
        return at_name(format!("rule '{name}' belongs to no session, so it can't end one; drop ends-session."));
    }
    if alone && table.begins_session {
        return at_name(format!("rule '{name}' belongs to no session, so it can't begin one; drop begins-session."));
    }
    Ok(())
}

/// Expands a pattern, and proves it by itself.
pub(super) fn check(
    rule: &Written<'_>,
    clients: &ClientText,
    has_session: bool,
    work: &mut Work,
) -> Result<Checked, FilterError> {
    let name = rule.name();
    let pattern = Pattern::expand(rule.table.pattern.get_ref(), clients)
        .map_err(|what| rule.pattern_error(format!("the pattern of rule '{name}' {what}.")))?;
    // Before the proof, whose own bound knows no repetition to blame.
    let regex = if pattern.halves().is_some() { None } else { Some(whole(rule, &pattern)?) };
    let unproven = |error: ProofError| rule.pattern_error(format!("rule '{name}' is refused: {error}."));
    let automaton = match pattern.automaton(work) {
        Ok(automaton) => automaton,
        Err(error) => return Err(whole(rule, &pattern).err().unwrap_or_else(|| unproven(error))),
    };
    if let Some(token) = pattern.address.filter(|_| !automaton.has_address()) {
        return Err(rule.pattern_error(format!(
            "rule '{name}' names <{token}> where it can't match (in a class, a comment, or repeated zero times); write \
             plain brackets as \\[ and \\]."
        )));
    }
    if pattern.address.is_none()
        && rule.table.standalone
        && matches!(rule.table.counts, Counts::Failure | Counts::Refusal)
    {
        return Err(rule.pattern_error(format!(
            "rule '{name}' has no <ADDR>, and as it is standalone there is no session to take an address from."
        )));
    }
    let alone = rule.table.standalone || !has_session;
    if pattern.address.is_none() && alone && (rule.table.attempt.is_some() || rule.table.counts == Counts::Success) {
        return Err(rule
            .pattern_error(format!("rule '{name}' has no <ADDR>, and there is no session to take an address from.")));
    }
    if pattern.has(SESSION) && alone {
        return Err(rule.pattern_error(format!(
            "rule '{name}' has <SESSION>, but {}.",
            if has_session {
                "it is standalone"
            } else {
                "[message] names no session; add session = [\"_BOOT_ID\", \"_PID\"]"
            }
        )));
    }
    if pattern.has(COUNT) && rule.table.counts != Counts::Failure {
        return Err(rule.pattern_error(format!(
            "rule '{name}' has <COUNT>, which is a number of failures, and counts as {}; write <NUM>.",
            rule.table.counts.as_str()
        )));
    }
    if let Some(fooled) = proof::alone(&automaton, work).map_err(unproven)? {
        return Err(rule.pattern_error(format!(
            "rule '{name}' is refused because it can be fooled: {fooled}. Spell out what stands between attacker \
             text and the end of the message, so that only one reading is left."
        )));
    }
    let doubted = pattern.doubted(work).transpose().map_err(unproven)?;
    if let Some(broad) = &doubted
        && let Some(fooled) = proof::together(broad, &automaton, work).map_err(unproven)?
    {
        return Err(rule.pattern_error(format!(
            "rule '{name}' is refused because it can be fooled, unless the program keeps out of its text what a class \
             leaves out: {fooled}. If the program does, say so with a token, such as <WORD>, <QUOTED> or <TEXT \
             without \":\">; a class of one's own is no such word."
        )));
    }
    Ok(Checked { pattern, regex, automaton, doubted })
}

/// Compiles a pattern as it is written.
pub(super) fn whole(rule: &Written<'_>, pattern: &Pattern) -> Result<Regex, FilterError> {
    pattern.compile().map_err(|what| rule.pattern_error(format!("the pattern of rule '{}' {what}.", rule.name())))
}

pub(super) fn no_rule(name: &str, rules: &[Written<'_>]) -> String {
    format!("there is no rule '{name}'; {}", instead(name, rules.iter().map(Written::name)))
}
