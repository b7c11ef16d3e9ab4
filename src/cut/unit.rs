//! Closes what a banned source still has open.
//!
//! firewalld does not block established connections. Closing the sockets of other processes takes CAP_NET_ADMIN
//! and the network of the host, and the daemon has neither. wardend-cut.socket starts a program for whoever connects, which
//! has that one capability and does that one thing, and only the daemon may connect. It takes one request at a
//! time, for all sources that have come together meanwhile, and nothing waits for it. Starting it costs more
//! than closing connections, so it stays as long as more bans may come soon. What a ban does not block is not
//! closed either, so a request names the ports of a ban that has some.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use tokio::{
    net::UnixStream,
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    time::timeout,
};

use crate::{
    contract::cut::{Answer, Ports, Protocol, Request},
    core::{
        net::text_of,
        scope::{Port, Scope},
    },
    firewalld::client::{Firewalld, Trouble},
    systemd::outgoing::{Outgoing, within},
};

/// Where the unit listens.
const SOCKET: &str = "/run/wardend-cut.sock";
/// How many sources wait at most. sshd has no more than 100 connections at a time that have not
/// logged in (MaxStartups), so beyond this the oldest have nothing open any more.
const MOST_WAITING: usize = 256;
/// How many of them are named in one request: each costs something for each socket of the machine.
const MOST_AT_ONCE: usize = 64;
/// How long the program may take, with its start.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the program is kept when there is nothing to close.
const KEPT: Duration = Duration::from_secs(60);
/// How long firewalld may take to say what ports its services have.
const PORTS_PATIENCE: Duration = Duration::from_secs(10);
/// An answer of more bytes is not believed.
const LONGEST: usize = 64 * 1024;

/// Why connections stay open: a part of a sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CutError {
    #[error(
        "{0} can't be used ({1}); run `systemctl restart wardend-cut.socket` (`systemctl unmask` before it, if it is masked)"
    )]
    Socket(String, io::Error),
    /// In the program's words.
    #[error("{0}")]
    Refused(String),
    #[error("wardend-cut@.service gave no answer within {} s; see `journalctl -u 'wardend-cut@*'`", PATIENCE.as_secs())]
    Late,
    #[error("wardend-cut@.service gave no answer; see `journalctl -u 'wardend-cut@*'`")]
    NoAnswer,
    #[error("firewalld does not say what ports {service} has: {why}")]
    PortsUnknown { service: String, why: String },
    #[error("its ban closes no TCP or UDP port")]
    NoPorts,
}

/// What is to be closed: the connections of a source to what its ban closes.
pub(crate) type CutTarget = (Arc<Scope>, IpNet);

/// What has become of the connections of these sources.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) scope: Arc<Scope>,
    pub(crate) sources: Vec<IpNet>,
    pub(crate) outcome: Result<(), CutError>,
}

/// The sources whose turn has not come yet, each once.
#[derive(Debug, Default)]
struct Queue(VecDeque<CutTarget>);

impl Queue {
    fn push(&mut self, target: CutTarget) {
        if !self.0.contains(&target) {
            self.0.push_back(target);
            if self.0.len() > MOST_WAITING {
                self.0.pop_front();
            }
        }
    }

    /// Some of one scope, the newest first: they are the likeliest to have something open.
    fn take(&mut self) -> Option<(Arc<Scope>, Vec<IpNet>)> {
        let (scope, first) = self.0.pop_back()?;
        let mut sources = vec![first];
        while sources.len() < MOST_AT_ONCE && self.0.back().is_some_and(|(other, _)| *other == scope) {
            sources.extend(self.0.pop_back().map(|(_, source)| source));
        }
        Some((scope, sources))
    }
}

/// Only these protocols can be cut.
fn port(first: u16, last: u16, protocol: &str) -> Option<Ports> {
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some(Ports { protocol, first, last })
}

/// Ends when nobody gives sources any more, or the bus is gone.
pub(crate) async fn run(outgoing: Outgoing, mut targets: UnboundedReceiver<CutTarget>, reports: UnboundedSender<Cut>) {
    // Whatever is wrong with the bus ends the daemon, which tells it.
    let Ok(firewalld) = Firewalld::new(outgoing.connection()).await else { return };
    let (mut queue, mut program) = (Queue::default(), Program::at(SOCKET.to_owned()));
    loop {
        let target = if program.is_running() {
            match timeout(KEPT, targets.recv()).await {
                Ok(target) => target,
                Err(_) => {
                    program.let_go();
                    continue;
                }
            }
        } else {
            targets.recv().await
        };
        let Some(target) = target else { return };
        queue.push(target);
        loop {
            while let Ok(target) = targets.try_recv() {
                queue.push(target);
            }
            let Some((scope, sources)) = queue.take() else { break };
            let outcome = match firewalld.cut_ports(&scope).await {
                Ok(ports) => program.close(&sources, ports).await,
                Err(why) => Err(why),
            };
            // The daemon may be going down.
            let _ = reports.send(Cut { scope, sources, outcome });
        }
    }
}

/// The program that closes connections, which runs for as long as somebody is connected to it.
struct Program {
    socket: String,
    stream: Option<UnixStream>,
}

impl Program {
    fn at(socket: String) -> Self {
        Self { socket, stream: None }
    }

    fn is_running(&self) -> bool {
        self.stream.is_some()
    }

    /// It ends by itself.
    fn let_go(&mut self) {
        self.stream = None;
    }

    /// Has it close what these sources have open.
    async fn close(&mut self, sources: &[IpNet], ports: Vec<Ports>) -> Result<(), CutError> {
        let request = Request { sources: sources.iter().map(|source| text_of(*source)).collect(), ports };
        let Ok(mut line) = serde_json::to_string(&request) else { return Err(CutError::NoAnswer) };
        line.push('\n');
        // One that has ended since the last request is followed by another.
        if let Some(stream) = &self.stream
            && let Ok(answer) = within_patience(ask(stream, &line)).await
        {
            return taken(answer);
        }
        self.let_go();
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|error| CutError::Socket(self.socket.clone(), error))?;
        let answer = within_patience(ask(&stream, &line)).await?;
        self.stream = Some(stream);
        taken(answer)
    }
}

async fn within_patience(asking: impl Future<Output = Result<Answer, CutError>>) -> Result<Answer, CutError> {
    timeout(PATIENCE, pin!(asking)).await.unwrap_or(Err(CutError::Late))
}

fn taken(answer: Answer) -> Result<(), CutError> {
    match answer {
        Answer::Closed(_) => Ok(()),
        Answer::Error(why) => Err(CutError::Refused(why)),
    }
}

/// Asks for one thing, and waits for the answer.
async fn ask(stream: &UnixStream, line: &str) -> Result<Answer, CutError> {
    let ended = |_| CutError::NoAnswer;
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        stream.writable().await.map_err(ended)?;
        match stream.try_write(rest) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => rest = rest.get(written.map_err(ended)?..).unwrap_or_default(),
        }
    }
    let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
    while !text.ends_with(b"\n") && text.len() <= LONGEST {
        stream.readable().await.map_err(ended)?;
        match stream.try_read(&mut chunk) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            length => text.extend_from_slice(chunk.get(..length.map_err(ended)?).unwrap_or_default()),
        }
    }
    serde_json::from_slice(&text).map_err(|_| CutError::NoAnswer)
}

impl Firewalld {
    /// The ports of a scope; none if it is all of them. Only firewalld knows the ports of its services.
    async fn cut_ports(&self, scope: &Scope) -> Result<Vec<Ports>, CutError> {
        let mut ports = BTreeSet::new();
        let mut services: Vec<String> = Vec::new();
        for it in scope.ports() {
            match it {
                Port::Service(name) => services.push(name.to_string()),
                Port::Numbers(first, last, protocol) => ports.extend(port(*first, *last, &protocol.to_string())),
            }
        }
        for service in services {
            let settings = match within(PORTS_PATIENCE, self.main().service_settings(&service)).await {
                Ok(settings) => settings,
                // Then no rule names it either, see messages::unknown.
                Err(error) if Trouble::from(&error) == Trouble::Missing => continue,
                Err(error) => return Err(CutError::PortsUnknown { service, why: error.to_string() }),
            };
            let listed = settings.get("ports").and_then(|ports| ports.try_clone().ok());
            let listed: Vec<(String, String)> = listed.and_then(|ports| ports.try_into().ok()).unwrap_or_default();
            ports.extend(listed.iter().filter_map(|(range, protocol)| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                port(first.parse().ok()?, last.parse().ok()?, protocol)
            }));
        }
        if !scope.ports().is_empty() && ports.is_empty() {
            return Err(CutError::NoPorts);
        }
        Ok(ports.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};

    use super::*;
    use crate::core::net::parse_network;

    fn target(text: &str) -> CutTarget {
        (Arc::new(Scope::default()), parse_network(text).unwrap())
    }

    #[test]
    fn many_sources_share_few_requests_and_none_is_cut_twice() {
        let mut queue = Queue::default();
        for number in 0..=255_u32 {
            for _ in 0..2 {
                queue.push(target(&format!("203.0.113.{number}")));
            }
        }
        let (mut seen, mut requests) = (Vec::new(), 0);
        while let Some((_, sources)) = queue.take() {
            seen.extend(sources);
            requests += 1;
        }
        assert_eq!(seen.len(), 256);
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 256);
        assert_eq!(requests, 256 / MOST_AT_ONCE);
    }

    #[test]
    fn sources_of_different_scopes_never_share_a_request() {
        let mut queue = Queue::default();
        let ssh = Arc::new(Scope::new(vec!["ssh".parse().unwrap()], false));
        queue.push(target("203.0.113.7"));
        queue.push((Arc::clone(&ssh), target("203.0.113.7").1));
        queue.push((Arc::clone(&ssh), target("203.0.113.8").1));
        assert_eq!(queue.take().unwrap().1.len(), 2);
        assert_eq!(queue.take().unwrap().0, target("203.0.113.7").0);
        assert!(queue.take().is_none());
        assert_eq!(port(22, 22, "tcp"), Some(Ports { protocol: Protocol::Tcp, first: 22, last: 22 }));
        assert_eq!(port(22, 22, "sctp"), None);
    }

    #[test]
    fn a_flood_of_bans_makes_no_long_queue() {
        let mut queue = Queue::default();
        for number in 0..10_000_u32 {
            queue.push((Arc::new(Scope::default()), IpNet::from(std::net::IpAddr::from(number.to_be_bytes()))));
        }
        assert_eq!(queue.0.len(), MOST_WAITING);
        assert_eq!(queue.take().unwrap().1[0], target("0.0.39.15").1, "the newest is the first");
    }

    #[tokio::test]
    async fn one_program_takes_all_requests_and_one_that_has_ended_is_followed_by_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket").display().to_string();
        let source = [target("203.0.113.7").1];
        let mut program = Program::at(path.clone());
        let why = program.close(&source, Vec::new()).await.unwrap_err().to_string();
        assert!(why.contains("systemctl restart wardend-cut.socket"), "{why}");

        // Each answers twice, the second of these times with an error.
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let programs = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                for answer in ["{\"closed\":1}\n", "{\"error\":\"it is not Tuesday\"}\n"] {
                    asked.push(lines.next().unwrap().unwrap());
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
            // Nonsense, and nothing at all.
            for answer in ["true\n", ""] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                asked.push(lines.next().unwrap().unwrap());
                stream.write_all(answer.as_bytes()).unwrap();
            }
            asked
        });
        for _ in 0..2 {
            program.close(&source, Vec::new()).await.unwrap();
            let why = program.close(&source, Vec::new()).await.unwrap_err();
            assert_eq!(why.to_string(), "it is not Tuesday");
            assert!(program.is_running());
        }
        for _ in 0..2 {
            let why = program.close(&source, Vec::new()).await.unwrap_err();
            assert!(matches!(why, CutError::NoAnswer), "{why}");
            assert!(!program.is_running());
        }
        let asked = programs.join().unwrap();
        assert_eq!(asked.len(), 6);
        assert!(asked.iter().all(|line| line == "{\"sources\":[\"203.0.113.7\"]}"), "{asked:?}");
    }
}
