//! slipring's class pool over the wire table, without limits.

use std::hint::black_box;

use slipring::class::{ClassOptions, ClassPool, PooledBuf};

use super::contender::{Buffer, Local, Pool};
use crate::payload::{Exhausted, Fill};

/// `slipring`: a guard that puts its buffer back by itself, on any thread.
pub struct Slipring {
    pool: ClassPool,
}

impl Pool for Slipring {
    const NAME: &'static str = "slipring";

    type Local<'a> = &'a Self;

    fn new() -> Result<Self, String> {
        let pool = ClassPool::new(&ClassOptions::default()).map_err(|error| error.to_string())?;
        Ok(Self { pool })
    }

    fn local(&self) -> &Self {
        self
    }
}

impl Local for &Slipring {
    type Buffer = PooledBuf;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<PooledBuf, Exhausted> {
        let mut buffer = self.pool.get(bytes).map_err(|_| Exhausted)?;
        fill.fill(op, &mut buffer);
        Ok(buffer)
    }

    #[inline(always)]
    fn put(&mut self, buffer: PooledBuf) {
        drop(buffer);
    }
}

impl Buffer for PooledBuf {
    fn read<R>(&self, check: impl FnOnce(&[u8]) -> R) -> R {
        check(self)
    }

    #[inline(always)]
    fn be_seen(&self) {
        black_box(self.as_ptr());
    }
}
