//! The records of exceptions: ignored and suspected addresses, paused jails.

use tracing::info;

use super::{shown, until_field};
use crate::{
    contract::journal::{IGNORED, PAUSED, RESUMED, SUSPECTED, UNIGNORED, UNSUSPECTED},
    core::{Exception, ExceptionEnd, ExceptionKind, net::text_of},
    util::time::format,
};

/// An administrator has ordered an exception.
pub(super) fn excepted(exception: &Exception) {
    let Exception { kind, since, until, reason, uid, .. } = exception;
    let (what, id) = match kind {
        ExceptionKind::Ignored => (format!("Ignoring {}{}", exception.source(), place(exception)), IGNORED),
        ExceptionKind::Suspected => (format!("Suspecting {}{}", exception.source(), place(exception)), SUSPECTED),
        ExceptionKind::Paused => (format!("Paused {}", jail_of(exception)), PAUSED),
    };
    let until = until.map_or_else(String::new, |until| format!(" until {}", format(until)));
    let who = uid.map_or_else(String::new, |uid| format!(", ordered by user {uid}"));
    let why = if reason.is_empty() { String::new() } else { format!(": {}", shown(reason)) };
    info!(
        MESSAGE_ID = id,
        WARDEND_JAIL = exception.jail.as_deref(),
        WARDEND_SOURCE = exception.network.map(text_of),
        WARDEND_SINCE = since,
        WARDEND_UNTIL = until_field(exception.until),
        WARDEND_REASON = &**reason,
        WARDEND_UID = uid,
        "{what}{until}{who}{why}."
    );
}

/// An exception has ended.
pub(super) fn exception_ended(exception: &Exception, why: ExceptionEnd) {
    let (what, id) = match exception.kind {
        ExceptionKind::Ignored => (format!("No longer ignoring {}{}", exception.source(), place(exception)), UNIGNORED),
        ExceptionKind::Suspected => {
            (format!("No longer suspecting {}{}", exception.source(), place(exception)), UNSUSPECTED)
        }
        ExceptionKind::Paused => (format!("Resumed {}", jail_of(exception)), RESUMED),
    };
    let (why, uid) = match why {
        ExceptionEnd::Expired => ("expired".to_owned(), None),
        ExceptionEnd::Command(None) => ("ordered".to_owned(), None),
        ExceptionEnd::Command(Some(uid)) => (format!("ordered by user {uid}"), Some(uid)),
        ExceptionEnd::JailGone => ("its jail was removed from the configuration".to_owned(), None),
    };
    info!(
        MESSAGE_ID = id,
        WARDEND_JAIL = exception.jail.as_deref(),
        WARDEND_SOURCE = exception.network.map(text_of),
        WARDEND_SINCE = exception.since,
        WARDEND_UNTIL = until_field(exception.until),
        WARDEND_UID = uid,
        "{what}: {why}."
    );
}

/// The jails that an exception is about, at the end of what it does.
fn place(exception: &Exception) -> String {
    exception.jail.as_deref().map_or_else(|| " in all jails".to_owned(), |jail| format!(" in jail {jail}"))
}

fn jail_of(exception: &Exception) -> String {
    format!("jail {}", exception.jail.as_deref().unwrap_or_default())
}
