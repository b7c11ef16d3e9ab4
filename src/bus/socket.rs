//! The connection that serves: its calls are read only while their answers get through.
//!
//! A bus holds what a client does not read, and at a bound (127 MiB in dbus-daemon) it takes nothing
//! more from who sent it. So any local user can bring this connection to a halt; whatever wardend
//! needs itself goes over another one. And zbus begins with each call as soon as it is read, so
//! while many answers are due, or the bus takes none, calls stay with the bus, which has its own
//! bounds for them. Those that wait in a [`super::queue::Queue`] are not due yet. Questions that zbus
//! answers by itself can't stand in a line, and their answers tell of all properties, or of all
//! jails: each of these is due as if it were many.

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::AsyncWrite,
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::{Notify, watch},
    time::timeout,
};
use zbus::{
    Address, Connection, Message,
    connection::{
        Builder,
        socket::{ReadHalf, Socket, Split, WriteHalf},
    },
    export::async_trait::async_trait,
    message::{Flags, Header, Type},
};

use super::{
    long_calls::{LONG as LONG_CALL, LongCalls},
    oversize::{Oversize, Refusal},
    weight,
};
use crate::{
    journal::events,
    systemd::outgoing::{self, Buffered},
};

/// The number of replies that may be outstanding.
const DUE: usize = 128;
/// The number of replies that a long answer counts as.
const LONG: usize = 32;
/// A call weighs one reply more for each such number of bytes that it takes once it is decoded, which
/// happens before anybody knows whether the caller may make it.
const HEAVY: usize = 64 * 1024;
/// A write that takes longer holds reading up.
const SLOW: Duration = Duration::from_millis(10);
/// A write that takes longer is reported.
const STUCK: Duration = Duration::from_secs(20);

/// The calls that have no answer yet.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// By caller and serial, with how much each weighs.
    open: Mutex<Open>,
    /// The number of them that are queued.
    waiting: AtomicUsize,
    less: Notify,
    oversize: Oversize,
    long_calls: LongCalls,
}

#[derive(Debug, Default)]
struct Open {
    calls: HashMap<(String, u32), usize>,
    weight: usize,
}

impl Load {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message has come in, which takes this number of bytes once it is decoded.
    fn asked(&self, message: &Message, decoded: usize) {
        let (header, primary) = (message.header(), message.primary_header());
        let wants = message.message_type() == Type::MethodCall && !primary.flags().contains(Flags::NO_REPLY_EXPECTED);
        if let (true, Some(sender)) = (wants, header.sender()) {
            let weight = if may_be_long(&header) { LONG } else { 1 } + decoded / HEAVY;
            let mut open = self.open();
            open.weight += weight;
            if let Some(before) = open.calls.insert((sender.to_string(), primary.serial_num().get()), weight) {
                open.weight -= before;
            }
        }
    }

    /// A message has gone out.
    fn answered(&self, message: &Message) {
        let header = message.header();
        if let (Some(serial), Some(caller)) = (header.reply_serial(), header.destination()) {
            let mut open = self.open();
            if let Some(weight) = open.calls.remove(&(caller.to_string(), serial.get())) {
                open.weight -= weight;
                self.less.notify_one();
            }
        }
    }

    /// A call waits for somebody to find a password, and shall hold up nobody until then.
    pub(super) fn lighten(&self, header: &Header<'_>) {
        let Some(sender) = header.sender() else { return };
        let mut open = self.open();
        let key = (sender.to_string(), header.primary().serial_num().get());
        if let Some(weight) = open.calls.get_mut(&key) {
            let less = weight.saturating_sub(1);
            *weight -= less;
            open.weight -= less;
            self.less.notify_one();
        }
    }

    /// A call waits in line, until the guard is dropped.
    pub(super) fn waits(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.less.notify_one();
        Waiting(self)
    }

    async fn bearable(&self) {
        while self.open().weight.saturating_sub(self.waiting.load(Ordering::Relaxed)) >= DUE {
            self.less.notified().await;
        }
    }
}

/// Whether the answer to a call that zbus answers by itself can be long.
fn may_be_long(header: &Header<'_>) -> bool {
    let member = header.member().map(zbus::names::MemberName::as_str);
    matches!(member, Some("Get" | "GetAll" | "GetManagedObjects" | "Introspect"))
}

pub(super) struct Waiting<'a>(&'a Load);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connects to the system bus once more, to serve; who calls is asked over the other connection.
pub(crate) async fn connect(load: Arc<Load>, own: Connection) -> zbus::Result<Connection> {
    let stream = outgoing::open(&Address::system()?).await?;
    Builder::socket(Paced { stream, load, own: Some(own) }).build().await
}

/// A stream that is read while what is written gets through.
struct Paced {
    stream: UnixStream,
    load: Arc<Load>,
    own: Option<Connection>,
}

impl Socket for Paced {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let (read, write) = self.stream.into_split();
        let (slow, slowed) = watch::channel(false);
        let reader = Reader { stream: Buffered::new(read), slow: slowed, load: Arc::clone(&self.load), own: self.own };
        Split::new(reader, Writer { stream: write, slow, load: self.load })
    }
}

#[derive(Debug)]
struct Reader {
    stream: Buffered,
    slow: watch::Receiver<bool>,
    load: Arc<Load>,
    own: Option<Connection>,
}

#[async_trait]
impl ReadHalf for Reader {
    async fn receive_message(
        &mut self,
        seq: u64,
        already_received_bytes: &mut Vec<u8>,
        already_received_fds: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        loop {
            self.load.bearable().await;
            // Without a writer there is nothing to wait for.
            let _ = self.slow.wait_for(|slow| !slow).await;
            // Whatever signals somebody sends here, nobody wants them.
            self.stream.skip_signals(already_received_bytes, |_| false).await?;
            let message = self.stream.receive_message(seq, already_received_bytes, already_received_fds).await?;
            // A question to which nobody wants the answer.
            let silent = message.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED);
            if !(silent && may_be_long(&message.header())) {
                let decoded = weight::decoded(&message);
                let mut refusal = Oversize::refusal(&message, decoded);
                if refusal.is_none()
                    && decoded > LONG_CALL
                    && !self.load.long_calls.admit(self.own.as_ref(), &message.header()).await
                {
                    refusal = Some(Refusal::TooMany);
                }
                // What is refused is not decoded.
                self.load.asked(&message, if refusal.is_none() { decoded } else { 0 });
                return self.load.oversize.receive(message, refusal);
            }
        }
    }

    async fn recvmsg(&mut self, buf: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.stream.recvmsg(buf).await
    }
}

#[derive(Debug)]
struct Writer {
    stream: OwnedWriteHalf,
    slow: watch::Sender<bool>,
    load: Arc<Load>,
}

impl Writer {
    async fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            self.stream.writable().await?;
            match self.stream.try_write(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
        }
    }
}

#[async_trait]
impl WriteHalf for Writer {
    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        let instead = self.load.oversize.send(message)?;
        let message = instead.as_ref().unwrap_or(message);
        let data = message.data();
        let mut sent = 0;
        while sent < data.len() {
            sent += self.sendmsg(&data[sent..], &[]).await?;
        }
        self.load.answered(message);
        Ok(())
    }

    async fn sendmsg(&mut self, buffer: &[u8], _fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut writing = pin!(self.write(buffer));
        if let Ok(done) = timeout(SLOW, &mut writing).await {
            return done;
        }
        self.slow.send_replace(true);
        let done = match timeout(STUCK, &mut writing).await {
            Ok(done) => done,
            Err(_) => {
                events::unread();
                let done = writing.await;
                events::read_again();
                done
            }
        };
        self.slow.send_replace(false);
        done
    }

    async fn close(&mut self) -> io::Result<()> {
        poll_fn(|context| Pin::new(&mut self.stream).poll_shutdown(context)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(sender: &str) -> Message {
        Message::method_call("/org/wardend1", "ListBans").sender(sender).build(&()).unwrap()
    }

    async fn next(reader: &mut Reader) -> Option<Message> {
        timeout(10 * SLOW, reader.receive_message(1, &mut Vec::new(), &mut Vec::new())).await.ok().map(Result::unwrap)
    }

    #[tokio::test]
    async fn calls_are_read_only_while_answers_are_taken() {
        let (own, bus) = UnixStream::pair().unwrap();
        let (mut reader, mut writer) = Paced { stream: own, load: Arc::default(), own: None }.split().take();
        bus.try_write(call(":1.1").data()).unwrap();
        assert!(next(&mut reader).await.is_some());

        let writing = tokio::spawn(async move {
            let mut sent = 0;
            while sent < 1 << 20 {
                sent += writer.sendmsg(&[0; 1 << 13], &[]).await.unwrap();
            }
            writer
        });
        let mut slow = reader.slow.clone();
        slow.wait_for(|slow| *slow).await.unwrap();
        bus.try_write(call(":1.1").data()).unwrap();
        assert!(next(&mut reader).await.is_none(), "the answer comes first");

        let mut taken = vec![0; 1 << 20];
        while !writing.is_finished() {
            let _ = bus.try_read(&mut taken);
            tokio::task::yield_now().await;
        }
        assert!(next(&mut reader).await.is_some());
        writing.await.unwrap().close().await.unwrap();
    }

    #[test]
    fn a_call_with_a_long_list_counts_as_many() {
        let load = Load::default();
        let list = |length: usize| {
            let call =
                Message::method_call("/org/wardend1", "BanMany").sender(":1.1").build(&vec![0u8; length]).unwrap();
            load.asked(&call, weight::decoded(&call));
            (call, load.open().weight)
        };
        assert_eq!(list(100).1, 1);
        let (call, heavy) = list(DUE * HEAVY);
        assert!(heavy - 1 > DUE, "{heavy}: nothing else is read beside it");
        // The library numbers the calls.
        load.lighten(&call.header());
        assert_eq!(load.open().weight, 2, "it waits for a password");
        load.lighten(&call.header());
        assert_eq!(load.open().weight, 2);
    }

    #[tokio::test]
    async fn calls_are_read_only_while_few_answers_are_due() {
        let (own, bus) = UnixStream::pair().unwrap();
        let load = Arc::<Load>::default();
        let (mut reader, mut writer) = Paced { stream: own, load: Arc::clone(&load), own: None }.split().take();
        let mut calls = Vec::new();
        for _ in 0..DUE {
            let call = call(":1.1");
            bus.try_write(call.data()).unwrap();
            calls.push(next(&mut reader).await.unwrap());
        }
        bus.try_write(call(":1.2").data()).unwrap();
        assert!(next(&mut reader).await.is_none());
        let waiting = load.waits();
        assert!(next(&mut reader).await.is_some(), "what waits in line is not due");
        drop(waiting);
        bus.try_write(call(":1.3").data()).unwrap();
        assert!(next(&mut reader).await.is_none());
        for call in &calls[..2] {
            let answer = Message::method_return(&call.header()).build(&()).unwrap();
            writer.send_message(&answer).await.unwrap();
            writer.send_message(&answer).await.unwrap();
        }
        assert!(next(&mut reader).await.is_some());
        assert_eq!(load.open().calls.len(), DUE, "an answer counts once");
    }

    #[tokio::test]
    async fn few_long_answers_are_made_at_a_time() {
        let (own, bus) = UnixStream::pair().unwrap();
        let load = Arc::<Load>::default();
        let (mut reader, mut writer) = Paced { stream: own, load: Arc::clone(&load), own: None }.split().take();
        let mut calls = Vec::new();
        loop {
            let call = Message::method_call("/org/wardend1", "GetAll").sender(":1.1").build(&()).unwrap();
            bus.try_write(call.data()).unwrap();
            match next(&mut reader).await {
                Some(call) => calls.push(call),
                None => break,
            }
        }
        assert_eq!(calls.len(), DUE / LONG);
        writer.send_message(&Message::method_return(&calls[0].header()).build(&()).unwrap()).await.unwrap();
        assert!(next(&mut reader).await.is_some());
        assert!(next(&mut reader).await.is_none());
        for call in calls.iter().skip(1) {
            writer.send_message(&Message::method_return(&call.header()).build(&()).unwrap()).await.unwrap();
        }
        assert_eq!(load.open().weight, LONG);
    }

    #[tokio::test]
    async fn signals_on_the_serving_connection_are_skipped() {
        let (own, bus) = UnixStream::pair().unwrap();
        let (mut reader, _writer) = Paced { stream: own, load: Arc::default(), own: None }.split().take();
        let signal = Message::signal("/x", "x.x", "X").sender(":1.1").build(&"x").unwrap();
        bus.try_write(signal.data()).unwrap();
        bus.try_write(call(":1.1").data()).unwrap();
        assert_eq!(next(&mut reader).await.unwrap().message_type(), Type::MethodCall);
    }
}
