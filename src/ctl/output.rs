//! What wardenctl prints: tables in the manner of systemctl, or JSON.
//!
//! Colours, underlines and the pager are for people at a terminal; a pipe gets plain text. A reader
//! that closes the pipe early (`wardenctl list | head -1`) is no error.

use std::{
    env,
    io::{self, IsTerminal},
    sync::OnceLock,
};

use clap::ValueEnum;
use serde::Serialize;

use super::pager;
use crate::{
    core::time::{Usec, span},
    util::{text::printable, time::now},
};

/// How all verbs meet people. May stand before or after the verb.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Manner {
    /// Print no header and no line at the end that counts
    #[arg(long, global = true)]
    no_legend: bool,
    /// Print straight to the terminal
    #[arg(long, global = true)]
    no_pager: bool,
    /// Do not ask for a password where one is needed
    #[arg(long, global = true)]
    no_ask_password: bool,
}

static MANNER: OnceLock<Manner> = OnceLock::new();

/// Settles how this run prints; a list may be long, so `paged` verbs go through the pager.
pub(super) fn prepare(manner: Manner, paged: bool) {
    let _ = MANNER.set(manner);
    // Asked before the pager comes between: less -R hands colours on.
    colours();
    if paged && !manner.no_pager {
        pager::open();
    }
}

fn legend() -> bool {
    !MANNER.get().copied().unwrap_or_default().no_legend
}

/// Whether somebody may be asked for a password.
pub(super) fn may_ask() -> bool {
    !MANNER.get().copied().unwrap_or_default().no_ask_password
}

/// Whether there is somebody who sees colours.
fn colours() -> bool {
    static COLOURS: OnceLock<bool> = OnceLock::new();
    *COLOURS.get_or_init(|| {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        wants_colours(
            set("SYSTEMD_COLORS").as_deref(),
            set("NO_COLOR").is_some(),
            set("TERM").as_deref(),
            io::stdout().is_terminal(),
        )
    })
}

/// As in systemd: $SYSTEMD_COLORS takes precedence over $NO_COLOR.
fn wants_colours(systemd: Option<&str>, no_color: bool, term: Option<&str>, terminal: bool) -> bool {
    match systemd.map(str::to_ascii_lowercase).as_deref() {
        Some("0" | "no" | "n" | "false" | "f" | "off") => false,
        Some(value) if !value.starts_with("auto") => true,
        _ => terminal && !no_color && term.is_none_or(|term| term != "dumb"),
    }
}

/// A colour, by what it means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    #[default]
    Plain,
    /// All is well.
    Good,
    /// It works, but not as it should.
    Warning,
    /// It does not work, or somebody is locked out.
    Bad,
    /// By the way.
    Faint,
    /// The head of a table.
    Header,
}

impl Style {
    /// The text in this style, where there are colours.
    pub(super) fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Plain => "",
            Self::Good => "\x1b[0;1;32m",
            Self::Warning => "\x1b[0;1;33m",
            Self::Bad => "\x1b[0;1;31m",
            Self::Faint => "\x1b[0;90m",
            Self::Header => "\x1b[0;4m",
        };
        if code.is_empty() || text.is_empty() || !colours() {
            return text.to_owned();
        }
        format!("{code}{text}\x1b[0m")
    }
}

/// `--json`, as journalctl and busctl have it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Json {
    /// Print JSON: short (one line an object), pretty, or off
    #[arg(long = "json", value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "short")]
    json: Option<JsonMode>,
}

impl Json {
    /// None is text for people.
    pub(super) fn mode(self) -> Option<JsonMode> {
        self.json.filter(|mode| *mode != JsonMode::Off)
    }
}

/// The shape of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum JsonMode {
    Short,
    Pretty,
    Off,
}

/// Prints one line.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    Ok(pager::write(&format!("{text}\n"))?)
}

/// Prints the line below a list that counts what was listed.
pub(super) fn closing(text: &str) -> anyhow::Result<()> {
    if legend() { line(&format!("\n{text}")) } else { Ok(()) }
}

/// Prints one object.
pub(super) fn print_json(value: &impl Serialize, mode: JsonMode) -> anyhow::Result<()> {
    line(&match mode {
        JsonMode::Pretty => serde_json::to_string_pretty(value)?,
        JsonMode::Short | JsonMode::Off => serde_json::to_string(value)?,
    })
}

/// A point in time for people.
pub(super) fn when(usec: Usec) -> String {
    crate::util::time::format(usec)
}

/// How long ago, or in how long: "3min ago", "in 7min".
pub(super) fn relative(usec: Usec) -> String {
    let now = now();
    if usec > now { format!("in {}", span(usec - now)) } else { format!("{} ago", span(now - usec)) }
}

/// A cell of a table.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: printable(&text.into()), style: Style::Plain }
    }
}

impl Cell {
    pub(super) fn in_style(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

/// Columns with a header, left-aligned, two blanks apart.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    header: [&'static str; N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(header: [&'static str; N]) -> Self {
        Self { header, rows: Vec::new() }
    }

    pub(super) fn row<C: Into<Cell>>(&mut self, cells: [C; N]) {
        self.rows.push(cells.map(Into::into));
    }

    pub(super) fn print(&self) -> anyhow::Result<()> {
        Ok(pager::write(&self.text())?)
    }

    /// What [`Self::print`] prints.
    pub(super) fn text(&self) -> String {
        self.render(legend())
    }

    fn render(&self, legend: bool) -> String {
        let mut widths = self.header.map(|title| if legend { title.len() } else { 0 });
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let mut text = String::new();
        if legend {
            let titles: Vec<String> =
                self.header.iter().zip(&widths).map(|(title, width)| format!("{title:<width$}")).collect();
            text.push_str(&Style::Header.paint(titles.join("  ").trim_end()));
            text.push('\n');
        }
        for row in &self.rows {
            let last = row.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or_default();
            for (index, (cell, width)) in row.iter().zip(widths).enumerate().take(last + 1) {
                text.push_str(&cell.style.paint(&cell.text));
                if index < last {
                    text.push_str(&" ".repeat(width - cell.text.chars().count() + 2));
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_with_and_without_its_legend() {
        let mut table = Table::new(["SOURCE", "JAIL", "WHY"]);
        table.row(["203.0.113.7", "sshd", ""]);
        table.row(["192.0.2.1", "é", "by\x1bhand"]);
        assert_eq!(
            table.render(true),
            "SOURCE       JAIL  WHY\n203.0.113.7  sshd\n192.0.2.1    é     by\u{fffd}hand\n"
        );
        assert_eq!(table.render(false), "203.0.113.7  sshd\n192.0.2.1    é     by\u{fffd}hand\n");
    }

    #[test]
    fn colours_are_for_terminals_and_the_environment_overrides_that() {
        for (systemd, no_color, term, terminal, wanted) in [
            (None, false, Some("xterm"), true, true),
            (None, false, None, false, false),
            (None, true, Some("xterm"), true, false),
            (None, false, Some("dumb"), true, false),
            (Some("1"), true, Some("dumb"), false, true),
            (Some("256"), false, None, false, true),
            (Some("auto-256"), false, None, false, false),
            (Some("off"), false, Some("xterm"), true, false),
        ] {
            assert_eq!(wants_colours(systemd, no_color, term, terminal), wanted, "{systemd:?} {no_color} {term:?}");
        }
    }
}
