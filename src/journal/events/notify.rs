//! The records of wardend-notify.

use tracing::{debug, error, info, warn};

use crate::{
    contract::journal::{BAD_HANDLER, GIVEN_UP, HANDED_OVER, HANDLER_FAILED, HANDLER_WORKS, NOT_HELD},
    util::text::count,
};

/// A handler has taken a batch.
pub(crate) fn handed_over(handler: &str, events: u64, summary: &str) {
    debug!(
        MESSAGE_ID = HANDED_OVER,
        WARDEND_HANDLER = handler,
        WARDEND_EVENTS = events,
        "Handed over to {handler}: {summary}."
    );
}

/// A handler can't be served; the sentence says why.
pub(crate) fn notify_trouble(handler: &str, what: &str) {
    warn!(MESSAGE_ID = HANDLER_FAILED, WARDEND_HANDLER = handler, "Handler {handler}: {what}");
}

/// A handler can be served again.
pub(crate) fn notify_works(handler: &str) {
    info!(MESSAGE_ID = HANDLER_WORKS, WARDEND_HANDLER = handler, "Handler {handler} works again.");
}

/// A handler has failed for a day.
pub(crate) fn given_up(handler: &str, events: u64, what: &str) {
    warn!(
        MESSAGE_ID = GIVEN_UP,
        WARDEND_HANDLER = handler,
        WARDEND_EVENTS = events,
        "Handler {handler} has failed for a day; dropped {}: {what}",
        count(usize::try_from(events).unwrap_or(usize::MAX), "event", "events")
    );
}

/// The journal no longer has what a handler should have received.
pub(crate) fn notify_lost(handler: &str, what: &str) {
    warn!(MESSAGE_ID = NOT_HELD, WARDEND_HANDLER = handler, "Handler {handler}: {what}");
}

/// A handler's file can't be used; the sentence says why.
pub(crate) fn bad_handler(what: &str) {
    error!(MESSAGE_ID = BAD_HANDLER, "{what}");
}

/// wardend-notify can't start.
pub(crate) fn notify_refused(why: &str) {
    error!(MESSAGE_ID = BAD_HANDLER, "{why}");
}
