//! Bytes into lines.

/// The longest line that is kept whole: less than journald's LineMax=, at which it would cut lines of standard
/// output. Filters say so with `truncated-at`, because here the rest makes no record.
pub(super) const LONGEST: usize = 48 * 1024 - 1;

/// One line, without its line break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'b> {
    pub(super) text: &'b [u8],
    /// It was longer, and this is its beginning.
    pub(super) is_cut: bool,
}

/// A line of which the end was not read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Begun<'b> {
    /// The bytes of it that were read.
    pub(super) length: u64,
    /// How many NUL bytes it begins with.
    pub(super) nuls: u64,
    /// What follows these, as far as it is kept.
    pub(super) text: &'b [u8],
}

/// Turns bytes into lines, however they are torn up. It never holds more than one line.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// The beginning of a line of which the end was not read yet.
    begun: Vec<u8>,
    /// The bytes of it that were read.
    length: u64,
    /// The NUL bytes that it begins with, and that are left out: a program that does not append writes
    /// on where it was when its file was emptied, and leaves a hole before that.
    nuls: u64,
    /// Reading began in the middle of a line: what comes up to its end is none.
    skips: bool,
}

impl Splitter {
    /// A splitter that leaves out what comes up to the next line break.
    pub(super) fn in_the_middle() -> Self {
        Self { skips: true, ..Self::default() }
    }

    /// Takes some bytes, and gives out each line that ends in them, with the number of bytes that have
    /// passed since the previous line, its line break among them.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut out: impl FnMut(Option<Line<'_>>, u64)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (text, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            let length = self.length + text.len() as u64;
            let text = self.without_nuls(text);
            let is_cut = length - self.nuls > LONGEST as u64;
            if std::mem::take(&mut self.skips) {
                out(None, length + 1);
            } else if self.begun.is_empty() && !is_cut {
                out(Some(Line { text, is_cut }), length + 1);
            } else {
                self.keep(text);
                out(Some(Line { text: &self.begun, is_cut }), length + 1);
            }
            self.begun.clear();
            (self.length, self.nuls) = (0, 0);
        }
        self.length += bytes.len() as u64;
        let text = self.without_nuls(bytes);
        if !self.skips {
            self.keep(text);
        }
    }

    /// The line that has not ended.
    pub(super) fn begun(&self) -> Begun<'_> {
        Begun { length: self.length, nuls: self.nuls, text: &self.begun }
    }

    fn without_nuls<'b>(&mut self, text: &'b [u8]) -> &'b [u8] {
        if !self.begun.is_empty() {
            return text;
        }
        let nuls = text.iter().take_while(|byte| **byte == 0).count();
        self.nuls += nuls as u64;
        &text[nuls..]
    }

    fn keep(&mut self, text: &[u8]) {
        let room = LONGEST - self.begun.len();
        self.begun.extend_from_slice(&text[..text.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A line, and whether it is cut; and the bytes that it took.
    type Passed = (Option<(Vec<u8>, bool)>, u64);

    fn split(pieces: &[&[u8]], mut splitter: Splitter) -> Vec<Passed> {
        let mut lines = Vec::new();
        for piece in pieces {
            splitter
                .feed(piece, |line, length| lines.push((line.map(|line| (line.text.to_vec(), line.is_cut)), length)));
        }
        lines
    }

    #[test]
    fn a_line_is_one_however_it_is_torn_up_and_whatever_is_in_it() {
        let whole = |text: &[u8]| Some((text.to_vec(), false));
        assert_eq!(
            split(&[b"a\nb", b"", b"c", b"\n\n\xff\0x\r\nrest"], Splitter::default()),
            [(whole(b"a"), 2), (whole(b"bc"), 3), (whole(b""), 1), (whole(b"\xff\0x\r"), 5)]
        );
        assert_eq!(split(&[b"of a line", b" end\nb\n"], Splitter::in_the_middle()), [(None, 14), (whole(b"b"), 2)]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_its_rest_is_no_line() {
        let long = vec![b'a'; LONGEST + 3];
        for pieces in [vec![&long[..], b"\nb\n"], vec![&long[..9], &long[9..], b"b\n"]] {
            let lines = split(&pieces, Splitter::default());
            assert_eq!(lines[0].0, Some((long[..LONGEST].to_vec(), true)));
        }
        let exact = [&long[..LONGEST], b"\n"].concat();
        assert_eq!(split(&[&exact], Splitter::default())[0].0, Some((long[..LONGEST].to_vec(), false)));
        let mut splitter = Splitter::default();
        for _ in 0..100 {
            splitter.feed(&long, |_, _| panic!("no line has ended"));
        }
        assert_eq!((splitter.begun().length, splitter.begun().text.len()), (100 * long.len() as u64, LONGEST));
    }

    #[test]
    fn the_hole_before_a_line_is_left_out() {
        let hole = vec![0; 3 * LONGEST];
        let lines = split(&[&hole, &hole, b"\0a\0b\n", b"c\n"], Splitter::default());
        assert_eq!(lines[0], (Some((b"a\0b".to_vec(), false)), 6 * LONGEST as u64 + 5));
        assert_eq!(lines[1], (Some((b"c".to_vec(), false)), 2));
    }

    proptest! {
        #[test]
        fn the_pieces_in_which_bytes_come_make_no_difference(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            cuts in prop::collection::vec(0_usize..200, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let lines = split(&pieces, Splitter::default());
            prop_assert_eq!(&lines, &split(&[&bytes[..]], Splitter::default()));
            let ended = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            prop_assert_eq!(lines.iter().map(|(_, length)| length).sum::<u64>(), ended as u64);
        }
    }
}
