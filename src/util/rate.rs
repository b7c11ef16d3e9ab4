//! Says a thing that happens again and again once in a while, and not each time; and of many things
//! only a limited number a second.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// The most things that are remembered; beyond that some are said once more.
const MOST: usize = 10_000;

/// What was said, and when.
#[derive(Debug)]
pub(crate) struct OncePer<K> {
    span: Duration,
    said: HashMap<K, Instant>,
}

impl<K: Eq + Hash> OncePer<K> {
    /// A thing is said once in `span`.
    pub(crate) fn new(span: Duration) -> Self {
        Self { span, said: HashMap::new() }
    }

    /// Whether to say it now.
    pub(crate) fn may_say(&mut self, what: K) -> bool {
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

/// The number of messages a second that are logged individually.
const RATE: u32 = 10;

/// How much was said in this second.
#[derive(Debug)]
pub(crate) struct RateLimit {
    since: Instant,
    said: u32,
    omitted: u32,
}

impl RateLimit {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), said: 0, omitted: 0 }
    }

    /// Whether to say one more now; if so, how many were not said since the last.
    pub(crate) fn may_say(&mut self, now: Instant) -> Option<u32> {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            (self.since, self.said) = (now, 0);
        }
        if self.said < RATE {
            self.said += 1;
            Some(std::mem::take(&mut self.omitted))
        } else {
            self.omitted = self.omitted.saturating_add(1);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_some_are_said_and_none_is_forgotten() {
        let mut pace = RateLimit::new();
        let begin = pace.since;
        let (mut said, mut omitted) = (0, 0);
        for millisecond in 0..5000 {
            if let Some(before) = pace.may_say(begin + Duration::from_millis(millisecond)) {
                (said, omitted) = (said + 1, omitted + before);
            }
        }
        assert_eq!(said, 5 * RATE);
        assert_eq!(said + omitted + pace.omitted, 5000);
        assert_eq!(pace.may_say(begin + Duration::from_secs(6)), Some(1000 - RATE));
        assert_eq!(pace.may_say(begin + Duration::from_secs(7)), Some(0));
    }

    #[test]
    fn a_thing_is_said_once_in_a_while() {
        let mut quiet = OncePer::new(Duration::from_secs(3600));
        assert!(quiet.may_say(1));
        assert!(!quiet.may_say(1));
        assert!(quiet.may_say(2));
        let mut chatty = OncePer::new(Duration::ZERO);
        assert!(chatty.may_say(1) && chatty.may_say(1));
        for thing in 0..3 * MOST {
            quiet.may_say(thing + 10);
            assert!(quiet.said.len() <= MOST);
        }
    }
}
