//! Rules beside each other: which goes first, and the proof of each pair.

use std::collections::{BTreeSet, HashMap};

use super::{
    FilterError,
    checked::{Checked, Written, no_rule},
    file::RuleTable,
    proof::{self, Fooled, ProofError, Work},
};

/// For each rule, the rules that it says it goes before.
pub(super) fn precedence(rules: &[Written<'_>]) -> Result<Vec<BTreeSet<usize>>, FilterError> {
    let places: HashMap<&str, usize> = rules.iter().enumerate().map(|(place, rule)| (rule.name(), place)).collect();
    let of = |rule: &Written<'_>| {
        rule.table
            .over
            .iter()
            .map(|other| match places.get(other.get_ref().as_str()) {
                Some(place) if rules[*place].name() != rule.name() => Ok(*place),
                Some(_) => Err(rule.text.error(other.span().start, "a rule can't go before itself; drop the name.")),
                None => Err(rule.text.error(other.span().start, no_rule(other.get_ref(), rules))),
            })
            .collect()
    };
    rules.iter().map(of).collect()
}

/// Proves each pair of rules.
pub(super) fn pairs(
    rules: &[Written<'_>],
    checked: &[Checked],
    first: &[BTreeSet<usize>],
    work: &mut Work,
) -> Result<(), FilterError> {
    for (index, rule) in rules.iter().enumerate() {
        for (other_index, other) in rules.iter().enumerate().take(index) {
            let (one, two) = (&checked[index].automaton, &checked[other_index].automaton);
            let names = format!("rules '{}' and '{}'", other.name(), rule.name());
            let unproven = |error: ProofError| rule.pattern_error(format!("{names} are refused: {error}."));
            // Most pairs have no message in common, and that is found at their first words.
            for (written, read) in [(index, other_index), (other_index, index)] {
                let Some(broad) = &checked[written].doubted else { continue };
                if let Some(fooled) = proof::together(broad, &checked[read].automaton, work).map_err(unproven)? {
                    return Err(contradiction(rule, &names, &fooled));
                }
            }
            let Some(both) = proof::overlap(one, two, work).map_err(unproven)? else { continue };
            if let Some(fooled) = proof::together(one, two, work).map_err(unproven)? {
                return Err(contradiction(rule, &names, &fooled));
            }
            let ordered = first[index].contains(&other_index) || first[other_index].contains(&index);
            let same = same_meaning(&rule.table, &other.table) && one.has_address() == two.has_address();
            if !ordered && !same {
                return Err(rule.pattern_error(format!(
                    "{names} are refused because they mean different things and both match the message \"{}\"; \
                     if '{}' is to go first there, give it over = [\"{}\"].",
                    proof::shown(&both),
                    rule.name(),
                    other.name()
                )));
            }
        }
    }
    Ok(())
}

fn contradiction(rule: &Written<'_>, names: &str, fooled: &Fooled) -> FilterError {
    rule.pattern_error(format!("{names} are refused because together they can be fooled: {fooled}."))
}

/// Whether it makes no difference which of two rules reads a message that both match.
fn same_meaning(one: &RuleTable, two: &RuleTable) -> bool {
    let of = |table: &RuleTable| {
        (
            table.class.as_ref().map(|class| class.get_ref().clone()),
            table.attempt.as_ref().map(|attempt| attempt.get_ref().clone()),
            table.counts,
            (table.begins_session, table.ends_session),
            table.standalone,
            table.gives_up,
            table.after_login,
            table.truncated_at,
            table.weight.as_ref().map(|weight| *weight.get_ref()),
        )
    };
    of(one) == of(two)
}

/// The rules in the order in which they are tried: as written, but each before those that it
/// goes over.
pub(super) fn in_order(rules: &[Written<'_>], first: &[BTreeSet<usize>]) -> Result<Vec<usize>, FilterError> {
    // How many rules that are not placed yet go before each.
    let mut waits = vec![0_usize; rules.len()];
    first.iter().flatten().for_each(|after| waits[*after] += 1);
    let mut ready: BTreeSet<usize> = (0..rules.len()).filter(|index| waits[*index] == 0).collect();
    let mut order: Vec<usize> = Vec::with_capacity(rules.len());
    while let Some(next) = ready.pop_first() {
        order.push(next);
        for after in &first[next] {
            waits[*after] -= 1;
            if waits[*after] == 0 {
                ready.insert(*after);
            }
        }
    }
    if order.len() == rules.len() {
        return Ok(order);
    }
    let stuck: Vec<usize> = (0..rules.len()).filter(|index| waits[*index] > 0 && !first[*index].is_empty()).collect();
    let names: Vec<&str> = stuck.iter().map(|index| rules[*index].name()).collect();
    let rule = &rules[stuck.first().copied().unwrap_or_default()];
    let at = rule.table.over.first().map_or(0, |over| over.span().start);
    Err(rule
        .text
        .error(at, format!("the rules {} each go before another in a circle; drop one 'over'.", names.join(", "))))
}
