//! The head of a message (D-Bus specification, "Message Format"), read without making a message of
//! it: how long a signal is, and who has sent what.

/// What a message begins with: byte order, type, flags, version, length of the body, serial, length
/// of the fields.
pub(super) const FIXED: usize = 16;
const SIGNAL: u8 = 4;

/// How long a signal is.
pub(super) struct Lengths {
    /// All that stands before the padding and the body.
    pub(super) head: u64,
    pub(super) whole: u64,
}

impl Lengths {
    /// None of any other message.
    pub(super) fn of_signal(bytes: &[u8]) -> Option<Self> {
        if bytes.get(1) != Some(&SIGNAL) {
            return None;
        }
        let head = FIXED as u64 + u64::from(number(bytes, 12)?);
        Some(Self { head, whole: head.next_multiple_of(8) + u64::from(number(bytes, 4)?) })
    }
}

/// The number at a place of a message, in the message's byte order.
fn number(message: &[u8], at: usize) -> Option<u32> {
    let bytes = message.get(at..at.checked_add(4)?)?.try_into().ok()?;
    match message.first()? {
        b'l' => Some(u32::from_le_bytes(bytes)),
        b'B' => Some(u32::from_be_bytes(bytes)),
        _ => None,
    }
}

/// Who has sent what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head<'m> {
    pub(super) sender: &'m str,
    pub(super) interface: &'m str,
    pub(super) member: &'m str,
}

impl<'m> Head<'m> {
    /// Reads the fields of a message; none, if one of these is missing or there twice, or there is
    /// one of a type that no field of a signal has.
    pub(super) fn read(message: &'m [u8]) -> Option<Self> {
        let (mut interface, mut member, mut sender) = (None, None, None);
        let mut at = FIXED;
        while at < message.len() {
            at = at.next_multiple_of(8);
            // Code, and the signature of one type.
            let &[code, 1, kind, 0] = message.get(at..at + 4)? else { return None };
            at += 4;
            let text = match kind {
                b's' | b'o' => {
                    let length = usize::try_from(number(message, at)?).ok()?;
                    let text = message.get(at + 4..(at + 4).checked_add(length)?)?;
                    at += 4 + length + 1;
                    text
                }
                b'g' => {
                    let length = usize::from(*message.get(at)?);
                    at += 1 + length + 1;
                    continue;
                }
                b'u' => {
                    at += 4;
                    continue;
                }
                _ => return None,
            };
            let field = match code {
                2 => &mut interface,
                3 => &mut member,
                7 => &mut sender,
                _ => continue,
            };
            if field.replace(std::str::from_utf8(text).ok()?).is_some() {
                return None;
            }
        }
        Some(Self { sender: sender?, interface: interface?, member: member? })
    }
}
