//! Pools written by hand from vectors: one per thread, one under a lock, one owned by its caller.

use std::cell::RefCell;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::case::{CLASS_BYTES, class_of, each_class, fresh};
use super::contender::{Lent, Local, Pool};
use crate::payload::{Exhausted, Fill};

/// Buffers that a thread keeps of a class.
const KEPT_MAX: usize = 64;

thread_local! {
    static FREE: RefCell<[Vec<Box<[u8]>>; CLASS_BYTES.len()]> = const { RefCell::new([const { Vec::new() }; CLASS_BYTES.len()]) };
}

/// `tls-vec`: the simple pool that a good programmer writes in an hour. A thread-local vector of
/// buffers for each class, and a guard that pushes its buffer to the vector of the dropping thread.
///
/// A buffer dropped on another thread stays on that thread, whose vector is bounded: buffers above
/// the bound are freed. So memory is flat across threads, and every get is an allocation there.
pub struct TlsVec;

/// Pushes its buffer to the vector of the thread that drops it.
pub struct TlsGuard {
    /// Empty only after it was put back: an empty boxed slice allocates nothing.
    memory: Box<[u8]>,
}

/// Puts a buffer into this thread's vector, if there is room.
#[inline(always)]
fn put_local(memory: Box<[u8]>) {
    let Some(class) = class_of(memory.len()) else { return };
    // On a thread that is ending the vectors are gone, and the buffer is freed.
    let _ended = FREE.try_with(|free| {
        let list = &mut free.borrow_mut()[class];
        if list.len() < KEPT_MAX {
            list.push(memory);
        }
    });
}

impl Deref for TlsGuard {
    type Target = Box<[u8]>;

    #[inline(always)]
    fn deref(&self) -> &Box<[u8]> {
        &self.memory
    }
}

impl DerefMut for TlsGuard {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Box<[u8]> {
        &mut self.memory
    }
}

impl Drop for TlsGuard {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.memory.is_empty() {
            put_local(mem::take(&mut self.memory));
        }
    }
}

impl Pool for TlsVec {
    const NAME: &'static str = "tls-vec";

    type Local<'a> = Self;

    fn new() -> Result<Self, String> {
        Ok(Self)
    }

    fn local(&self) -> Self {
        Self
    }
}

impl Local for TlsVec {
    type Buffer = Lent<TlsGuard>;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Self::Buffer, Exhausted> {
        let class = class_of(bytes).ok_or(Exhausted)?;
        let memory = FREE.with(|free| free.borrow_mut()[class].pop());
        let mut memory = memory.unwrap_or_else(|| fresh(class));
        // Written before the guard is made: if it were written through the guard, the compiler
        // would keep the guard in memory because of a possible panic.
        fill.fill(op, &mut memory[..bytes]);
        Ok(Lent::written(TlsGuard { memory }, bytes))
    }

    #[inline(always)]
    fn put(&mut self, mut buffer: Self::Buffer) {
        // The guard's drop, which the compiler wouldn't inline here: that doubles the time of this
        // contender.
        put_local(mem::take(&mut buffer.guard.memory));
        mem::forget(buffer);
    }
}

/// `mutex-pool`: a vector of buffers under a mutex for each class, and a guard that pushes its
/// buffer back. The first pool that most programs have: correct on any thread, and every thread
/// waits for every other.
pub struct MutexPool {
    free: [Mutex<Vec<Box<[u8]>>>; CLASS_BYTES.len()],
}

/// Pushes its buffer back under the lock of its class.
pub struct PushBack<'a> {
    list: &'a Mutex<Vec<Box<[u8]>>>,
    /// Empty only after the drop: an empty boxed slice allocates nothing.
    memory: Box<[u8]>,
}

/// A list of buffers is whole after every push and pop, so a panic elsewhere does no harm.
fn lock(list: &Mutex<Vec<Box<[u8]>>>) -> MutexGuard<'_, Vec<Box<[u8]>>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Deref for PushBack<'_> {
    type Target = Box<[u8]>;

    #[inline(always)]
    fn deref(&self) -> &Box<[u8]> {
        &self.memory
    }
}

impl DerefMut for PushBack<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Box<[u8]> {
        &mut self.memory
    }
}

impl Drop for PushBack<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let memory = mem::take(&mut self.memory);
        lock(self.list).push(memory);
    }
}

impl Pool for MutexPool {
    const NAME: &'static str = "mutex-pool";

    type Local<'a> = &'a Self;

    fn new() -> Result<Self, String> {
        Ok(Self { free: each_class(|_| Mutex::default()) })
    }

    fn local(&self) -> &Self {
        self
    }
}

impl<'a> Local for &'a MutexPool {
    type Buffer = Lent<PushBack<'a>>;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Self::Buffer, Exhausted> {
        let class = class_of(bytes).ok_or(Exhausted)?;
        let list = &self.free[class];
        let memory = lock(list).pop();
        Ok(Lent::new(
            PushBack { list, memory: memory.unwrap_or_else(|| fresh(class)) },
            op,
            bytes,
            fill,
        ))
    }

    #[inline(always)]
    fn put(&mut self, buffer: Self::Buffer) {
        drop(buffer);
    }
}

/// `free-list`: a free list for each size class, owned by its caller: a vector of buffers, popped
/// and pushed by hand. The least that a pool with classes can cost. Each thread has lists of its
/// own.
///
/// There is no guard, no thread-local lookup, no bound and no counter between the caller and the
/// list. So the caller must not forget to put a buffer back, and a buffer that is dropped on
/// another thread would stay there for ever: it takes no part across threads.
pub struct FreeList;

#[derive(Default)]
pub struct Lists {
    free: [Vec<Box<[u8]>>; CLASS_BYTES.len()],
}

/// The buffer itself, which its caller must put back.
pub struct Bare(Box<[u8]>, usize);

impl Deref for Bare {
    type Target = Box<[u8]>;

    #[inline(always)]
    fn deref(&self) -> &Box<[u8]> {
        &self.0
    }
}

impl DerefMut for Bare {
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
        let class = class_of(bytes).ok_or(Exhausted)?;
        let memory = self.free[class].pop().unwrap_or_else(|| fresh(class));
        Ok(Lent::new(Bare(memory, class), op, bytes, fill))
    }

    #[inline(always)]
    fn put(&mut self, buffer: Self::Buffer) {
        let Bare(memory, class) = buffer.guard;
        self.free[class].push(memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Touch8;

    #[test]
    fn a_thread_keeps_no_more_than_its_bound() {
        let mut pool = TlsVec;
        let held: Vec<_> = (0..2 * KEPT_MAX as u64).map(|op| pool.get(op, 2048, &Touch8)).collect();
        drop(held);
        FREE.with(|free| assert_eq!(free.borrow()[0].len(), KEPT_MAX));
    }
}
