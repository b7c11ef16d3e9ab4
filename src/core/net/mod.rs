//! Addresses and networks: how people write them, what counts as one source, and which IPv6
//! addresses stand for an IPv4 host.

mod error;
mod source;
mod text;
mod translators;

pub use self::{
    error::{AddressError, HostNameError, Mistake, Networks},
    source::{Prefixes, text_of},
    text::{check_host_name, parse_network},
    translators::{PrefixError, Translators},
};
pub(crate) use self::{
    source::{inside, source_of},
    text::canonical,
};
