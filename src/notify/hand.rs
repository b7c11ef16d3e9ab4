//! Hands a batch over: a file that the handler's unit gets as its standard input, and the start of that
//! unit.
//!
//! A unit that is started while it runs is not started once more, and would never see the new file. So the
//! file is written first, then the unit is waited for until it rests, and only then it is started:
//! whoever starts it after the file was written, it reads this batch. wardenctl hands over a test in the same
//! way, and both hold the handler's lock meanwhile.
//!
//! While the machine boots, no handler is started: systemd takes a boot for finished when no unit is starting
//! any more, and a oneshot unit is starting as long as its program runs.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};
use zbus::{Connection, OwnedObjectPath, proxy, proxy::CacheProperties};

use super::{event::Event, handler};
use crate::{
    contract::notify::Head,
    util::{files, fnv},
};

/// How often to look whether a unit has come to rest, where no signal says it.
const LOOK: Duration = Duration::from_secs(5);
/// How long the bus may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a boot is waited for. What prevents it from finishing may be what a handler should report.
const BOOT: Duration = Duration::from_secs(300);
/// When this process has handed over for the first time.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Why a batch was not taken: a sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandError {
    #[error("{path} can't be written: {error}.")]
    Write { path: String, error: io::Error },
    #[error("The system bus can't be used: {0}; see that dbus.service runs.")]
    Bus(zbus::Error),
    #[error("{unit} can't be started: {error}.")]
    Start { unit: String, error: String },
    #[error("{unit} is masked; unmask it with `systemctl unmask {unit}`.")]
    Masked { unit: String },
    #[error(
        "polkit does not let wardend-notify start {unit}; check that polkitd is running and that /usr/share/polkit-1/rules.d/50-wardend.rules is installed."
    )]
    Denied { unit: String },
    #[error("{unit} has failed ({result}); see `journalctl -u {unit}`.")]
    Failed { unit: String, result: String },
    #[error("The bus did not answer within {} seconds.", PATIENCE.as_secs())]
    Silent,
}

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(property)]
    fn system_state(&self) -> zbus::Result<String>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: zbus::ObjectPath<'_>, unit: &str, result: &str) -> zbus::Result<()>;
}

#[proxy(interface = "org.freedesktop.systemd1.Unit", default_service = "org.freedesktop.systemd1")]
trait Unit {
    #[zbus(property)]
    fn active_state(&self) -> zbus::Result<String>;
}

#[proxy(interface = "org.freedesktop.systemd1.Service", default_service = "org.freedesktop.systemd1")]
trait Service {
    #[zbus(property)]
    fn result(&self) -> zbus::Result<String>;
}

/// A batch, ready to be handed over.
pub(crate) struct Handover {
    directory: PathBuf,
    handler: String,
    text: Vec<u8>,
}

impl Handover {
    /// The first line and a line for each event.
    pub(crate) fn new(directory: &Path, mut head: Head, events: &[Event]) -> Self {
        let keys = events.iter().fold(fnv::START, |hash, event| fnv::add(fnv::add(hash, event.key.as_bytes()), b"\n"));
        "batch".clone_into(&mut head.event);
        head.key = format!("{keys:016x}{:08x}", head.omitted & 0xffff_ffff);
        let mut text = serde_json::to_vec(&head).unwrap_or_default();
        text.push(b'\n');
        for event in events {
            let mut fields = event.fields.clone();
            fields.insert("key".to_owned(), event.key.clone().into());
            fields.insert("host".to_owned(), head.host.clone().into());
            text.extend(serde_json::to_vec(&fields).unwrap_or_default());
            text.push(b'\n');
        }
        Self { directory: directory.to_owned(), handler: head.handler, text }
    }

    /// Hands it over, and waits until the handler has taken it or failed. Has to be called without a
    /// runtime.
    pub(crate) fn run(&self) -> Result<(), HandError> {
        let path = self.directory.join(format!("{}.jsonl", self.handler));
        let unwritten = |error| HandError::Write { path: path.display().to_string(), error };
        let lock = File::open(lock(&self.directory, &self.handler)).map_err(unwritten)?;
        lock.lock().map_err(unwritten)?;
        files::replace(&path, &self.text, 0o600).map_err(unwritten)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unwritten)?;
        runtime.block_on(start(&handler::unit(&self.handler)))
    }
}

/// The file that whoever hands over holds locked.
pub(crate) fn lock(directory: &Path, handler: &str) -> PathBuf {
    directory.join(format!("{handler}.lock"))
}

/// What the bus says, within a bound.
async fn answer<T>(call: impl Future<Output = zbus::Result<T>>) -> Result<T, HandError> {
    timeout(PATIENCE, call).await.map_err(|_| HandError::Silent)?.map_err(HandError::Bus)
}

/// Starts a unit once it rests, and waits for its end.
async fn start(name: &str) -> Result<(), HandError> {
    let connection = answer(Connection::system()).await?;
    let manager = answer(ManagerProxy::builder(&connection).cache_properties(CacheProperties::No).build()).await?;
    while is_early(&answer(manager.system_state()).await?) && BEGUN.elapsed() < BOOT {
        sleep(LOOK / 5).await;
    }
    let mut ended = answer(manager.receive_job_removed()).await?;
    let path = timeout(PATIENCE, manager.load_unit(name))
        .await
        .map_err(|_| HandError::Silent)?
        .map_err(|error| not_started(name, &error))?;
    let service = ServiceProxy::builder(&connection).path(path.clone());
    let service = answer(service.cache_properties(CacheProperties::No).build()).await?;
    let unit = UnitProxy::builder(&connection).path(path);
    let unit = answer(unit.cache_properties(CacheProperties::No).build()).await?;
    while !rests(&unit).await? {
        sleep(LOOK / 5).await;
    }
    let job = timeout(PATIENCE, manager.start_unit(name, "replace"))
        .await
        .map_err(|_| HandError::Silent)?
        .map_err(|error| not_started(name, &error))?;
    loop {
        match timeout(LOOK, crate::util::stream::next(&mut ended)).await {
            Ok(Some(signal)) => {
                let Ok(signal) = signal.args() else { continue };
                if signal.job == *job {
                    return match signal.result {
                        "done" => Ok(()),
                        "failed" => {
                            Err(HandError::Failed { unit: name.to_owned(), result: answer(service.result()).await? })
                        }
                        result => Err(HandError::Failed { unit: name.to_owned(), result: result.to_owned() }),
                    };
                }
            }
            Ok(None) => return Err(HandError::Silent),
            // systemd may have been executed again, and then says nothing of the job.
            Err(_) if rests(&unit).await? => {
                return Err(HandError::Failed { unit: name.to_owned(), result: "unknown".to_owned() });
            }
            Err(_) => {}
        }
    }
}

/// Whether the machine is still booting, by the state of its manager.
fn is_early(state: &str) -> bool {
    ["initializing", "starting"].contains(&state)
}

async fn rests(unit: &UnitProxy<'_>) -> Result<bool, HandError> {
    let state = answer(unit.active_state()).await?;
    Ok(["inactive", "failed"].contains(&state.as_str()))
}

fn not_started(unit: &str, error: &zbus::Error) -> HandError {
    let unit = unit.to_owned();
    match error {
        zbus::Error::MethodError(name, text, _) => match name.as_str() {
            "org.freedesktop.systemd1.UnitMasked" => HandError::Masked { unit },
            "org.freedesktop.DBus.Error.AccessDenied"
            | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => HandError::Denied { unit },
            name => {
                let text = text.as_deref().unwrap_or(name).trim_end_matches('.').to_owned();
                HandError::Start { unit, error: text }
            }
        },
        error => HandError::Start { unit, error: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::event::not_held;

    #[test]
    fn a_batch_has_a_first_line_and_a_line_for_each_event_and_its_key_is_that_of_its_events() {
        let events = [not_held("one\ntwo \u{1b}[2J $(reboot) `x` '\"", 1), not_held("three", 2)];
        let head = || Head { handler: "mail".to_owned(), host: "web1".to_owned(), events: 2, ..Head::default() };
        let batch = Handover::new(Path::new("/nowhere"), head(), &events);
        let text = String::from_utf8(batch.text.clone()).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(!text.contains('\u{1b}'), "JSON escapes what controls a terminal");
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["event"], "batch");
        assert_eq!((lines[1]["key"].as_str(), lines[1]["host"].as_str()), (Some("not-held/1"), Some("web1")));
        assert_eq!(Handover::new(Path::new("/nowhere"), head(), &events).text, batch.text);
        assert_ne!(Handover::new(Path::new("/nowhere"), head(), &events[..1]).text, batch.text);
    }
}
