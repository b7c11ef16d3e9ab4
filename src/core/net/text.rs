//! What people write for a source: an address, or a network.
//!
//! In a list of who is never banned, and on a command line, a text that is taken and means nothing
//! is worse than a mistake: the admin believes to be safe. So what comes out is in the one form that
//! addresses of records have, and whatever else looks like an address is refused with the text that
//! was probably meant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};

use super::error::{AddressError, HostNameError, Mistake, Networks};

/// Reads what somebody has written for a source: an address or a network. IPv4-mapped ones
/// (::ffff:203.0.113.7) are IPv4.
///
/// # Errors
/// A sentence with the mend.
pub fn parse_network(text: &str) -> Result<IpNet, AddressError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        if address.is_unspecified() {
            return Err(AddressError::Unspecified(text.to_owned()));
        }
        return Ok(address.to_canonical().into());
    }
    let Ok(network) = text.parse::<IpNet>() else {
        return Err(match instead(text) {
            Some(mistake) => AddressError::Mistyped(text.to_owned(), mistake),
            None => AddressError::Unknown(text.to_owned()),
        });
    };
    if network.prefix_len() == 0 {
        return Err(AddressError::Everybody(text.to_owned()));
    }
    match canonical(network.trunc()) {
        Some(network) if network.prefix_len() == 0 => Err(AddressError::AllOfIpv4(text.to_owned())),
        Some(network) => Ok(network),
        None => Err(match network.addr().to_canonical() {
            // Whoever writes this counts the bits of the IPv4 address alone.
            IpAddr::V4(address) if network.prefix_len() <= 32 => {
                let meant = IpNet::V4(Ipv4Net::new(address, network.prefix_len()).unwrap_or_default().trunc());
                AddressError::MappedLength(text.to_owned(), meant)
            }
            _ => AddressError::HoldsIpv4(text.to_owned()),
        }),
    }
}

/// The form in which a network is compared: an IPv4-mapped one as IPv4; none if the network holds all
/// mapped addresses and more.
pub(crate) fn canonical(network: IpNet) -> Option<IpNet> {
    const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
    let IpNet::V6(inner) = network else { return Some(network) };
    if MAPPED.contains(&inner) {
        let address = inner.addr().to_ipv4_mapped()?;
        return Ipv4Net::new(address, inner.prefix_len() - 96).ok().map(IpNet::V4);
    }
    (!inner.contains(&MAPPED)).then_some(network)
}

/// What is wrong with a text that may be intended as an address.
fn instead(text: &str) -> Option<Mistake> {
    let parses = |text: &str| text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok();
    let trimmed = text.trim();
    if trimmed != text && parses(trimmed) {
        return Some(Mistake::Blanks(trimmed.to_owned()));
    }
    let words: Vec<&str> = text.split([',', ';', ' ']).filter(|word| !word.is_empty()).collect();
    if words.len() > 1 && words.iter().all(|word| parses(word)) {
        return Some(Mistake::Entries(words.len()));
    }
    if let Some((address, mask)) = text.split_once('/')
        && let (Ok(address), Ok(mask)) = (address.parse::<Ipv4Addr>(), mask.parse::<Ipv4Addr>())
    {
        return Some(match Ipv4Net::with_netmask(address, mask) {
            Ok(network) => Mistake::Netmask(network.trunc()),
            Err(_) => Mistake::BrokenNetmask(address),
        });
    }
    if let Some(networks) = text.split_once('-').and_then(|(first, last)| range(first, last)) {
        return Some(Mistake::Range(networks));
    }
    if let Some((address, interface)) = text.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Some(Mistake::Interface { address: address.to_owned(), interface: interface.to_owned() });
    }
    if let Some(inner) = text.strip_prefix('[') {
        let (address, rest) = inner.split_once(']')?;
        let length = rest.strip_prefix('/').filter(|length| length.parse::<u8>().is_ok());
        let plain = length.map_or_else(|| address.to_owned(), |length| format!("{address}/{length}"));
        return parses(&plain).then_some(Mistake::Brackets(plain));
    }
    if let Some((address, port)) = text.rsplit_once(':')
        && address.parse::<Ipv4Addr>().is_ok()
        && !port.is_empty()
    {
        return Some(Mistake::Port(address.to_owned()));
    }
    if let Some(address) = text.strip_suffix('.').filter(|address| parses(address)) {
        return Some(Mistake::Dot(address.to_owned()));
    }
    numbers(text)
}

/// The networks of a range, if it is one: a few more than are named.
fn range(first: &str, last: &str) -> Option<Networks> {
    let (first, last) = (first.trim(), last.trim());
    let networks: Vec<IpNet> = if let Ok(first) = first.parse::<Ipv4Addr>() {
        // The last part may stand for the whole.
        let [a, b, c, _] = first.octets();
        let part = || last.parse::<u8>().ok().map(|part| Ipv4Addr::from([a, b, c, part]));
        let last = last.parse::<Ipv4Addr>().ok().or_else(part)?;
        Ipv4Subnets::new(first, last, 0).take(9).map(IpNet::V4).collect()
    } else {
        Ipv6Subnets::new(first.parse().ok()?, last.parse().ok()?, 0).take(9).map(IpNet::V6).collect()
    };
    Some(Networks(networks))
}

/// What is made of numbers and dots, as an IPv4 address is, and is none.
fn numbers(text: &str) -> Option<Mistake> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let bare = address.trim_end_matches(".*").trim_end_matches('.');
    let parts: Vec<&str> = bare.split('.').collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !parts.iter().all(digits) {
        let hexadecimal = |part: &&str| {
            part.strip_prefix("0x")
                .or(part.strip_prefix("0X"))
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        return (parts.len() <= 4
            && parts.iter().any(hexadecimal)
            && parts.iter().all(|part| hexadecimal(part) || digits(part)))
        .then_some(Mistake::Hexadecimal);
    }
    let octets: Option<Vec<u8>> = parts.iter().map(|part| part.parse::<u8>().ok()).collect();
    let Some(octets) = octets.filter(|octets| octets.len() <= 4) else {
        return Some(Mistake::Numbers);
    };
    if octets.len() == 4 {
        let address = Ipv4Addr::from([octets[0], octets[1], octets[2], octets[3]]);
        return Some(match length {
            Some(_) if bare == address.to_string() => Mistake::Length,
            Some(length) => Mistake::Zeros(format!("{address}/{length}")),
            None => Mistake::Zeros(address.to_string()),
        });
    }
    let mut whole = [0; 4];
    whole.iter_mut().zip(&octets).for_each(|(to, from)| *to = *from);
    let known = u8::try_from(octets.len() * 8).unwrap_or(32);
    let length = length.and_then(|length| length.parse().ok()).filter(|length| (1..=32).contains(length));
    let network = Ipv4Net::new(Ipv4Addr::from(whole), length.unwrap_or(known)).unwrap_or_default();
    Some(Mistake::Incomplete(network.trunc()))
}

/// Whether a text can be the name of a host in the DNS: RFC 1123 §2.1, with a domain, and no mistyped
/// address.
///
/// # Errors
/// If it can't.
pub(crate) fn check_host_name(text: &str) -> Result<(), HostNameError> {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if !name.bytes().any(|byte| byte.is_ascii_alphabetic()) || name.len() > 253 || !name.split('.').all(is_label) {
        return Ok(parse_network(text).map(drop)?);
    }
    let Some((_, top)) = name.rsplit_once('.') else {
        // Words of other programs' lists; and a name without a domain means what the resolver's search
        // list makes of it, which is no one's to rely on.
        let error = match name.to_ascii_lowercase().as_str() {
            "localhost" | "loopback" | "self" | "ignoreself" => HostNameError::OwnWord,
            "any" | "all" | "everybody" => HostNameError::EverybodyWord,
            "none" | "nobody" | "null" => HostNameError::NobodyWord,
            _ => HostNameError::Word,
        };
        return Err(error(text.to_owned()));
    };
    // No top-level domain begins with a digit (RFC 3696 §2), but 198.51.100.7-20 and 127.0x1 do.
    if !top.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return Ok(parse_network(text).map(drop)?);
    }
    if top.eq_ignore_ascii_case("localhost") || top.eq_ignore_ascii_case("localdomain") {
        return Err(HostNameError::ThisMachine(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::net::text_of;

    #[test]
    fn what_means_the_same_is_written_in_one_form() {
        for (text, network) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7/32", "203.0.113.7"),
            ("203.0.113.7/24", "203.0.113.0/24"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("0:0:0:0:0:ffff:cb00:7107", "203.0.113.7"),
            ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
            ("::ffff:203.0.113.9/120", "203.0.113.0/24"),
            ("::ffff:203.0.113.7/128", "203.0.113.7"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("64:ff9b::203.0.113.7", "64:ff9b::cb00:7107"),
            ("fe80::1", "fe80::1"),
            ("2000::/3", "2000::/3"),
        ] {
            assert_eq!(parse_network(text).map(text_of), Ok(network.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_an_address_is_refused_with_what_was_meant() {
        for (text, says) in [
            ("0.0.0.0/0", "is everybody"),
            ("::/0", "is everybody"),
            ("::ffff:0:0/96", "is all of IPv4"),
            ("::ffff:0.0.0.0/90", "holds all of IPv4"),
            ("::/80", "holds all of IPv4 (as ::ffff:0:0/96)"),
            ("::/1", "holds all of IPv4"),
            ("::ffff:203.0.113.0/24", "if 203.0.113.0/24 is meant, write that."),
            ("0.0.0.0", "not a host address"),
            ("::", "not a host address"),
            ("203.0.113.7 ", "write 203.0.113.7."),
            ("203.0.113.7, 203.0.113.8", "holds 2 entries; write each by itself."),
            ("203.0.113.7 2001:db8::1", "holds 2 entries"),
            ("203.0.113.0/255.255.255.0", "as in 203.0.113.0/24."),
            ("203.0.113.0/255.0.255.0", "a netmask that is none"),
            ("198.51.100.7-20", "write networks: 198.51.100.7, 198.51.100.8/29, 198.51.100.16/30, 198.51.100.20."),
            ("198.51.100.0-198.51.100.255", "write networks: 198.51.100.0/24."),
            ("198.51.100.1-203.0.113.254", "is a range; write networks that hold it"),
            ("2001:db8::-2001:db8::ff", "write networks: 2001:db8::/120."),
            ("fe80::1%eth0", "write fe80::1."),
            ("[2001:db8::1]", "write 2001:db8::1."),
            ("[2001:db8::1]:22", "write 2001:db8::1."),
            ("[2001:db8::]/64", "write 2001:db8::/64."),
            ("203.0.113.7:22", "has a port; write 203.0.113.7."),
            ("203.0.113.7.", "ends in a dot; write 203.0.113.7."),
            ("203.0.113.*", "the network 203.0.113.0/24."),
            ("203.0.*.*", "the network 203.0.0.0/16."),
            ("203.0.113.", "the network 203.0.113.0/24."),
            ("10.0.0", "the network 10.0.0.0/24."),
            ("10.1", "the network 10.1.0.0/16."),
            ("10/8", "the network 10.0.0.0/8."),
            ("10", "the network 10.0.0.0/8."),
            ("2130706433", "four numbers from 0 to 255"),
            ("203.0.113.256", "four numbers from 0 to 255"),
            ("203.0.113.7.9", "four numbers from 0 to 255"),
            ("0x7f.1", "four decimal numbers"),
            ("127.0.0.0x1", "four decimal numbers"),
            ("203.0.113.07", "write 203.0.113.7."),
            ("203.0.113.7/33", "from 1 to 32"),
            ("", "neither an address (203.0.113.7) nor a network"),
            ("office.example.org", "neither an address"),
            ("203.0.113.7/", "from 1 to 32"),
        ] {
            let error = parse_network(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
            assert!(error.ends_with('.'), "{text}: {error}");
        }
    }

    #[test]
    fn a_word_or_a_mistyped_address_is_no_name_of_a_host() {
        for text in ["office.example.org", "office.example.org.", "a_b.lan", "7.example.org", "xn--bcher-kva.example"] {
            assert_eq!(check_host_name(text), Ok(()), "{text}");
        }
        for (text, says) in [
            ("self", "loopback is never banned anyway"),
            ("localhost", "loopback is never banned anyway"),
            ("localhost.localdomain", "is this machine"),
            ("any", "enabled = false"),
            ("none", "write an empty list."),
            ("office", "a single word"),
            ("office.", "a single word"),
            ("198.51.100.7-20", "is a range"),
            ("10.0.0", "not a complete address"),
            ("0x7f.1", "four decimal numbers"),
            ("203.0.113.7.", "ends in a dot"),
            ("203.0.113.*", "the network 203.0.113.0/24"),
            ("203.0.113.7:22", "has a port"),
            ("fe80::1%eth0", "names an interface"),
            ("office..example.org", "neither an address"),
            ("-office.example.org", "neither an address"),
            ("*.example.org", "neither an address"),
            ("office.example.123", "neither an address"),
        ] {
            let error = check_host_name(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_written_and_read_the_same(text in "[0-9a-f.:/%*x\\[\\]-]{0,24}") {
            if let Ok(network) = parse_network(&text) {
                prop_assert_eq!(parse_network(&text_of(network)), Ok(network));
                prop_assert_eq!(network, network.trunc());
            } else {
                prop_assert!(check_host_name(&text).is_err() || text.contains('.'));
            }
        }
    }
}
