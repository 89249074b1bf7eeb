//! A vector that grows as it is written, in pieces of 2 KiB, as a reader that doesn't know the
//! length does it: its capacity doubles, and what was written moves along.
//!
//! It holds only what was written, so it takes part where payloads are written whole.

use std::hint::black_box;

use super::{Buffer, Local, Pool};
use crate::contender::{Exhausted, Fill, Growing};

const PIECE_BYTES: usize = 2 << 10;

pub struct GrowableVec;

/// Appends in pieces.
struct Pieces(Vec<u8>);

impl std::ops::Deref for Pieces {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::ops::DerefMut for Pieces {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Growing for Pieces {
    #[inline(always)]
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        bytes.chunks(PIECE_BYTES).for_each(|piece| self.0.extend_from_slice(piece));
    }
}

impl Pool for GrowableVec {
    const NAME: &'static str = "growable-vec";
    const HAS_LENGTH: bool = false;

    type Local<'a> = Self;

    fn new() -> Result<Self, String> {
        Ok(Self)
    }

    fn local(&self) -> Self {
        Self
    }
}

impl Local for GrowableVec {
    type Buffer = Vec<u8>;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Vec<u8>, Exhausted> {
        let mut pieces = Pieces(Vec::new());
        fill.append(op, bytes, &mut pieces);
        Ok(pieces.0)
    }

    #[inline(always)]
    fn put(&mut self, _payload: Vec<u8>) {}
}

impl Buffer for Vec<u8> {
    fn read<R>(&self, check: impl FnOnce(&[u8]) -> R) -> R {
        check(self)
    }

    #[inline(always)]
    fn be_seen(&self) {
        black_box(self.as_ptr());
    }
}
