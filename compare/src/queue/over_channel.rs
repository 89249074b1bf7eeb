//! A rival's channel that carries messages in buffers of slipring's class pool, or copied into
//! vectors from the heap.

use std::marker::PhantomData;
use std::ops::DerefMut;
use std::sync::Mutex;

use slipring::class::{ClassOptions, ClassPool, PooledBuf};

use super::{Arrival, Case, Inlet, Outlet, Queue};
use crate::two_threads::{Channel, Reader, Tally};

/// What a message lies in.
pub trait Carried: Send + Sync + Sized + 'static {
    type Message: DerefMut<Target = [u8]> + Send + 'static;

    /// Whether the channel goes by its name with vectors.
    const ON_HEAP: bool;

    fn new(case: &Case) -> Result<Self, String>;

    /// Lets a message arrive.
    fn arrive(
        &mut self,
        number: u64,
        bytes: usize,
        arrival: &impl Arrival,
    ) -> Result<Self::Message, String>;
}

/// Buffers of the pool, into which the message was received.
pub struct Pooled(ClassPool);

/// Vectors, copied from a packet buffer.
pub struct Copied {
    packet: Vec<u8>,
}

impl Carried for Pooled {
    type Message = PooledBuf;

    const ON_HEAP: bool = false;

    fn new(_case: &Case) -> Result<Self, String> {
        ClassPool::new(&ClassOptions::default()).map(Self).map_err(|error| error.to_string())
    }

    #[inline]
    fn arrive(
        &mut self,
        number: u64,
        bytes: usize,
        arrival: &impl Arrival,
    ) -> Result<PooledBuf, String> {
        let mut message = self.0.get(bytes).map_err(|error| error.to_string())?;
        arrival.write(number, &mut message);
        Ok(message)
    }
}

/// A vector's slice.
pub struct Heap(Vec<u8>);

impl std::ops::Deref for Heap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Heap {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Carried for Copied {
    type Message = Heap;

    const ON_HEAP: bool = true;

    fn new(case: &Case) -> Result<Self, String> {
        Ok(Self { packet: vec![0; case.message_bytes] })
    }

    #[inline]
    fn arrive(
        &mut self,
        number: u64,
        _bytes: usize,
        arrival: &impl Arrival,
    ) -> Result<Heap, String> {
        arrival.write(number, &mut self.packet);
        Ok(Heap(self.packet.clone()))
    }
}

pub struct Over<C, M> {
    carried: Mutex<Option<M>>,
    case: Case,
    channel: PhantomData<fn() -> C>,
}

pub struct Sending<C: Channel, M: Carried> {
    sender: C::Sender<M::Message>,
    carried: M,
    bytes: usize,
}

pub struct Receiving<C: Channel, M: Carried>(C::Receiver<M::Message>);

impl<C: Channel, M: Carried> Queue for Over<C, M>
where
    C::Sender<M::Message>: Send,
{
    const NAME: &'static str = if M::ON_HEAP { C::NAME_VEC } else { C::NAME };

    type Inlet<'a> = Sending<C, M>;
    type Outlet<'a> = Receiving<C, M>;

    fn new(case: &Case) -> Result<Self, String> {
        Ok(Self { carried: Mutex::new(Some(M::new(case)?)), case: *case, channel: PhantomData })
    }

    fn ends(&self) -> Result<(Sending<C, M>, Receiving<C, M>), String> {
        let carried = self.carried.lock().map_err(|error| error.to_string())?.take();
        let carried = carried.ok_or_else(|| "the ends are taken once".to_owned())?;
        let (sender, receiver) = C::bounded(self.case.messages);
        Ok((Sending { sender, carried, bytes: self.case.message_bytes }, Receiving(receiver)))
    }
}

impl<C: Channel, M: Carried> Inlet for Sending<C, M> {
    #[inline]
    fn enqueue(
        &mut self,
        number: u64,
        arrival: &impl Arrival,
        tally: &Tally,
    ) -> Result<(), String> {
        let (carried, bytes) = (&mut self.carried, self.bytes);
        C::send(
            &mut self.sender,
            number..number + 1,
            |number| carried.arrive(number, bytes, arrival),
            tally,
        )
    }
}

impl<C: Channel, M: Carried> Outlet for Receiving<C, M> {
    fn dequeue_all(self, arrival: &impl Arrival, mut reader: Reader) -> Result<(), String> {
        C::receive(self.0, |message: M::Message| {
            let holds = arrival.holds(reader.number(), &message);
            // Done before it counts, so that the clock stops behind the last one.
            drop(message);
            reader.note(holds);
        });
        Ok(())
    }
}
