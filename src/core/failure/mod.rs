//! Failed attempts, and many of them in little space.
//!
//! A [`Failure`] is what an attempt comes to: who, when, by which rule, and the record that shows
//! it. A server under attack has hundreds of thousands of them in its counters, and a cursor alone
//! is 130 characters, so at rest they are kept as [`Failures`]: a packed list in which each entry
//! holds what differs from the one before it. The packed form is also the one in the snapshot, so
//! its reader believes nothing.

mod packed;

use std::{cell::Cell, net::IpAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use self::packed::Packer;
pub(crate) use self::packed::Views;
use crate::{
    core::{
        cursor::{Cursor, CursorRef},
        time::Usec,
    },
    util::text::count,
};

/// What counts against a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
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
pub(crate) struct Failure {
    /// Where the attempt came from.
    pub(crate) address: IpAddr,
    /// When journald received the message, in µs; moved along if the clock was set since.
    pub(crate) time: Usec,
    /// The rule that read it; the jail that has banned.
    pub(crate) rule: Arc<str>,
    /// The user name as the program printed it, if it did.
    pub(crate) user: Option<Box<str>>,
    /// The record that shows it.
    pub(crate) cursor: Cursor,
    /// What it is.
    #[serde(default)]
    pub(crate) kind: Kind,
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
pub(crate) struct Failures(Arc<[u8]>);

thread_local! {
    /// Where a list is put together.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Failures {
    /// Each failure, in the list's order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Failure> + '_ {
        self.views().map(View::to_failure)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
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
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last of the list.
    pub(crate) fn last(&self) -> Option<Failure> {
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
mod tests;
