//! Messages that are too long, in both directions.
//!
//! zbus decodes a call before anybody knows who sent it, and what comes of a list of short texts takes a
//! multiple of it; and dbus-daemon closes the connection of who sends a message of more than 32 MiB.
//! So a call that is too long, or would take too much memory ([`super::weight`]), is not decoded, and an answer
//! that is too long is not sent. Either way the caller gets an error that says so.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use zbus::{
    Message,
    message::{Flags, Type},
};

/// The longest call, in bytes: some 100,000 entries of a list.
pub(super) const LONGEST_CALL: usize = 16 << 20;
/// The most memory that a call may take once it is decoded, in bytes: that of 100,000 entries with an
/// address, an end and a reason.
const MOST_DECODED: usize = 128 << 20;
/// The longest answer, in bytes, with some room for what the bus adds.
const LONGEST_ANSWER: usize = (32 << 20) - (64 << 10);
/// The name of the error.
const ERROR: &str = "org.wardend1.Error.LimitsExceeded";
/// A method that there is not: what a call that is too long becomes.
const NONE: &str = "TooLong";

/// Why a call is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    TooLong,
    /// Its user has sent too many long ones.
    TooMany,
}

/// The calls that were refused, by caller and serial, until they have their answer.
#[derive(Debug, Default)]
pub(super) struct Oversize(Mutex<HashMap<(String, u32), Refusal>>);

impl Oversize {
    /// Whether a message is too long that takes this number of bytes once it is decoded.
    pub(super) fn refusal(message: &Message, decoded: usize) -> Option<Refusal> {
        let is_too_much = message.body().len() > LONGEST_CALL || decoded > MOST_DECODED;
        (message.message_type() == Type::MethodCall && is_too_much).then_some(Refusal::TooLong)
    }

    /// What zbus receives in place of a message.
    pub(super) fn receive(&self, message: Message, refusal: Option<Refusal>) -> zbus::Result<Message> {
        let header = message.header();
        let (Some(refusal), Some(sender)) = (refusal, header.sender()) else { return Ok(message) };
        let primary = message.primary_header();
        if !primary.flags().contains(Flags::NO_REPLY_EXPECTED) {
            let key = (sender.to_string(), primary.serial_num().get());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, refusal);
        }
        Message::method_call("/org/wardend1", NONE)
            .sender(sender.to_owned())
            .serial(primary.serial_num())
            .with_flags(primary.flags())
            .build(&())
    }

    /// What is sent in place of a message.
    pub(super) fn send(&self, message: &Message) -> zbus::Result<Option<Message>> {
        let header = message.header();
        let (Some(serial), Some(caller)) = (header.reply_serial(), header.destination()) else { return Ok(None) };
        let key = (caller.to_string(), serial.get());
        let refusal = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let text = match refusal {
            Some(Refusal::TooLong) => format!(
                "The call is longer than {} MiB, or has too many values; split its list into several calls.",
                LONGEST_CALL >> 20
            ),
            Some(Refusal::TooMany) => {
                "You have sent too many long calls; wait some seconds, or send shorter ones.".to_owned()
            }
            None if message.data().len() > LONGEST_ANSWER => {
                "The answer is longer than the bus allows; ask for less in one call.".to_owned()
            }
            None => return Ok(None),
        };
        // An error replies to a call, and nothing else of it matters.
        let call = Message::method_call("/", NONE).sender(key.0.as_str()).serial(serial).build(&())?;
        Message::error(&call.header(), ERROR).build(&text).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: &Message) -> String {
        assert_eq!(message.header().error_name().map(ToString::to_string).as_deref(), Some(ERROR));
        message.body().deserialize().unwrap()
    }

    #[test]
    fn a_call_that_is_too_long_is_not_decoded_and_is_answered() {
        let oversize = Oversize::default();
        let call = |length: usize| {
            Message::method_call("/org/wardend1", "BanMany").sender(":1.7").build(&vec![0_u8; length]).unwrap()
        };
        let receive = |message: Message| {
            let refusal = Oversize::refusal(&message, crate::bus::weight::decoded(&message));
            oversize.receive(message, refusal).unwrap()
        };
        let short = receive(call(1 << 20));
        assert_eq!(short.header().member().unwrap(), "BanMany");
        let heavy = receive(call(LONGEST_CALL - 64));
        assert_eq!(heavy.header().member().unwrap(), NONE, "a value for each byte");
        let entry = |number: u32| {
            let text = |text: &str| zbus::Variant::from(text.to_owned());
            let network = format!("2001:db8:{:x}:{:x}::/64", number >> 16, number & 0xffff);
            HashMap::from([("Address", text(&network)), ("Reason", text("a list of scanners"))])
        };
        let list: Vec<_> = (0..100_000).map(entry).collect();
        let list = Message::method_call("/org/wardend1", "BanMany").sender(":1.7").build(&list).unwrap();
        assert!(list.body().len() < LONGEST_CALL);
        assert_eq!(receive(list).header().member().unwrap(), "BanMany", "as many as can be kept");
        let long = call(LONGEST_CALL + 1);
        let read = receive(long.clone());
        assert_eq!((read.header().member().unwrap().as_str(), read.body().len()), (NONE, 0));
        assert_eq!(read.primary_header().serial_num(), long.primary_header().serial_num());

        let unknown = Message::error(&read.header(), "org.freedesktop.DBus.Error.UnknownMethod").build(&"no").unwrap();
        let sent = oversize.send(&unknown).unwrap().unwrap();
        assert!(text(&sent).starts_with("The call is longer than 16 MiB"));
        let (header, primary) = (sent.header(), long.primary_header());
        assert_eq!(header.reply_serial(), Some(primary.serial_num()));
        assert_eq!(header.destination().unwrap(), ":1.7");
        assert!(oversize.send(&unknown).unwrap().is_none(), "it is answered once");
    }

    #[test]
    fn an_answer_that_is_too_long_is_an_error() {
        let oversize = Oversize::default();
        let call = Message::method_call("/org/wardend1", "ListBans").sender(":1.7").build(&()).unwrap();
        let answer = |length: usize| Message::method_return(&call.header()).build(&vec![0_u8; length]).unwrap();
        assert!(oversize.send(&answer(1000)).unwrap().is_none());
        let sent = oversize.send(&answer(LONGEST_ANSWER)).unwrap().unwrap();
        assert!(text(&sent).starts_with("The answer is longer"));
        assert_eq!(sent.header().reply_serial(), Some(call.primary_header().serial_num()));
    }
}
