//! Whom `ban` and `unban` are about: addresses, networks, ranges and lists of them, as arguments and from
//! files. All of it is read and checked before anything is done.

use std::{
    fs,
    io::{self, Read},
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::time::duration;
use crate::core::net::{AddressError, parse_network, text_of};

/// The most networks that a range may take, so that a typing error in an IPv6 range can't take all memory.
const MOST: usize = 1024;

/// The sources in the order in which they were given. The argument `-` is standard input.
pub(super) fn read(arguments: &[String], files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut sources = Vec::new();
    for argument in arguments {
        if argument == "-" {
            from_file(Path::new("-"), &mut sources)?;
        } else if let Err(what) = list(argument, &mut sources) {
            if duration(argument).is_ok() {
                bail!("{what} To set the duration of a ban, write `--for {argument}`.");
            }
            if argument == "all" {
                bail!("{what} For all of them, write `--all`, if the command has it.");
            }
            bail!(what);
        }
    }
    for file in files {
        from_file(file, &mut sources)?;
    }
    if sources.is_empty() {
        bail!("The input contains no address or network.");
    }
    Ok(sources)
}

/// Reads a file, one or more sources a line; what follows `#` or `;` is a comment.
fn from_file(file: &Path, sources: &mut Vec<String>) -> anyhow::Result<()> {
    let (name, bytes) = if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).context("Standard input can't be read")?;
        ("standard input".to_owned(), bytes)
    } else {
        let bytes = fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
        (file.display().to_string(), bytes)
    };
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = String::from_utf8_lossy(line);
        let text = line.split(['#', ';']).next().unwrap_or_default();
        for word in text.split_whitespace() {
            list(word, sources).map_err(|what| anyhow::anyhow!("{name}:{}: {what}", number + 1))?;
        }
    }
    Ok(())
}

/// Why a word names no sources.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("{0:?} is not a range: write it as FIRST-LAST, both addresses of one family.")]
    Range(String),
    #[error("{0:?} is not a range: its last address comes before the first one.")]
    Order(String),
    #[error("{0:?} takes more than {MOST} networks; write the networks that are meant.")]
    Networks(String),
}

/// Reads sources with commas between them.
fn list(words: &str, sources: &mut Vec<String>) -> Result<(), SourceError> {
    let words = words.strip_suffix(',').unwrap_or(words);
    for word in words.split(',') {
        match word.split_once('-') {
            Some((first, last)) => range(word, first, last, sources)?,
            None => {
                parse_network(word)?;
                sources.push(word.to_owned());
            }
        }
    }
    Ok(())
}

/// Reads a range as exactly the networks that make it up.
fn range(word: &str, first: &str, last: &str, sources: &mut Vec<String>) -> Result<(), SourceError> {
    let invalid = || SourceError::Range(word.to_owned());
    let address = |text: &str| text.parse().map(|address: IpAddr| address.to_canonical()).map_err(|_| invalid());
    let (first, last) = (address(first)?, address(last)?);
    if first > last {
        return Err(SourceError::Order(word.to_owned()));
    }
    let networks: Vec<IpNet> = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Ipv4Subnets::new(first, last, 0).map(IpNet::from).take(MOST + 1).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Ipv6Subnets::new(first, last, 0).map(IpNet::from).take(MOST + 1).collect()
        }
        _ => return Err(invalid()),
    };
    if networks.len() > MOST {
        return Err(SourceError::Networks(word.to_owned()));
    }
    sources.extend(networks.into_iter().map(text_of));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn of(arguments: &[&str]) -> anyhow::Result<Vec<String>> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        read(&arguments, &[])
    }

    fn complaint(arguments: &[&str]) -> String {
        of(arguments).map_or_else(|error| error.to_string(), |sources| panic!("{sources:?}"))
    }

    #[test]
    fn a_duration_among_the_sources_is_found_before_anything_is_done() {
        assert!(complaint(&["203.0.113.21", "1h"]).ends_with("write `--for 1h`."));
        assert!(complaint(&["203.0.113.21", "permanent"]).ends_with("write `--for permanent`."));
        let other = complaint(&["203.0.113.21", "203.0.113.256"]);
        assert!(other.contains("203.0.113.256") && !other.contains("--for"), "{other}");
    }

    #[test]
    fn lists_and_ranges_are_exactly_the_networks_that_make_them_up() {
        let sources = of(&["203.0.113.21,2001:db8::/64", "198.51.100.5-198.51.100.10", "::ffff:192.0.2.1"]).unwrap();
        let expected = [
            "203.0.113.21",
            "2001:db8::/64",
            "198.51.100.5",
            "198.51.100.6/31",
            "198.51.100.8/31",
            "198.51.100.10",
            "::ffff:192.0.2.1",
        ];
        assert_eq!(sources, expected);
        assert_eq!(of(&["0.0.0.0-255.255.255.255"]).unwrap(), ["0.0.0.0/0"]);
        assert_eq!(of(&["198.51.100.7-198.51.100.7"]).unwrap(), ["198.51.100.7"]);
        for bad in ["198.51.100.7-20", "198.51.100.9-198.51.100.7", "198.51.100.7-2001:db8::1", "-", "a-b"] {
            let arguments = if bad == "-" { vec!["198.51.100.7,-"] } else { vec![bad] };
            assert!(complaint(&arguments).contains("is not a range"), "{bad}");
        }
    }

    #[test]
    fn a_file_has_comments_and_its_mistakes_are_reported_with_the_line() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"# scanners\n203.0.113.7 ; seen twice\r\n\n198.51.100.0/24, 2001:db8::1\n").unwrap();
        let files = [file.path().to_owned()];
        assert_eq!(read(&[], &files).unwrap(), ["203.0.113.7", "198.51.100.0/24", "2001:db8::1"]);
        file.write_all(b"203.0.113.8\n203.0.113\xff\n").unwrap();
        let error = read(&[], &files).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:6: ", files[0].display())), "{error}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert!(read(&[], &[empty.path().to_owned()]).unwrap_err().to_string().contains("no address"));
    }
}
