//! `go-pool`: a size-class pool as Go programs build it from `sync.Pool`, and that pool itself,
//! which the queue's `mutex-queue` uses too.

use std::collections::VecDeque;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread;

use super::case::{CLASS_BYTES, class_of, each_class, fresh};
use super::contender::{Buffer, Local, Pool};
use crate::payload::{Exhausted, Fill};

/// Threads with a list of their own; further ones share.
const SHARDS: usize = 8;

/// Go's `sync.Pool`, written anew as far as a thread can replace a processor of Go's runtime.
///
/// A processor has a private slot, which it empties and fills without an atomic instruction, and a
/// list whose head is its own and from whose tail other processors steal. Here a thread's [`Shard`]
/// is the processor. The differences:
/// - The private slot is in the thread's view; Go's runtime pins its thread to find it. That
///   favours this emulation.
/// - The list is under a mutex, which is rarely contended and waited for by spinning: two locked
///   instructions per access, where the runtime's own deque needs one.
/// - The garbage collector's clearing of idle objects is missing. That favours this emulation too.
pub struct GoPool<T> {
    lists: [List<T>; SHARDS],
    threads: AtomicUsize,
}

/// On cache lines of its own, as the runtime pads it.
#[repr(align(128))]
struct List<T>(Mutex<VecDeque<T>>);

/// One thread's part of the pool.
pub struct Shard<'a, T> {
    pool: &'a GoPool<T>,
    list: usize,
    private: Option<T>,
}

impl<T> GoPool<T> {
    pub fn new() -> Self {
        Self {
            lists: std::array::from_fn(|_| List(Mutex::default())),
            threads: AtomicUsize::new(0),
        }
    }

    /// The calling thread's part, made once per thread.
    pub fn shard(&self) -> Shard<'_, T> {
        let list = self.threads.fetch_add(1, Ordering::Relaxed) % SHARDS;
        Shard { pool: self, list, private: None }
    }
}

impl<T> Shard<'_, T> {
    /// An object, if any thread has put one.
    #[inline(always)]
    pub fn get(&mut self) -> Option<T> {
        match self.private.take() {
            Some(object) => Some(object),
            None => self.get_shared(),
        }
    }

    #[inline(always)]
    pub fn put(&mut self, object: T) {
        match self.private {
            None => self.private = Some(object),
            Some(_) => self.own().push_front(object),
        }
    }

    fn get_shared(&mut self) -> Option<T> {
        let own = self.own().pop_front();
        own.or_else(|| {
            let others = (1..SHARDS).map(|step| (self.list + step) % SHARDS);
            others.into_iter().find_map(|list| self.lock(list).pop_back())
        })
    }

    fn own(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.lock(self.list)
    }

    fn lock(&self, list: usize) -> MutexGuard<'_, VecDeque<T>> {
        lock_spinning(&self.pool.lists[list].0)
    }
}

/// Acquires a lock that is held for some nanoseconds only, without ever sleeping for it: with two
/// threads contending all the time, the system calls to sleep and wake would be most of the figure.
/// The guarded value is whole whenever the lock is free, so a panic elsewhere does no harm.
#[inline]
pub fn lock_spinning<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    let mut rounds = 0u64;
    loop {
        match lock.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(guard)) => return guard.into_inner(),
            Err(TryLockError::WouldBlock) => {
                // Twice as long each time, up to 64 hints: an attempt moves the line away from the
                // holder.
                (0..1 << rounds.min(6)).for_each(|_| spin_loop());
                rounds += 1;
                if rounds.is_multiple_of(1 << 12) {
                    // For a machine where both share a core.
                    thread::yield_now();
                }
            }
        }
    }
}

/// `go-pool`: a size-class pool as a Go program builds it: one [`GoPool`] per class, and statistics
/// in plain shared counters.
///
/// An operation adds to five shared counters: a get to the gets and hits of the class and to those
/// of all classes, a put to the puts of the class. A put boxes the buffer's header (three words),
/// because the runtime's pool holds values of any type by pointer; a get unboxes it. In Go the
/// collector frees headers, on another thread and later; here the get frees them, in the
/// allocator's best case. Lengths are checked, so no buffer is put into a wrong class.
pub struct ClassedGoPool {
    classes: [Class; CLASS_BYTES.len()],
    all: Counters,
}

struct Class {
    pool: GoPool<Box<Header>>,
    counters: Counters,
}

/// Next to each other, as in a plain struct of statistics; every thread adds to the same ones.
#[derive(Default)]
struct Counters {
    gets: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    puts: AtomicU64,
}

/// Pointer, length and capacity, which are boxed.
type Header = Vec<u8>;

pub struct View<'a> {
    pool: &'a ClassedGoPool,
    shards: [Shard<'a, Box<Header>>; CLASS_BYTES.len()],
}

/// A plain slice: there is no guard, and its caller puts it back by hand.
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

impl Pool for ClassedGoPool {
    const NAME: &'static str = "go-pool";
    const EMULATED: Option<&'static str> = Some(
        "Go's design in Rust: a thread's slot replaces a processor's, and a get frees the header",
    );

    type Local<'a> = View<'a>;

    fn new() -> Result<Self, String> {
        let classes = each_class(|_| Class { pool: GoPool::new(), counters: Counters::default() });
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
        let number = class_of(bytes).ok_or(Exhausted)?;
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
                fresh(number).into_vec()
            }
        };
        fill.fill(op, &mut memory[..bytes]);
        Ok(Slice { memory, bytes })
    }

    #[inline(always)]
    fn put(&mut self, slice: Slice) {
        let Some(number) = class_of(slice.memory.len()) else { return };
        add(&self.pool.classes[number].counters.puts);
        self.shards[number].put(Box::new(slice.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Touch8;

    #[test]
    fn the_newest_comes_first_and_others_steal_the_oldest() {
        let pool = GoPool::new();
        let (mut one, mut two) = (pool.shard(), pool.shard());
        assert_eq!(one.get(), None);
        (1..=4).for_each(|object| one.put(object));
        assert_eq!(
            (two.get(), one.get(), one.get()),
            (Some(2), Some(1), Some(4)),
            "the slot is the thread's alone"
        );
        assert_eq!((two.get(), two.get(), one.get()), (Some(3), None, None));
    }

    #[test]
    fn an_operation_adds_to_five_counters() {
        let pool = ClassedGoPool::new().unwrap();
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
