//! object-pool: a vector under parking_lot's mutex, one pool for each class. Its guard borrows the
//! pool, which is its faster form.

use object_pool::{Pool as Objects, Reusable};

use super::payload::Lent;
use super::table;
use super::{Local, Pool};
use crate::contender::{Exhausted, Fill};

pub struct ObjectPool {
    classes: [Objects<Box<[u8]>>; table::BYTES.len()],
}

impl Pool for ObjectPool {
    const NAME: &'static str = "object-pool";

    type Local<'a> = &'a Self;

    fn new() -> Result<Self, String> {
        Ok(Self { classes: table::each(|_| Objects::from_vec(Vec::new())) })
    }

    fn local(&self) -> &Self {
        self
    }
}

impl<'a> Local for &'a ObjectPool {
    type Buffer = Lent<Reusable<'a, Box<[u8]>>>;

    #[inline(always)]
    fn get(&mut self, op: u64, bytes: usize, fill: &impl Fill) -> Result<Self::Buffer, Exhausted> {
        let class = table::class_of(bytes).ok_or(Exhausted)?;
        Ok(Lent::new(self.classes[class].pull(|| table::fresh(class)), op, bytes, fill))
    }

    #[inline(always)]
    fn put(&mut self, buffer: Self::Buffer) {
        drop(buffer);
    }
}
