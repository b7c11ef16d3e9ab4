//! Where a connection is read, and signals are taken out of it.
//!
//! Of a signal only the head is looked at first, for who has sent what: a flood of somebody else's
//! is skipped as fast as the bus can send it, without a message being made of any. That matters
//! because the bus holds what is not read, and drops answers when it holds too much.

use std::{
    future::poll_fn,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    pin::Pin,
    sync::Arc,
};

use tokio::{
    io::AsyncWrite,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::yield_now,
};
use zbus::{
    Message,
    connection::socket::{ReadHalf, Socket, Split, WriteHalf},
    export::async_trait::async_trait,
};

use super::{
    head::{FIXED, Head, Lengths},
    heard::Heard,
};

/// So much is read at a time.
const ROOM: usize = 16 * 1024;
/// The number of signals after which the other tasks on this thread get their turn.
const TURN: u32 = 64;
/// A stream to the bus, with what is listened to on it.
pub(super) struct Wire {
    pub(super) stream: UnixStream,
    pub(super) heard: Arc<Heard>,
}

impl Socket for Wire {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let (read, write) = self.stream.into_split();
        Split::new(Reader { stream: Buffered::new(read), heard: self.heard }, Writer(write))
    }
}

/// A stream that is read in large pieces.
#[derive(Debug)]
pub(crate) struct Buffered {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    signals: u32,
}

impl Buffered {
    pub(crate) fn new(stream: OwnedReadHalf) -> Self {
        Self { stream, buffer: vec![0; ROOM], begin: 0, end: 0, signals: 0 }
    }

    /// Skips signals, until what comes next is none, or is one whose head `wants` takes; true in
    /// that case. `earlier` was read by somebody else before.
    pub(crate) async fn skip_signals(
        &mut self,
        earlier: &mut Vec<u8>,
        wants: impl Fn(&[u8]) -> bool,
    ) -> io::Result<bool> {
        self.put_back(earlier);
        loop {
            self.fill(FIXED).await?;
            let Some(lengths) = Lengths::of_signal(self.bytes()) else { return Ok(false) };
            self.signals = self.signals.wrapping_add(1);
            if self.signals.is_multiple_of(TURN) {
                yield_now().await;
            }
            // Nobody whose word counts sends so long a head.
            if lengths.head <= ROOM as u64 {
                let head = usize::try_from(lengths.head).unwrap_or(ROOM);
                self.fill(head).await?;
                if wants(&self.bytes()[..head]) {
                    return Ok(true);
                }
            }
            self.skip(lengths.whole).await?;
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    /// Reads until `length` bytes are buffered; not more than [`ROOM`].
    async fn fill(&mut self, length: usize) -> io::Result<()> {
        while self.end - self.begin < length {
            if self.begin + length > self.buffer.len() {
                self.buffer.copy_within(self.begin..self.end, 0);
                (self.begin, self.end) = (0, self.end - self.begin);
            }
            match read(&self.stream, &mut self.buffer[self.end..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.end += count,
            }
        }
        Ok(())
    }

    async fn skip(&mut self, mut length: u64) -> io::Result<()> {
        loop {
            let here = usize::try_from(length).unwrap_or(usize::MAX).min(self.end - self.begin);
            self.begin += here;
            length -= here as u64;
            if length == 0 {
                return Ok(());
            }
            self.fill(1).await?;
        }
    }

    fn put_back(&mut self, bytes: &mut Vec<u8>) {
        if !bytes.is_empty() {
            bytes.extend_from_slice(self.bytes());
            bytes.resize(bytes.len() + ROOM, 0);
            (self.begin, self.end) = (0, bytes.len() - ROOM);
            self.buffer = std::mem::take(bytes);
        }
    }
}

async fn read(stream: &OwnedReadHalf, to: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(to) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
    }
}

#[async_trait]
impl ReadHalf for Buffered {
    async fn recvmsg(&mut self, buf: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        if self.begin == self.end && buf.len() >= ROOM {
            return Ok((read(&self.stream, buf).await?, Vec::new()));
        }
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
            self.end = read(&self.stream, &mut self.buffer).await?;
        }
        let count = buf.len().min(self.end - self.begin);
        buf[..count].copy_from_slice(&self.bytes()[..count]);
        self.begin += count;
        Ok((count, Vec::new()))
    }
}

#[derive(Debug)]
pub(super) struct Reader {
    stream: Buffered,
    heard: Arc<Heard>,
}

#[async_trait]
impl ReadHalf for Reader {
    /// The next message that is no signal.
    async fn receive_message(
        &mut self,
        seq: u64,
        already_received_bytes: &mut Vec<u8>,
        already_received_fds: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        let heard = &self.heard;
        let wants = |head: &[u8]| Head::read(head).is_some_and(|head| heard.wants(&head));
        while self.stream.skip_signals(already_received_bytes, wants).await? {
            let signal = self.stream.receive_message(seq, already_received_bytes, already_received_fds).await?;
            heard.hear(&signal);
        }
        self.stream.receive_message(seq, already_received_bytes, already_received_fds).await
    }

    async fn recvmsg(&mut self, buf: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.stream.recvmsg(buf).await
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.heard.close();
    }
}

#[derive(Debug)]
pub(super) struct Writer(OwnedWriteHalf);

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, buffer: &[u8], _fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        loop {
            self.0.writable().await?;
            match self.0.try_write(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        poll_fn(|context| Pin::new(&mut self.0).poll_shutdown(context)).await
    }
}
