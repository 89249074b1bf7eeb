//! The seed's size-classed pool, S2, written anew from its description: a runtime pool for each
//! class ([`super::sync_pool`]), and statistics in plain shared counters.
//!
//! An operation adds to five shared counters: on a get the gets and hits of the class and those of
//! all, on a put the puts of the class. A put boxes the buffer's header (three words), because the
//! runtime's pool takes values of any type by pointer; a get takes it out again. The seed leaves
//! the freeing of headers to its collector, which does it on another thread and later; here the get
//! frees it, at the allocator's best case. Its other defects are left out: lengths are checked, so
//! nothing wrong is put.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sync_pool::{Shard, SyncPool};
use super::table;
use super::{Buffer, Local, Pool};
use crate::contender::{Exhausted, Fill};

pub struct S2 {
    classes: [Class; table::BYTES.len()],
    all: Counters,
}

struct Class {
    pool: SyncPool<Box<Header>>,
    counters: Counters,
}

/// Side by side, as a struct of statistics is written down; every thread adds to the same ones.
#[derive(Default)]
struct Counters {
    gets: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    puts: AtomicU64,
}

/// Pointer, length and capacity: what is boxed.
type Header = Vec<u8>;

pub struct View<'a> {
    pool: &'a S2,
    shards: [Shard<'a, Box<Header>>; table::BYTES.len()],
}

/// A plain slice: the seed has no guard, its caller puts it back by hand.
pub struct Slice {
    memory: Vec<u8>,
    bytes: usize,
}

impl Buffer for Slice {
    fn read<R>(&self, check: impl FnOnce(&[u8]) -> R) -> R {
        check(&self.memory[..self.bytes])
    }

    #[inline(always)]
    fn be_seen(&self) {
        black_box(self.memory.as_ptr());
    }
}

#[inline(always)]
fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Pool for S2 {
    const NAME: &'static str = "s2";
    const EMULATED: Option<&'static str> = Some(
        "the design in Rust: a thread's slot stands for a processor's, and headers are freed at once",
    );

    type Local<'a> = View<'a>;

    fn new() -> Result<Self, String> {
        let classes =
            table::each(|_| Class { pool: SyncPool::new(), counters: Counters::default() });
        Ok(Self { classes, all: Counters::default() })
    }

    fn local(&self) -> View<'_> {
        View { pool: self, shards: self.classes.each_ref().map(|class| class.pool.shard()) }
    }
}

impl Local for View<'_> {
    type Buffer = Slice;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Slice, Exhausted> {
        let number = table::class_of(bytes).ok_or(Exhausted)?;
        let class = &self.pool.classes[number];
        add(&class.counters.gets);
        add(&self.pool.all.gets);
        let mut memory = match self.shards[number].get() {
            Some(boxed) => {
                add(&class.counters.hits);
                add(&self.pool.all.hits);
                *boxed
            }
            None => {
                add(&class.counters.misses);
                add(&self.pool.all.misses);
                table::fresh(number).into_vec()
            }
        };
        fill.fill(op, &mut memory[..bytes]);
        Ok(Slice { memory, bytes })
    }

    #[inline(always)]
    fn put(&mut self, slice: Slice) {
        let Some(number) = table::class_of(slice.memory.len()) else { return };
        add(&self.pool.classes[number].counters.puts);
        self.shards[number].put(Box::new(slice.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Touch8;

    #[test]
    fn an_operation_adds_to_five_counters() {
        let pool = S2::new().unwrap();
        let mut view = pool.local();
        let sum = || {
            let of = |counters: &Counters| {
                let Counters { gets, hits, misses, puts } = counters;
                [gets, hits, misses, puts]
                    .map(|counter| counter.load(Ordering::Relaxed))
                    .iter()
                    .sum::<u64>()
            };
            pool.classes.iter().map(|class| of(&class.counters)).sum::<u64>() + of(&pool.all)
        };
        for op in 1..=3 {
            let slice = view.get(op, 4096, &Touch8).unwrap();
            view.put(slice);
            assert_eq!(sum(), 5 * op);
        }
        let hits = &pool.classes[1].counters.hits;
        assert_eq!(hits.load(Ordering::Relaxed), 2, "the first was a miss");
    }
}
