//! One call of firewalld about one ipset: what the plan asks for, the client makes and the pool
//! takes in when it is done.

use ipnet::IpNet;

use super::entry::text;
use super::layout::IpsetId;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) ipset: IpsetId,
    pub(crate) edit: Edit,
}

/// What a call does to the entries of an ipset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    Add(IpNet),
    /// An entry, spelled as firewalld lists it.
    Remove(String),
    /// Replaces all entries.
    Write(Vec<IpNet>),
}

impl Call {
    /// What it is about: an entry, or an ipset as a whole.
    pub(super) fn subject(&self) -> String {
        match &self.edit {
            Edit::Add(net) => text(net),
            Edit::Remove(entry) => entry.clone(),
            Edit::Write(_) => self.ipset.name(),
        }
    }
}
