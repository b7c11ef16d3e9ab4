//! The sources that a next failure could have banned, for as long as that may come soon.
//!
//! journald announces records a quarter to half a second late, though they can be read at once. So the
//! reader looks often while it matters and waits for the notice otherwise, and this is where it is
//! decided what matters: a source is near if it lacks one failure, or if it fails so fast that it may
//! lack none before the next notice comes; and only for [`ACTIVE`] after its latest failure. The noise
//! of the internet, one attempt from each of ever new sources, is near to nothing.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::window::Tally;
use crate::core::time::{USEC_PER_SEC, Usec};

/// How long after its latest failure a source is expected to try again soon.
pub(crate) const ACTIVE: Usec = 30 * USEC_PER_SEC;
/// How late a record may be read if nobody looks for it.
const NOTICE: Usec = USEC_PER_SEC;
/// The most sources that are kept: each of them is reason enough to look.
const MOST: usize = 1024;

/// Sources that are near, each until when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Near {
    until: BTreeMap<IpNet, Usec>,
    order: BTreeSet<(Usec, IpNet)>,
}

impl Near {
    /// A source has this tally now; none, if it has no failures any more.
    pub(crate) fn note(&mut self, source: IpNet, tally: Option<&Tally>, maxretry: usize, findtime: Usec) {
        let latest = tally.and_then(|tally| near_at(tally, maxretry, findtime));
        if let Some(until) = self.until.remove(&source) {
            self.order.remove(&(until, source));
        }
        if let Some(latest) = latest {
            let until = latest.saturating_add(ACTIVE);
            self.until.insert(source, until);
            self.order.insert((until, source));
            if self.order.len() > MOST
                && let Some((_, first)) = self.order.pop_first()
            {
                self.until.remove(&first);
            }
        }
    }

    /// Until when one of them may be banned by its next failure.
    pub(crate) fn until(&self) -> Option<Usec> {
        self.order.last().map(|(until, _)| *until)
    }

    /// Forgets those that have been quiet for too long.
    pub(crate) fn advance(&mut self, now: Usec) {
        while let Some(&(until, source)) = self.order.first()
            && until < now
        {
            self.order.pop_first();
            self.until.remove(&source);
        }
    }
}

/// The time of the latest failure, if the source may be banned before journald's next notice.
fn near_at(tally: &Tally, maxretry: usize, findtime: Usec) -> Option<Usec> {
    let newest = tally.newest()?;
    let recent = tally.failures().views().map(|view| view.time).filter(|time| time.saturating_add(findtime) >= newest);
    let (count, oldest) = recent.fold((0, newest), |(count, oldest), time| (count + 1, oldest.min(time)));
    let missing = maxretry.saturating_sub(count);
    let pace = (newest - oldest) / Usec::try_from(count.saturating_sub(1).max(1)).unwrap_or(1);
    let soon = count > 1 && pace.saturating_mul(Usec::try_from(missing).unwrap_or(Usec::MAX)) <= NOTICE;
    (missing <= 1 || soon).then_some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::failure::Failure;

    const SECOND: Usec = USEC_PER_SEC;

    fn source(number: u8) -> IpNet {
        IpNet::from(std::net::IpAddr::from([203, 0, 113, number]))
    }

    fn tally(times: impl IntoIterator<Item = Usec>) -> Tally {
        let mut tally = Tally::default();
        for time in times {
            assert!(tally.add(&Failure::sample(time), 5, 600 * SECOND).is_none());
        }
        tally
    }

    fn near(times: impl IntoIterator<Item = Usec>) -> bool {
        near_at(&tally(times), 5, 600 * SECOND).is_some()
    }

    #[test]
    fn who_lacks_one_failure_is_near_and_who_is_fast_is_near_sooner() {
        assert!(!near([1000 * SECOND]));
        assert!(!near([1000 * SECOND, 1002 * SECOND, 1004 * SECOND]), "two more at this pace take four seconds");
        assert!(near((0..4).map(|n| (1000 + 2 * n) * SECOND)));
        assert!(near([1000 * SECOND, 1000 * SECOND + SECOND / 5]), "three more at this pace take 0.6 s");
        assert!(!near([0, 700 * SECOND, 701 * SECOND, 1302 * SECOND]), "what is too old does not count");
    }

    #[test]
    fn a_source_is_near_until_it_is_quiet_or_gone() {
        let (mut all, four) = (Near::default(), tally((0..4).map(|n| n * SECOND)));
        let later = tally((1..5).map(|n| n * SECOND));
        let note = |all: &mut Near, number, tally| all.note(source(number), tally, 5, 600 * SECOND);
        note(&mut all, 1, Some(&four));
        note(&mut all, 2, Some(&later));
        assert_eq!(all.until(), Some(4 * SECOND + ACTIVE));
        note(&mut all, 2, None);
        assert_eq!(all.until(), Some(3 * SECOND + ACTIVE));
        all.advance(3 * SECOND + ACTIVE);
        assert_eq!(all.until(), Some(3 * SECOND + ACTIVE));
        all.advance(3 * SECOND + ACTIVE + 1);
        assert_eq!(all.until(), None);
        for number in 0..2 * MOST {
            let address = u32::try_from(number).unwrap().to_be_bytes();
            all.note(IpNet::from(std::net::IpAddr::from(address)), Some(&four), 5, 600 * SECOND);
        }
        assert_eq!((all.until.len(), all.order.len()), (MOST, MOST));
    }
}
