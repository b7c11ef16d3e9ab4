//! From filter files to a [`Filter`]: put together, checked, proven, compiled.
//!
//! In this order, and the first mistake ends it: the drop-ins are laid over the filter; each rule
//! must make sense by itself; no pattern may be able to read one message with two addresses; no
//! two patterns may; no two rules that mean different things may match one message, unless one of
//! them says that it goes first; and last, every example line must be read as it says.
//!
//! The third is decided so because an order that nobody wrote down is no meaning: a rule that was
//! added for one message would silently change what others mean. `over = ["other-rule"]` writes it
//! down.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use toml::Spanned;

use super::{
    Filter, FilterError, FilterText, Records, Rule, Way,
    checked::{Checked, Written, check, meaning, no_rule, whole},
    dispatch::Dispatch,
    file::{DropIn, FilterFile, MessageTable, RuleTable},
    framing::{self, Declared, Said},
    pairs::{in_order, pairs, precedence},
    programs,
    proof::{ProofError, Work},
    records::Kinds,
    tokens::{Claimed, ClientText},
    two_ended::{Tails, TwoEnded},
};
use crate::{
    core::{
        record::{FieldId, Fields},
        scope::Port,
    },
    util::suggest::instead,
};

/// The most rules of a filter: the proof asks about each pair of them.
const MAX_RULES: usize = 200;

/// The most states of all patterns together. sshd's have six thousand.
const MAX_STATES: usize = 40_000;

/// The most values in `[records]`, classes in `[modes]` and fields of a session: each is looked at again
/// and again.
const MAX_VALUES: usize = 1000;

/// Makes a filter of its file, which comes first, and its drop-ins.
pub(super) fn load(name: &str, texts: &[FilterText], fields: &mut Fields) -> Result<Filter, FilterError> {
    load_within(name, texts, fields, &mut Work::new())
}

/// The same, and counts what it takes.
pub(super) fn load_within(
    name: &str,
    texts: &[FilterText],
    fields: &mut Fields,
    work: &mut Work,
) -> Result<Filter, FilterError> {
    let Some((main, drop_ins)) = texts.split_first() else {
        return Err(FilterText::new(name, "").error(0, "there is no file of this filter."));
    };
    let file: FilterFile = main.parse()?;
    let modes: Vec<(String, Vec<String>)> = file.modes.get_ref().clone().into_iter().collect();
    let mut records = Records::new(file.records.get_ref(), fields)
        .map_err(|what| main.error(file.records.span().start, what.to_string()))?;

    few_values(main, &file)?;
    let advice = Advice::of(main, &file)?;
    let (declared, clients) = framings(main, &file, &mut records, work)?;
    let rules = written(main, file.rules, drop_ins, &mut records)?;
    if rules.is_empty() {
        return Err(main.error(0, "the filter has no [[rule]], so it would never see anything."));
    }

    let has_session = !file.message.session.is_empty();
    let mut checked = Vec::with_capacity(rules.len());
    let mut states = 0;
    for rule in &rules {
        meaning(rule, has_session, &modes)?;
        let sound = check(rule, &clients, has_session, work)?;
        states += sound.automaton.states();
        if states > MAX_STATES {
            return Err(rule.pattern_error(format!(
                "with rule '{}' the filter is too large to prove ({states} states, at most {MAX_STATES}); write its \
                 patterns with fewer counted repetitions.",
                rule.name()
            )));
        }
        checked.push(sound);
    }
    let first = precedence(&rules)?;
    pairs(&rules, &checked, &first, work)?;
    let kinds = kinds(&rules, &records)?;
    known_programs(&file.message, &declared, &kinds, &rules, &checked, &records)?;
    let cut_at = prove_kinds(&declared, &kinds, &rules, &checked, work)?;

    let mut attempts: Vec<String> = Vec::new();
    let mut tails = Tails::default();
    let mut compiled = Vec::with_capacity(rules.len());
    let mut beginnings = Vec::with_capacity(rules.len());
    let mut sizes = Vec::with_capacity(rules.len());
    for index in in_order(&rules, &first)? {
        let (rule, sound) = (&rules[index], &checked[index]);
        let compiled_rule = compile(rule, sound, &mut attempts, &mut tails, work)?;
        compiled.push(Rule { kinds: kinds[index], truncated_at: cut_at[index], ..compiled_rule });
        sizes.push(sound.automaton.states());
        beginnings.push(sound.pattern.beginnings());
    }
    let maxretry = suggested(main, &file.maxretry, &modes)?;
    let session = file.message.session.iter().map(|name| fields.intern(name)).collect();
    let pid = file.message.session.iter().any(|name| name == "_PID").then_some(FieldId::PID);
    let filter = Filter {
        name: name.to_owned(),
        description: file.description,
        maxretry,
        records,
        ports: advice.ports,
        setup: advice.setup,
        files: advice.files,
        users: BTreeMap::new(),
        session,
        pid,
        claims: claims(&file.message, &declared, &rules, &checked),
        condition: file.message.address_if.map(|condition| programs::condition(main, condition)),
        clients,
        forgeable_lines: file.message.forgeable_lines,
        signs: file.message.signs.into_iter().map(|sign| sign.into_bytes().into()).collect(),
        modes,
        dispatch: Dispatch::new(&beginnings),
        rules: compiled,
    };
    filter.run_examples(&rules, &sizes, work)?;
    Ok(filter)
}

/// The filter's own rules, with the drop-ins over them.
fn written<'t>(
    main: &'t FilterText,
    own: Vec<RuleTable>,
    drop_ins: &'t [FilterText],
    records: &mut Records,
) -> Result<Vec<Written<'t>>, FilterError> {
    let mut rules = Vec::with_capacity(own.len().min(MAX_RULES));
    add(&mut rules, own, main)?;
    for text in drop_ins {
        let drop_in: DropIn = text.parse()?;
        if let Some(more) = &drop_in.records {
            records.extend(more.get_ref()).map_err(|what| text.error(more.span().start, what.to_string()))?;
        }
        for mask in &drop_in.mask {
            let Some(place) = rules.iter().position(|rule| rule.name() == mask.get_ref()) else {
                return Err(text.error(mask.span().start, no_rule(mask.get_ref(), &rules)));
            };
            rules.remove(place);
        }
        add(&mut rules, drop_in.rules, text)?;
    }
    Ok(rules)
}

/// No rule reads records of a program of which something is known that the filter doesn't say.
fn known_programs(
    message: &MessageTable,
    declared: &[Declared],
    kinds: &[Kinds],
    rules: &[Written<'_>],
    checked: &[Checked],
    records: &Records,
) -> Result<(), FilterError> {
    for (place, (kind, made)) in records.kinds().zip(declared).enumerate() {
        for (index, rule) in rules.iter().enumerate() {
            if kinds[index].meet(Kinds::only(place)) && checked[index].pattern.address.is_some() {
                programs::check_rule(message, made.said, kind, &checked[index].automaton)
                    .map_err(|what| rule.pattern_error(what.to_string()))?;
            }
        }
    }
    Ok(())
}

/// Whether no list is longer than what can be looked at again and again.
fn few_values(main: &FilterText, file: &FilterFile) -> Result<(), FilterError> {
    for (name, values, at) in [
        ("[records]", file.records.get_ref().len(), file.records.span().start),
        ("[modes]", file.modes.get_ref().values().map(Vec::len).sum(), file.modes.span().start),
        ("session", file.message.session.len(), 0),
    ] {
        if values > MAX_VALUES {
            return Err(main.error(at, format!("{name} has {values} values; name at most {MAX_VALUES}.")));
        }
    }
    Ok(())
}

/// How each kind of records is made, and what clients may write in any.
fn framings(
    main: &FilterText,
    file: &FilterFile,
    records: &mut Records,
    work: &mut Work,
) -> Result<(Vec<Declared>, ClientText), FilterError> {
    let mut declared = Vec::new();
    for kind in records.kinds_mut() {
        let said = Said::of(&file.message, file.records.get_ref().kinds.get(&kind.name), file.records.span().start);
        programs::check(&file.message, said.framing, kind).map_err(|(at, what)| main.error(at, what.to_string()))?;
        let made =
            Declared::of(&file.message, &said, kind, work).map_err(|(at, what)| main.error(at, what.to_string()))?;
        kind.no_lines = made.no_lines;
        declared.push(made);
    }
    // What rules read may come in records of several kinds, so it is what clients may write in any.
    let clients = match &file.message.client_text {
        None => ClientText::default(),
        Some(text) => {
            ClientText::parse(text.get_ref()).map_err(|what| main.error(text.span().start, format!("{what}.")))?
        }
    };
    Ok((declared, clients))
}

/// Proves the records of each kind. Returns for each rule from which length on a record may have been cut.
fn prove_kinds(
    declared: &[Declared],
    kinds: &[Kinds],
    rules: &[Written<'_>],
    checked: &[Checked],
    work: &mut Work,
) -> Result<Vec<Option<usize>>, FilterError> {
    let mut cut_at: Vec<Option<usize>> = rules.iter().map(|rule| rule.table.truncated_at).collect();
    for (place, declared) in declared.iter().enumerate() {
        let of_kind = |index: &usize| kinds[*index].meet(Kinds::only(place));
        let own: Vec<&Written<'_>> = (0..rules.len()).filter(of_kind).map(|index| &rules[index]).collect();
        let sound: Vec<&Checked> = (0..rules.len()).filter(of_kind).map(|index| &checked[index]).collect();
        framing::prove(declared, &own, &sound, work)?;
        for (index, place) in (0..rules.len()).filter(of_kind).enumerate() {
            let unproven = |error: ProofError| {
                let name = rules[place].name();
                rules[place].pattern_error(format!("rule '{name}' is refused: {error}."))
            };
            let whole = framing::reads_first_pieces(declared, index, &sound, work).map_err(unproven)?;
            let limit = if whole { declared.truncated_at } else { declared.cut_at };
            cut_at[place] = [cut_at[place], limit].into_iter().flatten().min();
        }
    }
    Ok(cut_at)
}

/// What a filter says for people and jails: the ports of its service, and how its log comes into the journal.
struct Advice {
    ports: Vec<Port>,
    setup: Option<String>,
    files: Vec<PathBuf>,
}

impl Advice {
    fn of(main: &FilterText, file: &FilterFile) -> Result<Self, FilterError> {
        let ports = file
            .ports
            .iter()
            .map(|port| port.get_ref().parse().map_err(|what| main.error(port.span().start, format!("ports: {what}"))));
        if let Some(setup) = file.setup.as_ref().filter(|setup| {
            let text = setup.get_ref();
            text.trim().is_empty() || text.contains(char::is_control)
        }) {
            return Err(
                main.error(setup.span().start, "setup is empty or has control characters; write one line of text.")
            );
        }
        let files = file.files.iter().map(|path| match path.get_ref() {
            absolute if absolute.is_absolute() => Ok(absolute.clone()),
            relative => {
                let what = format!("files: '{}' is not an absolute path; begin it with \"/\".", relative.display());
                Err(main.error(path.span().start, what))
            }
        });
        Ok(Self {
            ports: ports.collect::<Result<_, _>>()?,
            setup: file.setup.as_ref().map(|setup| setup.get_ref().clone()),
            files: files.collect::<Result<_, _>>()?,
        })
    }
}

/// What the filter says of its program: in `[message]`, and with the tokens of its rules.
fn claims(
    table: &MessageTable,
    declared: &[Declared],
    rules: &[Written<'_>],
    checked: &[Checked],
) -> Vec<(Claimed, Vec<Arc<str>>)> {
    let mut all: BTreeMap<Claimed, Vec<Arc<str>>> = BTreeMap::new();
    for (rule, sound) in rules.iter().zip(checked) {
        for claim in &sound.pattern.claims {
            let names = all.entry(claim.clone()).or_default();
            if names.last().is_none_or(|last| **last != *rule.name()) {
                names.push(rule.name().into());
            }
        }
    }
    let framing = declared.iter().flat_map(Declared::framing_claims);
    let own = framing.chain(Declared::claims(table)).map(|claim| (claim, Vec::new()));
    own.chain(all).collect()
}

/// The number of failures that lead to a ban, for the modes of which the filter says so.
fn suggested(
    main: &FilterText,
    maxretry: &BTreeMap<String, Spanned<u32>>,
    modes: &[(String, Vec<String>)],
) -> Result<BTreeMap<String, u32>, FilterError> {
    for (mode, limit) in maxretry {
        if !modes.iter().any(|(known, _)| known == mode) {
            let instead = instead(mode, modes.iter().map(|(name, _)| name.as_str()));
            return Err(main.error(limit.span().start, format!("maxretry: there is no mode '{mode}'; {instead}")));
        }
        if !(1..=1000).contains(limit.get_ref()) {
            return Err(main.error(
                limit.span().start,
                format!("maxretry of the mode '{mode}' is {}; write a number from 1 to 1000.", limit.get_ref()),
            ));
        }
    }
    Ok(maxretry.iter().map(|(mode, limit)| (mode.clone(), *limit.get_ref())).collect())
}

/// The kinds of records that each rule reads.
fn kinds(rules: &[Written<'_>], records: &Records) -> Result<Vec<Kinds>, FilterError> {
    let of = |rule: &Written<'_>| {
        let names = rule.table.records.iter().map(|name| (name.get_ref().as_str(), name.span().start));
        records.named(names).map_err(|(at, what)| rule.text.error(at, what.to_string()))
    };
    rules.iter().map(of).collect()
}

fn add<'t>(rules: &mut Vec<Written<'t>>, tables: Vec<RuleTable>, text: &'t FilterText) -> Result<(), FilterError> {
    for table in tables {
        let (name, at) = (table.name.get_ref(), table.name.span().start);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || b"-.0123456789".contains(&byte)) {
            return Err(text.error(
                at,
                format!(
                    "'{name}' is not a valid rule name; use lowercase letters, digits, '-' and '.', as in failed-login."
                ),
            ));
        }
        if let Some(known) = rules.iter().find(|rule| rule.name() == name) {
            return Err(text.error(
                at,
                format!(
                    "there is a rule '{name}' already, in {}; give this one another name, or mask the other first.",
                    known.text.path.display()
                ),
            ));
        }
        if rules.len() >= MAX_RULES {
            return Err(
                text.error(at, format!("a filter has at most {MAX_RULES} rules; make two filters of this one."))
            );
        }
        rules.push(Written { table, text });
    }
    Ok(())
}

fn compile(
    rule: &Written<'_>,
    Checked { pattern, regex, .. }: &Checked,
    attempts: &mut Vec<String>,
    tails: &mut Tails,
    work: &mut Work,
) -> Result<Rule, FilterError> {
    let table = &rule.table;
    let from_both_ends = match regex {
        Some(_) => None,
        None => TwoEnded::of(pattern, tails, work)
            .map_err(|error| rule.pattern_error(format!("rule '{}' is refused: {error}.", rule.name())))?,
    };
    let way = match (from_both_ends, regex) {
        (Some(halves), _) => Way::TwoEnded(halves),
        (None, Some(regex)) => Way::Whole(regex.clone()),
        (None, None) => Way::Whole(whole(rule, pattern)?),
    };
    let attempt = table.attempt.as_ref().map(|word| {
        attempts.iter().position(|known| known == word.get_ref()).unwrap_or_else(|| {
            attempts.push(word.get_ref().clone());
            attempts.len() - 1
        })
    });
    Ok(Rule {
        name: rule.name().into(),
        class: table.class.as_ref().map(|class| class.get_ref().clone()),
        counts: table.counts,
        begins_session: table.begins_session,
        ends_session: table.ends_session,
        standalone: table.standalone,
        gives_up: table.gives_up,
        after_login: table.after_login,
        attempt,
        weight: table.weight.as_ref().map_or(1, |weight| *weight.get_ref()),
        pattern: table.pattern.get_ref().clone(),
        way,
        attacker_first: pattern.attacker_first,
        truncated_at: table.truncated_at,
        kinds: Kinds::ALL,
    })
}
