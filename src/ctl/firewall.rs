//! `firewall`: what wardend has in firewalld.

use super::{
    bus::{manager, sentence},
    output::line,
};

/// Verbs of `firewall`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Firewall {
    /// Takes wardend's policy and ipsets out of firewalld, before the package is removed
    Remove,
}

pub(super) async fn firewall(verb: &Firewall) -> anyhow::Result<()> {
    let manager = manager().await?;
    match verb {
        Firewall::Remove => manager.remove_firewall().await.map_err(sentence)?,
    }
    line("wardend's policy and ipsets are gone from firewalld; a restart of wardend puts them back.")
}
