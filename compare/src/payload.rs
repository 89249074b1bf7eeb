//! Payloads: how large they are, how they are written, and how a written one is recognised.
//!
//! Every way of writing puts the number of the operation into the first 8 bytes, which is what
//! verification reads.

use std::fmt::{self, Display};
use std::ops::DerefMut;

use bytes::BytesMut;

/// All lists are drawn from this seed, the same ones in every run, so that two runs differ by the
/// machine only.
pub const SEED: u64 = 0x5eed_0f51;

/// Numbers drawn from [`SEED`] by xorshift64, which is enough to keep a branch predictor from
/// learning a list.
pub struct Draw(u64);

impl Draw {
    pub fn new() -> Self {
        Self(SEED)
    }

    pub fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as usize
    }
}

/// A size or a number of slots as it is listed; all of them are far below 4 Gi.
pub fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("sizes and slots are far below 4 Gi")
}

/// Bytes in the largest unit that divides them.
pub struct Size(pub usize);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = |(shift, _): &&(u32, &str)| self.0 > 0 && self.0.is_multiple_of(1 << shift);
        match units.iter().find(whole) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// The contender has no room for this payload.
#[derive(Debug, PartialEq)]
pub struct Exhausted;

/// Memory that may be read only as far as it has been written, with room for a payload.
pub trait Growing: DerefMut<Target = [u8]> {
    /// Appends bytes, for which there is room.
    fn extend_from_slice(&mut self, bytes: &[u8]);
}

impl Growing for Vec<u8> {
    #[inline(always)]
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Growing for BytesMut {
    #[inline(always)]
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Writes a payload of at least 8 bytes.
pub trait Fill {
    /// Into memory that the contender handed out.
    fn fill(&self, op: u64, payload: &mut [u8]);

    /// Into empty memory with room for `bytes`, for a contender whose fresh memory isn't
    /// initialised.
    fn append(&self, op: u64, bytes: usize, payload: &mut impl Growing);
}

/// Writes the first 8 bytes only.
pub struct Touch8;

/// Writes all bytes, copied from a buffer that stays in cache.
pub struct Copied {
    source: Vec<u8>,
}

/// Writes the number of the operation over and over, so that one foreign byte shows. For the
/// verified pass, not for the clock.
pub struct Pattern;

impl Fill for Touch8 {
    #[inline(always)]
    fn fill(&self, op: u64, payload: &mut [u8]) {
        payload[..8].copy_from_slice(&op.to_le_bytes());
    }

    #[inline(always)]
    fn append(&self, op: u64, _bytes: usize, payload: &mut impl Growing) {
        payload.extend_from_slice(&op.to_le_bytes());
    }
}

impl Copied {
    const BYTE: u8 = 0x5a;

    pub fn new(largest_bytes: usize) -> Self {
        Self { source: vec![Self::BYTE; largest_bytes] }
    }

    /// Every word of the payload after the number.
    pub fn word(&self) -> u64 {
        u64::from_le_bytes([Self::BYTE; 8])
    }
}

impl Fill for Copied {
    #[inline(always)]
    fn fill(&self, op: u64, payload: &mut [u8]) {
        payload.copy_from_slice(&self.source[..payload.len()]);
        payload[..8].copy_from_slice(&op.to_le_bytes());
    }

    #[inline(always)]
    fn append(&self, op: u64, bytes: usize, payload: &mut impl Growing) {
        payload.extend_from_slice(&self.source[..bytes]);
        payload[..8].copy_from_slice(&op.to_le_bytes());
    }
}

impl Pattern {
    /// Whether every byte of the payload is the one that `op` wrote.
    pub fn holds(op: u64, payload: &[u8]) -> bool {
        payload.chunks(8).all(|word| *word == op.to_le_bytes()[..word.len()])
    }
}

impl Fill for Pattern {
    fn fill(&self, op: u64, payload: &mut [u8]) {
        for word in payload.chunks_mut(8) {
            word.copy_from_slice(&op.to_le_bytes()[..word.len()]);
        }
    }

    fn append(&self, op: u64, bytes: usize, payload: &mut impl Growing) {
        (0..bytes)
            .step_by(8)
            .for_each(|at| payload.extend_from_slice(&op.to_le_bytes()[..8.min(bytes - at)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_largest_whole_unit() {
        let texts =
            [0, 24, 1 << 10, 9 << 10, 1 << 20, 2 << 30].map(|bytes| Size(bytes).to_string());
        assert_eq!(texts, ["0B", "24B", "1KiB", "9KiB", "1MiB", "2GiB"]);
    }
}
