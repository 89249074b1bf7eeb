//! What the loop itself costs: takes the length, writes 8 bytes, allocates nothing. Across threads
//! the ring is part of the loop.

use std::hint::black_box;

use super::{Buffer, Local, Pool};
use crate::contender::{Exhausted, Fill};

pub struct EmptyHarness;

impl Pool for EmptyHarness {
    const NAME: &'static str = "empty-harness";
    const KEEPS_PAYLOAD: bool = false;

    type Local<'a> = Self;

    fn new() -> Result<Self, String> {
        Ok(Self)
    }

    fn local(&self) -> Self {
        Self
    }
}

impl Local for EmptyHarness {
    type Buffer = [u8; 8];

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, _fill: &impl Fill) -> Result<[u8; 8], Exhausted> {
        // The length is read by every other contender, so it must be here.
        black_box(bytes);
        Ok(op.to_le_bytes())
    }

    #[inline(always)]
    fn put(&mut self, _buffer: [u8; 8]) {}
}

impl Buffer for [u8; 8] {
    fn read<R>(&self, check: impl FnOnce(&[u8]) -> R) -> R {
        check(self)
    }

    #[inline(always)]
    fn be_seen(&self) {
        black_box(u64::from_le_bytes(*self));
    }
}
