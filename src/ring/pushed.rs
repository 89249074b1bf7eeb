//! What a ring's slot stores for a slice, in a pool that is used without a lane: integers.
#![forbid(unsafe_code)]

use core::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use core::ptr::NonNull;

use super::chunk::Sequence;

/// A pushed slice: its sequence protects its bytes, and [`super::RingPool::view`] shows them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Pushed {
    sequence: Sequence,
    /// Its address, which becomes a pointer again together with the pool's region.
    start: NonZeroUsize,
    /// The pool's number in the high half, the length in the low one: one store writes both.
    pool_and_len: NonZeroU64,
}

/// A pool's number, in the high half of a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolTag(NonZeroU64);

impl PoolTag {
    pub(super) fn new(pool: NonZeroU32) -> Self {
        let tag = NonZeroU64::new(u64::from(pool.get()) << 32);
        Self(tag.unwrap_or_else(|| unreachable!("a pool's number isn't zero")))
    }
}

impl Pushed {
    #[inline]
    pub(super) fn new(sequence: Sequence, start: NonNull<u8>, len: usize, pool: PoolTag) -> Self {
        debug_assert!(u32::try_from(len).is_ok(), "a chunk is far below 4 GiB");
        debug_assert!(
            sequence >= 0 && pool.0.get() as u32 == 0,
            "a number in the low half would change the length"
        );
        Self { sequence, start: start.addr(), pool_and_len: pool.0 | u64::from(len as u32) }
    }

    /// Its place in the order of pushing, from 0.
    #[must_use]
    #[inline]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    #[inline]
    pub(super) fn start(&self) -> NonZeroUsize {
        self.start
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.pool_and_len.get() as u32 as usize
    }

    #[inline]
    pub(super) fn is_of(&self, pool: PoolTag) -> bool {
        self.pool_and_len.get() >> 32 == pool.0.get() >> 32
    }
}
