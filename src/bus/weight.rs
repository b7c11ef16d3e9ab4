//! How much memory a call takes once it is decoded, found out without decoding it.
//!
//! zbus makes a value of each element of an array, dozens of bytes for one that is a byte on the wire, and
//! does so before anybody knows whether the caller may call at all. So the values are counted first.

use zbus::Message;

/// What a value takes, about: zbus's variant, with what it points to.
const VALUE: usize = 64;
/// What a dictionary takes before it has any entry, in values: a hash table with its first places.
const DICTIONARY: usize = 6;
/// Values within values, as the bus allows them.
const DEEPEST: usize = 64;

/// Shorter calls take no memory to speak of, whatever is in them.
const SHORT: usize = 4 << 10;

/// The number of bytes that a call takes once it is decoded; the most that there can be, if it can't be said.
pub(super) fn decoded(message: &Message) -> usize {
    let length = message.body().len();
    if length <= SHORT { length } else { walked(message) }
}

fn walked(message: &Message) -> usize {
    let body = message.body();
    let signature = body.signature().to_string();
    let big = message.data().first() == Some(&b'B');
    let data = body.data();
    let mut walk = Walk { data, at: 0, big, values: 0 };
    match walk.all(signature.as_bytes(), DEEPEST) {
        Some(()) => data.len() + walk.values * VALUE,
        None => usize::MAX,
    }
}

/// A way through the values of a message.
struct Walk<'m> {
    data: &'m [u8],
    at: usize,
    big: bool,
    values: usize,
}

/// The length of the type that a signature begins with.
fn first(signature: &[u8], depth: usize) -> Option<usize> {
    let within = |from: usize| {
        let close = if signature[0] == b'(' { b')' } else { b'}' };
        let mut at = from;
        while *signature.get(at)? != close {
            at += first(&signature[at..], depth.checked_sub(1)?)?;
        }
        Some(at + 1)
    };
    match signature.first()? {
        b'a' => Some(1 + first(&signature[1..], depth.checked_sub(1)?)?),
        b'(' | b'{' => within(1),
        _ => Some(1),
    }
}

/// At what multiple a value of a type stands, and its size if that is always the same.
fn shape(kind: u8) -> (usize, Option<usize>) {
    match kind {
        b'y' => (1, Some(1)),
        b'n' | b'q' => (2, Some(2)),
        b'b' | b'i' | b'u' | b'h' => (4, Some(4)),
        b'x' | b't' | b'd' => (8, Some(8)),
        b'(' | b'{' => (8, None),
        b'g' | b'v' => (1, None),
        _ => (4, None),
    }
}

impl Walk<'_> {
    /// Passes values of these types, one after the other.
    fn all(&mut self, mut signature: &[u8], depth: usize) -> Option<()> {
        while !signature.is_empty() {
            let (one, rest) = signature.split_at_checked(first(signature, depth)?)?;
            self.one(one, depth)?;
            signature = rest;
        }
        Some(())
    }

    fn one(&mut self, signature: &[u8], depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let kind = *signature.first()?;
        let (boundary, size) = shape(kind);
        self.align(boundary);
        self.values += usize::from(kind != b'{');
        match (kind, size) {
            (_, Some(size)) => self.skip(size),
            (b'a', _) => self.array(&signature[1..], depth),
            (b'(' | b'{', _) => self.all(signature.get(1..signature.len() - 1)?, depth),
            (b'v', _) => {
                let length = usize::from(*self.data.get(self.at)?);
                let data = self.data;
                let inner = data.get(self.at + 1..self.at + 1 + length)?;
                self.skip(length + 2)?;
                // One value, and not several.
                if first(inner, depth)? != length {
                    return None;
                }
                self.one(inner, depth)
            }
            (b'g', _) => {
                let length = usize::from(*self.data.get(self.at)?);
                self.skip(length + 2)
            }
            _ => {
                let length = self.length()?;
                self.skip(length.checked_add(1)?)
            }
        }
    }

    fn array(&mut self, element: &[u8], depth: usize) -> Option<()> {
        let length = self.length()?;
        let (boundary, size) = shape(*element.first()?);
        self.align(boundary);
        let end = self.at.checked_add(length).filter(|end| *end <= self.data.len())?;
        if element[0] == b'{' {
            self.values += DICTIONARY;
        }
        if let Some(size) = size {
            self.values += length / size;
            self.at = end;
        }
        while self.at < end {
            self.one(element, depth)?;
        }
        (self.at == end).then_some(())
    }

    fn length(&mut self) -> Option<usize> {
        let bytes: [u8; 4] = self.data.get(self.at..self.at + 4)?.try_into().ok()?;
        self.at += 4;
        let length = if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        usize::try_from(length).ok()
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes).filter(|at| *at <= self.data.len())?;
        Some(())
    }

    fn align(&mut self, boundary: usize) {
        self.at = self.at.next_multiple_of(boundary);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use zbus::Variant;

    use super::*;

    fn call(body: &(impl serde::Serialize + zbus::Type)) -> Message {
        Message::method_call("/org/wardend1", "BanMany").build(body).unwrap()
    }

    fn values(body: &(impl serde::Serialize + zbus::Type)) -> usize {
        let call = call(body);
        (walked(&call) - call.body().len()) / VALUE
    }

    #[test]
    fn each_kind_of_value_is_passed() {
        assert_eq!(values(&()), 0);
        assert_eq!(values(&("192.0.2.7", "sshd")), 3, "two in a structure");
        assert_eq!(values(&(1_u8, 2_u16, 3_u32, 4_u64, true, -1_i64)), 7);
        assert_eq!(values(&vec!["a", "bc", "def"]), 4);
        assert_eq!(values(&vec![(1_u8, vec![2_u64]), (3, vec![])]), 8);
        let options: HashMap<&str, Variant<'_>> = HashMap::from([("For", "1h".into()), ("Cut", true.into())]);
        assert_eq!(values(&options), 1 + DICTIONARY + 2 * 3);
        assert_eq!(values(&(vec![options], 7_u32)), 3 + DICTIONARY + 1 + 2 * 3);
        let within: HashMap<&str, Variant<'_>> = HashMap::from([("x", Variant::from(vec![1_u8; 1000]))]);
        assert_eq!(values(&within), 1 + DICTIONARY + 3 + 1000);
        assert!(decoded(&call(&vec![0_u8; 1 << 20])) > 64 << 20);
    }

    proptest! {
        /// What the bus lets through or not: nothing panics, and a way that leads nowhere has an end.
        #[test]
        fn any_bytes_are_weighed(data in prop::collection::vec(any::<u8>(), 0..200), signature in "[ybnqiuxtdsogv]{0,3}a?[a({]{0,3}[ysv]{0,2}[)}]{0,3}") {
            let mut walk = Walk { data: &data, at: 0, big: false, values: 0 };
            let _ = walk.all(signature.as_bytes(), DEEPEST);
            prop_assert!(walk.values <= 2 * data.len() + 600);
        }

        #[test]
        fn what_is_made_by_the_library_is_weighed(entries in prop::collection::vec(prop::collection::hash_map("[A-Za-z]{0,9}", "[a-z0-9.]{0,40}", 0..6), 0..20)) {
            let entries: Vec<HashMap<String, Variant<'_>>> = entries
                .into_iter()
                .map(|entry| entry.into_iter().map(|(key, value)| (key, value.into())).collect())
                .collect();
            let keys: usize = entries.iter().map(HashMap::len).sum();
            prop_assert_eq!(values(&entries), 1 + entries.len() * (1 + DICTIONARY) + keys * 3);
        }
    }
}
