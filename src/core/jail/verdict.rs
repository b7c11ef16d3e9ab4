//! What a jail concludes.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::core::{
    failure::{Failure, Failures},
    time::Usec,
};

/// What a jail concludes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A failure was counted, and that was known since this time.
    Failed(IpNet, Failure, Usec),
    /// A failure was seen, of a source that is never banned.
    Ignored(IpNet, Failure),
    /// The source has reached `maxretry`; these are the failures that led to it, oldest first.
    Guilty {
        /// Who.
        source: IpNet,
        /// Since when that is known, in µs.
        since: Usec,
        /// What it has done.
        failures: Failures,
        /// It was spared for this login, in µs, until it had done too much.
        despite: Option<Usec>,
    },
    /// The same, but somebody has logged in from there not long ago.
    Spared {
        /// Who.
        source: IpNet,
        /// The last login, in µs.
        login: Usec,
        /// What it has done.
        failures: Failures,
    },
    /// A counted failure was taken back: it never was one.
    TakenBack(IpNet, Failure),
    /// The program has turned the source away, whether that weighs anything or not.
    Refused(IpNet, Failure),
    /// The number of failures for which no record has ever named an address.
    Nameless(usize),
    /// Somebody was let in.
    LetIn {
        /// By this process, if that is known.
        process: Option<u32>,
        /// From where.
        address: IpAddr,
        /// When, in µs.
        time: Usec,
    },
    /// A table was full, and what was oldest in it had to go.
    Crowded(Bound),
}

/// A table that is bounded, so that no attack can fill the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bound {
    /// The sources that are counted (`max-sources`).
    Sources,
    /// The open sessions.
    Sessions,
    /// The bans in force.
    Bans,
}
