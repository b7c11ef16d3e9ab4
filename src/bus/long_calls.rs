//! Calls that take long to decode: root's are all read, and those of each other user at a pace.
//!
//! zbus decodes a call before anybody knows whether its caller may make it, and all others wait meanwhile. So
//! whoever may make none of these calls could keep the daemon busy with them for as long as they send them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use zbus::{Connection, message::Header};

use super::caller::caller;

/// Calls that take more bytes once they are decoded are long: a list of some thousand entries.
pub(super) const LONG: usize = 4 << 20;
/// The number of long calls of a user that are read at once,
const BURST: u32 = 8;
/// and how long it takes until there may be one more.
const PACE: Duration = Duration::from_secs(4);
/// The number of users beyond which those that have sent none for a while are forgotten.
const MANY: usize = 256;

/// The long calls of each user.
#[derive(Debug, Default)]
pub(super) struct LongCalls(Mutex<HashMap<u32, Instant>>);

impl LongCalls {
    /// Whether a long call may be decoded.
    pub(super) async fn admit(&self, own: Option<&Connection>, header: &Header<'_>) -> bool {
        let (Some(own), Some(sender)) = (own, header.sender()) else { return true };
        match caller(own, sender.clone()).await {
            Ok((_, true)) => true,
            Ok((user, false)) => self.admit_user(user, Instant::now()),
            // Whoever is gone wants no answer.
            Err(_) => false,
        }
    }

    fn admit_user(&self, user: u32, now: Instant) -> bool {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= MANY {
            users.retain(|_, paid| *paid > now);
        }
        // Until when the calls so far would have taken, at their pace.
        let paid = users.entry(user).or_insert(now);
        let next = (*paid).max(now) + PACE;
        let admitted = next <= now + BURST * PACE;
        if admitted {
            *paid = next;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_calls_of_a_user_are_read_at_a_pace_and_others_are_not_concerned() {
        let (calls, begin) = (LongCalls::default(), Instant::now());
        let admitted = |user, now| (0..100).filter(|_| calls.admit_user(user, now)).count();
        assert_eq!(admitted(1000, begin), BURST as usize);
        assert_eq!(admitted(1000, begin + PACE), 1);
        assert_eq!(admitted(1001, begin + PACE), BURST as usize);
        assert_eq!(admitted(1000, begin + 100 * PACE), BURST as usize, "who was quiet may send as many again");
    }

    #[test]
    fn users_that_are_quiet_are_forgotten() {
        let (calls, begin) = (LongCalls::default(), Instant::now());
        for user in 0..10_000 {
            assert!(calls.admit_user(user, begin + user * 2 * PACE));
        }
        assert!(calls.0.lock().unwrap().len() <= MANY);
    }
}
