//! The machine's own addresses, told by a unit that has the network which the daemon lacks.
//!
//! wardend-addresses.socket starts a program for whoever connects, and only the daemon may. Each
//! line that it writes is the whole list, the first at once and another after each change. A
//! task of its own reads them. While nobody answers, what was known stays protected, and the daemon
//! says that it may have become wrong.

use std::{collections::BTreeSet, io, net::IpAddr, time::Duration};

use tokio::{
    net::UnixStream,
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::contract::problem::Problem;

/// Where the unit listens.
const SOCKET: &str = "/run/wardend-addresses.sock";
/// How long the first line may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the start waits for it: what the journal holds is to be judged by the list of today.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// When it is asked again that has gone away, and when at the latest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A list of more bytes is not believed.
const LONGEST: usize = 8 * 1024 * 1024;

/// What the task has learned.
#[derive(Debug)]
pub(crate) enum Heard {
    /// These are the addresses now.
    Own(BTreeSet<IpAddr>),
    /// Nobody answers.
    Lost(OwnError),
}

/// Why nobody answers: the middle of a sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnError {
    #[error("{0} can't be used ({1})")]
    Socket(String, io::Error),
    #[error("it gave no answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("its output is not a list of addresses ({0})")]
    Nonsense(serde_json::Error),
    #[error("its output does not end")]
    Endless,
    #[error("it has ended")]
    Ended,
    #[error(transparent)]
    Broken(#[from] io::Error),
}

/// The task, which ends with this.
pub(crate) struct OwnAddresses {
    heard: mpsc::Receiver<Heard>,
    task: JoinHandle<()>,
}

impl Drop for OwnAddresses {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl OwnAddresses {
    /// Follows the addresses from now on.
    pub(crate) fn follow() -> Self {
        let (sender, heard) = mpsc::channel(1);
        Self { heard, task: tokio::spawn(run(SOCKET, sender)) }
    }

    /// What there is to learn next.
    pub(crate) async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }

    /// The first answer, if it comes soon.
    pub(crate) async fn first(&mut self) -> Option<Heard> {
        timeout(START_PATIENCE, self.next()).await.ok()
    }
}

async fn run(socket: &str, sender: mpsc::Sender<Heard>) {
    let mut pause = FIRST_PAUSE;
    // A program that ends once is followed by another.
    let mut answered = false;
    loop {
        let why = match read(socket, &sender, &mut answered).await {
            Ok(()) => return,
            Err(why) => why,
        };
        if answered {
            pause = FIRST_PAUSE;
        } else if sender.send(Heard::Lost(why)).await.is_err() {
            return;
        }
        answered = false;
        sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

/// Hands on what is written until somebody goes away: the receiver, or the writer and why.
async fn read(socket: &str, sender: &mpsc::Sender<Heard>, answered: &mut bool) -> Result<(), OwnError> {
    let unusable = |error| OwnError::Socket(socket.to_owned(), error);
    let stream = UnixStream::connect(socket).await.map_err(unusable)?;
    let mut text = Vec::new();
    loop {
        let reading = line(&stream, &mut text);
        let line =
            if *answered { reading.await? } else { timeout(PATIENCE, reading).await.map_err(|_| OwnError::Late)?? };
        let addresses: BTreeSet<IpAddr> = serde_json::from_slice(&line).map_err(OwnError::Nonsense)?;
        *answered = true;
        if sender.send(Heard::Own(addresses)).await.is_err() {
            return Ok(());
        }
    }
}

/// The next line; `text` keeps what comes behind it.
async fn line(stream: &UnixStream, text: &mut Vec<u8>) -> Result<Vec<u8>, OwnError> {
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let rest = text.split_off(end + 1);
            return Ok(std::mem::replace(text, rest));
        }
        if text.len() > LONGEST {
            return Err(OwnError::Endless);
        }
        stream.readable().await?;
        match stream.try_read(&mut chunk) {
            Ok(0) => return Err(OwnError::Ended),
            Ok(length) => text.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is wrong, and what mends it.
pub(crate) fn problem(why: &OwnError) -> Problem {
    Problem {
        what: format!(
            "wardend does not learn which addresses this machine has, because wardend-addresses.socket does not work: {why}; only those that it knew before, loopback and ignoreip are protected."
        ),
        mend: "Run `systemctl restart wardend-addresses.socket` (`systemctl unmask` before it, if it is masked), and see `journalctl -u 'wardend-addresses@*'`."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn each_line_is_a_whole_list_and_who_has_ended_is_asked_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (sender, mut heard) = mpsc::channel(1);
        let name = path.display().to_string();
        let task = tokio::spawn(async move { run(&name, sender).await });
        for lists in [&["[]", "[\"192.0.2.10\",\"2001:db8::10\"]"][..], &["[\"192.0.2.11\"]"]] {
            let (program, _) = listener.accept().await.unwrap();
            for list in lists {
                program.try_write(format!("{list}\n").as_bytes()).unwrap();
                let Some(Heard::Own(addresses)) = heard.recv().await else { panic!("{list}") };
                assert_eq!(serde_json::to_string(&addresses).unwrap(), *list);
            }
        }
        let (program, _) = listener.accept().await.unwrap();
        program.try_write(b"nonsense\n").unwrap();
        assert!(matches!(heard.recv().await, Some(Heard::Lost(OwnError::Nonsense(_)))));
        task.abort();
        drop(task.await);

        let (sender, mut heard) = mpsc::channel(1);
        let task = tokio::spawn(run("/nonexistent/socket", sender));
        assert!(matches!(heard.recv().await, Some(Heard::Lost(OwnError::Socket(..)))));
        task.abort();
    }
}
