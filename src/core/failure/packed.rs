//! The packed form of failures: each entry holds what differs from the one before it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Kind, View};
use crate::{
    core::{
        cursor::{CursorRef, Entry},
        time::Usec,
    },
    util::packed::{apply, put_difference, put_number, take_array, take_difference, take_number},
};

/// What the first byte of an entry says of the rest.
mod flag {
    pub(super) const SAME_ADDRESS: u8 = 1;
    pub(super) const SAME_RULE: u8 = 1 << 1;
    pub(super) const SAME_USER: u8 = 1 << 2;
    pub(super) const SAME_FILE: u8 = 1 << 3;
    pub(super) const USER: u8 = 1 << 4;
    pub(super) const ENTRY: u8 = 1 << 5;
    pub(super) const OWN_TIME: u8 = 1 << 6;
    pub(super) const IPV6: u8 = 1 << 7;
    /// Both together, which says nothing of a user: another byte follows, with the flags of the
    /// user and what the first has no room for.
    pub(super) const MORE: u8 = SAME_USER | USER;
    pub(super) const REFUSAL: u8 = 1;
    pub(super) const BAN: u8 = 1 << 1;
}

#[derive(Default)]
pub(super) struct Packer<'p> {
    pub(super) before: Option<View<'p>>,
    pub(super) bytes: Vec<u8>,
}

impl<'p> Packer<'p> {
    pub(super) fn add(&mut self, view: View<'p>) {
        let before = self.before;
        let at = self.bytes.len();
        self.bytes.push(0);
        let more = match view.kind {
            Kind::Attempt => 0,
            Kind::Refusal => flag::REFUSAL,
            Kind::Ban => flag::BAN,
        };
        if more != 0 {
            self.bytes.push(0);
        }
        let mut flags = 0;
        put_difference(&mut self.bytes, view.time, before.map_or(0, |before| before.time));
        if before.is_some_and(|before| before.address == view.address) {
            flags |= flag::SAME_ADDRESS;
        } else {
            match view.address {
                IpAddr::V4(address) => self.bytes.extend(address.octets()),
                IpAddr::V6(address) => {
                    flags |= flag::IPV6;
                    self.bytes.extend(address.octets());
                }
            }
        }
        if before.is_some_and(|before| before.rule == view.rule) {
            flags |= flag::SAME_RULE;
        } else {
            self.text(view.rule);
        }
        if before.is_some_and(|before| before.user == view.user) {
            flags |= flag::SAME_USER;
        } else if let Some(user) = view.user {
            flags |= flag::USER;
            self.text(user);
        }
        match view.cursor {
            CursorRef::Text(text) => self.text(text),
            CursorRef::Entry(entry) => {
                flags |= flag::ENTRY;
                let earlier = before.and_then(|before| match before.cursor {
                    CursorRef::Entry(earlier) if (earlier.file, earlier.boot) == (entry.file, entry.boot) => {
                        Some(earlier)
                    }
                    _ => None,
                });
                if earlier.is_some() {
                    flags |= flag::SAME_FILE;
                } else {
                    self.bytes.extend(entry.file.to_le_bytes());
                    self.bytes.extend(entry.boot.to_le_bytes());
                }
                let earlier = earlier.unwrap_or_default();
                put_difference(&mut self.bytes, entry.number, earlier.number);
                // Both clocks run alike, so this is next to nothing but in the first entry.
                put_difference(&mut self.bytes, entry.monotonic, earlier.monotonic_at(entry.realtime));
                if entry.realtime != view.time {
                    flags |= flag::OWN_TIME;
                    put_difference(&mut self.bytes, entry.realtime, view.time);
                }
                self.bytes.extend(entry.hash.to_le_bytes());
            }
        }
        if more != 0 {
            self.bytes[at + 1] = (flags & flag::MORE) | more;
            flags |= flag::MORE;
        }
        self.bytes[at] = flags;
        self.before = Some(view);
    }

    fn text(&mut self, text: &str) {
        put_number(&mut self.bytes, text.len() as u64);
        self.bytes.extend(text.as_bytes());
    }
}

/// Reads a packed list. It ends at the first byte that makes no sense; [`super::Failures::unpack`] sees
/// to it that no list has one.
pub(crate) struct Views<'p> {
    pub(super) rest: &'p [u8],
    pub(super) before: Option<View<'p>>,
}

impl<'p> Iterator for Views<'p> {
    type Item = View<'p>;

    fn next(&mut self) -> Option<View<'p>> {
        self.read()
    }
}

impl<'p> Views<'p> {
    pub(super) fn read(&mut self) -> Option<View<'p>> {
        let whole = self.rest;
        let view = self.entry();
        if view.is_none() {
            self.rest = whole;
        } else {
            self.before = view;
        }
        view
    }

    fn entry(&mut self) -> Option<View<'p>> {
        let before = self.before;
        let [mut flags] = take_array(&mut self.rest)?;
        let mut kind = Kind::Attempt;
        if flags & flag::MORE == flag::MORE {
            let [more] = take_array(&mut self.rest)?;
            kind = match more & (flag::REFUSAL | flag::BAN) {
                0 => Kind::Attempt,
                flag::BAN => Kind::Ban,
                _ => Kind::Refusal,
            };
            flags = (flags & !flag::MORE) | (more & flag::MORE);
        }
        let is = |flag: u8| flags & flag != 0;
        let time = take_difference(&mut self.rest, before.map_or(0, |before| before.time))?;
        let address = if is(flag::SAME_ADDRESS) {
            before?.address
        } else if is(flag::IPV6) {
            Ipv6Addr::from(take_array::<16>(&mut self.rest)?).into()
        } else {
            Ipv4Addr::from(take_array::<4>(&mut self.rest)?).into()
        };
        let rule = if is(flag::SAME_RULE) { before?.rule } else { self.text()? };
        let user = if is(flag::SAME_USER) {
            before?.user
        } else if is(flag::USER) {
            Some(self.text()?)
        } else {
            None
        };
        let cursor =
            if is(flag::ENTRY) { CursorRef::Entry(self.place(flags, time)?) } else { CursorRef::Text(self.text()?) };
        Some(View { address, time, rule, user, cursor, kind })
    }

    fn place(&mut self, flags: u8, time: Usec) -> Option<Entry> {
        let earlier = if flags & flag::SAME_FILE != 0 {
            match self.before?.cursor {
                CursorRef::Entry(earlier) => earlier,
                CursorRef::Text(_) => return None,
            }
        } else {
            let file = u128::from_le_bytes(take_array(&mut self.rest)?);
            let boot = u128::from_le_bytes(take_array(&mut self.rest)?);
            Entry { file, boot, ..Entry::default() }
        };
        let number = take_difference(&mut self.rest, earlier.number)?;
        let ahead = take_number(&mut self.rest)?;
        let realtime = if flags & flag::OWN_TIME != 0 { take_difference(&mut self.rest, time)? } else { time };
        let monotonic = apply(earlier.monotonic_at(realtime), ahead);
        let hash = u64::from_le_bytes(take_array(&mut self.rest)?);
        Some(Entry { number, monotonic, realtime, hash, ..earlier })
    }

    fn text(&mut self) -> Option<&'p str> {
        let length = usize::try_from(take_number(&mut self.rest)?).ok()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }
}
