//! How long bans take to come into force, in the buckets that readers of the bus rely on.

/// How long it took from a record's time in the journal to firewalld's answer to the ban.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Latency {
    /// How many took at most as long as each of [`BOUNDS`] but longer than the one before, and at
    /// the end how many took longer than all.
    pub(crate) counts: [u64; BOUNDS.len() + 1],
    /// All together, in µs.
    pub(crate) sum_usec: u64,
}

/// The bounds of the latency's buckets in µs, as Prometheus has them by default.
pub(crate) const BOUNDS: [u64; 11] =
    [5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000];

impl Latency {
    /// One more.
    pub(crate) fn add(&mut self, usec: u64) {
        self.counts[BOUNDS.partition_point(|bound| *bound < usec)] += 1;
        self.sum_usec = self.sum_usec.saturating_add(usec);
    }

    /// What came over the bus; a daemon of another version may have other buckets.
    pub(crate) fn read(counts: &[u64], sum_usec: u64) -> Option<Self> {
        Some(Self { counts: counts.try_into().ok()?, sum_usec })
    }
}
