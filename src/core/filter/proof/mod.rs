//! The proof that no message can fool a filter: no pattern, and no two patterns, can read one
//! message with two different addresses. An attacker chooses the user name and more of what sshd
//! logs; wherever a pattern left a choice, they would make it, and have somebody else banned.
//!
//! Each way to read a message is a walk through the pattern's automaton that tells of every byte
//! whether it stands before, inside or after the address. Counting gives the place back, so two
//! readings differ in it exactly if they differ at some byte. So two automata walk over the same
//! bytes in step, with one bit for "have differed": if both ends can't be reached with that bit,
//! there is no such message, of any length; if they can, the search has found a shortest one.
//! All readings count, not only the one that the `regex` crate prefers. What no proof can know:
//! whether sshd writes what the pattern says, and whether the line was cut on its way here.

use std::fmt;
use std::ops::Range;

mod automaton;
mod embedded;
#[cfg(test)]
mod tests;

pub(crate) use automaton::Automaton;
use automaton::{END, Move, Phase};
pub(crate) use embedded::{Cuts, Embedded, Piece, embedded};

/// Bound on memory: bits of the table of visited pairs (1 MiB).
const MAX_PAIRS: usize = 1 << 23;

/// Bound on all other memory (40 MiB): pairs that one search or one build reaches. sshd's longest
/// takes about a thousand.
const MAX_STEPS: usize = 1 << 20;

/// Bound on the time that a whole filter takes: comparisons of two ranges of bytes, pairs and states
/// that are visited, and what else costs about as much, a few nanoseconds each.
const MOST_WORK: usize = 1 << 26;

/// The work that may still be done for a filter. Whatever can be long is counted here before it is
/// done, so that no filter holds up a start, a reload or `wardenctl verify`.
#[derive(Debug)]
pub(crate) struct Work {
    left: usize,
}

impl Work {
    /// All that a filter may cost.
    pub(crate) fn new() -> Self {
        Self { left: MOST_WORK }
    }

    /// Counts this number of steps.
    pub(crate) fn spend(&mut self, steps: usize) -> Result<(), ProofError> {
        let left = self.left.checked_sub(steps);
        self.left = left.unwrap_or(0);
        left.map(|_| ()).ok_or(ProofError::TooMuch)
    }

    fn affords(&self, steps: usize) -> bool {
        steps <= self.left
    }

    #[cfg(test)]
    pub(crate) fn spent(&self) -> usize {
        MOST_WORK - self.left
    }
}

/// Why a pattern could be neither proven nor refuted. Each is a reason to refuse it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProofError {
    /// Not a regular expression, or one whose automaton is beyond all measure.
    Pattern(String),
    /// `\b`, `(?m)^` and the like.
    LookAround,
    /// `(?:<ADDR> )*`: which of several is meant?
    Repeated,
    /// `(?: from <ADDR>)?`: an attacker could add what sshd has left out.
    Missing,
    /// One search would take too much memory.
    TooLarge,
    /// All together would take too long.
    TooMuch,
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(reason) => write!(f, "the pattern can't be compiled: {reason}"),
            Self::LookAround => f.write_str(
                "the pattern uses a look-around such as a word boundary or a multi-line anchor, \
                 which the proof does not cover",
            ),
            Self::Repeated => f.write_str(
                "the address stands in a repetition, so that one message can hold several; \
                 name it once, outside",
            ),
            Self::Missing => f.write_str(
                "the pattern can match without its address; write two rules, one that always has \
                 an address and one that never has",
            ),
            Self::TooLarge => f.write_str(
                "the pattern is too large to prove; write it with fewer counted repetitions and alternatives",
            ),
            Self::TooMuch => f.write_str(
                "the proof of the whole filter takes too long; write its patterns with fewer counted repetitions and \
                 alternatives, let them begin with different words, or make two filters of this one",
            ),
        }
    }
}

impl std::error::Error for ProofError {}

/// A message that can be read in two ways, and where the address stands in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fooled {
    pub(crate) message: Vec<u8>,
    pub(crate) first: Range<usize>,
    pub(crate) second: Range<usize>,
}

impl fmt::Display for Fooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |range: &Range<usize>| shown(&self.message[range.clone()]);
        write!(
            f,
            "the message \"{}\" can be read with the address \"{}\" (byte {}) or \"{}\" (byte {})",
            shown(&self.message),
            part(&self.first),
            self.first.start,
            part(&self.second),
            self.second.start,
        )
    }
}

/// A message for people: one that is too long for a sentence without its middle.
pub(crate) fn shown(message: &[u8]) -> String {
    const LONGEST: usize = 1000;
    const END: usize = 300;
    if message.len() <= LONGEST {
        return message.escape_ascii().to_string();
    }
    let (begin, end) = (&message[..END], &message[message.len() - END..]);
    format!("{} … ({} bytes) … {}", begin.escape_ascii(), message.len() - 2 * END, end.escape_ascii())
}

/// Is there a message that the pattern can read with two different addresses?
pub(crate) fn alone(pattern: &Automaton, work: &mut Work) -> Result<Option<Fooled>, ProofError> {
    if !pattern.has_address() {
        return Ok(None);
    }
    let walk = Search::new(pattern, pattern, true, true, work)?.run()?;
    walk.map(|walk| fooled(pattern, pattern, &walk, work)).transpose()
}

/// Is there a message that the two patterns read with different addresses? Not if one of them
/// has none: for such pairs, and for rules that count as different things, ask [`overlap`].
pub(crate) fn together(a: &Automaton, b: &Automaton, work: &mut Work) -> Result<Option<Fooled>, ProofError> {
    if !a.has_address() || !b.has_address() {
        return Ok(None);
    }
    let walk = Search::new(a, b, false, true, work)?.run()?;
    walk.map(|walk| fooled(a, b, &walk, work)).transpose()
}

/// Is there a message that both patterns match at all, wherever the address stands? If there is
/// none, it doesn't matter which of the two rules is tried first.
pub(crate) fn overlap(a: &Automaton, b: &Automaton, work: &mut Work) -> Result<Option<Vec<u8>>, ProofError> {
    let walk = Search::new(a, b, false, false, work)?.run()?;
    walk.map(|walk| spell(a, b, &walk, work)).transpose()
}

/// Two automata walking over the same bytes.
struct Search<'a> {
    left: &'a Automaton,
    right: &'a Automaton,
    /// Both are the same pattern, so that a pair and its mirror image have the same answer.
    mirrored: bool,
    /// Only readings with different addresses are of interest.
    apart: bool,
    /// One bit for each pair of nodes, with and without a difference.
    seen: Vec<u64>,
    /// All pairs reached so far, those of shorter messages first.
    queue: Vec<Reached>,
    steps: usize,
    work: &'a mut Work,
}

/// A pair of nodes that some beginning of a message leads to.
struct Reached {
    pair: (usize, usize),
    /// The phases have differed at some byte already read.
    differed: bool,
    /// The entry of the queue one byte earlier; none at the beginning of the message.
    from: Option<usize>,
}

impl<'a> Search<'a> {
    fn new(
        left: &'a Automaton,
        right: &'a Automaton,
        mirrored: bool,
        apart: bool,
        work: &'a mut Work,
    ) -> Result<Self, ProofError> {
        let size = left.states() * right.states() * 2;
        if size > MAX_PAIRS {
            return Err(ProofError::TooLarge);
        }
        work.spend(1 + size / 4096)?;
        let seen = vec![0; size.div_ceil(64)];
        Ok(Self { left, right, mirrored, apart, seen, queue: Vec::new(), steps: 0, work })
    }

    /// Breadth first, so that the first walk that gets through is a shortest.
    fn run(&mut self) -> Result<Option<Vec<(usize, usize)>>, ProofError> {
        let (left, right) = (self.left, self.right);
        self.spread(left.start(), right.start(), false, None)?;
        let mut at = 0;
        while let Some(&Reached { pair, differed, .. }) = self.queue.get(at) {
            if pair == (END, END) && (differed || !self.apart) {
                return Ok(Some(self.walk(at)));
            }
            let differed = differed || (self.apart && left.phase(pair.0) != right.phase(pair.1));
            for (a, b) in Common::of(left.moves(pair.0), right.moves(pair.1)) {
                self.work.spend(1)?;
                if let Some((a, b)) = a.zip(b) {
                    self.spread(left.fan(a), right.fan(b), differed, Some(at))?;
                }
            }
            at += 1;
        }
        Ok(None)
    }

    /// Queues every pair of nodes that has not been seen.
    fn spread(
        &mut self,
        left: &[usize],
        right: &[usize],
        differed: bool,
        from: Option<usize>,
    ) -> Result<(), ProofError> {
        for &a in left {
            for &b in right {
                self.work.spend(1)?;
                self.steps += 1;
                if self.steps > MAX_STEPS {
                    return Err(ProofError::TooLarge);
                }
                let (row, column) = if self.mirrored { (a.min(b), a.max(b)) } else { (a, b) };
                let bit = (row * self.right.states() + column) * 2 + usize::from(differed);
                let (word, mask) = (&mut self.seen[bit / 64], 1 << (bit % 64));
                if *word & mask == 0 {
                    *word |= mask;
                    self.queue.push(Reached { pair: (a, b), differed, from });
                }
            }
        }
        Ok(())
    }

    /// The pairs from the beginning of the message to an entry of the queue.
    fn walk(&self, last: usize) -> Vec<(usize, usize)> {
        let back = std::iter::successors(Some(last), |&at| self.queue[at].from);
        let mut walk: Vec<_> = back.map(|at| self.queue[at].pair).collect();
        walk.reverse();
        walk
    }
}

/// The moves of two nodes that can read the same byte. Both sides are in the order of their bytes and
/// overlap with none of their own, so one walk along both meets them all; each step of it is an item.
struct Common<'a> {
    left: &'a [Move],
    right: &'a [Move],
}

impl<'a> Common<'a> {
    fn of(left: &'a [Move], right: &'a [Move]) -> Self {
        Self { left, right }
    }
}

impl<'a> Iterator for Common<'a> {
    type Item = (Option<&'a Move>, Option<&'a Move>);

    fn next(&mut self) -> Option<Self::Item> {
        let ((a, left), (b, right)) = self.left.split_first().zip(self.right.split_first())?;
        if a.high <= b.high {
            self.left = left;
        }
        if b.high <= a.high {
            self.right = right;
        }
        let meet = a.low.max(b.low) <= a.high.min(b.high);
        Some(if meet { (Some(a), Some(b)) } else { (None, None) })
    }
}

/// The message of a walk, and where its two readings see the address.
fn fooled(a: &Automaton, b: &Automaton, walk: &[(usize, usize)], work: &mut Work) -> Result<Fooled, ProofError> {
    let first: Vec<_> = walk.iter().map(|pair| a.phase(pair.0)).collect();
    let second: Vec<_> = walk.iter().map(|pair| b.phase(pair.1)).collect();
    let shortest = Fooled { message: spell(a, b, walk, work)?, first: place(&first), second: place(&second) };
    let reads = |it: &Fooled| {
        let cost = it.message.len().saturating_mul(a.size().saturating_add(b.size()));
        work.affords(cost) && a.reads(&it.message, &it.first) && b.reads(&it.message, &it.second)
    };
    Ok(match plainer(&shortest) {
        Some(plain) if reads(&plain) => plain,
        _ => shortest,
    })
}

/// A word of phases gives the place of the address back. (The node for the end of the message
/// stands after it.)
fn place(phases: &[Phase]) -> Range<usize> {
    let count = |wanted| phases.iter().filter(|&&phase| phase == wanted).count();
    let start = count(Phase::Before);
    start..start + count(Phase::Inside)
}

/// One byte for each step of the walk: of those that both sides can read there, the one that
/// makes the message easiest to understand.
fn spell(a: &Automaton, b: &Automaton, walk: &[(usize, usize)], work: &mut Work) -> Result<Vec<u8>, ProofError> {
    let mut message = Vec::with_capacity(walk.len());
    for (&(left, right), &(next_left, next_right)) in walk.iter().zip(walk.iter().skip(1)) {
        let address = match (a.phase(left), b.phase(right)) {
            (Phase::Inside, _) => Some(b'1'),
            (_, Phase::Inside) => Some(b'2'),
            _ => None,
        };
        let mut best = None;
        for (m, n) in Common::of(a.moves(left), b.moves(right)) {
            work.spend(1)?;
            let Some((m, n)) = m.zip(n) else { continue };
            let (low, high) = (m.low.max(n.low), m.high.min(n.high));
            work.spend(a.fan(m).len() + b.fan(n).len() + usize::from(high - low))?;
            if a.fan(m).contains(&next_left) && b.fan(n).contains(&next_right) {
                best = best.into_iter().chain((low..=high).map(|byte| (oddness(byte, address), byte))).min();
            }
        }
        message.extend(best.map(|(_, byte)| byte));
    }
    Ok(message)
}

/// Low for bytes that read well. In an address digits do, the two addresses by different ones.
fn oddness(byte: u8, address: Option<u8>) -> u8 {
    match byte {
        _ if address == Some(byte) => 0,
        b'0'..=b'9' => {
            if address.is_some() {
                1
            } else {
                5
            }
        }
        b'.' | b':' if address.is_some() => 2,
        b'a'..=b'z' => 3,
        b'A'..=b'Z' => 4,
        b' ' => 6,
        b'!'..=b'~' => 7,
        _ => 8,
    }
}

/// The same with whole addresses (of the blocks for examples) in place of the shortest text that
/// could be one. Not every pattern lets them pass, and overlapping places can't both be filled.
fn plainer(fooled: &Fooled) -> Option<Fooled> {
    const ADDRESSES: [&[u8]; 2] = [b"192.0.2.1", b"198.51.100.2"];
    let Fooled { message, first, second } = fooled;
    let swapped = second.start < first.start;
    let (left, right) = if swapped { (second, first) } else { (first, second) };
    if left.is_empty() || right.is_empty() || left.end > right.start {
        return None;
    }
    let mut plain = message[..left.start].to_vec();
    let mut put = |text: &[u8], rest: &[u8]| {
        let start = plain.len();
        plain.extend_from_slice(text);
        let place = start..plain.len();
        plain.extend_from_slice(rest);
        place
    };
    let left_place = put(ADDRESSES[usize::from(swapped)], &message[left.end..right.start]);
    let right_place = put(ADDRESSES[usize::from(!swapped)], &message[right.end..]);
    let (first, second) = if swapped { (right_place, left_place) } else { (left_place, right_place) };
    Some(Fooled { message: plain, first, second })
}
