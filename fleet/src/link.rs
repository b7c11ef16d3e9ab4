//! A connection to a broker, whatever kind of broker it is.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use tokio::sync::mpsc;

/// What is to be done at the broker. Orders that come while there is no connection are dropped: everything is
/// said again over a new one.
#[derive(Debug)]
pub(crate) enum Order {
    /// Send news of this machine.
    News(Vec<u8>),
    /// Keep this document of this machine in place of the one before.
    Document(Vec<u8>),
    /// Read the document of a machine.
    Fetch(Arc<str>),
    /// Read the documents of all machines.
    FetchAll,
}

/// What a broker says.
#[derive(Debug)]
pub(crate) enum Event {
    /// The connection is there, to one of these addresses.
    Up(BTreeSet<IpAddr>),
    /// It can't be made, or was lost; the sentence says why.
    Down(String),
    /// News of a machine, sent just now.
    News(Arc<str>, Vec<u8>),
    /// The document of a machine.
    Document(Arc<str>, Vec<u8>),
    /// A machine has no document.
    Absent(Arc<str>),
    /// All documents that were asked for are there.
    Complete,
    /// Something could not be done; the sentence says what.
    Trouble(String),
}

/// A broker, as orders reach it.
#[derive(Debug)]
pub(crate) struct Link {
    /// How people call it.
    pub(crate) name: String,
    /// Its orders.
    pub(crate) orders: mpsc::Sender<Order>,
}
