//! A vector of buffers under a mutex for each class, and a guard that pushes its buffer back. The
//! first pool that most programs have: correct on any thread, and every thread waits for every
//! other.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::payload::Lent;
use super::table;
use super::{Local, Pool};
use crate::contender::{Exhausted, Fill};

pub struct MutexPool {
    free: [Mutex<Vec<Box<[u8]>>>; table::BYTES.len()],
}

pub struct Guard<'a> {
    home: &'a Mutex<Vec<Box<[u8]>>>,
    /// Empty only after the drop took it: an empty boxed slice allocates nothing.
    memory: Box<[u8]>,
}

/// A list of buffers is whole after every push and pop, so a panic elsewhere spoils nothing.
fn lock(list: &Mutex<Vec<Box<[u8]>>>) -> MutexGuard<'_, Vec<Box<[u8]>>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::ops::Deref for Guard<'_> {
    type Target = Box<[u8]>;

    #[inline(always)]
    fn deref(&self) -> &Box<[u8]> {
        &self.memory
    }
}

impl std::ops::DerefMut for Guard<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Box<[u8]> {
        &mut self.memory
    }
}

impl Drop for Guard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let memory = mem::take(&mut self.memory);
        lock(self.home).push(memory);
    }
}

impl Pool for MutexPool {
    const NAME: &'static str = "mutex-pool";

    type Local<'a> = &'a Self;

    fn new() -> Result<Self, String> {
        Ok(Self { free: table::each(|_| Mutex::default()) })
    }

    fn local(&self) -> &Self {
        self
    }
}

impl<'a> Local for &'a MutexPool {
    type Buffer = Lent<Guard<'a>>;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Self::Buffer, Exhausted> {
        let class = table::class_of(bytes).ok_or(Exhausted)?;
        let home = &self.free[class];
        let memory = lock(home).pop();
        Ok(Lent::new(
            Guard { home, memory: memory.unwrap_or_else(|| table::fresh(class)) },
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
