//! Where messages go: to the journal as records with fields, or to standard error.

use tracing_subscriber::{Layer, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// Sets up logging for this process.
pub(super) fn init() {
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    match journal {
        Some(layer) => {
            let layer = layer.with_field_prefix(None).with_syslog_identifier("wardend-notify".to_owned());
            tracing_subscriber::registry().with(layer.with_filter(LevelFilter::DEBUG)).init();
        }
        None => {
            let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).without_time();
            tracing_subscriber::registry().with(layer.with_filter(LevelFilter::INFO)).init();
        }
    }
}
