//! What firewalld's calls cost it: CPU time in µs, from which the cheapest way is chosen.
//!
//! A call costs something by itself. firewalld compares a new entry with each one of its set. And
//! whatever puts entries in or takes some out has libnftables read back all entries of the whole
//! table first, the load, however small the set is: among ten thousand bans that is most of it, and
//! it is what many changes in one call save. Measured with firewalld 1.3 and 2.3 on a small virtual
//! machine; only the ratios matter here.

/// Additions wait for each other until firewalld has had so much time for each entry of the load,
/// in µs: about five times as much as a call takes it.
const SPACING: usize = 8;
/// The longest that they wait, in ms.
const LONGEST_SPACING: u64 = 250;

fn long(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX / 128)
}

/// libnftables reads back what is there.
fn reading(load: usize) -> u64 {
    long(load) * 7 / 5
}

/// To add one entry to a set of this size.
pub(super) fn adding(held: usize, load: usize) -> u64 {
    1_500 + reading(load) + 6 * long(held)
}

/// To remove one entry from a set of this size.
pub(super) fn removing(held: usize, load: usize) -> u64 {
    1_200 + reading(load) + long(held)
}

/// To empty a set of this size.
pub(super) fn clearing(held: usize) -> u64 {
    2_000 + 25 * long(held)
}

/// To write a list of this length into an empty set.
pub(super) fn writing(entries: usize, load: usize) -> u64 {
    2_000 + reading(load) + 60 * long(entries)
}

/// How long after firewalld's answer a list of this length may be on its way into the kernel, in
/// ms, if one of ten thousand takes it `longest`.
pub(super) fn settling(longest: u64, entries: usize) -> u64 {
    longest.div_ceil(10) + longest.saturating_mul(long(entries)) / 10_000
}

/// A multiple of a cost.
pub(super) fn times(count: usize, cost: u64) -> u64 {
    cost.saturating_mul(long(count))
}

/// How long after an addition the next one waits for more of them, in ms. Nothing to speak of among
/// a thousand, and less than a tenth of a second among ten thousand.
pub(super) fn spacing(load: usize) -> u64 {
    (long(load.saturating_mul(SPACING)) / 1000).min(LONGEST_SPACING)
}
