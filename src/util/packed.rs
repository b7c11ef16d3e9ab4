//! Numbers in few bytes, for the lists of which a state under attack has a hundred thousand.
//!
//! A number is written seven bits a byte, the low ones first (LEB128); a value that lies near
//! another, by its distance from it. The lists are read from snapshots too, so reading believes
//! nothing.

/// Writes a number.
pub(crate) fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

/// Writes `value` by its distance from `base`; small distances of either sign are short.
pub(crate) fn put_difference(bytes: &mut Vec<u8>, value: u64, base: u64) {
    let distance = value.wrapping_sub(base);
    put_number(bytes, (distance << 1) ^ (distance.cast_signed() >> 63).cast_unsigned());
}

/// Takes a number off the front.
pub(crate) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take_array(bytes)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// What [`put_difference`] has written as `number`.
pub(crate) fn apply(base: u64, number: u64) -> u64 {
    base.wrapping_add((number >> 1) ^ (number & 1).wrapping_neg())
}

/// Takes a value off the front that was written by its distance from `base`.
pub(crate) fn take_difference(bytes: &mut &[u8], base: u64) -> Option<u64> {
    Some(apply(base, take_number(bytes)?))
}

/// Takes bytes off the front.
pub(crate) fn take_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*array)
}
