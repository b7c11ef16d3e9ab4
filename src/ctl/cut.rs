//! `wardenctl cut SOURCE`: what wardend-cut@.service runs, with the one capability that it takes.
//!
//! firewalld lets live what is established, so what a banned source still has open is closed in
//! the kernel (SOCK_DESTROY, sock_diag(7)). ss(8) speaks to the kernel for us. Its filter is a
//! language of its own, so all that it gets is an address that was parsed here; and its exit code
//! says nothing, so it is asked afterwards what is left.

use std::process::{Command, Output};

use anyhow::{Context, bail};
use ipnet::IpNet;

use super::output::line;
use crate::{engine::parse_network, jail::text_of, time::count};

/// Options of `cut`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Addresses and networks, with `_` between them
    sources: String,
}

/// Whatever is connected; what is in TIME-WAIT has nobody behind it any more.
const CONNECTED: [&str; 8] =
    ["--no-header", "--numeric", "--tcp", "--udp", "state", "connected", "exclude", "time-wait"];

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let sources = arguments.sources.split('_').map(parse_network).collect::<Result<Vec<IpNet>, String>>();
    let sources = sources.map_err(anyhow::Error::msg)?;
    let killed = ss(&["--kill"], &sources)?;
    let left = lines(&ss(&[], &sources)?);
    let names = sources.iter().map(|source| text_of(*source)).collect::<Vec<_>>().join(", ");
    if left > 0 {
        let said = String::from_utf8_lossy(&killed.stderr);
        let why = said.lines().find(|line| line.contains("SOCK_DESTROY")).unwrap_or("the kernel does not say why");
        bail!("{} of {names} can't be closed ({why}).", count(left, "connection", "connections"));
    }
    line(&format!("Closed {} of {names}.", count(lines(&killed), "connection", "connections")))
}

/// Asks ss for what is connected to the sources. It takes `::1` for an address and a port, so a length
/// always goes with the address.
fn ss(options: &[&str], sources: &[IpNet]) -> anyhow::Result<Output> {
    let filter = sources.iter().map(|source| format!("dst {source}")).collect::<Vec<_>>().join(" or ");
    let output = Command::new("ss")
        .args(options)
        .args(CONNECTED)
        .arg(filter)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .context("ss can't be run; install iproute2")?;
    if !output.status.success() {
        bail!("ss fails: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}

/// One line a connection.
fn lines(output: &Output) -> usize {
    output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count()
}
