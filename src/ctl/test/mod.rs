//! `wardenctl test`: what a filter makes of a message, or of a whole journal.
//!
//! With a message it says which rule reads it, what it takes from it, and what that counts as; or
//! which rule comes nearest, and what is in its way. With `--journal` it counts what each rule has
//! read, and groups what no rule has read by its shape: that is where a new version of the program
//! shows first. And it lists what a rule would read, but is from somebody else by what the filter
//! asks for: that is where a second server shows, or somebody who forges messages.

pub(super) mod lookalikes;
mod shape;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context, bail};
use serde::Serialize;

use self::{
    lookalikes::{Lookalike, Lookalikes},
    shape::shape,
};
use super::output::{Json, Table, closing, line, print_json};
use crate::{
    config::filters,
    core::{
        filter::{Counts, Filter, Nearest, Reading, Rule, Why, Withheld},
        record::{Fields, Record},
    },
    journal::{Position, Reader, Step, Where},
    util::text::printable,
};

/// Options of `test`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A filter's name, or the path of its file
    filter: String,
    /// The message as written by the program, without the time and the name that journalctl adds
    #[arg(required_unless_present = "journal", conflicts_with = "journal")]
    message: Option<String>,
    /// Read the messages of the journal
    #[arg(long)]
    journal: bool,
    /// Read all journal files of this directory
    #[arg(short = 'D', long, value_name = "DIR", requires = "journal", conflicts_with = "file")]
    directory: Option<PathBuf>,
    /// Read these journal files
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "journal")]
    file: Vec<PathBuf>,
    /// Start at this time: 2026-11-23 05:48:03, @1795412883 (seconds), or -2h
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true, requires = "journal")]
    since: Option<String>,
    /// Stop at this time
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true, requires = "journal")]
    until: Option<String>,
    /// Read the configuration from this directory instead of /etc/wardend and /run/wardend
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    #[command(flatten)]
    json: Json,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let directories = super::directories(arguments.config.as_deref())?;
    let (name, texts) = super::verify::texts_by_name_or_path(&arguments.filter, &directories)?;
    let mut fields = Fields::default();
    let filter = filters::knowing(Filter::load(&name, &texts, &mut fields)?);
    match &arguments.message {
        Some(message) => one(&filter, message, arguments.json),
        None => journal(&Arc::new(filter), fields, arguments),
    }
}

/// What a filter makes of one message.
#[derive(Debug, Serialize)]
struct Answer<'f> {
    rule: Option<&'f str>,
    class: Option<&'f str>,
    counts: Option<&'static str>,
    modes: Vec<&'f str>,
    address: Option<String>,
    user: Option<String>,
    pid: Option<String>,
    nearest: Option<&'f str>,
    /// Why there is no rule, or no address.
    why: Option<String>,
}

fn one(filter: &Filter, message: &str, json: Json) -> anyhow::Result<()> {
    let reading = filter.examine(message.as_bytes(), false);
    let answer = match &reading {
        Some(reading) => answer(filter, reading),
        None => unread(filter, message),
    };
    match json.mode() {
        Some(mode) => print_json(&answer, mode)?,
        None => print(&answer, reading.as_ref().map(|reading| reading.rule))?,
    }
    if reading.is_none() {
        bail!("No rule of filter '{filter}' reads this message.");
    }
    Ok(())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn answer<'f>(filter: &'f Filter, reading: &Reading<'f, '_>) -> Answer<'f> {
    let rule = reading.rule;
    let counted = |mode: &&str| {
        let class = rule.class.as_ref();
        class.is_some_and(|class| filter.mode(mode).is_some_and(|classes| classes.contains(class)))
    };
    let why = reading.withheld.map(|withheld| match withheld {
        Withheld::Cut(length) => format!(
            "The message has {length} bytes, so it may have been cut off, and its end may be forged: no address is \
             taken from it."
        ),
        Withheld::NoAddress(token) => format!("'{}' is not an address.", token.escape_ascii()),
    });
    Answer {
        rule: Some(&rule.name),
        class: rule.class.as_deref(),
        counts: Some(rule.counts.as_str()),
        modes: filter.mode_names().filter(counted).collect(),
        address: reading.address.map(|address| address.to_string()),
        user: reading.user.map(lossy),
        pid: reading.pid.map(lossy),
        nearest: None,
        why,
    }
}

fn unread<'f>(filter: &'f Filter, message: &str) -> Answer<'f> {
    let nearest = filter.nearest(message.as_bytes());
    let why = nearest.as_ref().map(|Nearest { rule, why }| {
        let name = &rule.name;
        match why {
            Why::Address(token) => format!(
                "Rule '{name}' would read it, but '{}' stands where an address should; names are not believed, \
                 because whoever owns the address chooses its name.",
                token.escape_ascii()
            ),
            Why::Surplus(before, b"") => format!(
                "Rule '{name}' reads what follows '{}'; a message must be matched whole, without the time and the \
                 name that journalctl adds.",
                before.escape_ascii()
            ),
            Why::Surplus(b"", behind) => {
                format!(
                    "Rule '{name}' reads all but the end, '{}'; a message must be matched whole.",
                    behind.escape_ascii()
                )
            }
            Why::Surplus(before, behind) => format!(
                "Rule '{name}' reads what stands between '{}' and '{}'; a message must be matched whole.",
                before.escape_ascii(),
                behind.escape_ascii()
            ),
            Why::From(rest) => format!(
                "Rule '{name}' goes along with it up to '{}', and not from there on. Its pattern: {}",
                rest.escape_ascii(),
                rule.pattern()
            ),
            Why::Unfinished => {
                format!("It begins as rule '{name}' wants, but does not go on as its pattern says: {}", rule.pattern())
            }
        }
    });
    Answer {
        rule: None,
        class: None,
        counts: None,
        modes: Vec::new(),
        address: None,
        user: None,
        pid: None,
        nearest: nearest.map(|nearest| &*nearest.rule.name),
        why,
    }
}

fn print(answer: &Answer<'_>, rule: Option<&Rule>) -> anyhow::Result<()> {
    if let Some(rule) = rule {
        line(&format!("   Rule: {}", rule.name))?;
        line(&format!(" Counts: {}", meaning(rule)))?;
        if let Some(class) = answer.class {
            line(&format!("  Class: {class} (counted in mode {})", answer.modes.join(", ")))?;
        }
        line(&format!("Address: {}", answer.address.as_deref().unwrap_or("-")))?;
        for (title, value) in [("   User", &answer.user), ("Process", &answer.pid)] {
            if let Some(value) = value {
                line(&format!("{title}: {}", printable(value)))?;
            }
        }
    }
    answer.why.as_deref().map_or(Ok(()), line)
}

/// What a rule's messages mean, in words.
fn meaning(rule: &Rule) -> String {
    let counts = match rule.counts {
        Counts::Failure => "failure: one failed attempt",
        Counts::Evidence => "evidence: one failed attempt, if its session has no other and no success",
        Counts::Pending => "pending: one failed attempt, if its session falls silent or is given up",
        Counts::Refusal => "refusal: a third of a failed attempt, of an address that has failures of its own",
        Counts::Success => "success: the session's failures are forgiven",
        Counts::Pardon => "pardon: the session's last failure is taken back",
        Counts::Nothing => "nothing",
    };
    let end = if rule.ends_session { "; ends its session" } else { "" };
    let alone = if rule.standalone { "; belongs to no session" } else { "" };
    format!("{counts}{end}{alone}")
}

/// What a rule has read in a journal.
#[derive(Debug, Serialize)]
struct RuleHits<'f> {
    rule: &'f str,
    hits: u64,
    /// Hits without an address, of a pattern that has one.
    withheld: u64,
}

/// Messages that no rule has read, of one shape.
#[derive(Debug, Serialize)]
struct Unread {
    shape: String,
    count: u64,
    example: String,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    records: u64,
    read: u64,
    unread: u64,
    shapes: usize,
    /// Messages that a rule would read, of somebody else.
    lookalikes: u64,
}

/// The most shapes that are distinguished; further ones are counted, but not shown.
const MOST_SHAPES: usize = 10_000;

fn journal(filter: &Arc<Filter>, fields: Fields, arguments: &Arguments) -> anyhow::Result<()> {
    let since = arguments.since.as_deref().map(super::time::parse).transpose().context("--since")?;
    let until = arguments.until.as_deref().map(super::time::parse).transpose().context("--until")?;
    let place = match (&arguments.directory, arguments.file.as_slice()) {
        (Some(directory), _) => Where::Directory(directory.clone()),
        (None, []) => Where::System,
        (None, files) => Where::Files(files.to_vec()),
    };
    let fields = Arc::new(fields);
    let reader = Reader::open(&place, vec![Arc::clone(filter)], Arc::clone(&fields))?;
    let mut reader = reader.with_lookalikes()?.thorough();
    reader.seek(&since.map_or(Position::Head, Position::Since))?;

    let mut counted = Counted::new(filter);
    let mut lookalikes = Lookalikes::new(filter);
    let mut record = Record::default();
    while reader.next(&mut record)? != Step::End {
        if until.is_some_and(|until| record.time > until) {
            break;
        }
        for record in lookalikes.sort_out(&record) {
            counted.take(&record);
        }
    }
    let Counted { hits, shapes, mut summary, .. } = counted;
    summary.shapes = shapes.len();
    let lookalikes = lookalikes.list();
    summary.lookalikes = lookalikes.iter().map(|lookalike| lookalike.count).sum();
    let mut hits: Vec<RuleHits<'_>> = hits.into_values().collect();
    hits.sort_by(|a, b| b.hits.cmp(&a.hits).then(a.rule.cmp(b.rule)));
    let mut shapes: Vec<Unread> = shapes.into_values().collect();
    shapes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.shape.cmp(&b.shape)));
    report(&hits, &shapes, &lookalikes, &summary, arguments.json)
}

/// What was read of the records that are the service's.
struct Counted<'f> {
    filter: &'f Filter,
    hits: BTreeMap<&'f str, RuleHits<'f>>,
    shapes: HashMap<String, Unread>,
    summary: Summary,
}

impl<'f> Counted<'f> {
    fn new(filter: &'f Filter) -> Self {
        let hits = filter.rules().map(|rule| (&*rule.name, RuleHits { rule: &rule.name, hits: 0, withheld: 0 }));
        Self { filter, hits: hits.collect(), shapes: HashMap::new(), summary: Summary::default() }
    }

    fn take(&mut self, record: &Record) {
        self.summary.records += 1;
        let message = record.message();
        if let Some(reading) = self.filter.examine_record(record) {
            self.summary.read += 1;
            if let Some(known) = self.hits.get_mut(&*reading.rule.name) {
                known.hits += 1;
                known.withheld += u64::from(reading.withheld.is_some());
            }
            return;
        }
        self.summary.unread += 1;
        let shape = shape(message);
        if self.shapes.len() < MOST_SHAPES || self.shapes.contains_key(&shape) {
            let known = self.shapes.entry(shape).or_insert_with_key(|shape| Unread {
                shape: shape.clone(),
                count: 0,
                example: lossy(message),
            });
            known.count += 1;
        }
    }
}

fn report(
    hits: &[RuleHits<'_>],
    shapes: &[Unread],
    lookalikes: &[Lookalike],
    summary: &Summary,
    json: Json,
) -> anyhow::Result<()> {
    if let Some(mode) = json.mode() {
        hits.iter().try_for_each(|hits| print_json(hits, mode))?;
        shapes.iter().try_for_each(|unread| print_json(unread, mode))?;
        lookalikes.iter().try_for_each(|lookalike| print_json(lookalike, mode))?;
        return print_json(&serde_json::json!({ "summary": summary }), mode);
    }
    let mut table = Table::new(["RULE", "HITS", "WITHOUT ADDRESS"]);
    for hits in hits {
        table.row([hits.rule.to_owned(), hits.hits.to_string(), hits.withheld.to_string()]);
    }
    table.print()?;
    line("")?;
    let mut table = Table::new(["UNREAD", "SHAPE"]);
    for unread in shapes {
        table.row([unread.count.to_string(), unread.shape.clone()]);
        table.row([String::new(), format!("  {}", unread.example)]);
    }
    table.print()?;
    if !lookalikes.is_empty() {
        line("")?;
        line("Not counted, though a rule would read them:")?;
        for Lookalike { count, why, mend, example, .. } in lookalikes {
            line(&format!("{count:6}  {}", printable(why)))?;
            line(&format!("        {}", printable(mend)))?;
            line(&format!("        {}", printable(example)))?;
        }
    }
    closing(&format!(
        "{} records, {} read by a rule, {} by none, in {} shapes.",
        summary.records, summary.read, summary.unread, summary.shapes
    ))
}
