//! Who is never banned, and which line says so.

use std::{
    borrow::Cow,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A network that may never be banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The network, or the one address.
    pub network: IpNet,
    /// What says so: `FILE:LINE: ignoreip = "…"`, as a person may look it up.
    pub because: Cow<'static, str>,
}

/// A name whose addresses may never be banned; they have to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName {
    /// The name.
    pub name: String,
    /// As in [`Ignored`].
    pub because: Cow<'static, str>,
}

impl From<IpNet> for Ignored {
    fn from(network: IpNet) -> Self {
        Self { network, because: Cow::Borrowed("ignoreip") }
    }
}

/// RFC 1122 §3.2.1.3 and RFC 4291 §2.5.3.
pub(super) const LOOPBACK: [Ignored; 2] = [
    Ignored {
        network: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
        because: Cow::Borrowed("loopback is never banned"),
    },
    Ignored {
        network: IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
        because: Cow::Borrowed("loopback is never banned"),
    },
];
