//! FNV-1a with 64 bits: a small hash that is the same in every version and on every machine.
//!
//! Each step is a bijection of what came before, so two texts of one length that differ in a single
//! byte never have the same hash. It is no protection from somebody who means it.

/// What the hash begins with.
pub(crate) const START: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of what has `hash`, and then `bytes`.
pub(crate) fn add(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_published_one() {
        assert_eq!(add(START, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(add(START, b"foobar"), 0x8594_4171_f739_67e8);
    }
}
