//! The connection over which wardend asks others: firewalld, polkit, logind, systemd, resolved.
//!
//! Every local user can send signals to any connection of the system bus, and zbus stops reading a
//! connection when one of its queues is full. So signals never reach a queue here: they are taken
//! out where bytes are read ([`reader`]), and one that is from the true owner of a followed name
//! ends in a flag, at once, by somebody who never waits. All others are dropped. What is left for
//! zbus are the answers to calls, and each call has a bound. Streams of signals stay silent on this
//! connection; use [`Outgoing::follow`] and [`Outgoing::listen`].
//!
//! What is dropped must still be read, and an answer waits behind it. So the connection owns a name,
//! [`CLIENT_NAME`], to which the bus's policy lets only root send signals: forged ones get no further
//! than the bus.

mod head;
mod heard;
mod reader;

use std::{
    io,
    os::linux::net::SocketAddrExt,
    os::unix::net::{SocketAddr, UnixStream as PlainStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::UnixStream,
    sync::watch,
    time::{Instant, timeout},
};
use zbus::{
    Address, Connection, Message,
    address::{Transport, transport::UnixSocket},
    connection::Builder,
};

pub(crate) use self::reader::Buffered;
use self::{heard::Heard, reader::Wire};
use crate::contract::bus::CLIENT_NAME;

/// Whoever asks may give up sooner. It takes somebody minutes to type a password, and firewalld
/// may be busy for as long.
const BOUND: Duration = Duration::from_secs(300);

/// Of RequestName (D-Bus specification): don't wait for the name in its queue.
const DO_NOT_QUEUE: u32 = 4;
/// Its answers: the name is ours now, or was already.
const OWNED: [u32; 2] = [1, 4];

const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// The unique name behind a well-known one; none, while nobody owns it.
pub(crate) type Owner = Option<String>;

/// The connection. Its clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    connection: Connection,
    heard: Arc<Heard>,
    life: Arc<Life>,
}

/// Whether the bus answers over this connection.
#[derive(Debug, Default)]
struct Life {
    answers: AtomicU64,
    /// When the question was asked that has no answer yet.
    asked: Mutex<Option<Instant>>,
}

/// Why the bus does not give a name: a part of a sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NameError {
    #[error("another connection owns it")]
    Taken,
    #[error(transparent)]
    Bus(#[from] zbus::Error),
}

impl Outgoing {
    /// Connects to the system bus.
    pub(crate) async fn connect() -> zbus::Result<Self> {
        Self::connect_to(&Address::system()?).await
    }

    /// Connects to a bus.
    pub(crate) async fn connect_to(address: &Address) -> zbus::Result<Self> {
        let heard = Arc::<Heard>::default();
        let wire = Wire { stream: open(address).await?, heard: Arc::clone(&heard) };
        let connection = Builder::socket(wire).method_timeout(BOUND).build().await?;
        Ok(Self { connection, heard, life: Arc::default() })
    }

    /// Takes [`CLIENT_NAME`]. Without it everything works, but slowly while somebody floods the connection.
    ///
    /// # Errors
    ///
    /// Why the bus does not give it.
    pub(crate) async fn own_name(&self) -> Result<(), NameError> {
        let answer = self.ask_bus("RequestName", &(CLIENT_NAME, DO_NOT_QUEUE)).await;
        match answer.and_then(|answer| answer.body().deserialize::<u32>()) {
            Ok(answer) if OWNED.contains(&answer) => Ok(()),
            Ok(_) => Err(NameError::Taken),
            Err(error) => Err(error.into()),
        }
    }

    /// For calls.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Follows who owns a well-known name from now on. The receiver holds the owner of this
    /// moment, has changed whenever there is another, and is closed when the connection is.
    pub(crate) async fn follow(&self, name: &'static str) -> zbus::Result<watch::Receiver<Owner>> {
        let (owner, new) = self.heard.follow(name);
        if new {
            self.add_match(&format!(
                "sender='{BUS}',path='{BUS_PATH}',interface='{BUS}',member='NameOwnerChanged',arg0='{name}'"
            ))
            .await?;
            // Asked after it is listened to, so that no change can fall in between.
            let found = match self.ask_bus("GetNameOwner", &name).await {
                Ok(answer) => Some(answer.body().deserialize::<String>()?),
                Err(zbus::Error::FDO(error)) if matches!(*error, zbus::fdo::Error::NameHasNoOwner(_)) => None,
                Err(zbus::Error::MethodError(error, ..)) if error == "org.freedesktop.DBus.Error.NameHasNoOwner" => {
                    None
                }
                Err(error) => return Err(error),
            };
            self.heard.found(name, &found);
        }
        Ok(owner)
    }

    /// Has `hear` called with each such signal of who owns the name. It runs where the connection
    /// is read, so it must not wait: it sets a flag, or takes in what a flag alone can't hold.
    pub(crate) async fn listen(
        &self,
        name: &'static str,
        interface: &'static str,
        member: &'static str,
        hear: impl Fn(&Message) + Send + Sync + 'static,
    ) -> zbus::Result<()> {
        self.follow(name).await?;
        self.heard.listen(name, interface, member, Box::new(hear));
        self.add_match(&format!("sender='{name}',interface='{interface}',member='{member}'")).await
    }

    async fn add_match(&self, rule: &str) -> zbus::Result<()> {
        self.ask_bus("AddMatch", &format!("type='signal',{rule}")).await.map(drop)
    }

    async fn ask_bus<B>(&self, method: &str, body: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.connection.call_method(Some(BUS), BUS_PATH, Some(BUS), method, body).await
    }

    /// Asks the bus for a sign of life, unless it was asked and has not answered yet.
    pub(crate) fn ping(&self) {
        let mut asked = self.life.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_some() {
            return;
        }
        *asked = Some(Instant::now());
        let this = self.clone();
        tokio::spawn(async move {
            // Without an answer nobody needs to ask again: the connection is dead, or will answer.
            while let Err(zbus::Error::InputOutput(error)) = this.ask_bus("GetId", &()).await
                && error.kind() == io::ErrorKind::TimedOut
            {}
            this.life.answers.fetch_add(1, Ordering::Relaxed);
            *this.life.asked.lock().unwrap_or_else(PoisonError::into_inner) = None;
        });
    }

    /// How many signs of life there were.
    pub(crate) fn answers(&self) -> u64 {
        self.life.answers.load(Ordering::Relaxed)
    }

    /// For how long the bus has not answered.
    pub(crate) fn silence(&self) -> Duration {
        let asked = *self.life.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.map_or(Duration::ZERO, |asked| asked.elapsed())
    }

    /// How many signals were dropped, because they are not from who owns a followed name or nobody
    /// listens to them.
    #[cfg(test)]
    pub(crate) fn dropped(&self) -> u64 {
        self.heard.dropped()
    }
}

/// A stream to a bus, before a word is said.
pub(crate) async fn open(address: &Address) -> zbus::Result<UnixStream> {
    let Transport::Unix(unix) = address.transport() else {
        return Err(zbus::Error::Address(format!("{address} is not a Unix socket")));
    };
    let stream = match unix.path() {
        UnixSocket::File(path) => UnixStream::connect(path).await?,
        UnixSocket::Abstract(name) => {
            let name = SocketAddr::from_abstract_name(name.as_encoded_bytes())?;
            let stream = PlainStream::connect_addr(&name)?;
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)?
        }
        _ => return Err(zbus::Error::Address(format!("{address} names no socket"))),
    };
    Ok(stream)
}

/// Waits for the answer to a call, for a shorter time than [`BOUND`].
pub(crate) async fn within<T>(limit: Duration, call: impl Future<Output = zbus::Result<T>>) -> zbus::Result<T> {
    timeout(limit, call).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

/// Whether a call was given up because nobody answered.
pub(crate) fn is_timeout(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::InputOutput(error) if error.kind() == io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests;
