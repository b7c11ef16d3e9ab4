//! The daemon: wiring, and nothing else.
//!
//! [`main`] reads the configuration, sees that the journal and the bus are there, and hands
//! over to [`run::Daemon`], whose loop feeds the engine with records, commands and deadlines
//! and carries its effects out. What can't be done without (a configuration, the journal, the
//! bus) refuses the start with a sentence and an exit code of its own (the unit does not restart on
//! those that only an admin can mend); what can (the firewall, the saved state) is reported and waited for.

mod blind;
mod clock_watch;
mod commands;
mod effects;
mod exceptions;
mod firewall;
mod happenings;
mod health;
mod logging;
mod pace;
mod presence;
mod published;
mod readiness;
mod reading;
mod reload;
mod reloading;
mod run;
mod status;
mod visits;
mod waiting;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

use crate::{
    bus::{LOG_CONTROL_PATH, LogControl},
    config::{self, ConfigError, Settings},
    journal::{JournalError, events},
    systemd::notify,
};

/// Watches sshd's journal and locks out the hosts that try to break in.
#[derive(Debug, Parser)]
#[command(name = "wardend", version)]
struct Arguments {
    /// Take the configuration from this directory instead of /etc/wardend and /run/wardend
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
}

/// Why the daemon can't start or go on, each with its exit code from sysexits.h.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Journal(#[from] JournalError),
    #[error("The system bus can't be used: {0}; see that dbus.service runs (systemctl start dbus).")]
    Bus(zbus::Error),
    #[error(
        "The bus does not let this process own the name org.wardend1 ({0}); it must run as the user wardend, with /usr/share/dbus-1/system.d/org.wardend1.conf installed, and only once."
    )]
    Name(zbus::Error),
    #[error("The connection to the system bus is lost.")]
    BusLost,
    #[error("The thread that reads the journal has ended unexpectedly.")]
    JournalEnded,
    #[error("{0} is not a directory, so it contains no configuration (--config).")]
    NoDirectory(String),
    #[error("The runtime can't be started: {0}.")]
    Runtime(std::io::Error),
}

impl Fatal {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Bus(_) | Self::BusLost => 69,                          // EX_UNAVAILABLE
            Self::Runtime(_) => 71,                                      // EX_OSERR
            Self::Journal(JournalError::NoAccess) | Self::Name(_) => 77, // EX_NOPERM
            Self::Journal(_) | Self::JournalEnded => 74,                 // EX_IOERR
            Self::Config(_) | Self::NoDirectory(_) => 78,                // EX_CONFIG
        }
    }
}

/// Runs the daemon until it is asked to stop.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let log = logging::init();
    let outcome = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Fatal::Runtime).and_then(
        |runtime| {
            // In a task: waking one takes no system call, as waking what is blocked on does.
            let outcome = runtime.block_on(async { tokio::spawn(start(arguments, log)).await });
            let outcome = outcome.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()));
            // A configuration that is being read on another thread is of no use any more.
            runtime.shutdown_background();
            outcome
        },
    );
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error.to_string();
            events::refused(&text);
            notify::last_word(&text);
            ExitCode::from(error.exit_code())
        }
    }
}

async fn start(arguments: Arguments, log: LogControl) -> Result<(), Fatal> {
    let directories = match arguments.config {
        Some(directory) if !directory.is_dir() => return Err(Fatal::NoDirectory(directory.display().to_string())),
        Some(directory) => vec![directory, config::VENDOR_DIRECTORY.into()],
        None => config::directories(),
    };
    // However long this takes, a signal ends it at once: nothing listens for signals yet.
    let settings = Settings::load(&directories)?;
    let daemon = run::Daemon::new(settings, directories).await?;
    daemon.served.object_server().at(LOG_CONTROL_PATH, log).await.map_err(Fatal::Bus)?;
    daemon.run().await
}
