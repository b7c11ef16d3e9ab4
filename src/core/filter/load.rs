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

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use regex::bytes::Regex;
use toml::Spanned;

use super::{
    Filter, FilterError, FilterText, MOST_TIMES, Records, Rule, Way,
    dispatch::Dispatch,
    file::{Counts, DropIn, FilterFile, MessageTable, RuleTable},
    framing::{self, Declared, Said},
    pattern::{COUNT, Pattern, SESSION},
    programs,
    proof::{self, Automaton, Fooled, ProofError, Work},
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
    regex: Option<Regex>,
    pub(super) automaton: Automaton,
    /// The same without what the author's own classes claim, if they do.
    doubted: Option<Automaton>,
}

impl Checked {
    /// All that the program may write, as far as the author's own classes are not believed.
    pub(super) fn broad(&self) -> &Automaton {
        self.doubted.as_ref().unwrap_or(&self.automaton)
    }
}

impl Written<'_> {
    fn name(&self) -> &str {
        self.table.name.get_ref()
    }

    /// A mistake in the pattern.
    pub(super) fn pattern_error(&self, what: impl Into<String>) -> FilterError {
        self.text.error(self.table.pattern.span().start, what)
    }
}

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
    let mut records =
        Records::new(file.records.get_ref(), fields).map_err(|what| main.error(file.records.span().start, what))?;

    for (name, values, at) in [
        ("[records]", file.records.get_ref().len(), file.records.span().start),
        ("[modes]", modes.iter().map(|(_, classes)| classes.len()).sum(), file.modes.span().start),
        ("session", file.message.session.len(), 0),
    ] {
        if values > MAX_VALUES {
            return Err(main.error(at, format!("{name} has {values} values; name at most {MAX_VALUES}.")));
        }
    }

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
        let mistake = |(at, what): (usize, String)| main.error(at, what);
        programs::check(&file.message, said.framing, kind).map_err(mistake)?;
        let made = Declared::of(&file.message, &said, kind, work).map_err(mistake)?;
        kind.no_lines = made.no_lines;
        declared.push(made);
    }
    // What rules read may come in records of several kinds, so it is what clients may write in any.
    let clients = match &file.message.client_text {
        None => ClientText::default(),
        Some(text) => {
            let mistake = |what: String| main.error(text.span().start, format!("{what}."));
            ClientText::parse(text.get_ref()).map_err(mistake)?
        }
    };
    Ok((declared, clients))
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
            records.extend(more.get_ref()).map_err(|what| text.error(more.span().start, what))?;
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
            if kinds[index].meet(Kinds::only(place)) && checked[index].pattern.has_address {
                programs::check_rule(message, made.said, kind, &checked[index].automaton)
                    .map_err(|what| rule.pattern_error(what))?;
            }
        }
    }
    Ok(())
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
        records.named(names).map_err(|(at, what)| rule.text.error(at, what))
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

fn no_rule(name: &str, rules: &[Written<'_>]) -> String {
    format!("there is no rule '{name}'; {}", instead(name, rules.iter().map(Written::name)))
}

/// Whether what a rule says of itself fits together.
fn meaning(rule: &Written<'_>, has_session: bool, modes: &[(String, Vec<String>)]) -> Result<(), FilterError> {
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
fn check(rule: &Written<'_>, clients: &ClientText, has_session: bool, work: &mut Work) -> Result<Checked, FilterError> {
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
    if automaton.has_address() != pattern.has_address {
        return Err(rule.pattern_error(format!(
            "rule '{name}' names <ADDR> where it can't match (in a class, a comment, or repeated zero times)."
        )));
    }
    if !pattern.has_address && rule.table.standalone && matches!(rule.table.counts, Counts::Failure | Counts::Refusal) {
        return Err(rule.pattern_error(format!(
            "rule '{name}' has no <ADDR>, and as it is standalone there is no session to take an address from."
        )));
    }
    let alone = rule.table.standalone || !has_session;
    if !pattern.has_address && alone && (rule.table.attempt.is_some() || rule.table.counts == Counts::Success) {
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
fn whole(rule: &Written<'_>, pattern: &Pattern) -> Result<Regex, FilterError> {
    pattern.compile().map_err(|what| rule.pattern_error(format!("the pattern of rule '{}' {what}.", rule.name())))
}

/// For each rule, the rules that it says it goes before.
fn precedence(rules: &[Written<'_>]) -> Result<Vec<BTreeSet<usize>>, FilterError> {
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
fn pairs(
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
fn in_order(rules: &[Written<'_>], first: &[BTreeSet<usize>]) -> Result<Vec<usize>, FilterError> {
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
