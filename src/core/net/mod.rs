//! Addresses and networks: how people write them, what counts as one source, and which IPv6
//! addresses stand for an IPv4 host.

mod error;
mod source;
mod text;
mod translators;

pub use self::{error::AddressError, source::text_of, text::parse_network};
pub(crate) use self::{
    source::{Prefixes, inside, source_of},
    text::{canonical, check_host_name},
    translators::Translators,
};
