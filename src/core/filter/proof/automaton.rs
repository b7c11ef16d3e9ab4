//! A pattern as the proof walks it: without empty moves, and with each state of its Thompson
//! automaton split by phase, so that a node knows where the byte it is about to read stands.
//!
//! Empty moves are followed once, here, while building: the marks of the address group change
//! the phase, `^` and `\A` are passable at the beginning of the message only, `$` and `\z` only
//! if nothing is read any more. Any other look-around would need to know its neighbours, and is
//! refused.

use std::error::Error;
use std::mem;
use std::ops::Range;

use regex_automata::nfa::thompson::{Compiler, Config, NFA, State, Transition, WhichCaptures};
use regex_automata::util::look::Look;
use regex_automata::util::primitives::{PatternID, StateID};
use regex_automata::util::syntax;
use regex_syntax::hir::Hir;

use super::{MAX_STEPS, ProofError, Work};

/// The capture group that holds the address.
const ADDRESS: &str = "ADDR";

/// Bound on the size of a compiled pattern, in bytes.
const MAX_COMPILED: usize = 1 << 18;

/// Longer than any address with its scope.
const LONG: usize = 512;

/// The node for the end of the message, from which nothing is read.
pub(super) const END: usize = 0;

/// Where a byte stands, seen from the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Before,
    Inside,
    After,
}

/// One pattern with its address group, ready to be walked.
#[derive(Debug)]
pub(crate) struct Automaton {
    has_address: bool,
    nodes: Vec<Node>,
    /// Sets of nodes that can follow one byte. Many moves share one.
    fans: Vec<Vec<usize>>,
    /// The fan at the beginning of the message.
    start: usize,
}

#[derive(Debug)]
struct Node {
    phase: Phase,
    moves: Vec<Move>,
}

/// Reads one byte from `low` to `high`, and leads to all nodes of a fan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    pub(super) low: u8,
    pub(super) high: u8,
    fan: usize,
}

impl Automaton {
    /// Compiles a pattern with its tokens filled in. It stands for whole messages: `\A…\z` is
    /// implied, and dots match any byte. The address is the group `ADDR`, if there is one.
    pub(crate) fn new(pattern: &str, work: &mut Work) -> Result<Self, ProofError> {
        let syntax = syntax::Config::new().unicode(false).utf8(false).dot_matches_new_line(true);
        // Before it is parsed: of what is too long there is an error, and not a wait.
        Self::afford(pattern.len(), work)?;
        let hir = syntax::parse_with(pattern, &syntax).map_err(|error| ProofError::Pattern(reason(&error)))?;
        Self::compile(&hir, work)
    }

    /// The same of a pattern that is parsed already, by the same rules, from a text of this length.
    pub(crate) fn of(hir: &Hir, length: usize, work: &mut Work) -> Result<Self, ProofError> {
        Self::afford(length, work)?;
        Self::compile(hir, work)
    }

    /// A byte of text can be one of a class, which is put in order after each.
    fn afford(length: usize, work: &mut Work) -> Result<(), ProofError> {
        work.spend(length.saturating_mul(100))
    }

    fn compile(hir: &Hir, work: &mut Work) -> Result<Self, ProofError> {
        let config = Config::new().utf8(false).which_captures(WhichCaptures::All).nfa_size_limit(Some(MAX_COMPILED));
        let nfa = Compiler::new().configure(config).build_from_hir(hir).map_err(|error| match error.size_limit() {
            Some(_) => ProofError::TooLarge,
            None => ProofError::Pattern(reason(&error)),
        })?;
        work.spend(nfa.memory_usage())?;
        let others = nfa.look_set_any().remove(Look::Start).remove(Look::End);
        if !others.is_empty() {
            return Err(ProofError::LookAround);
        }
        Builder::new(&nfa, work).build()
    }

    pub(crate) fn has_address(&self) -> bool {
        self.has_address
    }

    /// The size of the pattern, for limits and messages.
    pub(crate) fn states(&self) -> usize {
        self.nodes.len()
    }

    /// How much it is to look at all moves once.
    pub(super) fn size(&self) -> usize {
        self.nodes.iter().flat_map(|node| &node.moves).map(|step| 1 + self.fan(step).len()).sum()
    }

    pub(super) fn start(&self) -> &[usize] {
        &self.fans[self.start]
    }

    pub(super) fn phase(&self, node: usize) -> Phase {
        self.nodes[node].phase
    }

    /// In the order of their bytes, of which no two moves read the same.
    pub(super) fn moves(&self, node: usize) -> &[Move] {
        &self.nodes[node].moves
    }

    pub(super) fn fan(&self, step: &Move) -> &[usize] {
        &self.fans[step.fan]
    }

    /// How many bytes of a message can be the beginning of one that the pattern reads.
    pub(crate) fn reach(&self, message: &[u8]) -> usize {
        let mut here = vec![false; self.nodes.len()];
        self.start().iter().for_each(|&node| here[node] = true);
        for (at, &byte) in message.iter().enumerate() {
            let before = mem::replace(&mut here, vec![false; self.nodes.len()]);
            let alive = self.nodes.iter().zip(before).filter(|(_, reached)| *reached);
            for step in alive.flat_map(|(node, _)| &node.moves).filter(|step| step.reads(byte)) {
                self.fan(step).iter().for_each(|&node| here[node] = true);
            }
            if !here.contains(&true) {
                return at;
            }
        }
        message.len()
    }

    /// Whether some message has this byte.
    pub(crate) fn reads_byte(&self, byte: u8) -> bool {
        self.nodes.iter().flat_map(|node| &node.moves).any(|step| step.reads(byte))
    }

    /// For each node, whether a message can lead there after this number of bytes or more.
    pub(crate) fn far(&self, bytes: usize, work: &mut Work) -> Result<Vec<bool>, ProofError> {
        let mut here = vec![false; self.nodes.len()];
        self.start().iter().for_each(|&node| here[node] = true);
        let size = self.size();
        // No address fills a message, though the pattern of one has no end.
        let is_short = bytes > LONG;
        let goes = |node: &Node, next: usize| {
            !(is_short && node.phase == Phase::Inside && self.nodes[next].phase == Phase::Inside)
        };
        // A way that is longer than there are nodes goes in a circle, and so can be of any length.
        for _ in 0..bytes.min(self.nodes.len()) {
            work.spend(size)?;
            let before = mem::replace(&mut here, vec![false; self.nodes.len()]);
            for (node, _) in self.nodes.iter().zip(before).filter(|(_, reached)| *reached) {
                let nexts = node.moves.iter().flat_map(|step| self.fan(step));
                nexts.filter(|&&next| goes(node, next)).for_each(|&next| here[next] = true);
            }
        }
        let mut open: Vec<usize> = (0..here.len()).filter(|node| here[*node]).collect();
        while let Some(node) = open.pop() {
            work.spend(self.nodes[node].moves.len())?;
            for &next in self.nodes[node].moves.iter().flat_map(|step| self.fan(step)) {
                if !mem::replace(&mut here[next], true) {
                    open.push(next);
                }
            }
        }
        Ok(here)
    }

    /// Can the pattern read the message, wherever the address stands?
    pub(crate) fn matches(&self, message: &[u8]) -> bool {
        let mut here = vec![false; self.nodes.len()];
        self.start().iter().for_each(|&node| here[node] = true);
        for &byte in message {
            let before = mem::replace(&mut here, vec![false; self.nodes.len()]);
            for (node, _) in self.nodes.iter().zip(before).filter(|(_, reached)| *reached) {
                for step in node.moves.iter().filter(|step| step.reads(byte)) {
                    self.fan(step).iter().for_each(|&node| here[node] = true);
                }
            }
        }
        here[END]
    }

    /// Can the pattern read the message with the address at this place?
    pub(crate) fn reads(&self, message: &[u8], place: &Range<usize>) -> bool {
        let mut here = vec![false; self.nodes.len()];
        self.start().iter().for_each(|&node| here[node] = true);
        for (at, &byte) in message.iter().enumerate() {
            let phase = match at {
                _ if at < place.start => Phase::Before,
                _ if at < place.end => Phase::Inside,
                _ => Phase::After,
            };
            let before = mem::replace(&mut here, vec![false; self.nodes.len()]);
            for (node, _) in self.nodes.iter().zip(before).filter(|(_, reached)| *reached) {
                let steps = node.moves.iter().filter(|step| node.phase == phase && step.reads(byte));
                for step in steps {
                    self.fan(step).iter().for_each(|&node| here[node] = true);
                }
            }
        }
        here[END]
    }
}

impl Move {
    fn reads(&self, byte: u8) -> bool {
        (self.low..=self.high).contains(&byte)
    }
}

/// The innermost cause says what is wrong with the pattern, the outer ones only who noticed.
fn reason(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

struct Builder<'n> {
    nfa: &'n NFA,
    work: &'n mut Work,
    /// The slots where the address group begins and ends.
    slots: Option<(usize, usize)>,
    /// For each node the state that it stands for; none for [`END`].
    origins: Vec<Option<StateID>>,
    nodes: Vec<Node>,
    fans: Vec<Vec<usize>>,
    /// By state and phase: the node, and the fan of all that empty moves lead to.
    node_of: Vec<Option<usize>>,
    fan_of: Vec<Option<usize>>,
    /// By state, phase and "at the end": the fan during whose making it was last visited.
    visited: Vec<usize>,
    steps: usize,
}

/// A place in a table that is indexed by state and phase.
fn index(state: StateID, phase: Phase) -> usize {
    state.as_usize() * 3 + phase as usize
}

impl<'n> Builder<'n> {
    fn new(nfa: &'n NFA, work: &'n mut Work) -> Self {
        let groups = nfa.group_info();
        let group = groups.to_index(PatternID::ZERO, ADDRESS);
        let size = nfa.states().len() * 3;
        Self {
            nfa,
            work,
            slots: group.and_then(|group| groups.slots(PatternID::ZERO, group)),
            // The end stands behind the address, if there is one: other ends are refused.
            origins: vec![None],
            nodes: vec![Node { phase: Phase::After, moves: Vec::new() }],
            fans: Vec::new(),
            node_of: vec![None; size],
            fan_of: vec![None; size],
            visited: vec![usize::MAX; size * 2],
            steps: 0,
        }
    }

    fn build(mut self) -> Result<Automaton, ProofError> {
        let start = self.fan(self.nfa.start_anchored(), Phase::Before, true)?;
        let mut node = 0;
        while let Some(&origin) = self.origins.get(node) {
            if let Some(state) = origin {
                self.nodes[node].moves = self.moves(state, self.nodes[node].phase)?;
            }
            node += 1;
        }
        let has_address = self.slots.is_some();
        Ok(Automaton { has_address, nodes: self.nodes, fans: self.fans, start })
    }

    fn moves(&mut self, state: StateID, phase: Phase) -> Result<Vec<Move>, ProofError> {
        let transitions: Vec<_> = match self.nfa.state(state) {
            State::ByteRange { trans } => vec![*trans],
            State::Sparse(sparse) => sparse.transitions.to_vec(),
            State::Dense(dense) => (0..=u8::MAX)
                .filter_map(|byte| {
                    let next = dense.matches_byte(byte)?;
                    Some(Transition { start: byte, end: byte, next })
                })
                .collect(),
            _ => Vec::new(),
        };
        self.work.spend(transitions.len())?;
        let mut moves = Vec::with_capacity(transitions.len());
        for step in transitions {
            let known = self.fan_of[index(step.next, phase)];
            let fan = match known {
                Some(fan) => fan,
                None => self.fan(step.next, phase, false)?,
            };
            self.fan_of[index(step.next, phase)] = Some(fan);
            moves.push(Move { low: step.start, high: step.end, fan });
        }
        Ok(moves)
    }

    /// Follows all empty moves from a state. Once it has passed `$`, the only thing left to
    /// reach is the end.
    fn fan(&mut self, from: StateID, phase: Phase, at_start: bool) -> Result<usize, ProofError> {
        let nfa = self.nfa;
        let number = self.fans.len();
        let mut fan = Vec::new();
        let mut open = vec![(from, phase, false)];
        while let Some((state, phase, at_end)) = open.pop() {
            self.work.spend(1)?;
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(ProofError::TooLarge);
            }
            let visited = &mut self.visited[index(state, phase) * 2 + usize::from(at_end)];
            if mem::replace(visited, number) == number {
                continue;
            }
            match nfa.state(state) {
                State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) => {
                    if !at_end {
                        fan.push(self.node(state, phase));
                    }
                }
                State::Look { look: Look::Start, next } => {
                    if at_start {
                        open.push((*next, phase, at_end));
                    }
                }
                State::Look { look: Look::End, next } => open.push((*next, phase, true)),
                State::Look { .. } => return Err(ProofError::LookAround),
                State::Union { alternates } => {
                    open.extend(alternates.iter().map(|&next| (next, phase, at_end)));
                }
                State::BinaryUnion { alt1, alt2 } => {
                    open.extend([(*alt1, phase, at_end), (*alt2, phase, at_end)]);
                }
                State::Capture { next, slot, .. } => {
                    open.push((*next, self.mark(slot.as_usize(), phase)?, at_end));
                }
                State::Fail => {}
                State::Match { .. } => {
                    if self.slots.is_some() && phase != Phase::After {
                        return Err(ProofError::Missing);
                    }
                    if !fan.contains(&END) {
                        fan.push(END);
                    }
                }
            }
        }
        self.fans.push(fan);
        Ok(number)
    }

    /// The phase behind the mark of a group.
    fn mark(&self, slot: usize, phase: Phase) -> Result<Phase, ProofError> {
        match self.slots {
            Some((begin, _)) if slot == begin && phase != Phase::Before => Err(ProofError::Repeated),
            Some((begin, _)) if slot == begin => Ok(Phase::Inside),
            Some((_, end)) if slot == end => Ok(Phase::After),
            _ => Ok(phase),
        }
    }

    fn node(&mut self, state: StateID, phase: Phase) -> usize {
        *self.node_of[index(state, phase)].get_or_insert_with(|| {
            self.origins.push(Some(state));
            self.nodes.push(Node { phase, moves: Vec::new() });
            self.nodes.len() - 1
        })
    }
}
