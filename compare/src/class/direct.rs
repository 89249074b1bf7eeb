//! Direct allocation: a block of exactly the payload's length for each get, freed by the drop, by
//! explicit calls of the allocator while the process goes on with its own.
//!
//! All three are called alike, glibc too, so none pays for the program's allocator in between. A
//! block may be freed on any thread; what that costs is the allocator's affair.

use std::alloc::System;
use std::hint::black_box;
use std::marker::PhantomData;

use mimalloc::MiMalloc;
use tikv_jemallocator::Jemalloc as Jemallocator;

use super::{Buffer, Local, Pool};
use crate::contender::{Block, Exhausted, Fill, Named};

/// A block of glibc for each get.
pub type Glibc = Direct<System>;
/// A block of mimalloc for each get.
pub type Mimalloc = Direct<MiMalloc>;
/// A block of jemalloc for each get.
pub type Jemalloc = Direct<Jemallocator>;

/// An allocator without a pool.
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
