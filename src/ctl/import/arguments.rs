//! The options of `import fail2ban`.

use std::path::PathBuf;

use clap::ValueHint;

use super::super::output::Json;

pub(super) const DIRECTORY: &str = "/etc/fail2ban";

/// Options of `import fail2ban`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option")]
pub(super) struct Arguments {
    /// The directory of fail2ban's configuration
    #[arg(value_name = "DIR", default_value = DIRECTORY, value_hint = ValueHint::DirPath)]
    pub(super) directory: PathBuf,
    /// Write the drop-in, after checking it
    #[arg(long)]
    pub(super) write: bool,
    /// Replace a drop-in that is there and differs
    #[arg(long, requires = "write")]
    pub(super) force: bool,
    /// Take over the bans in force, from fail2ban's database or from the running fail2ban
    #[arg(long)]
    pub(super) bans: bool,
    /// Read the bans from this database
    #[arg(long, value_name = "FILE", requires = "bans", value_hint = ValueHint::FilePath)]
    pub(super) database: Option<PathBuf>,
    /// Keep to fail2ban's ways where there is a setting for it
    #[arg(long)]
    pub(super) exact: bool,
    /// Use this directory instead of /etc/wardend and /run/wardend
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) json: Json,
}
