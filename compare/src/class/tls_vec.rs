//! The simple pool that a good programmer writes in an hour: a thread-local vector of buffers for
//! each class, and a guard that pushes its buffer back where it is dropped.
//!
//! A buffer dropped on another thread stays on that thread, whose vector is bounded: what is above
//! is freed. So memory is flat across threads, and there every get is an allocation.

use std::cell::RefCell;

use super::payload::Lent;
use super::table;
use super::{Local, Pool};
use crate::contender::{Exhausted, Fill};

/// Buffers that a thread keeps of a class.
const KEPT_MAX: usize = 64;

thread_local! {
    static FREE: RefCell<[Vec<Box<[u8]>>; table::BYTES.len()]> = const { RefCell::new([const { Vec::new() }; table::BYTES.len()]) };
}

/// What it has lies in the threads.
pub struct TlsVec;

/// Returns its buffer on the thread that drops it.
pub struct Guard {
    /// Empty only after it was returned: an empty boxed slice allocates nothing.
    memory: Box<[u8]>,
}

/// Keeps a buffer on this thread, if there is room.
#[inline(always)]
fn keep(memory: Box<[u8]>) {
    let Some(class) = table::class_of(memory.len()) else { return };
    // A thread that ends has no list any more; then the buffer is freed.
    let _ended = FREE.try_with(|free| {
        let list = &mut free.borrow_mut()[class];
        if list.len() < KEPT_MAX {
            list.push(memory);
        }
    });
}

impl std::ops::Deref for Guard {
    type Target = Box<[u8]>;

    #[inline(always)]
    fn deref(&self) -> &Box<[u8]> {
        &self.memory
    }
}

impl std::ops::DerefMut for Guard {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Box<[u8]> {
        &mut self.memory
    }
}

impl Drop for Guard {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.memory.is_empty() {
            keep(std::mem::take(&mut self.memory));
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
    type Buffer = Lent<Guard>;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Self::Buffer, Exhausted> {
        let class = table::class_of(bytes).ok_or(Exhausted)?;
        let memory = FREE.with(|free| free.borrow_mut()[class].pop());
        let mut memory = memory.unwrap_or_else(|| table::fresh(class));
        // Written before the guard is made: were it written through the guard, the compiler would
        // keep that in memory for the sake of a panic.
        fill.fill(op, &mut memory[..bytes]);
        Ok(Lent::written(Guard { memory }, bytes))
    }

    #[inline(always)]
    fn put(&mut self, mut buffer: Self::Buffer) {
        // What the guard's drop does, which the compiler wouldn't inline here; it would leave this
        // contender at twice its time.
        keep(std::mem::take(&mut buffer.guard.memory));
        std::mem::forget(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Touch8;

    #[test]
    fn a_thread_keeps_no_more_than_its_bound() {
        let mut pool = TlsVec;
        let held: Vec<_> = (0..2 * KEPT_MAX as u64).map(|op| pool.get(op, 2048, &Touch8)).collect();
        drop(held);
        FREE.with(|free| assert_eq!(free.borrow()[0].len(), KEPT_MAX));
    }
}
