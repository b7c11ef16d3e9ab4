//! wardend-notify: reports what wardend has logged to handlers, which send mail, call a web service or do
//! what their administrator wants.
//!
//! The journal is the queue: this program reads wardend's own records there, so the daemon knows nothing
//! of it and waits for nothing. [`event`] says what a record means, [`known`] what was reported before, and
//! [`batch`] when it is time; they are pure. [`worker`] serves one handler in a thread of its own, and
//! [`hand`] starts its unit. The programs of the shipped handlers, [`mail`] and [`webhook`], run in these
//! units, which may use the network and see no journal, and here it is the other way round.

pub(crate) mod batch;
pub(crate) mod event;
pub(crate) mod hand;
pub(crate) mod handler;
mod known;
mod logging;
mod mail;
mod received;
pub(crate) mod state;
mod text;
mod webhook;
mod worker;

use std::{
    env,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use clap::{Parser, Subcommand};
use sd_notify::NotifyState;

use self::worker::{Places, Worker};
use crate::{
    config::ConfigError,
    contract::notify::DIRECTORY,
    journal::{
        Where, events,
        own_records::{Moves, user},
    },
    util::text::count,
};

/// How often to look whether the journal is still the one that is followed.
const LOOK: Duration = Duration::from_secs(5);

/// Reports bans and problems of wardend to handlers; wardend-notify.service runs it.
#[derive(Debug, Parser)]
#[command(name = "wardend-notify", version)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Send the batch on standard input as a mail; wardend-notify@mail.service runs it
    Mail,
    /// Post the batch on standard input as JSON; wardend-notify@webhook.service runs it
    Webhook,
}

/// Why it can't start.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("{0}")]
    Directory(ConfigError),
    #[error("None of the handlers in {} can be used.", handler::DIRECTORY)]
    NoHandler,
    #[error("${0} is not set; wardend-notify.service runs this program, and provides it.")]
    NoPlace(&'static str),
    #[error("A thread can't be started: {0}.")]
    Thread(io::Error),
}

/// Runs wardend-notify, or one of the handlers.
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().role {
        Some(Role::Mail) => mail::main(),
        Some(Role::Webhook) => webhook::main(),
        None => {
            logging::init();
            return match follow() {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    events::notify_refused(&error.to_string());
                    let _ = sd_notify::notify(&[NotifyState::Status(&error.to_string())]);
                    ExitCode::from(78)
                }
            };
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves all handlers until a signal ends the process; returns if there is none to serve.
fn follow() -> Result<(), Fatal> {
    let (handlers, mistakes) = handler::read(Path::new(handler::DIRECTORY)).map_err(Fatal::Directory)?;
    for mistake in &mistakes {
        events::bad_handler(&mistake.to_string());
    }
    if handlers.is_empty() {
        return if mistakes.is_empty() { Ok(()) } else { Err(Fatal::NoHandler) };
    }
    let places = Places {
        journal: Where::System,
        state: env::var_os("STATE_DIRECTORY").map(PathBuf::from).ok_or(Fatal::NoPlace("STATE_DIRECTORY"))?,
        run: env::var_os("RUNTIME_DIRECTORY").map_or_else(|| DIRECTORY.into(), PathBuf::from),
        host: host(),
        uid: user(),
    };
    let moves = Arc::new(AtomicU64::new(0));
    let number = handlers.len();
    for handler in handlers {
        let (places, moves) = (places.clone(), Arc::clone(&moves));
        let name = handler.name.chars().take(15).collect();
        // A new handler receives what happens from here on, so before anybody hears that all is ready.
        let worker = Worker::new(handler, places, moves);
        thread::Builder::new().name(name).spawn(move || worker.run()).map_err(Fatal::Thread)?;
    }
    let status = match mistakes.len() {
        0 => format!("Serving {}.", count(number, "handler", "handlers")),
        bad => {
            format!("Serving {}; {} can't be used.", count(number, "handler", "handlers"), count(bad, "file", "files"))
        }
    };
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    let mut journal = Moves::new();
    loop {
        thread::sleep(LOOK);
        if journal.happened() {
            moves.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The name of this machine: letters, digits, '.' and '-' of it.
pub fn host() -> String {
    // /proc/sys is not there in the sandbox.
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name.chars().map(|c| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' }).collect()
}
