//! Failed attempts, and many of them in little space.
//!
//! A [`Failure`] is what an attempt comes to: who, when, by which rule, and the record that shows
//! it. A server under attack has hundreds of thousands of them in its counters, and a cursor alone
//! is 130 characters, so at rest they are kept as [`Failures`]: a packed list in which each entry
//! holds what differs from the one before it. The packed form is also the one in the snapshot, so
//! its reader believes nothing.

use std::{
    cell::Cell,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    core::{
        cursor::{Cursor, CursorRef, Entry},
        time::Usec,
    },
    util::{
        packed::{apply, put_difference, put_number, take_array, take_difference, take_number},
        text::count,
    },
};

/// What counts against a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An attempt that has failed.
    #[default]
    Attempt,
    /// No attempt: the source was turned away for failures that it had before, and so it weighs less.
    Refusal,
    /// A ban by another jail, in one that counts bans.
    Ban,
}

/// One failed attempt, or what counts as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where the attempt came from.
    pub address: IpAddr,
    /// When journald received the message, in µs; moved along if the clock was set since.
    pub time: Usec,
    /// The rule that read it; the jail that has banned.
    pub rule: Arc<str>,
    /// The user name as the program printed it, if it did.
    pub user: Option<Box<str>>,
    /// The record that shows it.
    pub cursor: Cursor,
    /// What it is.
    #[serde(default)]
    pub kind: Kind,
}

/// A failure that is read from a packed list and still lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View<'p> {
    pub(crate) address: IpAddr,
    pub(crate) time: Usec,
    pub(crate) rule: &'p str,
    pub(crate) user: Option<&'p str>,
    cursor: CursorRef<'p>,
    pub(crate) kind: Kind,
}

impl<'p> View<'p> {
    pub(crate) fn of(failure: &'p Failure) -> Self {
        Self {
            address: failure.address,
            time: failure.time,
            rule: &failure.rule,
            user: failure.user.as_deref(),
            cursor: failure.cursor.place(),
            kind: failure.kind,
        }
    }

    /// The failure, taken out.
    pub(crate) fn to_failure(self) -> Failure {
        Failure {
            address: self.address,
            time: self.time,
            rule: self.rule.into(),
            user: self.user.map(Into::into),
            cursor: self.cursor.into(),
            kind: self.kind,
        }
    }

    pub(crate) fn is_refusal(&self) -> bool {
        self.kind == Kind::Refusal
    }
}

/// Failures, packed. A copy shares the bytes, so a snapshot of the counters costs little.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures(Arc<[u8]>);

thread_local! {
    /// Where a list is put together.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

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

impl Failures {
    /// Each failure, in the list's order.
    pub fn iter(&self) -> impl Iterator<Item = Failure> + '_ {
        self.views().map(View::to_failure)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.views().count()
    }

    /// How many attempts or bans there are, and how many refusals.
    pub(crate) fn kinds(&self) -> (usize, usize) {
        let refusals = self.views().filter(View::is_refusal).count();
        (self.len() - refusals, refusals)
    }

    /// Whether they are bans, which a jail has counted.
    pub(crate) fn are_bans(&self) -> bool {
        self.views().last().is_some_and(|last| last.kind == Kind::Ban)
    }

    /// How many there are, in words.
    pub(crate) fn words(&self) -> String {
        let of = |kind: Kind| self.views().filter(|view| view.kind == kind).count();
        let bans = of(Kind::Ban);
        // Of both kinds only where a jail has been given another filter.
        let counted = match self.len() - bans - of(Kind::Refusal) {
            0 if bans > 0 => count(bans, "ban", "bans"),
            failures if bans > 0 => {
                format!("{} and {}", count(failures, "failure", "failures"), count(bans, "ban", "bans"))
            }
            failures => count(failures, "failure", "failures"),
        };
        match of(Kind::Refusal) {
            0 => counted,
            refusals => format!("{counted} and {}", count(refusals, "refused connection", "refused connections")),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last of the list.
    pub fn last(&self) -> Option<Failure> {
        self.views().last().map(View::to_failure)
    }

    /// Read where they lie.
    pub(crate) fn views(&self) -> Views<'_> {
        Views { rest: &self.0, before: None }
    }

    pub(crate) fn push(&mut self, failure: &Failure) {
        self.push_view(View::of(failure));
    }

    pub(crate) fn push_view(&mut self, failure: View<'_>) {
        // The bytes of one after the other are put together in the same place.
        let mut bytes = SCRATCH.take();
        bytes.extend_from_slice(&self.0);
        let mut packer = Packer { before: self.views().last(), bytes };
        packer.add(failure);
        let mut bytes = packer.bytes;
        self.0 = bytes.as_slice().into();
        bytes.clear();
        SCRATCH.set(bytes);
    }

    /// Takes the last failure away.
    pub(crate) fn pop(&mut self) -> Option<Failure> {
        let last = self.last()?;
        let keep = self.len() - 1;
        *self = self.views().take(keep).collect();
        Some(last)
    }

    /// Takes the first failure away.
    pub(crate) fn drop_first(&mut self) {
        *self = self.views().skip(1).collect();
    }

    /// Moves every time along with a clock that was set.
    pub(crate) fn shift(&mut self, by: i64) {
        *self = self.views().map(|view| View { time: view.time.saturating_add_signed(by), ..view }).collect();
    }

    /// A packed list from elsewhere, if it is one.
    fn unpack(bytes: Vec<u8>) -> Option<Self> {
        let list = Self(bytes.into());
        let mut views = list.views();
        while views.read().is_some() {}
        let whole = views.rest.is_empty();
        whole.then_some(list)
    }
}

impl<'p> FromIterator<View<'p>> for Failures {
    fn from_iter<I: IntoIterator<Item = View<'p>>>(views: I) -> Self {
        let mut packer = Packer::default();
        views.into_iter().for_each(|view| packer.add(view));
        Self(packer.bytes.into())
    }
}

impl<'f> FromIterator<&'f Failure> for Failures {
    fn from_iter<I: IntoIterator<Item = &'f Failure>>(failures: I) -> Self {
        failures.into_iter().map(View::of).collect()
    }
}

#[derive(Default)]
struct Packer<'p> {
    before: Option<View<'p>>,
    bytes: Vec<u8>,
}

impl<'p> Packer<'p> {
    fn add(&mut self, view: View<'p>) {
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

/// Reads a packed list. It ends at the first byte that makes no sense; [`Failures::unpack`] sees
/// to it that no list has one.
pub(crate) struct Views<'p> {
    rest: &'p [u8],
    before: Option<View<'p>>,
}

impl<'p> Iterator for Views<'p> {
    type Item = View<'p>;

    fn next(&mut self) -> Option<View<'p>> {
        self.read()
    }
}

impl<'p> Views<'p> {
    fn read(&mut self) -> Option<View<'p>> {
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

impl Serialize for Failures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Failures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Failures;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("packed failures")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Failures, E> {
                let bytes = STANDARD_NO_PAD.decode(text).ok();
                bytes.and_then(Failures::unpack).ok_or_else(|| E::custom("failures that can't be unpacked"))
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
impl Failure {
    /// A failure at this time, for tests to which nothing else of it matters.
    pub(crate) fn sample(time: Usec) -> Self {
        Self {
            address: [203, 0, 113, 7].into(),
            time,
            rule: "r".into(),
            user: None,
            cursor: Cursor::from("c"),
            kind: Kind::Attempt,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cursor() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => (0u128..3, any::<u32>(), 0u128..2, any::<u32>(), any::<u64>()).prop_map(|(s, i, b, m, x)| {
                format!("s={s:032x};i={i:x};b={b:032x};m={m:x};t=660eb2795ddcd;x={x:x}")
            }),
            1 => Just("s=1;i=2".to_owned()),
            1 => Just("s=00;i=2;b=3;m=4;t=5;x=6".to_owned()),
            1 => ".{0,12}",
        ]
    }

    fn failure() -> impl Strategy<Value = Failure> {
        let address = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
        let time = prop_oneof![Just(0x0006_60eb_2795_ddcd), any::<u64>(), 0u64..5];
        let rule = prop_oneof![Just("failed-password".to_owned()), ".{0,20}"];
        let user = proptest::option::of(prop_oneof![Just("root".to_owned()), ".{0,40}"]);
        let kind = prop::sample::select(vec![Kind::Attempt, Kind::Refusal, Kind::Ban]);
        (address, time, rule, user, cursor(), kind).prop_map(|(address, time, rule, user, cursor, kind)| Failure {
            address,
            time,
            rule: rule.into(),
            user: user.map(Into::into),
            cursor: Cursor::from(cursor),
            kind,
        })
    }

    #[test]
    fn what_has_been_counted_is_named_as_what_it_is() {
        let words = |kinds: &[Kind]| {
            let all = kinds.iter().map(|kind| Failure { kind: *kind, ..Failure::sample(0) });
            all.collect::<Vec<_>>().iter().collect::<Failures>().words()
        };
        assert_eq!(words(&[Kind::Attempt]), "1 failure");
        assert_eq!(words(&[Kind::Ban; 3]), "3 bans");
        assert_eq!(words(&[Kind::Attempt, Kind::Attempt, Kind::Ban]), "2 failures and 1 ban");
        assert_eq!(words(&[Kind::Attempt, Kind::Refusal]), "1 failure and 1 refused connection");
    }

    #[test]
    fn a_further_attempt_of_the_same_kind_takes_little_space() {
        let at = |number: u64| Failure {
            address: [203, 0, 113, 7].into(),
            time: 1_795_412_957_978_061 + number * 2_000_000,
            rule: "failed-password".into(),
            user: Some("root".into()),
            cursor: Cursor::from(format!(
                "s=28444e2dcb874e5c9b78c69e2373aee2;i={:x};b=2f912356a2424dec8328a1f012cbcb78;m={:x};t={:x};x=4d22aba33f9e4886",
                0xf2 + number * 7,
                0x6eca_7496 + number * 2_000_000,
                1_795_412_957_978_061 + number * 2_000_000,
            )),
            kind: Kind::Attempt,
        };
        let all: Vec<Failure> = (0..5).map(at).collect();
        let (one, five) = (all[..1].iter().collect::<Failures>(), all.iter().collect::<Failures>());
        assert!(one.0.len() < 90, "{}", one.0.len());
        assert!(five.0.len() - one.0.len() <= 4 * 20, "{}", five.0.len() - one.0.len());
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_as_it_was(all in proptest::collection::vec(failure(), 0..12)) {
            let mut list = Failures::default();
            for failure in &all {
                list.push(failure);
            }
            prop_assert_eq!(&list, &all.iter().collect::<Failures>());
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), all.clone());
            let saved = serde_json::to_string(&list).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Failures>(&saved).unwrap(), &list);
            prop_assert_eq!(list.pop(), all.last().cloned());
            prop_assert_eq!(list.len(), all.len().saturating_sub(1));
        }

        #[test]
        fn a_clock_that_was_set_moves_the_times_and_not_the_cursors(
            all in proptest::collection::vec(failure(), 0..6), by in -1_000_000i64..1_000_000,
        ) {
            let mut list: Failures = all.iter().collect();
            list.shift(by);
            for (moved, failure) in list.iter().zip(&all) {
                prop_assert_eq!(moved.time, failure.time.saturating_add_signed(by));
                prop_assert_eq!(moved.cursor, failure.cursor.clone());
            }
        }

        #[test]
        fn no_bytes_make_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(list) = Failures::unpack(bytes) {
                let all: Vec<Failure> = list.iter().collect();
                prop_assert_eq!(all.iter().collect::<Failures>().len(), all.len());
            }
        }
    }
}
