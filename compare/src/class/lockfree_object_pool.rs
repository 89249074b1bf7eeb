//! lockfree-object-pool: its linear pool, a linked list of pages whose bits say which objects are
//! free, one pool for each class. A get looks for the first free bit from the list's head.

use lockfree_object_pool::{LinearObjectPool, LinearReusable};

use super::payload::Lent;
use super::table;
use super::{Local, Pool};
use crate::contender::{Exhausted, Fill};

pub struct LockfreeObjectPool {
    classes: [LinearObjectPool<Box<[u8]>>; table::BYTES.len()],
}

impl Pool for LockfreeObjectPool {
    const NAME: &'static str = "lockfree-object-pool";

    type Local<'a> = &'a Self;

    fn new() -> Result<Self, String> {
        // Nothing is reset: a pooled buffer keeps its old bytes in every contender.
        let of_bytes =
            |bytes| LinearObjectPool::new(move || vec![0; bytes].into_boxed_slice(), |_| ());
        Ok(Self { classes: table::each(of_bytes) })
    }

    fn local(&self) -> &Self {
        self
    }
}

impl<'a> Local for &'a LockfreeObjectPool {
    type Buffer = Lent<LinearReusable<'a, Box<[u8]>>>;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Self::Buffer, Exhausted> {
        let class = table::class_of(bytes).ok_or(Exhausted)?;
        Ok(Lent::new(self.classes[class].pull(), op, bytes, fill))
    }

    #[inline(always)]
    fn put(&mut self, buffer: Self::Buffer) {
        drop(buffer);
    }
}
