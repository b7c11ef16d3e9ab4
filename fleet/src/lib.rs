//! wardend-fleet: what attacks one machine is known to all.
//!
//! [`core`] decides what is believed of the bans of other machines; it is pure. The rest is its edge:
//! [`config`] reads fleet.conf, [`wardend`](crate::wardend) is the bus interface of the daemon, [`nats`] and
//! [`mqtt`] are the two [`engines`] behind a [`link`], [`agent`] connects them, and [`server`] answers `wardenctl fleet`.

mod agent;
mod config;
pub mod core;
#[doc(hidden)]
pub mod crowd;
mod engines;
mod events;
mod link;
mod mqtt;
mod nats;
mod pardons;
mod places;
mod server;
mod wardend;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

use ::wardend::shared::{ConfigError, directories};
use clap::Parser;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tracing_subscriber::{Layer, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

use self::{
    agent::{Agent, Parts},
    config::{Settings, subject_name},
    core::fleet::is_name,
};

/// The jail that holds the bans of other machines.
pub(crate) const JAIL: &str = "fleet";
/// Where the private key is, if the service manager does not hand it over.
const KEY: &str = "/etc/wardend/fleet/key.pem";

/// Shares bans between machines; wardend-fleet.service runs it.
#[derive(Debug, Parser)]
#[command(name = "wardend-fleet", version)]
struct Arguments {}

/// Why it can't start.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error(
        "No broker is configured; name one in /etc/wardend/fleet.conf.d/local.conf: fleet.brokers = [\"nats://broker.example\"] or [\"mqtt://broker.example\"]."
    )]
    NoBroker,
    #[error(
        "The name of this host, '{0}', is not a valid name of a machine; set 'machine' in fleet.conf to the name in the certificate."
    )]
    NoName(String),
    #[error("{path} can't be read: {error}.")]
    NoFile { path: String, error: std::io::Error },
    #[error(
        "The system bus can't be used: {0}. See that dbus.service runs, and that org.wardend1.Fleet.conf is installed."
    )]
    Bus(#[from] zbus::Error),
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// Runs wardend-fleet.
pub fn main() -> ExitCode {
    let Arguments {} = Arguments::parse();
    log();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(Fatal::from).and_then(|runtime| runtime.block_on(run()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            events::cannot_start(&error.to_string());
            // What a restart does not mend.
            ExitCode::from(if matches!(error, Fatal::Bus(_) | Fatal::System(_)) { 1 } else { 78 })
        }
    }
}

/// To the journal as records with fields, or to standard error.
fn log() {
    let journal = env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    // The libraries have their say elsewhere: what matters of it comes as an error here.
    let own = tracing_subscriber::filter::Targets::new().with_target("wardend_fleet", LevelFilter::DEBUG);
    match journal {
        Some(layer) => {
            let layer = layer.with_field_prefix(None).with_syslog_identifier("wardend-fleet".to_owned());
            tracing_subscriber::registry().with(layer.with_filter(own)).init();
        }
        None => {
            let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).without_time();
            tracing_subscriber::registry().with(layer.with_filter(own)).init();
        }
    }
}

/// The name of this machine in subjects.
fn name(settings: &Settings) -> Result<String, Fatal> {
    let host = if settings.machine.is_empty() { ::wardend::shared::host() } else { settings.machine.clone() };
    let name = subject_name(&host);
    if is_name(&name) { Ok(name) } else { Err(Fatal::NoName(host)) }
}

fn readable(path: &Path) -> Result<(), Fatal> {
    let read = std::fs::File::open(path);
    read.map(drop).map_err(|error| Fatal::NoFile { path: path.display().to_string(), error })
}

async fn run() -> Result<(), Fatal> {
    let settings = Settings::read(&directories())?;
    if settings.brokers.is_empty() {
        return Err(Fatal::NoBroker);
    }
    let machine = name(&settings)?;
    let key = env::var_os("CREDENTIALS_DIRECTORY").map(|directory| PathBuf::from(directory).join("key.pem"));
    let key = key.filter(|key| key.exists()).unwrap_or_else(|| PathBuf::from(KEY));
    for path in [&settings.authority, &settings.certificate, &key] {
        readable(path)?;
    }
    let identity = link::Identity {
        machine: machine.as_str().into(),
        authority: settings.authority,
        certificate: settings.certificate,
        key,
    };
    let bus = zbus::Connection::system().await?;
    let (ask, requests) = mpsc::channel(16);
    server::serve(&bus, ask, settings.policy.clone()).await?;
    let (say, events) = mpsc::channel(1024);
    let links = settings
        .brokers
        .into_iter()
        .enumerate()
        .map(|(number, broker)| engines::connect(number, broker, identity.clone(), say.clone()));
    let links = links.collect();
    let (happens, happenings) = mpsc::channel(1024);
    tokio::spawn(wardend::follow(bus.clone(), settings.policy.jails.clone(), happens));
    let (orders, waiting) = mpsc::channel(1);
    let (done, results) = mpsc::channel(1);
    tokio::spawn(wardend::carry_out(bus, settings.policy.jails.clone(), waiting, done));
    let (stop, stopped) = oneshot::channel();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = stop.send(());
    });
    let state = env::var_os("STATE_DIRECTORY").map(PathBuf::from);
    let parts = Parts { machine, policy: settings.policy, links, events, happenings, orders, results, requests, state };
    Agent::run(parts, stopped).await;
    Ok(())
}
