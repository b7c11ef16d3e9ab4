//! `import`: bans from a file, or a set-up of fail2ban.

mod database;
mod fail2ban;
mod live;

use clap::Subcommand;

use super::{bus::on_the_bus, transfer};

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
    Fail2ban(fail2ban::Arguments),
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
