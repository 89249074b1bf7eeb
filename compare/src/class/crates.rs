//! Object pools of four crates, each with one pool per class.

use std::hint::black_box;

use lockfree_object_pool::{LinearObjectPool, LinearReusable};
use object_pool::Reusable;
use opool::{PoolAllocator, RefGuard};
use sharded_slab::Clear;

use super::case::{CLASS_BYTES, class_of, each_class, fresh};
use super::contender::{Buffer, Lent, Local, Pool};
use crate::payload::{Exhausted, Fill};

/// `sharded-slab`: a slab with a shard for each thread and a free list for the slots that other
/// threads clear.
///
/// A slab hands out keys, and here a buffer is a key: it crosses threads, which the guard that
/// writes can't. The guard writes the payload immediately and is dropped; a read looks the key up
/// again, and the drop clears it. Clearing keeps the memory.
pub struct ShardedSlab {
    classes: [sharded_slab::Pool<Memory>; CLASS_BYTES.len()],
}

/// An object of the slab: empty until its first use, because the slab makes whole pages of them.
#[derive(Default)]
pub struct Memory(Box<[u8]>);

impl Clear for Memory {
    #[inline(always)]
    fn clear(&mut self) {}
}

/// A key that is cleared when it is dropped.
pub struct Key<'a> {
    slab: &'a sharded_slab::Pool<Memory>,
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
        Ok(Self { classes: each_class(|_| sharded_slab::Pool::new()) })
    }

    fn local(&self) -> &Self {
        self
    }
}

impl<'a> Local for &'a ShardedSlab {
    type Buffer = Key<'a>;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Key<'a>, Exhausted> {
        let class = class_of(bytes).ok_or(Exhausted)?;
        let slab = &self.classes[class];
        let mut memory = slab.create().ok_or(Exhausted)?;
        if memory.0.is_empty() {
            memory.0 = fresh(class);
        }
        fill.fill(op, &mut memory.0[..bytes]);
        Ok(Key { slab, key: memory.key(), bytes })
    }

    #[inline(always)]
    fn put(&mut self, buffer: Key<'a>) {
        drop(buffer);
    }
}

/// `object-pool`: a vector under parking_lot's mutex. Its guard borrows the pool, which is its
/// faster form.
pub struct ObjectPool {
    classes: [object_pool::Pool<Box<[u8]>>; CLASS_BYTES.len()],
}

impl Pool for ObjectPool {
    const NAME: &'static str = "object-pool";

    type Local<'a> = &'a Self;

    fn new() -> Result<Self, String> {
        Ok(Self { classes: each_class(|_| object_pool::Pool::from_vec(Vec::new())) })
    }

    fn local(&self) -> &Self {
        self
    }
}

impl<'a> Local for &'a ObjectPool {
    type Buffer = Lent<Reusable<'a, Box<[u8]>>>;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Self::Buffer, Exhausted> {
        let class = class_of(bytes).ok_or(Exhausted)?;
        Ok(Lent::new(self.classes[class].pull(|| fresh(class)), op, bytes, fill))
    }

    #[inline(always)]
    fn put(&mut self, buffer: Self::Buffer) {
        drop(buffer);
    }
}

/// The most buffers that a class keeps: more than any case has alive.
const KEPT_MAX: usize = 1024;

/// `opool`: a bounded lock-free queue of buffers. Its guard borrows the pool, which is its faster
/// form; a buffer that the full queue refuses is freed.
pub struct Opool {
    classes: [opool::Pool<Fresh, Box<[u8]>>; CLASS_BYTES.len()],
}

/// Makes the buffers of one class.
pub struct Fresh(usize);

impl PoolAllocator<Box<[u8]>> for Fresh {
    fn allocate(&self) -> Box<[u8]> {
        fresh(self.0)
    }
}

impl Pool for Opool {
    const NAME: &'static str = "opool";

    type Local<'a> = &'a Self;

    fn new() -> Result<Self, String> {
        let mut class = 0..;
        Ok(Self {
            classes: each_class(|_| {
                opool::Pool::new(KEPT_MAX, Fresh(class.next().expect("it has no end")))
            }),
        })
    }

    fn local(&self) -> &Self {
        self
    }
}

impl<'a> Local for &'a Opool {
    type Buffer = Lent<RefGuard<'a, Fresh, Box<[u8]>>>;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Self::Buffer, Exhausted> {
        let class = class_of(bytes).ok_or(Exhausted)?;
        Ok(Lent::new(self.classes[class].get(), op, bytes, fill))
    }

    #[inline(always)]
    fn put(&mut self, buffer: Self::Buffer) {
        drop(buffer);
    }
}

/// `lockfree-object-pool`: its linear pool, a linked list of pages whose bits mark the free
/// objects. A get looks for the first free bit from the list's head.
pub struct LockfreeObjectPool {
    classes: [LinearObjectPool<Box<[u8]>>; CLASS_BYTES.len()],
}

impl Pool for LockfreeObjectPool {
    const NAME: &'static str = "lockfree-object-pool";

    type Local<'a> = &'a Self;

    fn new() -> Result<Self, String> {
        // Nothing is reset: a pooled buffer has its old bytes in every contender.
        let of_bytes =
            |bytes| LinearObjectPool::new(move || vec![0; bytes].into_boxed_slice(), |_| ());
        Ok(Self { classes: each_class(of_bytes) })
    }

    fn local(&self) -> &Self {
        self
    }
}

impl<'a> Local for &'a LockfreeObjectPool {
    type Buffer = Lent<LinearReusable<'a, Box<[u8]>>>;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Self::Buffer, Exhausted> {
        let class = class_of(bytes).ok_or(Exhausted)?;
        Ok(Lent::new(self.classes[class].pull(), op, bytes, fill))
    }

    #[inline(always)]
    fn put(&mut self, buffer: Self::Buffer) {
        drop(buffer);
    }
}
