//! What objects hold: bytes of which no two ranges look alike, so that a part at a wrong place, a
//! part twice and a part of another object show.

use bytes::Bytes;

/// Object number `seed`, `size` bytes long.
pub fn object(seed: usize, size: usize) -> Bytes {
    // Weyl's sequence, mixed once: as good as random here, and the same on every machine.
    let word = |index: usize| {
        let step = (((seed as u64) << 40) + index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (step ^ (step >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..size.div_ceil(8)).flat_map(word).collect();
    bytes.truncate(size);
    bytes.into()
}
