//! The journal: records in, by field and in order, none lost and none twice.
//!
//! [`reader`] walks the journal with sd-journal and makes [`crate::core::record::Record`]s of the
//! entries that the filters ask for; `wardenctl replay` uses it as it is. [`follow`] runs it in
//! a thread of its own for the daemon (sd-journal is bound to one thread, and disk reads do not
//! belong in the bus loop) and polls while a next failure may have somebody banned, because journald announces new
//! entries a quarter to half a second late by design (systemd issue 17574) though they can be
//! read at once. [`roots`] tells whether what is open is what is there,
//! and [`gleaner`] finds what sd-journal passes over where several journald write.

mod access;
pub(crate) mod events;
mod follow;
mod gleaner;
pub(crate) mod journald_conf;
mod lanes;
pub(crate) mod own_records;
mod reader;
mod roots;
mod sleeper;

pub(crate) use self::follow::{Batch, Follower, News};
pub(crate) use self::reader::Loss;
pub use self::reader::{Position, Reader, Step, Where};

/// Why the journal can't be read: a sentence with the mend.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Opening failed.
    #[error("The journal {what} can't be opened: {error}; see that it is there and readable for this user.")]
    Open {
        /// Which one.
        what: String,
        /// What sd-journal said.
        error: systemd::Error,
    },
    /// sd-journal opens a journal that it may not read without any error, and finds nothing. Why, is
    /// looked at when it is logged.
    #[error("No journal file can be read: {}", access::cause())]
    NoAccess,
    /// There is nothing in what was named.
    #[error("{0} holds no journal file.")]
    Empty(String),
    /// Reading failed.
    #[error("The journal can't be read on: {0}.")]
    Read(#[from] systemd::Error),
    /// A path or a cursor that can't be handed to sd-journal.
    #[error("{0:?} holds a zero byte, so it names nothing in a journal.")]
    ZeroByte(String),
    /// The thread that reads could not be started.
    #[error("The thread that reads the journal can't be started: {0}.")]
    Thread(std::io::Error),
}
