//! Where messages go: to the journal as records with fields, or to a terminal as text.

use tracing::Level;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Sets up logging for this process. Fields of other crates would reach the journal under
/// names of their own, so of those only warnings pass.
pub(super) fn init() {
    let filter = Targets::new().with_target("wardend", Level::DEBUG).with_default(Level::WARN);
    // systemd sets the variable when standard error is connected to the journal
    // (systemd.exec(5)); then records go there directly, with their fields.
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    match journal {
        Some(layer) => {
            let layer = layer.with_field_prefix(None).with_syslog_identifier("wardend".to_owned());
            tracing_subscriber::registry().with(layer.with_filter(filter)).init();
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
        }
    }
}
