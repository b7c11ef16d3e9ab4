//! `wardend-cut SOURCE[_SOURCE…][_PORT…]`: what wardend-cut@.service runs, with the one capability
//! that it takes. It is a program of its own, so that nothing but this runs with that capability.
//!
//! firewalld lets live what is established, so what a banned source still has open is closed in
//! the kernel (SOCK_DESTROY, sock_diag(7)). ss(8) speaks to the kernel for us. Its filter is a
//! language of its own, so all that it gets are addresses and numbers that were parsed here; and
//! its exit code says nothing, so it is asked afterwards what is left.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::{Command, ExitCode, Output},
};

use anyhow::{Context, bail};
use clap::Parser;
use ipnet::IpNet;

use crate::{
    core::net::{AddressError, parse_network, text_of},
    kernel::addresses,
    util::text::count,
};

/// Close the connections of a source; wardend-cut@.service runs it.
#[derive(Debug, Parser)]
#[command(name = "wardend-cut", version)]
struct Arguments {
    /// Addresses and networks, and the ports here to which they are cut (tcp22, udp6000:6010) if
    /// not to all; with `_` between them
    #[arg(value_parser = parse)]
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct What {
    sources: Vec<IpNet>,
    ports: Vec<Ports>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Ports {
    protocol: &'static str,
    first: u16,
    last: u16,
}

/// What is wrong with the argument.
#[derive(Debug, thiserror::Error)]
enum WhatError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("'{0}' is not a valid port (tcp22, udp6000:6010).")]
    Port(String),
    #[error("No address to cut was given.")]
    NoAddress,
}

fn parse(text: &str) -> Result<What, WhatError> {
    let mut what = What { sources: Vec::new(), ports: Vec::new() };
    for word in text.split('_') {
        let ports = ["tcp", "udp"].into_iter().find_map(|protocol| Some((protocol, word.strip_prefix(protocol)?)));
        let Some((protocol, range)) = ports else {
            what.sources.push(parse_network(word)?);
            continue;
        };
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        let number = |digits: &str| digits.parse().map_err(|_| WhatError::Port(word.to_owned()));
        what.ports.push(Ports { protocol, first: number(first)?, last: number(last)? });
    }
    if what.sources.is_empty() { Err(WhatError::NoAddress) } else { Ok(what) }
}

impl What {
    /// A source that is, or holds, an address of the machine, and that address: what is open there
    /// belongs to the machine's own programs.
    fn own(&self, addresses: &BTreeSet<IpAddr>) -> Option<(IpNet, IpAddr)> {
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let mut own = addresses.iter().copied().chain(loopback);
        own.find_map(|address| Some((*self.sources.iter().find(|source| source.contains(&address))?, address)))
    }

    /// The filters for ss, each with its protocols. It takes `::1` for an address and a port, so a
    /// length always goes with an address.
    fn filters(&self) -> Vec<(Vec<&'static str>, String)> {
        let sources = any(self.sources.iter().map(|source| format!("dst {source}")));
        if self.ports.is_empty() {
            return vec![(vec!["--tcp", "--udp"], sources)];
        }
        let mut filters = Vec::new();
        for (protocol, option) in [("tcp", "--tcp"), ("udp", "--udp")] {
            let ports = self.ports.iter().filter(|ports| ports.protocol == protocol);
            let ports: Vec<String> =
                ports.map(|it| format!("( sport ge :{} and sport le :{} )", it.first, it.last)).collect();
            if !ports.is_empty() {
                filters.push((vec![option], format!("{sources} and {}", any(ports.into_iter()))));
            }
        }
        filters
    }
}

fn any(terms: impl Iterator<Item = String>) -> String {
    format!("( {} )", terms.collect::<Vec<_>>().join(" or "))
}

/// Runs wardend-cut with this process's arguments.
pub fn main() -> ExitCode {
    match close(&Arguments::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "wardend-cut: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn close(what: &What) -> anyhow::Result<()> {
    let own = addresses::list().context("The kernel does not list the addresses of this machine")?;
    if let Some((source, address)) = what.own(&own) {
        bail!("{address} is an address of this machine, so connections of {} are not closed.", text_of(source));
    }
    let names = what.sources.iter().map(|source| text_of(*source)).collect::<Vec<_>>().join(", ");
    let mut closed = 0;
    for (protocols, filter) in what.filters() {
        let killed = ss(&["--kill"], &protocols, &filter)?;
        let left = lines(&ss(&[], &protocols, &filter)?);
        if left > 0 {
            let said = String::from_utf8_lossy(&killed.stderr);
            let why = said.lines().find(|line| line.contains("SOCK_DESTROY")).unwrap_or("the kernel does not say why");
            bail!("{} of {names} can't be closed ({why}).", count(left, "connection", "connections"));
        }
        closed += lines(&killed);
    }
    let _ = writeln!(io::stdout(), "Closed {} of {names}.", count(closed, "connection", "connections"));
    Ok(())
}

/// Asks ss for whatever is connected; what is in TIME-WAIT has nobody behind it any more.
fn ss(options: &[&str], protocols: &[&str], filter: &str) -> anyhow::Result<Output> {
    let output = Command::new("ss")
        .args(options)
        .args(protocols)
        .args(["--no-header", "--numeric", "state", "connected", "exclude", "time-wait", filter])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_itself_has_open_is_never_closed() {
        let own = ["192.0.2.10", "2001:db8::10", "fe80::10"].map(|it| it.parse().unwrap()).into();
        for text in ["192.0.2.10", "203.0.113.7_192.0.2.0/24", "2001:db8::/64_tcp22", "127.0.0.5/8", "::1", "fe80::10"]
        {
            assert!(parse(text).unwrap().own(&own).is_some(), "{text}");
        }
        for text in ["192.0.2.11", "203.0.113.0/24", "2001:db8:1::/48", "fe80::11"] {
            assert!(parse(text).unwrap().own(&own).is_none(), "{text}");
        }
    }

    #[test]
    fn only_addresses_and_numbers_reach_the_filter() {
        let all = parse("203.0.113.7_2001:db8::/64").unwrap();
        assert_eq!(all.filters()[0].1, "( dst 203.0.113.7/32 or dst 2001:db8::/64 )");
        let some = parse("203.0.113.0/24_tcp22_tcp2220:2225_udp53").unwrap();
        assert_eq!(
            some.filters(),
            [
                (
                    vec!["--tcp"],
                    "( dst 203.0.113.0/24 ) and ( ( sport ge :22 and sport le :22 ) or ( sport ge :2220 and sport le :2225 ) )"
                        .to_owned()
                ),
                (vec!["--udp"], "( dst 203.0.113.0/24 ) and ( ( sport ge :53 and sport le :53 ) )".to_owned()),
            ]
        );
        for text in
            ["", "tcp22", "203.0.113.7 or dst 203.0.113.8", "203.0.113.7_tcp", "203.0.113.7_tcp99999", "x", "0.0.0.0/0"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
