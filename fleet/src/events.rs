//! What wardend-fleet writes to the journal and to the service manager. wardend.journal-fields(7) lists each
//! kind and field, and `journalctl -x` explains them.

use sd_notify::NotifyState;
use tracing::{error, info, warn};
use wardend::shared::{
    format,
    records::{
        BROKER_BACK, BROKER_LOST, DAEMON_BACK, DAEMON_LOST, FLEET_REFUSED, LEFT, MUTED, NOT_BELIEVED, PARDONED, UNMUTED,
    },
};

use crate::core::Seconds;

/// A time as the journal and people have it.
fn usec(seconds: Seconds) -> u64 {
    seconds.saturating_mul(1_000_000)
}

/// All is set up.
pub(crate) fn ready() {
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("Waiting for wardend.")]);
}

/// The state, in a line.
pub(crate) fn status(text: &str) {
    let _ = sd_notify::notify(&[NotifyState::Status(text)]);
}

/// The loop goes round.
pub(crate) fn alive() {
    let _ = sd_notify::notify(&[NotifyState::Watchdog]);
}

/// It can't start; the sentence says why.
pub(crate) fn cannot_start(why: &str) {
    error!(MESSAGE_ID = FLEET_REFUSED, "{why}");
    let _ = sd_notify::notify(&[NotifyState::Status(why)]);
}

/// A machine exceeds its limits.
pub(crate) fn muted(machine: &str, why: &str, until: Seconds) {
    warn!(
        MESSAGE_ID = MUTED,
        WARDEND_MACHINE = machine,
        WARDEND_UNTIL = usec(until),
        "Not listening to {machine} until {}, because {why}.",
        format(usec(until))
    );
}

/// It is heard again.
pub(crate) fn unmuted(machine: &str) {
    info!(MESSAGE_ID = UNMUTED, WARDEND_MACHINE = machine, "Listening to {machine} again.");
}

/// There is no connection to a broker.
pub(crate) fn broker_lost(broker: &str, why: &str) {
    warn!(
        MESSAGE_ID = BROKER_LOST,
        WARDEND_BROKER = broker,
        "No connection to {broker}: {why} Bans of others stay until their end."
    );
}

/// A broker can't do something.
pub(crate) fn broker_trouble(broker: &str, what: &str) {
    warn!(MESSAGE_ID = BROKER_LOST, WARDEND_BROKER = broker, "{broker}: {what}");
}

/// There is a connection to a broker.
pub(crate) fn broker_back(broker: &str) {
    info!(MESSAGE_ID = BROKER_BACK, WARDEND_BROKER = broker, "Connected to {broker}.");
}

/// A voice does not count.
pub(crate) fn refused(machine: &str, source: &str, what: &str) {
    warn!(
        MESSAGE_ID = NOT_BELIEVED,
        WARDEND_MACHINE = machine,
        WARDEND_SOURCE = source,
        "{machine} reports a ban of {source}, {what}; it does not count here."
    );
}

/// The clock of a machine is wrong, or right again.
pub(crate) fn clock(machine: &str, by: i64) {
    if by.unsigned_abs() <= 60 {
        info!(MESSAGE_ID = NOT_BELIEVED, WARDEND_MACHINE = machine, "The clock of {machine} is right again.");
        return;
    }
    let direction = if by < 0 { "slow" } else { "fast" };
    warn!(
        MESSAGE_ID = NOT_BELIEVED,
        WARDEND_MACHINE = machine,
        "The clock of {machine} is {} s {direction} of the one here; its bans are corrected by that.",
        by.unsigned_abs()
    );
}

/// There are more voices than the policy allows.
pub(crate) fn crowded(voices: usize) {
    warn!(
        MESSAGE_ID = NOT_BELIEVED,
        "The other machines have more than {voices} bans in force ('voices' in fleet.conf); further ones do not count until some have ended."
    );
}

/// There are more machines than the policy allows.
pub(crate) fn stranger(machine: &str, machines: usize) {
    warn!(
        MESSAGE_ID = NOT_BELIEVED,
        WARDEND_MACHINE = machine,
        "Not listening to {machine:?}: it is not a valid name, or there are more than {machines} machines ('machines' in fleet.conf)."
    );
}

/// A machine speaks a later version of the protocol.
pub(crate) fn newer(machine: &str) {
    warn!(
        MESSAGE_ID = NOT_BELIEVED,
        WARDEND_MACHINE = machine,
        "{machine} runs a later version of wardend-fleet, whose messages can't be read here; upgrade wardend-fleet."
    );
}

/// No voice against a source counts for a while.
pub(crate) fn pardoned(source: &str, until: Seconds, why: &str) {
    info!(
        MESSAGE_ID = PARDONED,
        WARDEND_SOURCE = source,
        WARDEND_UNTIL = usec(until),
        "Pardoned {source} until {}: {why}.",
        format(usec(until))
    );
}

/// wardend can't be reached.
pub(crate) fn wardend_lost(why: &str) {
    warn!(MESSAGE_ID = DAEMON_LOST, "{why} Bans of others are not entered meanwhile.");
}

/// wardend does not do what it should.
pub(crate) fn not_entered(why: &str) {
    warn!(MESSAGE_ID = DAEMON_LOST, "Bans of others can't be entered: {why} Trying again.");
}

/// wardend can be reached again.
pub(crate) fn wardend_back() {
    info!(MESSAGE_ID = DAEMON_BACK, "wardend is running again; comparing its bans with those of the fleet.");
}

/// This machine has left the fleet.
pub(crate) fn left() {
    info!(
        MESSAGE_ID = LEFT,
        "This machine has left the fleet: it takes its bans back, and ends those of others. A restart of wardend-fleet joins it again."
    );
}
