//! Asking the kernel over netlink(7): what all questions and answers have in common.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink,
        recvfrom, send, socket_with,
    },
};

/// linux/netlink.h.
pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
/// An answer is wanted, also if all went well.
pub(super) const NLM_F_ACK: u16 = 4;
/// Something has changed while the list was made.
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(super) const NLM_F_DUMP: u16 = 0x300;
/// The length of nlmsghdr.
const HEADER: usize = 16;

/// Opens a socket to a part of the kernel (its routes, if nothing else is said), which also announces what happens in these groups.
pub(super) fn open(protocol: Option<Protocol>, groups: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// Asks something.
pub(super) fn ask(kernel: &OwnedFd, kind: u16, flags: u16, sequence: u32, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    request.extend(sequence.to_ne_bytes());
    // From nobody in particular.
    request.extend([0; 4]);
    request.extend(body);
    send(kernel, &request, SendFlags::empty())?;
    Ok(())
}

/// Waits for more of the answer to the question of this number.
pub(super) fn answer<'b>(
    kernel: &OwnedFd,
    buffer: &'b mut [u8],
    sequence: u32,
) -> io::Result<impl Iterator<Item = Message<'b>> + use<'b>> {
    loop {
        let (length, _, sender) = match recvfrom(kernel.as_fd(), &mut *buffer, RecvFlags::empty()) {
            Err(Errno::INTR) => continue,
            answer => answer?,
        };
        // Only the kernel is believed; its number is 0.
        let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
        if sender.is_some_and(|sender| sender.pid() == 0) {
            let messages = Messages::of(buffer.get(..length).unwrap_or_default());
            return Ok(messages.filter(move |message| message.sequence == sequence));
        }
    }
}

/// What an error says; without an error, that is number 0.
pub(super) fn refusal(body: &[u8]) -> io::Error {
    let code = number(body, 0).map_or(0, u32::cast_signed);
    io::Error::from_raw_os_error(code.wrapping_neg())
}

/// The messages of one answer.
pub(super) struct Messages<'b> {
    rest: &'b [u8],
}

pub(super) struct Message<'b> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    sequence: u32,
    pub(super) body: &'b [u8],
}

impl<'b> Messages<'b> {
    pub(super) fn of(answer: &'b [u8]) -> Self {
        Self { rest: answer }
    }
}

impl<'b> Iterator for Messages<'b> {
    type Item = Message<'b>;

    fn next(&mut self) -> Option<Message<'b>> {
        let rest = self.rest;
        let length = usize::try_from(number(rest, 0)?).ok().filter(|length| *length >= HEADER)?;
        let message = Message {
            kind: short(rest, 4)?,
            flags: short(rest, 6)?,
            sequence: number(rest, 8)?,
            body: rest.get(HEADER..length)?,
        };
        self.rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
