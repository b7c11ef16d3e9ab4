//! Where messages go: to the journal as records with fields, or to a terminal as text.
//!
//! How much is said can be changed while the daemon runs, over the bus (`bus::LogControl`). The
//! levels are those of syslog; tracing has only five, and the crate tracing-journald writes
//! `info!` as notice, `debug!` as info and `trace!` as debug.

use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    layer::SubscriberExt,
    reload::{self, Handle},
    util::SubscriberInitExt,
};

use crate::bus::{LevelError, LogControl};

/// The levels of syslog, the loudest need first, with what they let pass. What is worse than an
/// error wardend does not say, so these stand for silence.
const LEVELS: [(&str, LevelFilter); 8] = [
    ("emerg", LevelFilter::OFF),
    ("alert", LevelFilter::OFF),
    ("crit", LevelFilter::OFF),
    ("err", LevelFilter::ERROR),
    ("warning", LevelFilter::WARN),
    ("notice", LevelFilter::INFO),
    ("info", LevelFilter::DEBUG),
    ("debug", LevelFilter::TRACE),
];
/// What holds until somebody changes it.
const USUAL: &str = "info";

/// The filter of this process.
static FILTER: OnceLock<Handle<Targets, Registry>> = OnceLock::new();

/// What passes at a level. Fields of other crates would reach the journal under names of their
/// own, so of those only warnings pass.
fn filter(level: LevelFilter) -> Targets {
    Targets::new().with_target("wardend", level).with_default(level.min(LevelFilter::WARN))
}

fn by_name(name: &str) -> Option<LevelFilter> {
    LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
}

/// Sets up logging for this process.
pub(super) fn init() -> LogControl {
    let (filter, handle) = reload::Layer::new(filter(by_name(USUAL).unwrap_or(LevelFilter::DEBUG)));
    // systemd sets the variable when standard error is connected to the journal
    // (systemd.exec(5)); then records go there directly, with their fields.
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let target = match journal {
        Some(layer) => {
            let layer = layer.with_field_prefix(None).with_syslog_identifier("wardend".to_owned());
            tracing_subscriber::registry().with(layer.with_filter(filter)).init();
            "journal"
        }
        None => {
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .without_time()
                .with_target(false)
                .fmt_fields(tracing_subscriber::fmt::format::debug_fn(|writer, field, value| {
                    // On a terminal the sentence says it all.
                    if field.name() == "message" { write!(writer, "{value:?}") } else { Ok(()) }
                }));
            tracing_subscriber::registry().with(layer.with_filter(filter)).init();
            "console"
        }
    };
    // Set once: init() above would have panicked the second time.
    let _ = FILTER.set(handle);
    LogControl { level: USUAL.to_owned(), target, change }
}

/// Lets pass what belongs to a level, from now on.
fn change(name: &str) -> Result<(), LevelError> {
    let level = by_name(name).ok_or_else(|| {
        let names: Vec<&str> = LEVELS.iter().map(|(name, _)| *name).collect();
        LevelError::Unknown { name: name.to_owned(), known: names.join(", ") }
    })?;
    let handle = FILTER.get().ok_or(LevelError::Early)?;
    handle.reload(filter(level)).map_err(|error| LevelError::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn each_level_says_what_its_name_promises() {
        let passes =
            |name: &str, target: &str, level: Level| filter(by_name(name).unwrap()).would_enable(target, &level);
        assert!(
            passes(USUAL, "wardend::journal::events", Level::DEBUG)
                && !passes(USUAL, "wardend::journal::events", Level::TRACE)
        );
        assert!(passes("debug", "wardend::journal::events", Level::TRACE) && !passes("debug", "zbus", Level::INFO));
        assert!(
            passes("notice", "wardend::journal::events", Level::INFO)
                && !passes("notice", "wardend::journal::events", Level::DEBUG)
        );
        assert!(passes("err", "zbus", Level::ERROR) && !passes("err", "zbus", Level::WARN));
        assert!(!passes("crit", "wardend::journal::events", Level::ERROR));
        assert!(by_name("loud").is_none());
    }
}
