//! `org.freedesktop.LogControl1`: `systemctl service-log-level wardend debug`.
//!
//! The interface is systemd's (org.freedesktop.LogControl1(5)), and so is its rule that everybody
//! may read and only root may set. The bus policy says so already; it is checked here again,
//! because a policy is a file that an admin can loosen without thinking of this.

use zbus::{
    Connection,
    fdo::{self, DBusProxy},
    interface,
    message::Header,
    names::BusName,
};

/// Where systemctl looks for it.
pub(crate) const LOG_CONTROL_PATH: &str = "/org/freedesktop/LogControl1";

/// Why the level was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LevelError {
    #[error("There is no log level '{name}'; there are: {known}.")]
    Unknown { name: String, known: String },
    #[error("Logging is not set up yet.")]
    Early,
    #[error("The log level can't be changed: {0}.")]
    Failed(String),
}

/// How much is said, and where.
pub(crate) struct LogControl {
    /// The name of the level, as syslog has it.
    pub(crate) level: String,
    /// `journal` or `console`.
    pub(crate) target: &'static str,
    /// Changes the level.
    pub(crate) change: fn(&str) -> Result<(), LevelError>,
}

async fn only_root(connection: &Connection, header: Option<&Header<'_>>) -> fdo::Result<()> {
    let refused =
        || fdo::Error::AccessDenied("Only root may change what wardend logs; run the command with sudo.".to_owned());
    let sender = header.and_then(Header::sender).ok_or_else(refused)?;
    let user = DBusProxy::new(connection).await?.get_connection_unix_user(BusName::from(sender.clone())).await?;
    if user == 0 { Ok(()) } else { Err(refused()) }
}

#[interface(name = "org.freedesktop.LogControl1")]
impl LogControl {
    /// What is logged: `debug`, `info`, `notice`, `warning`, `err`, `crit`, `alert`, `emerg`.
    #[zbus(property(emits_changed_signal = "false"))]
    fn log_level(&self) -> String {
        self.level.clone()
    }

    #[zbus(property)]
    async fn set_log_level(
        &mut self,
        #[zbus(header)] header: Option<Header<'_>>,
        #[zbus(connection)] connection: &Connection,
        level: String,
    ) -> fdo::Result<()> {
        only_root(connection, header.as_ref()).await?;
        (self.change)(&level).map_err(|error| fdo::Error::InvalidArgs(error.to_string()))?;
        self.level = level;
        Ok(())
    }

    /// Where it is logged to: `journal` or `console`, as the daemon was started.
    #[zbus(property(emits_changed_signal = "false"))]
    fn log_target(&self) -> String {
        self.target.to_owned()
    }

    #[zbus(property)]
    async fn set_log_target(
        &mut self,
        #[zbus(header)] header: Option<Header<'_>>,
        #[zbus(connection)] connection: &Connection,
        target: String,
    ) -> fdo::Result<()> {
        only_root(connection, header.as_ref()).await?;
        if target == self.target || target == "auto" || target.is_empty() {
            return Ok(());
        }
        Err(fdo::Error::InvalidArgs(format!(
            "wardend logs to the {}, as it was started; StandardError= in its unit decides that, and '{target}' can't be had while it runs.",
            self.target
        )))
    }

    /// What the records carry as SYSLOG_IDENTIFIER=.
    #[zbus(property(emits_changed_signal = "const"))]
    #[allow(clippy::unused_self, reason = "a property is read from an object")]
    fn syslog_identifier(&self) -> String {
        "wardend".to_owned()
    }
}
