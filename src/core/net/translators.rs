//! IPv6 addresses that hold an IPv4 address: those of translators (NAT64, SIIT) and of tunnels.
//!
//! Behind the prefix of a translator stands the whole IPv4 internet, so a /64 of such addresses is
//! no customer but everybody, and a ban of it would lock out strangers. What stands for one IPv4
//! host is counted by itself, and nothing wider is ever banned but by hand. The packets of such a
//! host arrive with the IPv6 address, so that is what a ban closes.
//!
//! - NAT64 (RFC 6052: 64:ff9b::/96 and the admin's own prefixes; RFC 8215: 64:ff9b:1::/48),
//!   IPv4-translated (RFC 2765: ::ffff:0:0:0/96) and IPv4-compatible (RFC 4291: ::/96): one address is
//!   one IPv4 host.
//! - 6to4 (RFC 3056: 2002::/16): the /48 behind the IPv4 address belongs to the host that has it, so a
//!   /64 of it is as good as any other; nothing wider than the /48 is.
//! - Teredo (RFC 4380: 2001::/32): the /64 is that of a server, which strangers share; flags and port
//!   stand ahead of the client's IPv4 address, so no network but the single address is one client.
//! - ISATAP (RFC 5214) has the IPv4 address of a site's own host in the lower half of an address of
//!   that site's /64. There, the /64 is one customer as ever.
//!
//! IPv4-mapped addresses (::ffff:0:0/96) are IPv4 addresses to everybody, see
//! [`super::parse_network`].

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Why a text can't be the prefix of a translator: the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PrefixError {
    /// No network at all, or one of IPv4.
    #[error("'{0}' is not an IPv6 network; write the prefix of the translator, such as 2001:db8:64::/96.")]
    NotIpv6(String),
    /// A length that RFC 6052 does not have.
    #[error("{0} has a length that no translator uses (RFC 6052); it is 32, 40, 48, 56, 64 or 96.")]
    Length(String),
    /// Bits set after the prefix.
    #[error("{0} has bits set after its prefix; write {1}.")]
    Bits(String, Ipv6Net),
    /// Bits that have to be zero.
    #[error("{0} has bits 64 to 71 set, which RFC 6052 requires to be zero; check the prefix.")]
    Reserved(String),
}

/// The prefixes of the admin's own translators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Translators(Arc<[Ipv6Net]>);

/// Where the IPv4 address stands behind a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As RFC 6052 has it, behind a prefix of this length.
    Translated(u8),
    /// The last 32 bits.
    Last,
    /// Right behind the prefix, with a network of the host's own behind it.
    SixToFour,
    /// The last 32 bits, inverted, and chosen bits ahead of them.
    Teredo,
}

/// The prefixes that everybody has.
const KNOWN: [(Ipv6Net, Form); 6] = [
    (net([0x64, 0xff9b, 0, 0, 0, 0], 96), Form::Last),
    (net([0x64, 0xff9b, 1, 0, 0, 0], 48), Form::Last),
    (net([0, 0, 0, 0, 0xffff, 0], 96), Form::Last),
    (net([0, 0, 0, 0, 0, 0], 96), Form::Last),
    (net([0x2002, 0, 0, 0, 0, 0], 16), Form::SixToFour),
    (net([0x2001, 0, 0, 0, 0, 0], 32), Form::Teredo),
];

const fn net(words: [u16; 6], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(words[0], words[1], words[2], words[3], words[4], words[5], 0, 0), length)
}

/// The lengths that the prefix of a translator can have (RFC 6052 §2.2).
const LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

impl Form {
    /// The IPv4 network that a network behind the prefix holds.
    fn read(self, network: Ipv6Net) -> Ipv4Net {
        let (bits, length) = (u128::from(network.addr()), network.prefix_len());
        let (word, known) = match self {
            Self::Last | Self::Translated(96) => (bits, length.saturating_sub(96)),
            Self::Teredo => (!bits, length.saturating_sub(96)),
            Self::SixToFour => (bits >> 80, length.saturating_sub(16)),
            // Bits 64 to 71 are none of the address's.
            Self::Translated(prefix) => {
                let without = (bits >> 64 << 56) | (bits & ((1 << 56) - 1));
                let length = if length <= 64 { length } else { length.saturating_sub(8).max(64) };
                (without >> (120 - 32 - prefix.min(88)), length.saturating_sub(prefix))
            }
        };
        #[allow(clippy::cast_possible_truncation, reason = "the last 32 bits are meant")]
        let address = Ipv4Addr::from(word as u32);
        Ipv4Net::new(address, known.min(32)).unwrap_or_default().trunc()
    }

    /// The shortest prefix of a network that holds no more than an IPv4 network of this length.
    fn least(self, ipv4: u8) -> u8 {
        match self {
            Self::SixToFour => 16 + ipv4,
            Self::Teredo => 128,
            _ if ipv4 >= 32 => 128,
            Self::Last | Self::Translated(96) => 96 + ipv4,
            Self::Translated(prefix) if prefix + ipv4 > 64 => prefix + ipv4 + 8,
            Self::Translated(prefix) => prefix + ipv4,
        }
    }
}

impl Translators {
    /// The prefix of a translator, as an admin writes it.
    ///
    /// # Errors
    /// If no translator can have it.
    pub(crate) fn parse(text: &str) -> Result<Ipv6Net, PrefixError> {
        let prefix = text.parse::<Ipv6Net>().map_err(|_| PrefixError::NotIpv6(text.to_owned()))?;
        if !LENGTHS.contains(&prefix.prefix_len()) {
            return Err(PrefixError::Length(text.to_owned()));
        }
        if prefix.trunc() != prefix {
            return Err(PrefixError::Bits(text.to_owned(), prefix.trunc()));
        }
        if prefix.prefix_len() == 96 && u128::from(prefix.addr()) >> 56 & 0xff != 0 {
            return Err(PrefixError::Reserved(text.to_owned()));
        }
        Ok(prefix)
    }

    /// All prefixes, the admin's first.
    fn prefixes(&self) -> impl Iterator<Item = (Ipv6Net, Form)> {
        self.0.iter().map(|prefix| (*prefix, Form::Translated(prefix.prefix_len()))).chain(KNOWN)
    }

    /// The admin's own.
    pub(crate) fn own(&self) -> &[Ipv6Net] {
        &self.0
    }

    fn form(&self, network: Ipv6Net) -> Option<Form> {
        // ::1 and :: are no IPv4 address, nor is anything of 0.0.0.0/8.
        let special = u128::from(network.addr()) < 1 << 24;
        self.prefixes().find(|(prefix, _)| !special && prefix.contains(&network)).map(|(_, form)| form)
    }

    /// The IPv4 addresses that a network holds; none if its addresses are IPv6 ones and no more.
    pub(crate) fn held(&self, network: IpNet) -> Option<Ipv4Net> {
        let IpNet::V6(network) = network else { return None };
        match self.form(network) {
            Some(form) => Some(form.read(network)),
            None if self.prefixes().any(|(prefix, _)| network.contains(&prefix)) => Some(Ipv4Net::default()),
            None => None,
        }
    }

    /// The networks whose addresses hold IPv4 ones.
    pub(crate) fn networks(&self) -> impl Iterator<Item = IpNet> {
        self.prefixes().map(|(prefix, _)| prefix.into())
    }

    /// The shortest prefix of a network around an address that does not take in strangers, where an
    /// IPv4 network of the length `ipv4` is none.
    pub(crate) fn least(&self, address: IpAddr, ipv4: u8) -> u8 {
        let IpAddr::V6(address) = address else { return 0 };
        self.form(address.into()).map_or(0, |form| form.least(ipv4))
    }
}

impl From<Vec<Ipv6Net>> for Translators {
    fn from(prefixes: Vec<Ipv6Net>) -> Self {
        Self(prefixes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translators(prefixes: &[&str]) -> Translators {
        prefixes.iter().map(|prefix| Translators::parse(prefix).unwrap()).collect::<Vec<_>>().into()
    }

    fn held(translators: &Translators, text: &str) -> Option<String> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).unwrap();
        translators.held(network).map(|network| super::super::text_of(network.into()))
    }

    #[test]
    fn the_examples_of_the_rfcs_hold_what_they_say() {
        // RFC 6052 §2.4.
        for (prefix, address) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::c000:221"),
        ] {
            let own = translators(&[prefix]);
            assert_eq!(held(&own, address).as_deref(), Some("192.0.2.33"), "{prefix}");
            assert_eq!(held(&own, prefix).as_deref(), Some("0.0.0.0/0"), "{prefix}");
            assert_eq!(held(&Translators::default(), address), None, "{prefix}");
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(own.least(address, 32), 128);
            let network = IpNet::new(address, own.least(address, 24)).unwrap().trunc();
            assert_eq!(own.held(network).unwrap().to_string(), "192.0.2.0/24", "{prefix}");
        }
    }

    #[test]
    fn the_prefixes_that_everybody_has_are_known() {
        let none = Translators::default();
        for (text, ipv4) in [
            ("64:ff9b::cb00:7107", Some("203.0.113.7")),
            ("64:ff9b::cb00:7100/120", Some("203.0.113.0/24")),
            ("64:ff9b::/96", Some("0.0.0.0/0")),
            ("64:ff9b::/64", Some("0.0.0.0/0")),
            ("64:ff9b:1::cb00:7107", Some("203.0.113.7")),
            ("64:ff9b:1:fffe::cb00:7107", Some("203.0.113.7")),
            ("::ffff:0:203.0.113.7", Some("203.0.113.7")),
            ("::203.0.113.7", Some("203.0.113.7")),
            ("2002:cb00:7107::1", Some("203.0.113.7")),
            ("2002:cb00:7107:5::/64", Some("203.0.113.7")),
            ("2002:cb00:7100::/40", Some("203.0.113.0/24")),
            ("2001:0:cb00:7101:0:3f57:34ff:8ef8", Some("203.0.113.7")),
            ("2001:0:cb00:7101::/64", Some("0.0.0.0/0")),
            ("2001::/16", Some("0.0.0.0/0")),
            ("::1", None),
            ("2001:db8::203.0.113.7", None),
            ("2001:db8::/32", None),
            ("2001:db8::200:5efe:203.0.113.7", None),
            ("203.0.113.7", None),
        ] {
            assert_eq!(held(&none, text).as_deref(), ipv4, "{text}");
        }
        assert_eq!(none.least("2002:cb00:7107::1".parse().unwrap(), 32), 48);
        assert_eq!(none.least("2001:db8::1".parse().unwrap(), 32), 0);
    }

    #[test]
    fn a_prefix_that_no_translator_has_is_reported_with_the_mend() {
        for (text, says) in [
            ("203.0.113.0/24", "is not an IPv6 network; write the prefix of the translator"),
            ("2001:db8:64::", "is not an IPv6 network"),
            ("2001:db8::/33", "it is 32, 40, 48, 56, 64 or 96."),
            ("2001:db8::1/96", "write 2001:db8::/96."),
            ("2001:db8:0:0:100::/96", "bits 64 to 71"),
        ] {
            let error = Translators::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
