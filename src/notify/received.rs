//! A batch as a handler's program receives it on standard input.

use std::io::{self, BufRead, Read};

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use crate::contract::notify::Head;

/// The longest batch that is read.
const LONGEST: u64 = 256 * 1024 * 1024;

/// A batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Received {
    pub(super) head: Head,
    pub(super) events: Vec<Map<String, Value>>,
}

impl Received {
    /// The batch on standard input.
    pub(super) fn read() -> anyhow::Result<Self> {
        Self::parse(io::stdin().lock().take(LONGEST))
    }

    pub(super) fn parse(input: impl BufRead) -> anyhow::Result<Self> {
        let mut lines = input.lines();
        let first = lines.next().context("Standard input is empty; wardend-notify@.service provides a batch there.")?;
        let head: Head = serde_json::from_str(&first?)
            .context("The first line on standard input is not the head of a batch of wardend-notify")?;
        if head.event != "batch" {
            bail!("The first line on standard input is not the head of a batch of wardend-notify.");
        }
        let mut events = Vec::new();
        for line in lines {
            let line = line.context("Standard input can't be read")?;
            events.push(serde_json::from_str(&line).context("A line on standard input is not a JSON object")?);
        }
        Ok(Self { head, events })
    }

    /// A setting of the handler's file.
    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        self.head.settings.get(name).map(String::as_str)
    }

    /// Refuses settings that nobody would read.
    pub(super) fn expect_settings(&self, known: &[&str]) -> anyhow::Result<()> {
        for name in self.head.settings.keys() {
            if !known.contains(&name.as_str()) {
                let instead = crate::util::suggest::instead(name, known.iter().copied());
                bail!("There is no setting '{name}' in [settings] of this handler; {instead}");
            }
        }
        Ok(())
    }
}
