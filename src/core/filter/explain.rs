//! What a filter makes of one message, in more detail than the daemon needs: for `wardenctl test`.
//!
//! Where no rule reads a message, the question is which one was meant to, and what is in its
//! way. In the order of how much they explain: a name where an address should stand; text before
//! or behind what a rule reads; and else the rule that goes along with the message furthest.

use std::net::IpAddr;

use super::{Filter, Found, Rule, address, pattern, proof::Work, records::Kinds, tokens};
use crate::core::record::Record;

/// A message that a rule reads.
#[derive(Debug)]
pub(crate) struct Reading<'f, 'm> {
    pub(crate) rule: &'f Rule,
    pub(crate) address: Option<IpAddr>,
    pub(crate) user: Option<&'m [u8]>,
    pub(crate) pid: Option<&'m [u8]>,
    /// Why there is no address though the pattern has found the place for one.
    pub(crate) withheld: Option<Withheld<'m>>,
}

/// Why an address is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld<'m> {
    /// The message may have been cut off behind attacker text.
    Cut(usize),
    /// It is none.
    NoAddress(&'m [u8]),
}

/// The rule that comes nearest to reading a message, and what is in its way.
#[derive(Debug)]
pub(crate) struct Nearest<'f, 'm> {
    pub(crate) rule: &'f Rule,
    pub(crate) why: Why<'m>,
}

/// What is in the way of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why<'m> {
    /// This stands where an address should.
    Address(&'m [u8]),
    /// The rule reads all but this text before and this behind.
    Surplus(&'m [u8], &'m [u8]),
    /// From here on, the message is not what the rule reads.
    From(&'m [u8]),
    /// It begins as the rule wants, but never goes on so.
    Unfinished,
}

impl Rule {
    /// The pattern, as written.
    pub(crate) fn pattern(&self) -> &str {
        &self.pattern
    }
}

impl Filter {
    /// Reads a message as the daemon would.
    pub(crate) fn examine<'m>(&self, message: &'m [u8], altered: bool) -> Option<Reading<'_, 'm>> {
        let (id, tokens) = self.find(message, Kinds::ALL)?;
        Some(self.reading(Found { id, tokens, length: message.len(), altered }))
    }

    /// Reads a record as the daemon would.
    pub(crate) fn examine_record<'r>(&self, record: &'r Record) -> Option<Reading<'_, 'r>> {
        self.find_in(record).map(|found| self.reading(found))
    }

    fn reading<'m>(&self, Found { id, tokens, length, altered }: Found<'m>) -> Reading<'_, 'm> {
        let address = self.address(id, &tokens, length, altered);
        let withheld = tokens.address.and_then(|token| {
            if self.may_be_cut(id, length, altered) {
                Some(Withheld::Cut(length))
            } else {
                address::parse(token).is_none().then_some(Withheld::NoAddress(token))
            }
        });
        Reading { rule: self.rule(id), address, user: tokens.user, pid: tokens.pid, withheld }
    }

    /// The rule that comes nearest to a message that none reads.
    pub(crate) fn nearest<'m>(&self, message: &'m [u8]) -> Option<Nearest<'_, 'm>> {
        self.but_for_the_address(message).or_else(|| self.but_for_surplus(message)).or_else(|| self.furthest(message))
    }

    fn but_for_the_address<'m>(&self, message: &'m [u8]) -> Option<Nearest<'_, 'm>> {
        self.rules.iter().find_map(|rule| {
            let regex =
                pattern::Pattern::expand_with(&rule.pattern, &self.clients, Some("[^ ]+")).ok()?.compile().ok()?;
            let token = regex.captures(message)?.name(tokens::ADDR)?.as_bytes();
            Some(Nearest { rule, why: Why::Address(token) })
        })
    }

    fn but_for_surplus<'m>(&self, message: &'m [u8]) -> Option<Nearest<'_, 'm>> {
        let read = self.rules.iter().filter_map(|rule| {
            let regex = pattern::Pattern::expand(&rule.pattern, &self.clients).ok()?.compile_anywhere().ok()?;
            let found = regex.find(message).filter(|found| !found.is_empty())?;
            let why = Why::Surplus(&message[..found.start()], &message[found.end()..]);
            Some((found.len(), Nearest { rule, why }))
        });
        read.max_by_key(|(length, _)| *length).map(|(_, nearest)| nearest)
    }

    fn furthest<'m>(&self, message: &'m [u8]) -> Option<Nearest<'_, 'm>> {
        /// Less than this in common is a coincidence.
        const LEAST: usize = 5;
        let reached = self.rules.iter().filter_map(|rule| {
            let automaton =
                pattern::Pattern::expand(&rule.pattern, &self.clients).ok()?.automaton(&mut Work::new()).ok()?;
            Some((automaton.reach(message), rule))
        });
        let (reach, rule) = reached.max_by_key(|(reach, _)| *reach).filter(|(reach, _)| *reach >= LEAST)?;
        let why = if reach == message.len() { Why::Unfinished } else { Why::From(&message[reach..]) };
        Some(Nearest { rule, why })
    }
}
