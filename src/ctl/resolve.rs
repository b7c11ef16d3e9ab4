//! `wardenctl resolve`: what wardend-resolve@.service runs for the daemon, which has no network.
//!
//! It reads a line with a host name, and writes what the name means as one line of JSON.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    time::Duration,
};

use crate::{contract::resolve::Answer, core::net::check_host_name, kernel::names};

/// How long the resolver may take: less than the daemon waits.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than a name has.
const LONGEST: u64 = 1024;

pub(super) fn run() -> anyhow::Result<()> {
    let mut line = String::new();
    BufReader::new(io::stdin().lock().take(LONGEST)).read_line(&mut line)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&answer(line.trim()))?)?;
    Ok(out.flush()?)
}

fn answer(name: &str) -> Answer {
    if let Err(why) = check_host_name(name) {
        return Answer::Error(why.to_string());
    }
    match names::addresses(name, PATIENCE) {
        Ok(addresses) if addresses.is_empty() => Answer::Error("it has no address".to_owned()),
        Ok(addresses) => Answer::Addresses(addresses),
        Err(why) => Answer::Error(why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_answered_with_its_addresses_or_a_reason() {
        for name in ["", "-x.example.org", "no.such.host.invalid", "a b"] {
            assert!(matches!(answer(name), Answer::Error(why) if !why.is_empty()), "{name}");
        }
        assert_eq!(serde_json::to_string(&Answer::Error("x".into())).unwrap(), "{\"error\":\"x\"}");
        let two = Answer::Addresses(vec![[192, 0, 2, 7].into(), "2001:db8::7".parse().unwrap()]);
        assert_eq!(serde_json::to_string(&two).unwrap(), "{\"addresses\":[\"192.0.2.7\",\"2001:db8::7\"]}");
    }
}
