//! Notifies the service manager (sd_notify(3)), and feeds the watchdog.
//!
//! A notification is a datagram, and sending one waits for as long as process 1 does not read. So a task
//! of its own sends them, one after the other. An error means that the manager's socket is gone; there
//! is nobody to tell.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram as StdDatagram},
        },
    },
    path::PathBuf,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{net::UnixDatagram, sync::mpsc, task::JoinHandle, time::timeout};

use crate::systemd::outgoing::Outgoing;

/// As many as come in an hour in which process 1 reads nothing; by then the watchdog has been missed anyway.
const WAITING: usize = 4096;
/// How long the end waits for what is still to be sent.
const PATIENCE: Duration = Duration::from_secs(1);

/// The task.
pub(crate) struct Notifier {
    messages: mpsc::Sender<String>,
    task: JoinHandle<()>,
}

impl Notifier {
    /// Begins to notify the manager that has started this process, if one has.
    pub(crate) fn start() -> Self {
        Self::to(env::var_os("NOTIFY_SOCKET").map(PathBuf::from))
    }

    fn to(socket: Option<PathBuf>) -> Self {
        let (messages, mut waiting) = mpsc::channel::<String>(WAITING);
        let task = tokio::spawn(async move {
            while let Some(message) = waiting.recv().await {
                if let Some(socket) = &socket {
                    let _ = send(socket, &message).await;
                }
            }
        });
        Self { messages, task }
    }

    fn notify(&self, states: &[NotifyState<'_>]) {
        let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
        let _ = self.messages.try_send(lines.join("\n") + "\n");
    }

    pub(crate) fn ready(&self, status: &str) {
        self.notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    pub(crate) fn status(&self, status: &str) {
        self.notify(&[NotifyState::Status(status)]);
    }

    /// The configuration is being reloaded, until the next [`Self::ready`]; the time is for
    /// `Type=notify-reload`.
    pub(crate) fn reloading(&self) {
        let mut states = vec![NotifyState::Reloading, NotifyState::Status("Reloading the configuration.")];
        states.extend(NotifyState::monotonic_usec_now().ok());
        self.notify(&states);
    }

    /// A long backlog is being read: the start takes longer, and it is not stuck.
    pub(crate) fn still_starting(&self, status: &str) {
        self.notify(&[NotifyState::ExtendTimeoutUsec(60_000_000), NotifyState::Status(status)]);
    }

    pub(crate) fn stopping(&self) {
        self.notify(&[NotifyState::Stopping, NotifyState::Status("Saving the state.")]);
    }

    /// Sends what is still to be sent.
    pub(crate) async fn finish(self) {
        drop(self.messages);
        let _ = timeout(PATIENCE, self.task).await;
    }
}

async fn send(socket: &PathBuf, message: &str) -> io::Result<()> {
    let datagram = StdDatagram::unbound()?;
    match socket.as_os_str().as_bytes() {
        [b'@', name @ ..] => datagram.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        _ => datagram.connect(socket)?,
    }
    datagram.set_nonblocking(true)?;
    UnixDatagram::from_std(datagram)?.send(message.as_bytes()).await.map(drop)
}

/// Says why the process ends, when there is nothing left to hold up.
pub(crate) fn last_word(status: &str) {
    let _ = sd_notify::notify(&[NotifyState::Status(status)]);
}

/// Tells the manager that the daemon is alive: only while the journal thread and the core both
/// make progress, and the bus answers over the connection that everything else is asked over.
pub(crate) struct Watchdog {
    interval: Option<Duration>,
    pulse: u64,
    answers: u64,
    beaten: tokio::time::Instant,
}

impl Watchdog {
    pub(crate) fn new() -> Self {
        Self {
            interval: sd_notify::watchdog_enabled().map(|limit| limit / 3),
            pulse: 0,
            answers: 0,
            beaten: tokio::time::Instant::now(),
        }
    }

    /// How often [`Self::alive`] has to be called at the least.
    pub(crate) fn pace(&self) -> Duration {
        self.interval.map_or(Duration::MAX, |interval| interval / 2)
    }

    /// The core is here; `pulse` is what the journal thread has counted so far.
    pub(crate) fn alive(&mut self, pulse: u64, outgoing: &Outgoing, notifier: &Notifier) {
        let answers = outgoing.answers();
        outgoing.ping();
        let Some(interval) = self.interval else { return };
        if self.beaten.elapsed() >= interval && pulse != self.pulse && answers != self.answers {
            (self.pulse, self.answers) = (pulse, answers);
            self.beaten = tokio::time::Instant::now();
            notifier.notify(&[NotifyState::Watchdog]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manager_that_does_not_read_holds_nobody_up_and_gets_everything_in_order() {
        const MANY: usize = 1000;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(Some(path));
        for number in 0..MANY {
            notifier.status(&number.to_string());
            // What can be sent is sent: the kernel's queue is full long before the end.
            tokio::task::yield_now().await;
        }
        notifier.ready("Watching 1 jail.");
        let mut buffer = [0; 100];
        for number in 0..MANY {
            let length = manager.recv(&mut buffer).await.unwrap();
            assert_eq!(buffer[..length], *format!("STATUS={number}\n").as_bytes());
        }
        let length = manager.recv(&mut buffer).await.unwrap();
        assert_eq!(buffer[..length], *b"READY=1\nSTATUS=Watching 1 jail.\n");
        notifier.finish().await;
        Notifier::to(None).finish().await;
    }
}
