//! The entries of a list in a call: each has its answer in its place, and one that can't be read keeps
//! no other from being done.

use ipnet::IpNet;

use crate::{
    contract::error::Error,
    core::{engine::CommandError, net::parse_network},
};

/// A list as it was read.
pub(super) struct Entries<T> {
    /// Each as it was given, and what is wrong with it.
    all: Vec<(String, Result<(), Error>)>,
    /// Those with which nothing is wrong.
    readable: Vec<T>,
}

impl<T> Entries<T> {
    /// Takes what each entry was given as, and what it means.
    pub(super) fn read(entries: impl Iterator<Item = (String, Result<T, Error>)>) -> Self {
        let mut readable = Vec::new();
        let all = entries.map(|(given, read)| (given, read.map(|entry| readable.push(entry)))).collect();
        Self { all, readable }
    }

    /// The number of all entries.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The entries that could be read.
    pub(super) fn readable(&self) -> &[T] {
        &self.readable
    }

    /// Takes the entries that could be read.
    pub(super) fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.readable)
    }

    /// What came of each entry; `outcomes` are those of the ones that were taken, in their order.
    pub(super) fn answers<A>(
        self,
        outcomes: Vec<Result<A, CommandError>>,
    ) -> impl Iterator<Item = (String, Result<A, Error>)> {
        let mut outcomes = outcomes.into_iter();
        self.all.into_iter().map(move |(given, read)| {
            let none = || Error::Failed("The order had no outcome.".to_owned());
            let outcome = read.and_then(|()| Ok(outcomes.next().ok_or_else(none)??));
            (given, outcome)
        })
    }
}

impl Entries<IpNet> {
    /// The networks of a list.
    pub(super) fn of_networks(addresses: Vec<String>) -> Self {
        Self::read(addresses.into_iter().map(|address| {
            let network = parse_network(&address).map_err(Error::from);
            (address, network)
        }))
    }
}
