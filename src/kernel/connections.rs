//! The connections of this machine, as the kernel has them (sock_diag(7)), and how they are closed.
//!
//! Whoever may (CAP_NET_ADMIN) can have the kernel close a socket of any program: its peer receives a reset,
//! and the program an error. The kernel itself looks for those of a source, so that of many others none has
//! to be told.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
};

use ipnet::IpNet;
use rustix::net::netlink::SOCK_DIAG;

use super::netlink::{NLM_F_ACK, NLM_F_DUMP, NLMSG_DONE, NLMSG_ERROR, answer, ask, open, refusal};
use crate::contract::cut::Protocol;

/// linux/sock_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
/// linux/inet_diag.h.
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_BC_JMP: u8 = 1;
const INET_DIAG_BC_D_COND: u8 = 8;
/// The lengths of inet_diag_sockid, and of what comes before it in an answer and behind it.
const ID: usize = 48;
const BEFORE: usize = 4;
const BEHIND: usize = 20;
/// The lengths of inet_diag_bc_op, inet_diag_hostcond without its address, and nlattr.
const OPERATION: usize = 4;
const CONDITION: usize = 8;
const ATTRIBUTE: usize = 4;
/// The states of include/net/tcp_states.h in which nobody is connected, or nobody behind it any more.
const TIME_WAIT: u32 = 6;
const CLOSE: u32 = 7;
const LISTEN: u32 = 10;
const CONNECTED: u32 = !(1 << TIME_WAIT | 1 << CLOSE | 1 << LISTEN);
/// sys/socket.h.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// As much as the kernel puts into one answer.
const BUFFER: usize = 32 * 1024;

/// netinet/in.h.
fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// A socket that is connected.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) protocol: Protocol,
    /// The port here.
    pub(crate) port: u16,
    pub(crate) peer: IpAddr,
    family: u8,
    /// By which the kernel knows it.
    id: [u8; ID],
}

/// The kernel, as it is asked for connections.
pub(crate) struct Connections {
    kernel: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Connections {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { kernel: open(Some(SOCK_DIAG), 0)?, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// What is connected to these sources.
    pub(crate) fn list(&mut self, sources: &[IpNet]) -> io::Result<Vec<Connection>> {
        let mut found = Vec::new();
        let filter = filter(sources);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            // A socket for IPv6 may have a peer of IPv4.
            for family in [AF_INET, AF_INET6] {
                self.list_some(protocol, family, &filter, &mut found)?;
            }
        }
        // So the kernel has been understood.
        found.retain(|it| sources.iter().any(|source| source.contains(&it.peer)));
        Ok(found)
    }

    fn list_some(
        &mut self,
        protocol: Protocol,
        family: u8,
        filter: &[u8],
        found: &mut Vec<Connection>,
    ) -> io::Result<()> {
        let mut body = question(protocol, family, &[0; ID]);
        let length = u16::try_from(ATTRIBUTE + filter.len()).map_err(io::Error::other)?;
        body.extend(length.to_ne_bytes());
        body.extend(INET_DIAG_REQ_BYTECODE.to_ne_bytes());
        body.extend(filter);
        self.sequence += 1;
        ask(&self.kernel, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, self.sequence, &body)?;
        loop {
            for message in answer(&self.kernel, &mut self.buffer, self.sequence)? {
                match message.kind {
                    SOCK_DIAG_BY_FAMILY => found.extend(connection(protocol, message.body)),
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return absent(protocol, family, refusal(message.body)),
                    _ => {}
                }
            }
        }
    }

    /// Closes a connection. False, if it is closed already.
    pub(crate) fn close(&mut self, connection: &Connection) -> io::Result<bool> {
        let body = question(connection.protocol, connection.family, &connection.id);
        self.sequence += 1;
        ask(&self.kernel, SOCK_DESTROY, NLM_F_ACK, self.sequence, &body)?;
        loop {
            let messages = answer(&self.kernel, &mut self.buffer, self.sequence)?;
            if let Some(error) = messages.filter(|it| it.kind == NLMSG_ERROR).map(|it| refusal(it.body)).next() {
                return match error.raw_os_error() {
                    Some(0) => Ok(true),
                    _ if error.kind() == io::ErrorKind::NotFound => Ok(false),
                    _ => Err(error),
                };
            }
        }
    }
}

/// A kernel without IPv6 has none of its sockets, and one that can't list those of UDP can't close them either.
fn absent(protocol: Protocol, family: u8, error: io::Error) -> io::Result<()> {
    let may_be_absent = (protocol, family) != (Protocol::Tcp, AF_INET);
    if may_be_absent && error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// An inet_diag_req_v2.
fn question(protocol: Protocol, family: u8, id: &[u8; ID]) -> Vec<u8> {
    let mut question = vec![family, number(protocol), 0, 0];
    question.extend(CONNECTED.to_ne_bytes());
    question.extend(id);
    question
}

/// The program that the kernel runs for each socket: whether its peer is of one of the sources. It is walked
/// through from one operation to the next, and each says how far to go on if it holds and if not; whoever
/// comes to the very end is taken, and whoever comes beyond is not.
fn filter(sources: &[IpNet]) -> Vec<u8> {
    let size = |source: &IpNet| OPERATION + CONDITION + if source.addr().is_ipv4() { 4 } else { 16 };
    // Behind each but the last, there is a leap to the end.
    let mut left: usize = sources.iter().map(|source| size(source) + OPERATION).sum::<usize>() - OPERATION;
    let mut program = Vec::with_capacity(left);
    let operation = |program: &mut Vec<u8>, code: u8, yes: usize, no: usize| {
        program.extend([code, u8::try_from(yes).unwrap_or(u8::MAX)]);
        program.extend(u16::try_from(no).unwrap_or(u16::MAX).to_ne_bytes());
    };
    for source in sources {
        let size = size(source);
        // To the next source behind the leap; and behind the last, beyond the end.
        operation(&mut program, INET_DIAG_BC_D_COND, size, size + OPERATION);
        program.extend([if source.addr().is_ipv4() { AF_INET } else { AF_INET6 }, source.prefix_len(), 0, 0]);
        // From any port.
        program.extend((-1_i32).to_ne_bytes());
        match source.addr() {
            IpAddr::V4(address) => program.extend(address.octets()),
            IpAddr::V6(address) => program.extend(address.octets()),
        }
        left -= size;
        if left > 0 {
            operation(&mut program, INET_DIAG_BC_JMP, OPERATION, left);
            left -= OPERATION;
        }
    }
    program
}

/// An inet_diag_msg.
fn connection(protocol: Protocol, body: &[u8]) -> Option<Connection> {
    let family = *body.first()?;
    let id: [u8; ID] = body.get(BEFORE..BEFORE + ID)?.try_into().ok()?;
    body.get(BEFORE + ID + BEHIND - 1)?;
    let port = u16::from_be_bytes([id[0], id[1]]);
    let peer = id.get(20..36)?;
    let peer = match family {
        AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(peer.get(..4)?).ok()?).into(),
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(peer).ok()?)).to_canonical(),
        _ => return None,
    };
    Some(Connection { protocol, port, peer, family, id })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use proptest::prelude::*;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ports(sources: &[&str]) -> Vec<u16> {
        let found = Connections::open().unwrap().list(&nets(sources)).unwrap();
        found.into_iter().map(|it| it.port).collect()
    }

    #[test]
    fn the_kernel_names_what_is_connected_to_one_of_the_sources_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let client = TcpStream::connect(here).unwrap();
        let (_served, there) = listener.accept().unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        datagrams.connect(here).unwrap();
        let of_udp = datagrams.local_addr().unwrap().port();
        for sources in [&["127.0.0.1/32"][..], &["192.0.2.0/24", "2001:db8::/64", "127.0.0.0/8", "198.51.100.7/32"]] {
            let found = ports(sources);
            for port in [here.port(), there.port(), of_udp] {
                assert!(found.contains(&port), "{port} in {found:?} of {sources:?}");
            }
        }
        for sources in [&["192.0.2.0/24", "198.51.100.7/32"][..], &["127.0.0.2/32"], &["2001:db8::/64"]] {
            assert_eq!(ports(sources), [0; 0], "{sources:?}");
        }
        drop(client);
    }

    #[test]
    fn a_peer_of_ipv4_is_found_on_a_socket_for_ipv6() {
        let Ok(listener) = TcpListener::bind("[::]:0") else { return };
        let here = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", here)).unwrap();
        let _served = listener.accept().unwrap();
        assert!(ports(&["127.0.0.1/32"]).contains(&here));
        assert_eq!(ports(&["192.0.2.1/32"]), [0; 0]);
        drop(client);
    }

    #[test]
    fn hundreds_of_sources_are_one_question() {
        let many: Vec<IpNet> = (0..=255_u8)
            .map(|n| IpNet::from(IpAddr::from([203, 0, 113, n])))
            .chain((0..=255_u16).map(|n| IpNet::from(IpAddr::from([0x2001, 0xdb8, n, 0, 0, 0, 0, 1]))))
            .collect();
        assert!(Connections::open().unwrap().list(&many).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = connection(Protocol::Tcp, &bytes);
        }
    }
}
