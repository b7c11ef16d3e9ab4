//! What no bytes of a file may do, on their way from the file to a record: for the fuzz target.

use super::{
    journal::Record,
    lines::{LONGEST, Line, Splitter},
    place::Place,
};

/// A line with whether it is cut, if it is one; and the bytes that it took.
type Passed = (Option<(Vec<u8>, bool)>, u64);

/// Any bytes as a file: the pieces in which they are read make no difference, no byte is lost or read twice, and
/// each line is the message of one record, which holds no other field of its choosing. The first byte says how long
/// the pieces are.
///
/// # Panics
/// If anything of this is not so.
pub fn check(bytes: &[u8]) {
    let Some((length, file)) = bytes.split_first() else { return };
    let lines = passed(file.chunks(usize::from(*length) + 1));
    assert_eq!(lines, passed(std::iter::once(file)), "pieces make a difference");
    // From somewhere in the middle of a line, all others are the same.
    let mut rest = Vec::new();
    let mut splitter = Splitter::in_the_middle();
    splitter.feed(file, |line, length| rest.push((line.map(owned), length)));
    assert!(rest.len() == lines.len() && rest.iter().skip(1).eq(lines.iter().skip(1)), "a line depends on others");
    let ended = file.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last as u64 + 1);
    assert_eq!(lines.iter().map(|(_, length)| length).sum::<u64>(), ended, "bytes are lost, or read twice");
    let mut place = Place::default();
    for (line, length) in &lines {
        let Some((text, is_cut)) = line else { continue };
        assert!(text.len() <= LONGEST && !text.contains(&b'\n'), "not a line");
        place.pass(text, *is_cut, *length);
        let line = Line { text, is_cut: *is_cut };
        let record = Record::of(&line, &place, b"/var/log/x");
        let fields = read(&record.0);
        let messages: Vec<&[u8]> =
            fields.iter().filter(|(name, _)| *name == b"MESSAGE").map(|(_, value)| *value).collect();
        assert_eq!(messages, [text.as_slice()], "the message is the line");
        assert_eq!(fields.len(), 6 + usize::from(*is_cut), "a line has made a field");
    }
}

fn owned(line: Line<'_>) -> (Vec<u8>, bool) {
    (line.text.to_vec(), line.is_cut)
}

fn passed<'b>(pieces: impl Iterator<Item = &'b [u8]>) -> Vec<Passed> {
    let (mut lines, mut splitter) = (Vec::new(), Splitter::default());
    for piece in pieces {
        splitter.feed(piece, |line, length| lines.push((line.map(owned), length)));
    }
    lines
}

/// The fields of a record, as journald reads them. What it would not take ends them.
fn read(mut bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut fields = Vec::new();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let (name, rest) = (&bytes[..end], &bytes[end + 1..]);
        if let Some(equals) = name.iter().position(|byte| *byte == b'=') {
            fields.push((&name[..equals], &name[equals + 1..]));
            bytes = rest;
            continue;
        }
        let Some((length, rest)) = rest.split_first_chunk::<8>() else { break };
        let Ok(length) = usize::try_from(u64::from_le_bytes(*length)) else { break };
        let Some((value, rest)) = rest.split_at_checked(length) else { break };
        fields.push((name, value));
        bytes = rest.strip_prefix(b"\n").unwrap_or(&[]);
    }
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_read_in_both_forms() {
        assert_eq!(read(b"A=1\nB\n\x02\0\0\0\0\0\0\0\nx\nC"), [(&b"A"[..], &b"1"[..]), (b"B", b"\nx")]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_record_but_their_own(
            bytes in prop::collection::vec(prop_oneof![
                2 => prop::sample::select(b"\n\0=M".to_vec()), 1 => any::<u8>(),
            ], 0..300),
            long in 0_usize..3,
        ) {
            check(&bytes);
            check(&[&bytes[..], &vec![b'a'; long * LONGEST], &bytes].concat());
        }
    }
}
