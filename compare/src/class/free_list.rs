//! A free list for each size class, owned by its caller: a vector of buffers, popped and pushed by
//! hand. The least that a pool with classes can cost.
//!
//! Nothing stands between the caller and the list: no guard, no thread-local lookup, no bound, no
//! counter. So it can't be forgotten by a guard, only by its caller, and a buffer that is dropped
//! on another thread would stay there for ever: it takes no part across threads.

use super::payload::Lent;
use super::table;
use super::{Local, Pool};
use crate::contender::{Exhausted, Fill};

/// Each thread has a list of its own.
pub struct FreeList;

#[derive(Default)]
pub struct Lists {
    free: [Vec<Box<[u8]>>; table::BYTES.len()],
}

/// The buffer itself, without a way home.
pub struct Bare(Box<[u8]>, usize);

impl std::ops::Deref for Bare {
    type Target = Box<[u8]>;

    #[inline(always)]
    fn deref(&self) -> &Box<[u8]> {
        &self.0
    }
}

impl std::ops::DerefMut for Bare {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Box<[u8]> {
        &mut self.0
    }
}

impl Pool for FreeList {
    const NAME: &'static str = "free-list";
    const CROSSES: bool = false;

    type Local<'a> = Lists;

    fn new() -> Result<Self, String> {
        Ok(Self)
    }

    fn local(&self) -> Lists {
        Lists::default()
    }
}

impl Local for Lists {
    type Buffer = Lent<Bare>;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Self::Buffer, Exhausted> {
        let class = table::class_of(bytes).ok_or(Exhausted)?;
        let memory = self.free[class].pop().unwrap_or_else(|| table::fresh(class));
        Ok(Lent::new(Bare(memory, class), op, bytes, fill))
    }

    #[inline(always)]
    fn put(&mut self, buffer: Self::Buffer) {
        let Bare(memory, class) = buffer.guard;
        self.free[class].push(memory);
    }
}
