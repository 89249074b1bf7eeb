//! Contenders without a pool: a block per get from an allocator, and a vector that grows.

use std::alloc::System;
use std::hint::black_box;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use mimalloc::MiMalloc;

use super::contender::{Buffer, Local, Pool};
use crate::heap::{Block, Named};
use crate::payload::{Exhausted, Fill, Growing};

/// `glibc`: a block per get.
pub type Glibc = Direct<System>;
/// `mimalloc`: a block per get.
pub type Mimalloc = Direct<MiMalloc>;
/// `jemalloc`: a block per get.
pub type Jemalloc = Direct<tikv_jemallocator::Jemalloc>;

/// A block of exactly the payload's length for each get, freed by the drop.
///
/// All three allocators are called explicitly, glibc too, so none pays for the program's allocator
/// in between. A block may be freed on any thread; the cost of that is the allocator's.
pub struct Direct<A: Named>(PhantomData<A>);

impl<A: Named + Sync> Pool for Direct<A> {
    const NAME: &'static str = A::NAME;

    type Local<'a> = &'a Self;

    fn new() -> Result<Self, String> {
        Ok(Self(PhantomData))
    }

    fn local(&self) -> &Self {
        self
    }
}

impl<A: Named> Local for &Direct<A> {
    type Buffer = Block<A>;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Block<A>, Exhausted> {
        let mut block = Block::new(bytes)?;
        fill.append(op, bytes, &mut block);
        Ok(block)
    }

    #[inline(always)]
    fn put(&mut self, _block: Block<A>) {}
}

impl<A: Named> Buffer for Block<A> {
    fn read<R>(&self, check: impl FnOnce(&[u8]) -> R) -> R {
        check(self)
    }

    #[inline(always)]
    fn be_seen(&self) {
        black_box(self.as_ptr());
    }
}

const PIECE_BYTES: usize = 2 << 10;

/// `growable-vec`: a vector that grows as it is written, in pieces of 2 KiB, as in a reader that
/// doesn't know the length. Its capacity doubles, and the written bytes move along.
///
/// It holds only written bytes, so it takes part where payloads are written whole.
pub struct GrowableVec;

/// Appends in pieces.
struct Pieces(Vec<u8>);

impl Deref for Pieces {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Pieces {
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
