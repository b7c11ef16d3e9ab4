//! Records inside of messages: can one rule read a piece of what a program writes at once, and see
//! another address there than the message has?
//!
//! A program that writes lines, or that cuts long messages up, makes several records of one message,
//! and where an attacker's text stands they choose where a record begins and ends. As in the proof of
//! two rules, two automata walk over the same bytes; but the second one starts only where a piece
//! begins, and must have come to its end where the piece ends. Ahead of it, it counts as standing
//! before the address, and behind it as standing after: so the same bit tells whether both see the
//! address at one place of the message.

use std::ops::Range;

use super::{Automaton, Common, END, MAX_PAIRS, MAX_STEPS, Phase, ProofError, Work, oddness};

/// Where messages are cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cuts<'c> {
    /// At line breaks, which are in no piece.
    Lines,
    /// Between any two bytes, but a piece begins only where the message can be as long as it is cut at: for
    /// each of its nodes, whether that is so behind the byte that leads there.
    Anywhere(&'c [bool]),
}

/// Which pieces are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The first, if there are more.
    First,
    /// Any but the first.
    Later,
}

/// A message of the one automaton, and a piece of it that the other one reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Embedded {
    pub(crate) message: Vec<u8>,
    /// The piece.
    pub(crate) record: Range<usize>,
    /// The address that is read in it, as a place in the message; empty, if there is none.
    pub(crate) place: Range<usize>,
}

/// Where the reader of the piece is.
const WAITING: usize = 0;
const DONE: usize = 1;
/// The first of its automaton's nodes.
const NODES: usize = 2;

/// A step of the search.
struct Reached {
    message: usize,
    piece: usize,
    differed: bool,
    from: Option<usize>,
    /// The bytes that lead here.
    bytes: (u8, u8),
}

struct Search<'a> {
    message: &'a Automaton,
    piece: &'a Automaton,
    cuts: Cuts<'a>,
    which: Piece,
    seen: Vec<u64>,
    queue: Vec<Reached>,
    work: &'a mut Work,
}

/// Is there a message of `message`, and a piece of it that `piece` reads with an address that the message
/// does not have at that place?
pub(crate) fn embedded(
    message: &Automaton,
    piece: &Automaton,
    cuts: Cuts<'_>,
    which: Piece,
    work: &mut Work,
) -> Result<Option<Embedded>, ProofError> {
    let size = message.states() * (piece.states() + NODES) * 2;
    if size > MAX_PAIRS {
        return Err(ProofError::TooLarge);
    }
    work.spend(1 + size / 4096)?;
    let seen = vec![0; size.div_ceil(64)];
    let mut search = Search { message, piece, cuts, which, seen, queue: Vec::new(), work };
    Ok(search.run()?.map(|last| search.found(last)))
}

impl Search<'_> {
    fn run(&mut self) -> Result<Option<usize>, ProofError> {
        let differed = !self.piece.has_address();
        let begin: Vec<usize> = match self.which {
            Piece::First => self.piece.start().iter().map(|node| node + NODES).collect(),
            Piece::Later => vec![WAITING],
        };
        for &node in self.message.start() {
            for &inner in &begin {
                self.reach((node, inner), differed, None, (0, 0))?;
            }
        }
        let mut at = 0;
        while let Some(&Reached { message, piece, differed, .. }) = self.queue.get(at) {
            let ended = piece == DONE || (piece == END + NODES && self.which == Piece::Later);
            if message == END && ended && differed {
                return Ok(Some(at));
            }
            self.step(at, message, piece, differed)?;
            at += 1;
        }
        Ok(None)
    }

    /// Goes on by one byte.
    fn step(&mut self, at: usize, message: usize, piece: usize, differed: bool) -> Result<(), ProofError> {
        let (outer, inner) = (self.message, self.piece);
        let differed = differed || self.phase(message) != self.inner_phase(piece);
        if piece == WAITING || piece == DONE || piece == END + NODES {
            for step in outer.moves(message) {
                self.work.spend(1)?;
                let bytes = (step.low, step.high);
                let at_break = self.cut_by(bytes);
                for &next in outer.fan(step) {
                    match piece {
                        WAITING => {
                            self.reach((next, WAITING), differed, Some(at), bytes)?;
                            if let Some(bytes) = at_break.filter(|_| self.may_begin(next)) {
                                for &start in inner.start() {
                                    self.reach((next, start + NODES), differed, Some(at), bytes)?;
                                }
                            }
                        }
                        DONE => self.reach((next, DONE), differed, Some(at), bytes)?,
                        // The piece ends here, if the message can be cut here.
                        _ => {
                            if let Some(bytes) = at_break {
                                self.reach((next, DONE), differed, Some(at), bytes)?;
                            }
                        }
                    }
                }
            }
            return Ok(());
        }
        for (a, b) in Common::of(outer.moves(message), inner.moves(piece - NODES)) {
            self.work.spend(1)?;
            let Some((a, b)) = a.zip(b) else { continue };
            let Some(bytes) = self.inside((a.low.max(b.low), a.high.min(b.high))) else { continue };
            for &next in outer.fan(a) {
                for &inner_next in inner.fan(b) {
                    self.reach((next, inner_next + NODES), differed, Some(at), bytes)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a piece can begin ahead of a node of the message.
    fn may_begin(&self, message: usize) -> bool {
        match self.cuts {
            Cuts::Lines => true,
            Cuts::Anywhere(far) => far[message],
        }
    }

    /// Of a range of bytes, those that end a piece.
    fn cut_by(&self, (low, high): (u8, u8)) -> Option<(u8, u8)> {
        match self.cuts {
            Cuts::Anywhere(_) => Some((low, high)),
            Cuts::Lines => (low..=high).contains(&b'\n').then_some((b'\n', b'\n')),
        }
    }

    /// Of a range of bytes, those that can stand in a piece. (The larger part, where a line break is in
    /// the middle: for the search it is enough that there is one.)
    fn inside(&self, (low, high): (u8, u8)) -> Option<(u8, u8)> {
        match self.cuts {
            Cuts::Lines if low == b'\n' && high == b'\n' => None,
            Cuts::Lines if (low..=high).contains(&b'\n') && high > b'\n' => Some((b'\n' + 1, high)),
            Cuts::Lines if high == b'\n' => Some((low, high - 1)),
            _ => Some((low, high)),
        }
    }

    /// Without an address, all of a message stands before it.
    fn phase(&self, node: usize) -> Phase {
        if self.message.has_address() { self.message.phase(node) } else { Phase::Before }
    }

    fn inner_phase(&self, piece: usize) -> Phase {
        match piece {
            WAITING => Phase::Before,
            DONE => Phase::After,
            node => self.piece.phase(node - NODES),
        }
    }

    fn reach(
        &mut self,
        (message, piece): (usize, usize),
        differed: bool,
        from: Option<usize>,
        bytes: (u8, u8),
    ) -> Result<(), ProofError> {
        self.work.spend(1)?;
        let bit = (message * (self.piece.states() + NODES) + piece) * 2 + usize::from(differed);
        let (word, mask) = (&mut self.seen[bit / 64], 1 << (bit % 64));
        if *word & mask == 0 {
            *word |= mask;
            if self.queue.len() >= MAX_STEPS {
                return Err(ProofError::TooLarge);
            }
            self.queue.push(Reached { message, piece, differed, from, bytes });
        }
        Ok(())
    }

    /// The message that leads to an entry of the queue, in bytes that read well.
    fn found(&self, last: usize) -> Embedded {
        let back = std::iter::successors(Some(last), |&at| self.queue[at].from);
        let mut walk: Vec<&Reached> = back.map(|at| &self.queue[at]).collect();
        walk.reverse();
        let mut message = Vec::with_capacity(walk.len());
        let mut phases = Vec::with_capacity(walk.len());
        for (here, next) in walk.iter().zip(walk.iter().skip(1)) {
            let inside = self.inner_phase(here.piece) == Phase::Inside && self.piece.has_address();
            let own = self.phase(here.message) == Phase::Inside;
            let address = if inside { Some(b'2') } else { own.then_some(b'1') };
            message.extend((next.bytes.0..=next.bytes.1).min_by_key(|byte| (oddness(*byte, address), *byte)));
            phases.push((here.piece, inside));
        }
        let first = |wanted: &dyn Fn(&(usize, bool)) -> bool| phases.iter().position(wanted).unwrap_or(phases.len());
        let begin = first(&|(piece, _)| *piece != WAITING);
        // The step from the piece's end is the cut; with cuts anywhere it reads what comes behind it.
        let end = first(&|(piece, _)| *piece == DONE || *piece == END + NODES).max(begin);
        let start = first(&|(_, inside)| *inside);
        let place = start..start + phases.iter().filter(|(_, inside)| *inside).count();
        let place = if place.is_empty() { begin..begin } else { place };
        Embedded { message, record: begin..end, place }
    }
}
