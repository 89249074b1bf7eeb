//! Payloads whose length and bytes follow from their number, so that any reader can check them.

use crate::Draw;

/// Bytes of the largest payload.
pub const PAYLOAD_BYTES_MAX: usize = 1000;

/// Length of the payload with this number. Most are small; one in four has up to the maximum.
pub fn payload_len(number: u64) -> usize {
    let mut draw = Draw::new(number);
    let max = if draw.below(4) == 0 { PAYLOAD_BYTES_MAX } else { 120 };
    1 + draw.below(max as u64) as usize
}

fn word(number: u64, at: usize) -> [u8; 8] {
    (number ^ (at as u64) << 48).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()
}

/// Fills `bytes` with the payload of this number.
pub fn write_payload(bytes: &mut [u8], number: u64) {
    for (at, part) in bytes.chunks_mut(8).enumerate() {
        part.copy_from_slice(&word(number, at)[..part.len()]);
    }
}

/// Fails unless `bytes` are the payload of this number.
#[track_caller]
pub fn check_payload(bytes: &[u8], number: u64) {
    assert_eq!(bytes.len(), payload_len(number), "length of payload {number}");
    let is_right =
        bytes.chunks(8).enumerate().all(|(at, part)| *part == word(number, at)[..part.len()]);
    assert!(is_right, "payload {number} isn't what was written");
}

/// How many events a test passes: `SLIPRING_EVENTS`, or this default.
pub fn events(default: u64) -> u64 {
    let given = std::env::var("SLIPRING_EVENTS").ok();
    given.map_or(default, |text| text.parse().expect("SLIPRING_EVENTS is a number"))
}

/// Whether every byte is this one. The bytes are compared with themselves, moved by one: Miri does
/// that in one step rather than byte by byte.
pub fn is_filled(bytes: &[u8], byte: u8) -> bool {
    bytes.first().is_none_or(|&first| first == byte && bytes[1..] == bytes[..bytes.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_byte_is_found() {
        assert!(is_filled(&[], 7) && is_filled(&[7; 9], 7) && !is_filled(&[7; 9], 8));
        for at in 0..9 {
            let mut bytes = [7; 9];
            bytes[at] = 8;
            assert!(!is_filled(&bytes, 7), "byte {at}");
        }
    }

    #[test]
    fn another_payload_is_refused() {
        let mut bytes = vec![0; payload_len(5)];
        write_payload(&mut bytes, 5);
        check_payload(&bytes, 5);
        bytes[0] ^= 1;
        assert!(std::panic::catch_unwind(|| check_payload(&bytes, 5)).is_err());
    }
}
