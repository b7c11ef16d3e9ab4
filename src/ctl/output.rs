//! What wardenctl prints: tables in the manner of systemctl, or JSON.
//!
//! A reader that closes the pipe early (`wardenctl list | head -1`) is no error.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::record::Usec;

/// `--json`, as journalctl and busctl have it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Json {
    /// Print JSON: short (one line an object) or pretty
    #[arg(long = "json", value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "short")]
    pub(super) mode: Option<JsonMode>,
}

/// The shape of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum JsonMode {
    Short,
    Pretty,
}

/// Prints one line.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{text}")?)
}

/// Prints one object.
pub(super) fn print_json(value: &impl Serialize, mode: JsonMode) -> anyhow::Result<()> {
    line(&match mode {
        JsonMode::Short => serde_json::to_string(value)?,
        JsonMode::Pretty => serde_json::to_string_pretty(value)?,
    })
}

/// A point in time for people.
pub(super) fn when(usec: Usec) -> String {
    crate::time::format(usec)
}

/// Columns with a header, left-aligned, two blanks apart.
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(header: [&str; N]) -> Self {
        Self { rows: vec![header.map(str::to_owned)] }
    }

    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)));
    }

    pub(super) fn print(&self) -> anyhow::Result<()> {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = io::stdout().lock();
        let underline = out.is_terminal();
        for (index, row) in self.rows.iter().enumerate() {
            let mut text = String::new();
            for (width, cell) in widths.iter().zip(row) {
                text.push_str(&format!("{cell:<width$}  "));
            }
            let text = text.trim_end();
            if index == 0 && underline {
                writeln!(out, "\x1b[4m{text}\x1b[0m")?;
            } else {
                writeln!(out, "{text}")?;
            }
        }
        Ok(())
    }
}

/// A user name is an attacker's text: nothing of it may reach the terminal as a control.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
