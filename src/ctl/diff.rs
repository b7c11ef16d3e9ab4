//! `wardenctl replay --diff`: what another configuration would change.
//!
//! Two replays of one journal go in; each source whose bans differ comes out, with both sides and
//! the change in words.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnet::IpNet;
use serde::Serialize;

use super::{
    finding::{Finding, Period},
    output::{Json, Table, closing, print_json, when},
};
use crate::{
    core::{
        net::text_of,
        time::{Usec, span},
    },
    util::text::count,
};

/// What a replay found, by jail and source.
type Found = BTreeMap<(Arc<str>, IpNet), Finding>;

/// The bans of a source under one configuration.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct BanSummary {
    bans: u64,
    /// None if it is permanent.
    banned_usec: Option<Usec>,
    banned_at_usec: Option<Usec>,
}

impl BanSummary {
    fn of(found: Option<&Finding>) -> Self {
        let periods: &[Period] = found.map_or(&[], |line| &line.periods);
        let length = |period: &Period| Some(period.until_usec?.saturating_sub(period.since_usec));
        Self {
            bans: periods.len() as u64,
            banned_usec: periods.iter().map(length).sum(),
            banned_at_usec: periods.first().map(|period| period.since_usec),
        }
    }

    /// How long it is banned; permanent is longest.
    fn length(&self) -> Usec {
        self.banned_usec.unwrap_or(Usec::MAX)
    }

    fn shown(&self) -> String {
        match (self.bans, self.banned_usec) {
            (0, _) => "-".to_owned(),
            (bans, Some(usec)) => format!("{bans} × {}", span(usec / bans)),
            (bans, None) => format!("{bans}, permanently"),
        }
    }
}

/// What changes for a source, in words.
fn change(before: &BanSummary, after: &BanSummary) -> Vec<&'static str> {
    let mut words = Vec::new();
    match (before.bans, after.bans) {
        (0, 0) => {}
        (0, _) => words.push("banned"),
        (_, 0) => words.push("not banned"),
        (before, after) if before < after => words.push("more often"),
        (before, after) if before > after => words.push("less often"),
        _ => {}
    }
    if let (Some(first), Some(then)) = (before.banned_at_usec, after.banned_at_usec) {
        match first.cmp(&then) {
            std::cmp::Ordering::Less => words.push("later"),
            std::cmp::Ordering::Greater => words.push("earlier"),
            std::cmp::Ordering::Equal => {}
        }
        match before.length().cmp(&after.length()) {
            std::cmp::Ordering::Less => words.push("longer"),
            std::cmp::Ordering::Greater => words.push("shorter"),
            std::cmp::Ordering::Equal => {}
        }
    }
    words
}

/// A source whose bans differ: a line of the output.
#[derive(Debug, Serialize)]
struct Difference {
    jail: String,
    source: String,
    change: Vec<&'static str>,
    before: BanSummary,
    after: BanSummary,
}

#[derive(Debug, Serialize)]
struct Summary {
    changed: u64,
    sources: u64,
    bans_before: u64,
    bans_after: u64,
}

/// The last line of the output.
#[derive(Debug, Serialize)]
struct Closing {
    summary: Summary,
}

pub(super) fn print(before: &Found, after: &Found, json: Json) -> anyhow::Result<()> {
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let bans = |found: &Found| found.values().map(|line| line.bans).sum();
    let differences: Vec<Difference> = keys
        .iter()
        .filter_map(|key| {
            let (before, after) = (BanSummary::of(before.get(key)), BanSummary::of(after.get(key)));
            let change = change(&before, &after);
            let (jail, source) = (key.0.to_string(), text_of(key.1));
            (!change.is_empty()).then_some(Difference { jail, source, change, before, after })
        })
        .collect();
    let summary = Summary {
        changed: differences.len() as u64,
        sources: keys.len() as u64,
        bans_before: bans(before),
        bans_after: bans(after),
    };
    if let Some(mode) = json.mode() {
        for difference in &differences {
            print_json(difference, mode)?;
        }
        return print_json(&Closing { summary }, mode);
    }
    let mut table = Table::new(["SOURCE", "JAIL", "BEFORE", "AFTER", "FIRST BAN", "CHANGE"]);
    for Difference { jail, source, change, before, after } in &differences {
        let first = after.banned_at_usec.or(before.banned_at_usec).map_or_else(String::new, when);
        table.row([source.clone(), jail.clone(), before.shown(), after.shown(), first, change.join(", ")]);
    }
    table.print()?;
    closing(&format!(
        "{} of {} would change; {} instead of {}.",
        summary.changed,
        count(keys.len(), "source", "sources"),
        count(usize::try_from(summary.bans_after).unwrap_or(usize::MAX), "ban", "bans"),
        summary.bans_before
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_reported_in_words() {
        let side = |bans, banned_usec, banned_at_usec| BanSummary { bans, banned_usec, banned_at_usec };
        let none = || side(0, Some(0), None);
        for (before, after, words) in [
            (none(), none(), vec![]),
            (none(), side(1, Some(9), Some(5)), vec!["banned"]),
            (side(1, Some(9), Some(5)), none(), vec!["not banned"]),
            (side(1, Some(9), Some(5)), side(1, Some(9), Some(5)), vec![]),
            (side(1, Some(9), Some(5)), side(2, Some(18), Some(4)), vec!["more often", "earlier", "longer"]),
            (side(1, None, Some(5)), side(1, Some(9), Some(6)), vec!["later", "shorter"]),
        ] {
            assert_eq!(change(&before, &after), words, "{before:?} {after:?}");
        }
    }
}
