//! Says a thing that happens again and again once in a while, and not each time.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// The most things that are remembered; beyond that some are said once more.
const MOST: usize = 10_000;

/// What was said, and when.
#[derive(Debug)]
pub(super) struct Quiet<K> {
    span: Duration,
    said: HashMap<K, Instant>,
}

impl<K: Eq + Hash> Quiet<K> {
    /// A thing is said once in `span`.
    pub(super) fn new(span: Duration) -> Self {
        Self { span, said: HashMap::new() }
    }

    /// Whether to say it now.
    pub(super) fn may_say(&mut self, what: K) -> bool {
        let now = Instant::now();
        if self.said.len() >= MOST {
            self.said.retain(|_, said| now.duration_since(*said) < self.span);
            if self.said.len() >= MOST {
                self.said.clear();
            }
        }
        let due = self.said.get(&what).is_none_or(|said| now.duration_since(*said) >= self.span);
        if due {
            self.said.insert(what, now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_said_once_in_a_while() {
        let mut quiet = Quiet::new(Duration::from_secs(3600));
        assert!(quiet.may_say(1));
        assert!(!quiet.may_say(1));
        assert!(quiet.may_say(2));
        let mut chatty = Quiet::new(Duration::ZERO);
        assert!(chatty.may_say(1) && chatty.may_say(1));
        for thing in 0..3 * MOST {
            quiet.may_say(thing + 10);
            assert!(quiet.said.len() <= MOST);
        }
    }
}
