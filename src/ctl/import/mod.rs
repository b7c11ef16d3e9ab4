//! `import`: bans from a file, or a set-up of fail2ban.

mod arguments;
mod database;
mod fail2ban;
mod live;

use std::path::Path;

use clap::Subcommand;

use super::{bus::on_the_bus, transfer};
use crate::fail2ban::Error;

/// Bans from a file, unless the first word names another program.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Import {
    #[command(subcommand)]
    program: Option<Program>,
    #[command(flatten)]
    file: transfer::FromFile,
}

/// Whose set-up.
#[derive(Debug, Subcommand)]
enum Program {
    /// Convert a set-up of fail2ban, and show what differs
    Fail2ban(arguments::Arguments),
}

/// Jails were left out; nothing has failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Partial(String);

pub(super) fn run(import: &Import) -> anyhow::Result<()> {
    match &import.program {
        Some(Program::Fail2ban(arguments)) => fail2ban::run(arguments),
        None => on_the_bus(transfer::import(&import.file)),
    }
}

/// An error with the path as it can be opened.
fn located(error: Error, directory: &Path) -> anyhow::Error {
    let full = |file: &str| directory.join(file).display().to_string();
    match error {
        Error::At(file, line, what) => anyhow::anyhow!("{}:{line}: {what}", full(&file)),
        Error::Read(file, what) => anyhow::anyhow!("{}: can't be read: {what}.", full(&file)),
        Error::NoSetup(what) => anyhow::anyhow!("{} is not a set-up of fail2ban: {what}.", directory.display()),
    }
}
