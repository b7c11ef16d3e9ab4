//! How much a machine may say at once, and in a second.

use super::Seconds;

/// A bucket of tokens that fills at a constant rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: u64,
    at: Seconds,
}

impl Bucket {
    pub(super) fn full(capacity: u64, now: Seconds) -> Self {
        Self { tokens: capacity, at: now }
    }

    /// Takes tokens out; says whether there were enough. What is missing is not owed.
    pub(super) fn take(&mut self, tokens: u64, capacity: u64, a_second: u64, now: Seconds) -> bool {
        // A clock that was set back fills nothing, and empties nothing.
        let filled = now.saturating_sub(self.at).saturating_mul(a_second);
        self.tokens = self.tokens.saturating_add(filled).min(capacity);
        self.at = now;
        let enough = self.tokens >= tokens;
        self.tokens = self.tokens.saturating_sub(tokens);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_it_can_and_fills_with_time() {
        let mut bucket = Bucket::full(100, 10);
        assert!(bucket.take(100, 100, 20, 10));
        assert!(!bucket.take(1, 100, 20, 10));
        assert!(bucket.take(20, 100, 20, 11));
        assert!(!bucket.take(1, 100, 20, 5), "set back");
        assert!(bucket.take(100, 100, 20, u64::MAX));
        assert!(!bucket.take(1, 100, 20, u64::MAX));
    }
}
