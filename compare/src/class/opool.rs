//! opool: a bounded lock-free queue of buffers, one pool for each class. Its guard borrows the
//! pool, which is its faster form; what the full queue refuses is freed.

use opool::{Pool as Objects, PoolAllocator, RefGuard};

use super::payload::Lent;
use super::table;
use super::{Local, Pool};
use crate::contender::{Exhausted, Fill};

/// Buffers that a class keeps: more than any case has alive.
const KEPT_MAX: usize = 1024;

pub struct Opool {
    classes: [Objects<Fresh, Box<[u8]>>; table::BYTES.len()],
}

/// Makes the buffers of one class.
pub struct Fresh(usize);

impl PoolAllocator<Box<[u8]>> for Fresh {
    fn allocate(&self) -> Box<[u8]> {
        table::fresh(self.0)
    }
}

impl Pool for Opool {
    const NAME: &'static str = "opool";

    type Local<'a> = &'a Self;

    fn new() -> Result<Self, String> {
        let mut class = 0..;
        Ok(Self {
            classes: table::each(|_| {
                Objects::new(KEPT_MAX, Fresh(class.next().expect("it has no end")))
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
        let class = table::class_of(bytes).ok_or(Exhausted)?;
        Ok(Lent::new(self.classes[class].get(), op, bytes, fill))
    }

    #[inline(always)]
    fn put(&mut self, buffer: Self::Buffer) {
        drop(buffer);
    }
}
