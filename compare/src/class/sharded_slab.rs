//! sharded-slab: a slab with a shard for each thread and a free list for what other threads clear,
//! one pool for each class.
//!
//! A slab hands out keys, and a key is what a buffer is here: it crosses threads, where the guard
//! that writes can't. The guard writes the payload at once and is dropped; reading looks the key up
//! again, and the drop clears it. Clearing keeps the memory.

use std::hint::black_box;

use sharded_slab::{Clear, Pool as Slab};

use super::table;
use super::{Buffer, Local, Pool};
use crate::contender::{Exhausted, Fill};

pub struct ShardedSlab {
    classes: [Slab<Memory>; table::BYTES.len()],
}

/// An object of the slab: nothing until its first use, because the slab makes whole pages of them
/// at once.
#[derive(Default)]
pub struct Memory(Box<[u8]>);

impl Clear for Memory {
    #[inline(always)]
    fn clear(&mut self) {}
}

/// A key that is cleared when it is dropped.
pub struct Key<'a> {
    slab: &'a Slab<Memory>,
    key: usize,
    bytes: usize,
}

impl Drop for Key<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let cleared = self.slab.clear(self.key);
        debug_assert!(cleared, "a key is cleared once");
    }
}

impl Buffer for Key<'_> {
    fn read<R>(&self, check: impl FnOnce(&[u8]) -> R) -> R {
        let memory = self.slab.get(self.key).expect("it isn't cleared yet");
        check(&memory.0[..self.bytes])
    }

    #[inline(always)]
    fn be_seen(&self) {
        black_box(self.key);
    }
}

impl Pool for ShardedSlab {
    const NAME: &'static str = "sharded-slab";

    type Local<'a> = &'a Self;

    fn new() -> Result<Self, String> {
        Ok(Self { classes: table::each(|_| Slab::new()) })
    }

    fn local(&self) -> &Self {
        self
    }
}

impl<'a> Local for &'a ShardedSlab {
    type Buffer = Key<'a>;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Key<'a>, Exhausted> {
        let class = table::class_of(bytes).ok_or(Exhausted)?;
        let slab = &self.classes[class];
        let mut memory = slab.create().ok_or(Exhausted)?;
        if memory.0.is_empty() {
            memory.0 = table::fresh(class);
        }
        fill.fill(op, &mut memory.0[..bytes]);
        Ok(Key { slab, key: memory.key(), bytes })
    }

    #[inline(always)]
    fn put(&mut self, buffer: Key<'a>) {
        drop(buffer);
    }
}
