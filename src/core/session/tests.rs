use std::{collections::BTreeMap, net::IpAddr};

use proptest::prelude::*;

use super::{CAPACITY, Outcome, Place, SILENCE, SessionMessage, Sessions, Usec};
use crate::core::{
    failure::Failure,
    filter::{Filter, FilterText, Rule},
    record::{Cursor, Fields},
};

/// One rule of each kind, the failures `a1` and `a2` as two views of one attempt.
fn filter() -> Filter {
    let mut text =
        "[records]\n_UID = [\"0\"]\n[message]\nsession = [\"_PID\"]\n[modes]\nnormal = [\"auth\"]\n".to_owned();
    for (name, more) in [
        ("failure", "counts = 'failure'\nclass = 'auth'"),
        ("a1", "counts = 'failure'\nclass = 'auth'\nattempt = 'a'"),
        ("a2", "counts = 'failure'\nclass = 'auth'\nattempt = 'a'"),
        ("evidence", "counts = 'evidence'\nclass = 'auth'"),
        ("last", "counts = 'evidence'\nclass = 'auth'\nends-session = true"),
        ("end", "counts = 'nothing'\nends-session = true"),
        ("success", "counts = 'success'"),
        ("pardon", "counts = 'pardon'"),
        ("nothing", "counts = 'nothing'"),
        ("pending", "counts = 'pending'\nclass = 'auth'"),
        ("begin", "counts = 'nothing'\nbegins-session = true"),
        ("given-up", "counts = 'evidence'\nclass = 'auth'\nends-session = true\ngives-up = true"),
    ] {
        text.push_str(&format!("[[rule]]\nname = '{name}'\n{more}\npattern = '{name} <ADDR>'\n"));
    }
    Filter::load("test", &[FilterText::new("test.toml", text)], &mut Fields::default()).unwrap()
}

/// A line of the session `key`: rule, last byte of its address if it has one, time.
#[derive(Clone, Debug)]
struct Step {
    key: u8,
    rule: &'static str,
    address: Option<u8>,
    counted: bool,
    time: Usec,
}

fn step(key: u8, rule: &'static str, address: impl Into<Option<u8>>, time: Usec) -> Step {
    Step { key, rule, address: address.into(), counted: true, time }
}

fn address(byte: u8) -> IpAddr {
    [203, 0, 113, byte].into()
}

fn rule<'f>(filter: &'f Filter, name: &str) -> &'f Rule {
    filter.rules().find(|rule| *rule.name == *name).unwrap()
}

/// Adds up outcomes: the failures that stand, as (key of the cursor, rule, address, time).
#[derive(Debug, Default)]
struct Standing(Vec<(String, String, IpAddr, Usec)>);

impl Standing {
    fn of(failure: &Failure) -> (String, String, IpAddr, Usec) {
        (failure.cursor.to_string(), failure.rule.to_string(), failure.address, failure.time)
    }

    fn take(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Failure(failure, _) => self.0.push(Self::of(&failure)),
                Outcome::Forgive(failures) => failures.iter().for_each(|failure| self.remove(&failure)),
                Outcome::TakeBack(failure) => self.remove(&failure),
                Outcome::Login(..) | Outcome::Nameless(_) | Outcome::Crowded => {}
            }
        }
    }

    fn remove(&mut self, failure: &Failure) {
        let failure = Self::of(failure);
        let place = self.0.iter().position(|known| *known == failure);
        self.0.remove(place.expect("only what was counted is taken back"));
    }

    fn sorted(mut self) -> Vec<(String, String, IpAddr, Usec)> {
        self.0.sort();
        self.0
    }
}

fn let_time_pass(sessions: &mut Sessions, now: Usec, out: &mut Vec<Outcome>) {
    while sessions.deadline().is_some_and(|due| due <= now) {
        sessions.advance(now, out);
    }
}

/// What the table makes of some lines.
fn run(steps: &[Step]) -> Vec<(String, String, IpAddr, Usec)> {
    let filter = filter();
    let (mut sessions, mut standing) = (Sessions::default(), Standing::default());
    for (index, step) in steps.iter().enumerate() {
        let mut out = Vec::new();
        let_time_pass(&mut sessions, step.time, &mut out);
        let ask = || Cursor::from(index.to_string());
        let line = SessionMessage {
            rule: rule(&filter, step.rule),
            counted: step.counted,
            address: step.address.map(address),
            user: None,
            times: 1,
            time: step.time,
            place: Place::new(&ask),
            forgeable: false,
        };
        sessions.observe(step.key.to_string().into(), &line, &mut out);
        standing.take(out);
    }
    let mut out = Vec::new();
    sessions.end_all(0, &mut out);
    assert_eq!(sessions.len(), 0);
    standing.take(out);
    standing.sorted()
}

fn rules_of(steps: &[Step]) -> Vec<String> {
    run(steps).into_iter().map(|(_, rule, ..)| rule).collect()
}

#[test]
fn one_attempt_is_one_failure_however_many_lines_it_wrote() {
    for (lines, counted) in [
        // Invalid user, Failed password, Connection closed.
        (vec!["evidence", "failure", "last"], vec!["failure"]),
        (vec!["failure", "failure", "failure", "last"], vec!["failure"; 3]),
        // Keyboard-interactive: a PAM error each, and from the third a Failed line as well.
        (vec!["a1", "a1", "a1", "a2"], vec!["a1"; 3]),
        (vec!["a1", "a2", "a1", "a2"], vec!["a1"; 2]),
        (vec!["a2", "a2", "a1", "failure"], vec!["a2", "a2", "failure"]),
    ] {
        let steps: Vec<Step> = (0..).zip(&lines).map(|(time, rule)| step(1, rule, 7, time)).collect();
        assert_eq!(rules_of(&steps), counted, "{lines:?}");
    }
}

#[test]
fn evidence_counts_at_the_end_if_nothing_else_did() {
    assert_eq!(rules_of(&[step(1, "evidence", 7, 0), step(1, "last", 7, 1)]), ["evidence"], "the first of them");
    assert_eq!(rules_of(&[step(1, "last", 7, 0)]), ["last"], "a line can be all there is");
    assert_eq!(rules_of(&[step(1, "evidence", 7, 0), step(1, "success", 7, 1)]), [""; 0]);
    assert_eq!(rules_of(&[step(1, "evidence", 7, 0), step(1, "nothing", 7, SILENCE)]), ["evidence"], "silence ends it");
    assert_eq!(rules_of(&[step(1, "evidence", None, 0), step(1, "end", None, 1)]), [""; 0], "nobody to count for");
    assert_eq!(rules_of(&[step(1, "evidence", None, 0), step(1, "end", 7, 1)]), ["evidence"]);
}

#[test]
fn a_success_forgives_its_session_and_a_pardon_its_last_failure() {
    let lines = |rules: &[&'static str]| {
        let steps: Vec<Step> = (0..).zip(rules).map(|(time, rule)| step(1, rule, 7, time)).collect();
        rules_of(&steps).len()
    };
    assert_eq!(lines(&["failure", "failure", "success"]), 0);
    assert_eq!(lines(&["failure", "failure", "pardon", "end"]), 1);
    assert_eq!(lines(&["pardon", "evidence", "end"]), 0);
    let other = [step(1, "failure", 7, 0), step(2, "success", 7, 1)];
    assert_eq!(rules_of(&other), ["failure"], "another session's success is none of its own");
}

#[test]
fn a_session_has_one_address() {
    let steps = [step(1, "failure", 7, 0), step(1, "failure", 8, 1), step(1, "success", 8, 2)];
    assert_eq!(run(&steps), [("0".into(), "failure".into(), address(7), 0)]);
    let late = [step(1, "failure", None, 0), step(1, "failure", None, 1), step(1, "nothing", 7, 2)];
    assert_eq!(rules_of(&late), ["failure"; 2], "failures wait for their address");
    let reused = [step(1, "evidence", 7, 0), step(1, "last", 8, 1), step(1, "last", 9, 2)];
    assert_eq!(run(&reused).len(), 2, "a new process with an old number frees it at its end");
}

#[test]
fn a_first_line_begins_another_session_of_the_same_name() {
    let one_after_the_other = [step(1, "begin", 7, 0), step(1, "failure", None, 1), step(1, "begin", 8, 2)];
    let after = [step(1, "failure", None, 3), step(1, "success", None, 4)];
    let steps = [&one_after_the_other[..], &after[..]].concat();
    assert_eq!(run(&steps), [("1".into(), "failure".into(), address(7), 1)], "the success is of the second one");
    let evidence = [step(1, "begin", 7, 0), step(1, "evidence", None, 1), step(1, "begin", 8, 2)];
    assert_eq!(run(&evidence), [("1".into(), "evidence".into(), address(7), 1)], "the first one has ended");
}

#[test]
fn a_line_can_tell_of_several_failures() {
    let filter = filter();
    let mut sessions = Sessions::default();
    let mut out = Vec::new();
    let ask = || Cursor::from("c");
    for (name, times) in [("a1", 1), ("a1", 1), ("a2", 3), ("failure", 2), ("failure", 0)] {
        let line = SessionMessage {
            rule: rule(&filter, name),
            counted: true,
            address: Some(address(7)),
            user: None,
            times,
            time: 0,
            place: Place::new(&ask),
            forgeable: false,
        };
        sessions.observe("1".into(), &line, &mut out);
    }
    assert_eq!(out.len(), 5, "three attempts, of which one view has seen two, and two others: {out:?}");
}

#[test]
fn the_table_is_bounded_and_ends_the_most_silent_session_first() {
    let filter = filter();
    let mut sessions = Sessions::default();
    let mut out = Vec::new();
    let ask = || Cursor::from("c");
    let mut line = SessionMessage {
        rule: rule(&filter, "evidence"),
        counted: true,
        address: Some(address(7)),
        user: None,
        times: 1,
        time: 0,
        place: Place::new(&ask),
        forgeable: false,
    };
    for key in 0..=CAPACITY {
        line.time = key as Usec;
        sessions.observe(key.to_string().into(), &line, &mut out);
    }
    assert_eq!(sessions.len(), CAPACITY);
    assert!(
        matches!(&out[..], [Outcome::Failure(failure, _), Outcome::Crowded] if failure.time == 0),
        "the first one was ended: {out:?}"
    );
    // What the jail doesn't count is not worth a place.
    line.counted = false;
    sessions.observe("uncounted".into(), &line, &mut out);
    assert_eq!((sessions.len(), out.len()), (CAPACITY, 2));
}

#[test]
fn short_sessions_leave_nothing_behind() {
    let filter = filter();
    let mut sessions = Sessions::default();
    let mut out = Vec::new();
    let ask = || Cursor::from("c");
    for key in 0..10_000 {
        let address = Some(address(7));
        let line = SessionMessage {
            rule: rule(&filter, "last"),
            counted: true,
            address,
            user: None,
            times: 1,
            time: key,
            place: Place::new(&ask),
            forgeable: false,
        };
        sessions.observe(key.to_string().into(), &line, &mut out);
    }
    assert_eq!((sessions.len(), out.len()), (0, 10_000));
    assert!(sessions.agenda.len() <= 1025, "{}", sessions.agenda.len());
}

/// The failures of one session that stand at its end, from all of its lines at once.
fn of_session(steps: &[(usize, &Step)]) -> Vec<(String, String, IpAddr, Usec)> {
    let Some(whose) = steps.iter().find_map(|(_, step)| step.address) else { return Vec::new() };
    let ours: Vec<_> = steps.iter().filter(|(_, step)| step.address.is_none_or(|it| it == whose)).collect();
    let count = |upto: usize, rule: &str| ours[..upto].iter().filter(|(_, it)| it.rule == rule && it.counted).count();
    let attempts = |upto: usize| count(upto, "a1").max(count(upto, "a2"));
    let mut standing = Vec::new();
    let mut absolved = false;
    for (place, (index, step)) in ours.iter().enumerate() {
        let failed = match step.rule {
            "failure" => step.counted,
            "a1" | "a2" => attempts(place + 1) > attempts(place),
            _ => false,
        };
        match step.rule {
            _ if failed => standing.push((*index, *step)),
            "success" => standing.clear(),
            "pardon" => drop(standing.pop()),
            _ => {}
        }
        absolved |= matches!(step.rule, "success" | "pardon");
    }
    if standing.is_empty() && !absolved {
        let evidence = |(_, step): &&&(usize, &Step)| step.counted && matches!(step.rule, "evidence" | "last");
        standing.extend(ours.iter().find(evidence).map(|(index, step)| (*index, *step)));
    }
    let of = |(index, step): (usize, &Step)| (index.to_string(), step.rule.to_owned(), address(whose), step.time);
    standing.into_iter().map(of).collect()
}

/// The same by cutting the lines into sessions first.
fn naive(steps: &[Step]) -> Vec<(String, String, IpAddr, Usec)> {
    let mut open: BTreeMap<u8, Vec<(usize, &Step)>> = BTreeMap::new();
    let mut standing = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let session = open.entry(step.key).or_default();
        // What names another address than the session's keeps no session alive.
        let whose = session.iter().find_map(|(_, step)| step.address);
        let ours = |step: &Step| step.address.is_none_or(|address| Some(address) == whose);
        let last = session.iter().filter(|(_, step)| ours(step)).map(|(_, step)| step.time).max();
        if last.is_some_and(|last| last + SILENCE <= step.time) {
            standing.extend(of_session(&std::mem::take(session)));
        }
        let is_worth_it = step.counted || matches!(step.rule, "success" | "pardon");
        let is_worth_it = if matches!(step.rule, "end" | "nothing") { step.address.is_some() } else { is_worth_it };
        if session.is_empty() && !is_worth_it {
            continue;
        }
        session.push((index, step));
        if matches!(step.rule, "last" | "end") {
            standing.extend(of_session(&std::mem::take(session)));
        }
    }
    standing.extend(open.values().flat_map(|session| of_session(session)));
    standing.sort();
    standing
}

const RULES: [&str; 11] =
    ["failure", "a1", "a2", "evidence", "last", "end", "success", "pardon", "nothing", "pending", "given-up"];

/// Lines of these rules.
fn lines(rules: &'static [&'static str]) -> impl Strategy<Value = Vec<Step>> {
    let addresses = prop_oneof![6 => Just(Some(7)), 2 => Just(None), 1 => Just(Some(8))];
    let waits = prop_oneof![9 => 0..30 * crate::core::time::USEC_PER_SEC, 1 => SILENCE - 1..SILENCE + 2];
    let line = (0u8..3, prop::sample::select(rules), addresses, prop::bool::weighted(0.8), waits);
    prop::collection::vec(line, 0..60).prop_map(|lines| {
        let mut time = 0;
        let step = |(key, rule, address, counted, wait)| {
            time += wait;
            Step { key, rule, address, counted, time }
        };
        lines.into_iter().map(step).collect()
    })
}

proptest! {
    #[test]
    fn sessions_agree_with_a_model_that_keeps_every_line(steps in lines(&RULES[..9])) {
        prop_assert_eq!(run(&steps), naive(&steps));
    }

    #[test]
    fn a_saved_table_goes_on_as_it_was(steps in lines(&RULES), at in 0usize..60) {
        let filter = filter();
        let at = at.min(steps.len());
        let mut whole = Sessions::default();
        let mut split = Sessions::default();
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for (index, step) in steps.iter().enumerate() {
            if index == at {
                split = Sessions::load(serde_json::from_value(serde_json::to_value(split.save()).unwrap()).unwrap());
            }
            let ask = || Cursor::from(index.to_string());
            let line = SessionMessage {
                rule: rule(&filter, step.rule), counted: step.counted, address: step.address.map(address),
                user: None, times: 1, time: step.time, place: Place::new(&ask), forgeable: false,
            };
            for (sessions, out) in [(&mut whole, &mut one), (&mut split, &mut two)] {
                let_time_pass(sessions, step.time, out);
                sessions.observe(step.key.to_string().into(), &line, out);
            }
        }
        for (sessions, out) in [(&mut whole, &mut one), (&mut split, &mut two)] {
            sessions.end_all(0, out);
        }
        prop_assert_eq!(one, two);
    }
}
