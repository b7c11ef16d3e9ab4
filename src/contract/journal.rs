//! The kinds of record that wardend writes to the journal, by their MESSAGE_ID: an ID is never
//! changed, and never given to another kind.

/// A ban begins.
pub(crate) const BAN: &str = "aa04c1c10db24c02ad4e28e8ac726807";
/// A ban that is in force lasts longer.
pub(crate) const EXTENDED: &str = "2259265aafd643ca8a582179c88fcf42";
/// A list of bans was taken.
pub(crate) const LIST_TAKEN: &str = "9b60852442ca4b6a862bfa6b05026c15";
/// A ban has ended.
pub(crate) const UNBAN: &str = "8a3f31231e2a461e9199974abd4fb094";
/// firewalld has taken a ban.
pub(crate) const IN_FORCE: &str = "d3900ade55e14a7491ea1ddb5189c835";
/// The firewall can't be reached.
pub(crate) const FIREWALL_LOST: &str = "a39daf4bcee144bb8572c8b300146a21";
/// The firewall holds all bans.
pub(crate) const FIREWALL_BACK: &str = "330caf9051a24d7ea1c63e773fef2fb4";
/// journald dropped messages of a watched unit.
pub(crate) const JOURNAL_LOSS: &str = "fc094cc7ef734c9086e3366142de3bed";
/// The saved state can't be used, or not be written.
pub(crate) const SNAPSHOT: &str = "35c1d2aaaa96401e9e0a510b608e5a8f";
/// The saved state is written again.
pub(crate) const SNAPSHOT_BACK: &str = "8e9091ac8a154d4a915654d8a5da4448";
/// There is no place to save the state in.
pub(crate) const NO_STATE: &str = "7263b7e1099f460d86f5058e0cd59508";
/// The place in the journal at which the saved state ends is gone.
pub(crate) const JOURNAL_GONE: &str = "892c444c30144438bd6b858e2368c6df";
/// The journal was replaced or moved, and is followed again.
pub(crate) const JOURNAL_REOPENED: &str = "e0bacb4f61ea496aa82cd5190f2353c8";
/// wardend can't start.
pub(crate) const REFUSED: &str = "f96d6f01a64e48f28b0ada6360ab48c1";
/// Something in the firewall was put right.
pub(crate) const FIREWALL_REPAIRED: &str = "8e013d0610044be1838e9551df96252d";
/// A source is not banned, because somebody has logged in from there not long ago.
pub(crate) const SPARED: &str = "ef39d02b2ef64442a5aeee1b99147826";
/// A source that is banned has reached the service.
pub(crate) const LEAK: &str = "4b43e43002ef4b8a815bda340bf56295";
/// A table is full.
pub(crate) const CROWDED: &str = "d330c0c8c8084774b20b334bcf6a4619";
/// Somebody has set the clock.
pub(crate) const CLOCK_SET: &str = "fa189bd2298a40c8bebb0f9c6dddbc4d";
/// The configuration was reloaded.
pub(crate) const RELOADED: &str = "ffb12a0e5e7a4ea5b1263da4afcdad09";
/// The configuration can't be used, and the one before stays in force.
pub(crate) const BAD_CONFIG: &str = "5ddac101accf42c68c09397ee9e70655";
/// A name in `ignoreip` can't be resolved.
pub(crate) const NO_ADDRESS: &str = "891af04ae3f7498a8598defb1a6622d7";

/// What a banned source had open is closed.
pub(crate) const CUT: &str = "5a9b5ec85c9b4d548ee2752664aec55f";
/// What a banned source has open can't be closed.
pub(crate) const NOT_CUT: &str = "7d88f8fd58bd4a23b17654343d40147e";

/// The bus does not accept replies, because a client does not read its own.
pub(crate) const UNREAD: &str = "cb624a738661451d9bd53058df5b1a79";
/// The bus takes answers again.
pub(crate) const READ_AGAIN: &str = "8213af3f10d64d17a73de399d50ddfec";

/// The bus does not keep other users' signals away from wardend.
pub(crate) const NO_CLIENT_NAME: &str = "bc8735402d00472c990d816031b5d106";

/// wardend does not keep a promise.
pub(crate) const PROBLEM: &str = "b42ad2293bbc492b84c50683fe727222";
/// wardend keeps that promise again.
pub(crate) const PROBLEM_GONE: &str = "38ddbe47e4e149f08a8111cc2fa955f1";

/// An address or network is ignored by order.
pub(crate) const IGNORED: &str = "2507e4afca1548579e664a9da56670ba";
/// An address or network is no longer ignored by order.
pub(crate) const UNIGNORED: &str = "a167caf0a5144145b588df4cbc65debc";
/// A jail is paused.
pub(crate) const PAUSED: &str = "fb580b0e490d4583b1fec33202d01a37";
/// It bans again.
pub(crate) const RESUMED: &str = "d3a8941f379e401890bd7259cc4c3520";
/// A source is not banned, because its jail is paused.
pub(crate) const WITHHELD: &str = "e93ec0769a304d63bd7a4e1767224ecb";
/// An address or network is suspected.
pub(crate) const SUSPECTED: &str = "94d1718039fc4622a6aa4fbeb046c47c";
/// An address or network is no longer suspected.
pub(crate) const UNSUSPECTED: &str = "0715768ce2b04de786bbe5380c274868";

/// wardend-notify has handed a batch to a handler.
pub(crate) const HANDED_OVER: &str = "7f3960db375e452b8096dee7ec15c65d";

/// A handler can't be served.
pub(crate) const HANDLER_FAILED: &str = "5ccd9eae36ce4e498a2e174787f2a6b4";

/// A handler can be served again.
pub(crate) const HANDLER_WORKS: &str = "c6e98e0ab7624eeebfe556ae66d02db1";

/// A batch is not tried again.
pub(crate) const GIVEN_UP: &str = "68426a8a82bf4dcf87b35fef9e892c47";

/// The journal no longer has what a handler should have received.
pub(crate) const NOT_HELD: &str = "77eb826a85d94752bef227335393efc7";

/// A handler's file, or all of them, can't be used.
pub(crate) const BAD_HANDLER: &str = "b790de09601f412cafbb575a497aedad";

/// The kinds of record of wardend-fleet.
pub mod fleet {
    /// A machine exceeds its limits, and is not heard for a while.
    pub const MUTED: &str = "222a0af09a5c431583df578b54080e42";
    /// A machine is heard again.
    pub const UNMUTED: &str = "230610562a354f9f8e99a187df0d9876";
    /// There is no connection to a broker, or it can't do what it should.
    pub const BROKER_LOST: &str = "300ee22b678f4608841f073eeca04485";
    /// There is a connection to a broker.
    pub const BROKER_BACK: &str = "fd32686ac28c4234afdd173e345e3fc7";
    /// What a machine says does not count, or only in part.
    pub const NOT_BELIEVED: &str = "689c85f41ef34b7395c5e4b87d003ad6";
    /// No voice against a source counts for a while.
    pub const PARDONED: &str = "5b34491432914ec4bc35e875bab08937";
    /// wardend-fleet can't start.
    pub const FLEET_REFUSED: &str = "5638eeefa28348b08bad496f7338a9b4";
    /// wardend can't be reached, or does not do what it should.
    pub const DAEMON_LOST: &str = "f51c6c593f8e48b1867757edee7a9241";
    /// wardend can be reached again.
    pub const DAEMON_BACK: &str = "d6e8bfe233394eed811dbc58a610870e";
    /// This machine has left the fleet.
    pub const LEFT: &str = "7d050dbc0b3a417b95bc51e2eb24558e";

    /// What handlers of wardend-notify receive: what somebody has to look at, and that it is over. What a
    /// machine says without being believed is not among it, or it could have people flooded with mail.
    pub(crate) const REPORTED: [&str; 5] = [MUTED, UNMUTED, BROKER_LOST, BROKER_BACK, FLEET_REFUSED];
}
