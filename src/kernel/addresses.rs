//! The machine's own addresses, as the kernel has them (rtnetlink(7)).
//!
//! The daemon has no network, so it can't ask. `wardenctl addresses` does, in a unit that can do
//! nothing else, and so do the verbs that must not touch the machine's own connections. Each change
//! leads to a new list: the kernel's announcements only say when to look.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{RecvFlags, recvfrom},
};

use super::netlink::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, answer, ask, open, refusal, short};

/// linux/rtnetlink.h and linux/if_addr.h.
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Somebody else has the address.
const IFA_F_DADFAILED: u8 = 0x08;
/// The lengths of ifaddrmsg and rtattr.
const MESSAGE: usize = 8;
const ATTRIBUTE: usize = 4;

/// As much as the kernel puts into one answer.
const BUFFER: usize = 32 * 1024;
/// How often a list is asked for that changes while it is made.
const ATTEMPTS: usize = 10;
/// What changes within this time after a list leads to one new list.
const PACE: Duration = Duration::from_millis(100);

/// Follows the addresses.
pub(crate) struct Watch {
    /// Where the kernel announces changes.
    changes: OwnedFd,
    buffer: Vec<u8>,
}

impl Watch {
    /// Listens from now on.
    pub(crate) fn open() -> io::Result<Self> {
        let changes = open(None, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR)?;
        Ok(Self { changes, buffer: vec![0; BUFFER] })
    }

    /// Waits until something has changed. False if whoever listens at `other` is gone.
    pub(crate) fn wait(&mut self, other: BorrowedFd<'_>) -> io::Result<bool> {
        std::thread::sleep(PACE);
        loop {
            let mut ready =
                [PollFd::new(&self.changes, PollFlags::IN), PollFd::from_borrowed_fd(other, PollFlags::empty())];
            match poll(&mut ready, None) {
                Err(Errno::INTR) => continue,
                outcome => outcome?,
            };
            let [announced, other] = ready.map(|it| it.revents());
            if !other.is_empty() {
                return Ok(false);
            }
            if !announced.is_empty() {
                break;
            }
        }
        // What is announced shows in the next list. ENOBUFS: more than the socket could hold.
        loop {
            match recvfrom(&self.changes, &mut self.buffer, RecvFlags::DONTWAIT) {
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// All addresses of the machine but loopback.
pub(crate) fn list() -> io::Result<BTreeSet<IpAddr>> {
    let kernel = open(None, 0)?;
    let mut buffer = vec![0; BUFFER];
    for sequence in 1..=ATTEMPTS {
        if let Some(addresses) = listed(&kernel, u32::try_from(sequence).unwrap_or(u32::MAX), &mut buffer)? {
            return Ok(addresses);
        }
    }
    Err(io::Error::other("the addresses change too fast to be listed"))
}

/// None, if something has changed while the list was made.
fn listed(kernel: &OwnedFd, sequence: u32, buffer: &mut [u8]) -> io::Result<Option<BTreeSet<IpAddr>>> {
    // Of all families.
    ask(kernel, RTM_GETADDR, NLM_F_DUMP, sequence, &[0; MESSAGE])?;
    let (mut addresses, mut whole) = (BTreeSet::new(), true);
    loop {
        for message in answer(kernel, buffer, sequence)? {
            whole &= message.flags & NLM_F_DUMP_INTR == 0;
            match message.kind {
                RTM_NEWADDR => addresses.extend(address(message.body)),
                NLMSG_DONE => return Ok(whole.then_some(addresses)),
                NLMSG_ERROR => return Err(refusal(message.body)),
                _ => {}
            }
        }
    }
}

/// The address that a message is about, if it is one that the machine answers to.
fn address(body: &[u8]) -> Option<IpAddr> {
    if body.get(2)? & IFA_F_DADFAILED != 0 {
        return None;
    }
    let mut rest = body.get(MESSAGE..)?;
    // Of a point-to-point link IFA_ADDRESS is the other end.
    let (mut local, mut either) = (None, None);
    while let (Some(length), Some(kind)) = (short(rest, 0).map(usize::from), short(rest, 2)) {
        let Some(value) = rest.get(ATTRIBUTE..length) else { break };
        match kind {
            IFA_LOCAL => local = of_bytes(value),
            IFA_ADDRESS => either = of_bytes(value),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    local.or(either).filter(|address| !address.is_loopback())
}

fn of_bytes(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::netlink::Messages;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(flags: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![2, 24, flags, 0, 1, 0, 0, 0];
        body.extend(attributes.concat());
        body
    }

    #[test]
    fn the_near_end_of_a_link_is_an_own_address_and_the_far_end_is_not() {
        let label = attribute(3, b"eth0\0");
        let plain = message(0, &[attribute(IFA_ADDRESS, &[192, 0, 2, 10]), label.clone()]);
        assert_eq!(address(&plain), Some([192, 0, 2, 10].into()));
        let link =
            message(0, &[label, attribute(IFA_ADDRESS, &[192, 0, 2, 1]), attribute(IFA_LOCAL, &[192, 0, 2, 10])]);
        assert_eq!(address(&link), Some([192, 0, 2, 10].into()));
        let six = "2001:db8::10".parse::<Ipv6Addr>().unwrap();
        assert_eq!(address(&message(0, &[attribute(IFA_ADDRESS, &six.octets())])), Some(six.into()));
        assert_eq!(address(&message(IFA_F_DADFAILED, &[attribute(IFA_ADDRESS, &six.octets())])), None);
        assert_eq!(address(&message(0, &[attribute(IFA_LOCAL, &[127, 0, 0, 1])])), None, "loopback never counts");
    }

    #[test]
    fn the_kernel_answers_with_all_of_them_and_no_loopback() {
        let addresses = list().unwrap();
        assert!(!addresses.iter().any(IpAddr::is_loopback), "{addresses:?}");
        // Where a packet to elsewhere would come from is one of them.
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("192.0.2.1:9").is_ok() {
            let own = socket.local_addr().unwrap().ip();
            assert!(addresses.contains(&own) || own.is_loopback(), "{own} in {addresses:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in Messages::of(&bytes) {
                address(message.body);
                refusal(message.body);
            }
            address(&bytes);
        }
    }
}
