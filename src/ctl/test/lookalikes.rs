//! Messages that a rule would read and that are not counted, because of who wrote them.

use std::collections::HashMap;

use serde::Serialize;

use super::lossy;
use crate::core::{
    filter::{Claim, Filter, Stranger},
    record::{FieldId, Record},
};

/// The most kinds that are distinguished.
const MOST: usize = 100;
/// How the remedy begins where there is nothing to do.
const NOTHING: &str = "No action needed";

/// Messages of one kind of somebody.
#[derive(Debug, Serialize)]
pub(in crate::ctl) struct Lookalike {
    #[serde(rename = "lookalikes")]
    pub(in crate::ctl) count: u64,
    pub(in crate::ctl) why: String,
    pub(in crate::ctl) mend: String,
    pub(in crate::ctl) example: String,
    /// There is nothing to do about it.
    #[serde(skip)]
    pub(in crate::ctl) harmless: bool,
}

/// Tells the service's records from others.
pub(in crate::ctl) struct Lookalikes<'f> {
    filter: &'f Filter,
    /// Whether a process is the service's, or what it wrote until that is known.
    processes: HashMap<(u128, Vec<u8>), Option<Vec<Record>>>,
    found: HashMap<String, Lookalike>,
}

impl<'f> Lookalikes<'f> {
    pub(in crate::ctl) fn new(filter: &'f Filter) -> Self {
        Self { filter, processes: HashMap::new(), found: HashMap::new() }
    }

    /// Takes a record; returns those that are known to be the service's now.
    pub(in crate::ctl) fn sort_out(&mut self, record: &Record) -> Vec<Record> {
        let boot = record.moment.map_or(0, |moment| moment.boot);
        let process = (boot, record.get(FieldId::PID).unwrap_or_default().to_vec());
        match self.filter.records.claim(record) {
            Claim::Ours => {
                let mut ours = self.processes.insert(process, None).flatten().unwrap_or_default();
                ours.push(record.clone());
                return ours;
            }
            Claim::Perhaps => match self.processes.entry(process).or_insert_with(|| Some(Vec::new())) {
                Some(held) => held.push(record.clone()),
                None => return vec![record.clone()],
            },
            Claim::Stranger(stranger) => {
                let (why, mend) = explain(stranger);
                self.add(record, why, mend);
            }
            Claim::No => {
                if let Some((why, mend)) = self.other_kind(record) {
                    self.add(record, why, mend);
                }
            }
        }
        Vec::new()
    }

    /// What was found, the most frequent first.
    pub(in crate::ctl) fn list(mut self) -> Vec<Lookalike> {
        for record in std::mem::take(&mut self.processes).into_values().flatten().flatten() {
            let why = "From a process that was gone when journald looked, so neither its unit nor its program is known, and no other record tells whose it was.";
            let mend = "No action needed: some of sshd's shortest connections leave such records, and so do forgeries.";
            self.add(&record, why.to_owned(), mend.to_owned());
        }
        let mut list: Vec<Lookalike> = self.found.into_values().collect();
        list.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.why.cmp(&b.why)));
        list
    }

    /// Why a record is not even of the kind that the filter reads.
    fn other_kind(&self, record: &Record) -> Option<(String, String)> {
        let records = &self.filter.records;
        if !records.is_roots(record) {
            let (name, value) = records.differing(record)?;
            return Some((
                format!("{name} is '{}', so it is not the service's.", lossy(value)),
                "No action needed: others may write what they like; it is not trusted.".to_owned(),
            ));
        }
        let name = lossy(records.identifier(record)?);
        Some((
            format!("Written under the name '{name}', which is not one of the filter's."),
            format!(
                "If this is the service, add [records] with SYSLOG_IDENTIFIER = [\"{name}\"] in a drop-in (wardend.filter(5))."
            ),
        ))
    }

    fn add(&mut self, record: &Record, why: String, mend: String) {
        let message = record.message();
        if !self.filter.reads_attempt(message) || (self.found.len() >= MOST && !self.found.contains_key(&why)) {
            return;
        }
        let example = || lossy(message);
        let known = self.found.entry(why.clone()).or_insert_with(|| Lookalike {
            count: 0,
            why,
            harmless: mend.starts_with(NOTHING),
            mend,
            example: example(),
        });
        known.count += 1;
    }
}

fn explain(stranger: Stranger<'_>) -> (String, String) {
    match stranger {
        Stranger::Unit(unit) => {
            let unit = lossy(unit);
            (
                format!("From the unit '{unit}', which is not one of the filter's, and from no program that is."),
                format!("If the service runs there, add [records] with units = [\"{unit}\"] in a drop-in (wardend.filter(5))."),
            )
        }
        Stranger::Program(program) => {
            let program = lossy(program);
            (
                format!("Written by the program '{program}', which is not one of the filter's."),
                format!("If this is the service, add [records] with programs = [\"{program}\"] in a drop-in (wardend.filter(5))."),
            )
        }
        Stranger::Line => (
            "A line of standard output, and the filter doesn't say how its program writes these.".to_owned(),
            "If the service writes its log there, add framing = \"lines\" to [message] of the filter (wardend.filter(5)).".to_owned(),
        ),
        Stranger::Differs => (
            "The process number that it names is not the one that wrote it, as in what logger(1) writes and in containers.".to_owned(),
            "If the service runs in a container, let it write to a journal of its own, or run it with the machine's process numbers.".to_owned(),
        ),
    }
}
