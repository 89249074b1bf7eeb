//! How a payload is written. Every way puts the number of the operation into the first 8 bytes,
//! which is what verification reads.

use std::ops::DerefMut;

use bytes::BytesMut;

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

    /// Into what is empty and has room for `bytes`, for a contender whose fresh memory isn't
    /// initialized.
    fn append(&self, op: u64, bytes: usize, payload: &mut impl Growing);
}

/// The first 8 bytes only.
pub struct Touch8;

/// All bytes, copied from a buffer that stays in cache.
pub struct Copied {
    source: Vec<u8>,
}

/// The number of the operation over and over, so that one foreign byte shows. For the verified
/// pass, not for the clock.
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

    /// What stands in every word behind the number.
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
