//! Where a record stands in the journal.
//!
//! A cursor is text to journalctl and to sd-journal, and opaque; but all cursors since systemd 38
//! have one form, and 130 characters of it. A server under attack keeps hundreds of thousands, so
//! here a cursor of that form is six numbers, which need no memory of their own and are compared
//! and packed as they are, and any other is kept as the text that it was.
//!
//! libsystemd needs as long to write a cursor as for a tenth of all else that it does for a record. So for what
//! will hardly ever be shown there is a cursor without the parts that only libsystemd knows: the times and the
//! boot, which journalctl finds the entry by as well where no other entry is of the same µs.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::core::time::Usec;

/// The position of a record in the journal, as in sd_journal_get_cursor(3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Entry(Entry),
    Text(Box<str>),
}

/// A cursor to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CursorRef<'p> {
    Entry(Entry),
    Text(&'p str),
}

/// `s=…;i=…;b=…;m=…;t=…;x=…`; or `b=…;m=…;t=…`, where the other three are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) file: u128,
    pub(crate) number: u64,
    pub(crate) boot: u128,
    pub(crate) monotonic: Usec,
    pub(crate) realtime: Usec,
    pub(crate) hash: u64,
}

impl Cursor {
    /// That of the entry that journald received at this time and moment.
    pub(crate) fn at(realtime: Usec, Moment { boot, monotonic }: Moment) -> Self {
        Self(Form::Entry(Entry { boot, monotonic, realtime, ..Entry::default() }))
    }

    pub(crate) fn place(&self) -> CursorRef<'_> {
        match &self.0 {
            Form::Entry(entry) => CursorRef::Entry(*entry),
            Form::Text(text) => CursorRef::Text(text),
        }
    }

    /// Whether both name the same entry, though it may have moved to another file, where it has
    /// another number.
    pub(crate) fn is_same_entry(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::Entry(one), Form::Entry(two)) => {
                let of = |entry: &Entry| (entry.boot, entry.monotonic, entry.realtime, entry.hash);
                of(one) == of(two)
            }
            _ => self == other,
        }
    }

    /// The boot that the record is from, and the monotonic time in it.
    pub(crate) fn moment(&self) -> Option<Moment> {
        match &self.0 {
            Form::Entry(entry) => Some(Moment { boot: entry.boot, monotonic: entry.monotonic }),
            Form::Text(text) => {
                let (_, rest) = text.split_once(";b=")?;
                let (boot, rest) = rest.split_once(";m=")?;
                let (monotonic, _) = rest.split_once(';')?;
                Some(Moment {
                    boot: u128::from_str_radix(boot, 16).ok()?,
                    monotonic: Usec::from_str_radix(monotonic, 16).ok()?,
                })
            }
        }
    }
}

/// A moment in the life of a machine, which nobody can set as they can set its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    /// `_BOOT_ID`.
    pub(crate) boot: u128,
    /// µs since that boot.
    pub(crate) monotonic: Usec,
}

impl Entry {
    /// The monotonic time at a wall-clock time, if nobody sets the clock.
    pub(crate) fn monotonic_at(&self, realtime: Usec) -> Usec {
        self.monotonic.wrapping_add(realtime.wrapping_sub(self.realtime))
    }

    /// Whether the boot and the times are all that is known. No file has the number 0.
    fn is_moment(&self) -> bool {
        (self.file, self.number, self.hash) == (0, 0, 0)
    }

    /// A text that this is to the letter: it is compared with what journalctl prints.
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.as_bytes();
        if rest.starts_with(b"b=") {
            let entry = Self {
                boot: id(&mut rest, b"b=")?,
                monotonic: number(&mut rest, b";m=")?,
                realtime: number(&mut rest, b";t=")?,
                ..Self::default()
            };
            return rest.is_empty().then_some(entry);
        }
        let entry = Self {
            file: id(&mut rest, b"s=")?,
            number: number(&mut rest, b";i=")?,
            boot: id(&mut rest, b";b=")?,
            monotonic: number(&mut rest, b";m=")?,
            realtime: number(&mut rest, b";t=")?,
            hash: number(&mut rest, b";x=")?,
        };
        (rest.is_empty() && !entry.is_moment()).then_some(entry)
    }
}

/// 32 digits.
fn id(rest: &mut &[u8], key: &[u8]) -> Option<u128> {
    let (digits, behind) = rest.strip_prefix(key)?.split_at_checked(32)?;
    *rest = behind;
    let (high, low) = digits.split_at(16);
    Some(u128::from(value(high)?) << 64 | u128::from(value(low)?))
}

/// Up to 16 digits, the first of them no zero unless it is the only one.
fn number(rest: &mut &[u8], key: &[u8]) -> Option<u64> {
    let text = rest.strip_prefix(key)?;
    let end = text.iter().position(|byte| *byte == b';').unwrap_or(text.len());
    let (digits, behind) = text.split_at(end);
    *rest = behind;
    if digits.is_empty() || digits.len() > 16 || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    value(digits)
}

/// What each byte is as a digit, as sd-journal writes them. A table, because whether a digit of a
/// random number is a letter is what no processor can guess.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value: u8 = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};
const NO_DIGIT: u8 = 0x80;

/// The value of up to 16 digits.
fn value(digits: &[u8]) -> Option<u64> {
    let (mut number, mut odd) = (0, 0);
    for digit in digits {
        let digit = DIGITS[usize::from(*digit)];
        number = number << 4 | u64::from(digit);
        odd |= digit;
    }
    (odd & NO_DIGIT == 0).then_some(number)
}

impl Default for Cursor {
    /// Nowhere.
    fn default() -> Self {
        Self(Form::Text(Box::default()))
    }
}

impl From<CursorRef<'_>> for Cursor {
    fn from(place: CursorRef<'_>) -> Self {
        match place {
            CursorRef::Entry(entry) => Self(Form::Entry(entry)),
            CursorRef::Text(text) => Self(Form::Text(text.into())),
        }
    }
}

impl From<&str> for Cursor {
    fn from(text: &str) -> Self {
        Entry::parse(text).map_or(CursorRef::Text(text), CursorRef::Entry).into()
    }
}

impl From<String> for Cursor {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Entry(entry) if entry.is_moment() => {
                write!(f, "b={:032x};m={:x};t={:x}", entry.boot, entry.monotonic, entry.realtime)
            }
            Form::Entry(Entry { file, number, boot, monotonic, realtime, hash }) => {
                write!(f, "s={file:032x};i={number:x};b={boot:032x};m={monotonic:x};t={realtime:x};x={hash:x}")
            }
            Form::Text(text) => f.write_str(text),
        }
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whatever_the_text_it_comes_back_to_the_letter() {
        let usual = "s=28444e2dcb874e5c9b78c69e2373aee2;i=f2;b=2f912356a2424dec8328a1f012cbcb78;m=6eca7496;t=660eb2795ddcd;x=4d22aba33f9e4886";
        assert!(matches!(Cursor::from(usual).place(), CursorRef::Entry(_)));
        let moment = Moment { boot: 0x2f91_2356_a242_4dec_8328_a1f0_12cb_cb78, monotonic: 0x6eca_7496 };
        let (at, short) = (
            Cursor::at(0x0006_60eb_2795_ddcd, moment),
            "b=2f912356a2424dec8328a1f012cbcb78;m=6eca7496;t=660eb2795ddcd",
        );
        assert_eq!((at.to_string().as_str(), &Cursor::from(short), at.moment()), (short, &at, Some(moment)));
        for odd in [
            "",
            "c",
            "s=1;i=2",
            &usual.to_uppercase(),
            &format!("{usual};"),
            &format!("{short};"),
            &format!("s={:032x};i=0;{short};x=0", 0),
            &usual.replace("i=f2", "i=0f2"),
            &usual.replace("i=f2", "i=F2"),
        ] {
            assert!(matches!(Cursor::from(odd).place(), CursorRef::Text(_)), "{odd}");
            assert_eq!(Cursor::from(odd).to_string(), odd);
        }
        assert_eq!(Cursor::from("s=0;i=1;b=2;m=a;t=4;x=5").moment(), Some(Moment { boot: 2, monotonic: 10 }));
    }

    #[test]
    fn an_entry_that_moved_to_another_file_is_the_same_one() {
        let volatile = Cursor::from(
            "s=28444e2dcb874e5c9b78c69e2373aee2;i=f2;b=2f912356a2424dec8328a1f012cbcb78;m=6eca7496;t=660eb2795ddcd;x=4d22aba33f9e4886",
        );
        let text = volatile.to_string();
        let moved = text.replace("s=28", "s=99").replace("i=f2", "i=7");
        assert!(Cursor::from(moved.as_str()).is_same_entry(&volatile));
        for other in ["m=6eca7497", "t=660eb2795ddce", "x=4d22aba33f9e4887", "b=3f912356a2424dec8328a1f012cbcb78"] {
            let (key, _) = other.split_once('=').unwrap();
            let (before, rest) = text.split_once(&format!(";{key}=")).unwrap();
            let behind = rest.split_once(';').map_or(String::new(), |(_, behind)| format!(";{behind}"));
            let another = Cursor::from(format!("{before};{other}{behind}"));
            assert!(!another.is_same_entry(&volatile), "{other}");
        }
        assert!(Cursor::from("odd").is_same_entry(&Cursor::from("odd")));
    }

    proptest! {
        #[test]
        fn an_entry_is_its_text(file: u128, number: u64, boot: u128, monotonic: u64, realtime in 0u64..20, hash: u64) {
            let entry = Entry { file, number, boot, monotonic, realtime, hash };
            let cursor = Cursor::from(CursorRef::Entry(entry));
            let read = Cursor::from(cursor.to_string());
            prop_assert_eq!(read.place(), CursorRef::Entry(entry));
            prop_assert_eq!(serde_json::from_str::<Cursor>(&serde_json::to_string(&cursor).unwrap()).unwrap(), cursor);
        }
    }
}
