//! `wardend-cut`: what wardend-cut@.service runs for the daemon, with the one capability that it takes. It is
//! a program of its own, so that nothing but this runs with that capability.
//!
//! firewalld leaves established connections open, so those of a banned source are closed in the kernel
//! ([`crate::kernel::connections`]). Each line that comes in says what to close and is answered by a line,
//! and when the daemon goes away, this ends. Whatever a line says, it can only name addresses and ports.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::ExitCode,
};

use clap::Parser;
use ipnet::IpNet;

use crate::{
    contract::cut::{Answer, Request},
    core::net::{AddressError, parse_network, text_of},
    kernel::{
        addresses,
        connections::{Connection, Connections},
    },
    util::text::count,
};

/// More than a request has.
const LONGEST: u64 = 64 * 1024;
/// How often it is looked whether something is open: while the first are closed, another may have appeared
/// that was on its way when the ban came into force.
const LOOKS: usize = 3;

/// Closes the connections that its standard input names; wardend-cut@.service runs it.
#[derive(Debug, Parser)]
#[command(name = "wardend-cut", version)]
struct Arguments {}

/// Why connections stay open: a sentence without its end.
#[derive(Debug, thiserror::Error)]
enum ProgramError {
    #[error("wardend-cut does not understand the request ({0})")]
    Request(#[from] serde_json::Error),
    #[error("the request names no source")]
    Nobody,
    #[error("'{0}' is not a valid source ({1})")]
    Source(String, AddressError),
    #[error("the kernel does not list the addresses of this machine ({0})")]
    Addresses(io::Error),
    #[error("{0} is an address of this machine, so connections of {source} are not closed", source = text_of(*.1))]
    Own(IpAddr, IpNet),
    #[error("the kernel does not list connections ({0})")]
    List(io::Error),
    #[error("the kernel does not close {0} ({1})")]
    Close(String, io::Error),
    #[error("the source opens connections as fast as they are closed")]
    Endless,
}

/// Runs wardend-cut with this process's arguments.
pub fn main() -> ExitCode {
    Arguments::parse();
    match serve(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "wardend-cut: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers until nobody asks any more.
fn serve(mut requests: impl BufRead, mut answers: impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut requests).take(LONGEST).read_until(b'\n', &mut line)?;
        // Whoever goes away in the middle of a line wants no answer.
        if !line.ends_with(b"\n") {
            return if line.is_empty() { Ok(()) } else { Err(io::Error::other("a request does not end")) };
        }
        let answer = match close(&line) {
            Ok(closed) => Answer::Closed(closed),
            Err(why) => Answer::Error(why.to_string()),
        };
        let mut answer = serde_json::to_string(&answer)?;
        answer.push('\n');
        answers.write_all(answer.as_bytes())?;
        answers.flush()?;
    }
}

/// Closes what a request names, and counts it.
fn close(line: &[u8]) -> Result<usize, ProgramError> {
    let request: Request = serde_json::from_slice(line)?;
    let sources = sources(&request)?;
    if let Some((address, source)) = own(&sources, &addresses::list().map_err(ProgramError::Addresses)?) {
        return Err(ProgramError::Own(address, source));
    }
    let mut kernel = Connections::open().map_err(ProgramError::List)?;
    let mut closed = 0;
    for _ in 0..LOOKS {
        let mut open = kernel.list(&sources).map_err(ProgramError::List)?;
        open.retain(|it| request.names(it.protocol, it.port));
        if open.is_empty() {
            return Ok(closed);
        }
        closed += close_all(&mut kernel, &open)?;
    }
    Err(ProgramError::Endless)
}

/// Closes them all, also if one can't be closed.
fn close_all(kernel: &mut Connections, open: &[Connection]) -> Result<usize, ProgramError> {
    let (mut closed, mut refused) = (0, Vec::new());
    for connection in open {
        match kernel.close(connection) {
            Ok(was_open) => closed += usize::from(was_open),
            Err(why) => refused.push(why),
        }
    }
    let number = refused.len();
    match refused.pop() {
        Some(why) => Err(ProgramError::Close(count(number, "connection", "connections"), why)),
        None => Ok(closed),
    }
}

fn sources(request: &Request) -> Result<Vec<IpNet>, ProgramError> {
    let parse = |text: &String| parse_network(text).map_err(|why| ProgramError::Source(text.clone(), why));
    let sources: Vec<IpNet> = request.sources.iter().map(parse).collect::<Result<_, _>>()?;
    if sources.is_empty() { Err(ProgramError::Nobody) } else { Ok(sources) }
}

/// An address of the machine that is, or is in, one of the sources: what is open there belongs to the
/// machine's own programs.
fn own(sources: &[IpNet], addresses: &BTreeSet<IpAddr>) -> Option<(IpAddr, IpNet)> {
    let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let mut own = addresses.iter().copied().chain(loopback);
    own.find_map(|address| Some((address, *sources.iter().find(|source| source.contains(&address))?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::cut::{Ports, Protocol};

    fn of(sources: &[&str]) -> Request {
        Request { sources: sources.iter().map(|it| (*it).to_owned()).collect(), ports: Vec::new() }
    }

    #[test]
    fn what_the_machine_itself_has_open_is_never_closed() {
        let addresses = ["192.0.2.10", "2001:db8::10", "fe80::10"].map(|it| it.parse().unwrap()).into();
        let own = |texts: &[&str]| own(&sources(&of(texts)).unwrap(), &addresses);
        for texts in [
            &["192.0.2.10"][..],
            &["203.0.113.7", "192.0.2.0/24"],
            &["2001:db8::/64"],
            &["127.0.0.5/8"],
            &["::1"],
            &["fe80::10"],
        ] {
            assert!(own(texts).is_some(), "{texts:?}");
        }
        for text in ["192.0.2.11", "203.0.113.0/24", "2001:db8:1::/48", "fe80::11"] {
            assert_eq!(own(&[text]), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_or_everybodys_is_refused_and_the_next_request_is_answered() {
        for sources in [&[][..], &["203.0.113.7", "everybody"], &["0.0.0.0/0"], &["::/0"], &["0.0.0.0"], &["-h"]] {
            assert!(super::sources(&of(sources)).is_err(), "{sources:?}");
        }
        let asked = concat!(
            "{\"sources\":[\"127.0.0.1\"]}\n",
            "{\"sources\":[]}\n",
            "nonsense\n",
            "{\"sources\":[\"203.0.113.7\"],\"command\":\"sh\"}\n",
            "{\"sources\":[\"192.0.2.99\"],\"ports\":[{\"protocol\":\"tcp\",\"first\":22,\"last\":99999}]}\n",
        );
        let mut said = Vec::new();
        serve(asked.as_bytes(), &mut said).unwrap();
        let said = String::from_utf8(said).unwrap();
        let answers: Vec<Answer> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), 5, "{said}");
        assert!(answers.iter().all(|answer| matches!(answer, Answer::Error(_))), "{said}");
        assert!(said.starts_with("{\"error\":\"127.0.0.1 is an address of this machine"), "{said}");
        assert!(serve(&b"{\"sources\":[\"127"[..], io::sink()).is_err());
    }

    #[test]
    fn ports_limit_what_is_closed_to_them() {
        let mut request = of(&["203.0.113.7"]);
        assert!(request.names(Protocol::Tcp, 22) && request.names(Protocol::Udp, 53));
        request.ports = vec![
            Ports { protocol: Protocol::Tcp, first: 22, last: 22 },
            Ports { protocol: Protocol::Tcp, first: 2220, last: 2225 },
        ];
        for (port, meant) in [(21, false), (22, true), (23, false), (2220, true), (2225, true), (2226, false)] {
            assert_eq!(request.names(Protocol::Tcp, port), meant, "{port}");
            assert!(!request.names(Protocol::Udp, port), "{port}");
        }
    }
}
