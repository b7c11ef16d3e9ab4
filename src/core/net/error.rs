//! Why a text is not an address, a network or the name of a host.

use std::{fmt, net::Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::text_of;

/// Why a text can't be used as an address or a network: a sentence with the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// 0.0.0.0 or ::.
    #[error("{0} is not a host address; specify an address or a network.")]
    Unspecified(String),
    /// It is known what was probably meant.
    #[error("'{0}' {1}.")]
    Mistyped(String, Mistake),
    /// It is not known what was meant.
    #[error("'{0}' is neither an address (203.0.113.7) nor a network (203.0.113.0/24).")]
    Unknown(String),
    /// A prefix of no length.
    #[error("{0} is everybody; name a smaller network.")]
    Everybody(String),
    /// All mapped addresses.
    #[error("{0} is all of IPv4; name a smaller network.")]
    AllOfIpv4(String),
    /// More than all mapped addresses, by somebody who counts the bits of the IPv4 address alone.
    #[error("{0} holds all of IPv4; if {meant} is meant, write that.", meant = text_of(*.1))]
    MappedLength(String, IpNet),
    /// More than all mapped addresses.
    #[error("{0} holds all of IPv4 (as ::ffff:0:0/96); name a smaller network.")]
    HoldsIpv4(String),
}

/// What is wrong with a text that should be an address or a network: the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// Around what was meant.
    #[error("has blanks around it; write {0}")]
    Blanks(String),
    /// Several in one.
    #[error("holds {0} entries; write each by itself")]
    Entries(usize),
    /// The network that it stands for.
    #[error("has a netmask; write the length of its prefix, as in {0}")]
    Netmask(Ipv4Net),
    /// One with holes in it.
    #[error("has a netmask that is none; write a network as in {0}/24")]
    BrokenNetmask(Ipv4Addr),
    /// The networks that make it up.
    #[error("is a range; write networks{0}")]
    Range(Networks),
    /// An IPv6 address with the interface that it holds on.
    #[error("names an interface ('%{interface}'); write {address}")]
    Interface {
        /// Without it.
        address: String,
        /// The interface.
        interface: String,
    },
    /// As in a URL.
    #[error("has brackets; write {0}")]
    Brackets(String),
    /// Behind a colon.
    #[error("has a port; write {0}")]
    Port(String),
    /// As at the end of a sentence.
    #[error("ends in a dot; write {0}")]
    Dot(String),
    /// Hexadecimal numbers.
    #[error(
        "is an address in a form that other programs read differently; write it as four decimal numbers (203.0.113.7)"
    )]
    Hexadecimal,
    /// Other numbers than an address has.
    #[error("is not an address: it has four numbers from 0 to 255 (203.0.113.7)")]
    Numbers,
    /// Of a prefix.
    #[error("has a length that no network has; it is from 1 to 32")]
    Length,
    /// Which some programs take for octal numbers.
    #[error("has a number with leading zeros; write {0}")]
    Zeros(String),
    /// Less than four numbers.
    #[error("is not a complete address; write all four numbers, or the network {0}")]
    Incomplete(Ipv4Net),
}

/// The networks of a range: all of them, or, if they are many, one as an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks(pub(super) Vec<IpNet>);

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() > 8 {
            return f.write_str(" that hold it, such as 203.0.113.0/24");
        }
        let names: Vec<String> = self.0.iter().map(|network| text_of(*network)).collect();
        write!(f, ": {}", names.join(", "))
    }
}

/// Why a text can't be used as the name of a host: a sentence with the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostNameError {
    /// It was meant to be an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A word of other programs for loopback or the machine itself.
    #[error("'{0}' is not a host name; loopback is never banned anyway, and other addresses are named one by one.")]
    OwnWord(String),
    /// A word of other programs for everybody.
    #[error("'{0}' is not a host name; to disable banning, stop wardend or set `enabled = false`.")]
    EverybodyWord(String),
    /// A word of other programs for nobody.
    #[error("'{0}' is not a host name; for none, write an empty list.")]
    NobodyWord(String),
    /// A name without a domain.
    #[error(
        "'{0}' is a single word; write an address (203.0.113.7), a network (203.0.113.0/24), or the name of a host with \
         its domain (office.example.org)."
    )]
    Word(String),
    /// A name of loopback.
    #[error("'{0}' is this machine; loopback is never banned anyway, so drop it.")]
    ThisMachine(String),
}
