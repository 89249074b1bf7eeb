//! What the rivals' buffers have in common: a guard of their library over a class's memory, and the
//! length that was asked for.

use std::hint::black_box;
use std::ops::DerefMut;

use super::Buffer;
use crate::contender::{Copied, Fill, Growing, Pattern, Touch8};

/// Writes nothing: what a get and a drop cost by themselves.
pub struct Untouched;

impl Fill for Untouched {
    #[inline(always)]
    fn fill(&self, _op: u64, _payload: &mut [u8]) {}

    #[inline(always)]
    fn append(&self, _op: u64, _bytes: usize, _payload: &mut impl Growing) {}
}

/// A buffer of a class, of which `bytes` are the payload.
pub struct Lent<G> {
    pub guard: G,
    bytes: usize,
}

impl<G: DerefMut<Target = Box<[u8]>>> Lent<G> {
    /// Writes the payload.
    #[inline(always)]
    pub fn new(mut guard: G, op: u64, bytes: usize, fill: &impl Fill) -> Self {
        fill.fill(op, &mut guard[..bytes]);
        Self { guard, bytes }
    }

    /// What is written already.
    #[inline(always)]
    pub fn written(guard: G, bytes: usize) -> Self {
        Self { guard, bytes }
    }
}

impl<G: DerefMut<Target = Box<[u8]>> + Send> Buffer for Lent<G> {
    fn read<R>(&self, check: impl FnOnce(&[u8]) -> R) -> R {
        check(&self.guard[..self.bytes])
    }

    #[inline(always)]
    fn be_seen(&self) {
        black_box(self.guard.as_ptr());
    }
}

/// A way to write whose trace can be looked for.
pub trait Marked: Fill + Sync {
    /// Whether payloads are written to their end.
    const IS_WHOLE: bool = false;

    /// Whether a payload holds what `op` wrote, as far as a look during the clock may cost.
    fn holds(&self, op: u64, payload: &[u8]) -> bool;
}

impl Marked for Untouched {
    #[inline(always)]
    fn holds(&self, _op: u64, _payload: &[u8]) -> bool {
        true
    }
}

impl Marked for Touch8 {
    #[inline(always)]
    fn holds(&self, op: u64, payload: &[u8]) -> bool {
        payload[..8] == op.to_le_bytes()
    }
}

impl Marked for Copied {
    const IS_WHOLE: bool = true;

    #[inline(always)]
    fn holds(&self, op: u64, payload: &[u8]) -> bool {
        let last = payload[payload.len() - 1];
        payload[..8] == op.to_le_bytes() && (payload.len() == 8 || last == self.word() as u8)
    }
}

/// Every byte.
impl Marked for Pattern {
    const IS_WHOLE: bool = true;

    fn holds(&self, op: u64, payload: &[u8]) -> bool {
        Pattern::holds(op, payload)
    }
}
