//! Channels of other crates that carry messages in buffers of slipring's class pool, or copied to
//! the heap: those of [`crate::threads`], and tokio's.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use bytes::Bytes;
use slipring::class::{ClassOptions, ClassPool, PooledBuf};
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::case::Case;
use super::contender::{Arrival, Inlet, Outlet, Queue};
use crate::threads::{Channel, Idle, Patience, Reader, Tally};

/// The memory of a message.
pub trait Carried: Send + Sync + Sized + 'static {
    type Message: DerefMut<Target = [u8]> + Send + 'static;

    /// Whether the contender has the name of its channel with vectors.
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
pub struct OnHeap {
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

impl Deref for Heap {
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

impl Carried for OnHeap {
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

/// `crossbeam`, `flume` ... with messages in buffers of the pool; `crossbeam-vec` ... with vectors.
pub struct Over<C, M> {
    carried: Mutex<Option<M>>,
    case: Case,
    channel: PhantomData<fn() -> C>,
}

pub struct ChannelInlet<C: Channel, M: Carried> {
    sender: C::Sender<M::Message>,
    carried: M,
    bytes: usize,
}

pub struct ChannelOutlet<C: Channel, M: Carried>(C::Receiver<M::Message>);

impl<C: Channel, M: Carried> Queue for Over<C, M>
where
    C::Sender<M::Message>: Send,
{
    const NAME: &'static str = if M::ON_HEAP { C::NAME_VEC } else { C::NAME };

    type Inlet<'a> = ChannelInlet<C, M>;
    type Outlet<'a> = ChannelOutlet<C, M>;

    fn new(case: &Case) -> Result<Self, String> {
        Ok(Self { carried: Mutex::new(Some(M::new(case)?)), case: *case, channel: PhantomData })
    }

    fn ends(&self) -> Result<(ChannelInlet<C, M>, ChannelOutlet<C, M>), String> {
        let carried = self.carried.lock().map_err(|error| error.to_string())?.take();
        let carried = carried.ok_or_else(|| "the ends are made once".to_owned())?;
        let (sender, receiver) = C::bounded(self.case.messages);
        Ok((
            ChannelInlet { sender, carried, bytes: self.case.message_bytes },
            ChannelOutlet(receiver),
        ))
    }
}

impl<C: Channel, M: Carried> Inlet for ChannelInlet<C, M> {
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

impl<C: Channel, M: Carried> Outlet for ChannelOutlet<C, M> {
    fn dequeue_all(self, arrival: &impl Arrival, mut reader: Reader) -> Result<(), String> {
        C::receive(self.0, |message: M::Message| {
            let holds = arrival.holds(reader.number(), &message);
            // Dropped before it is counted, so that the clock includes the last drop.
            drop(message);
            reader.note(holds);
        });
        Ok(())
    }
}

/// `tokio` and `tokio-parks`: tokio's bounded channel outside of a runtime, with messages in
/// buffers of slipring's class pool, as `Bytes`. With `PARKS` both ends wait by the blocking calls,
/// which park their thread.
pub struct Tokio<const PARKS: bool> {
    pool: ClassPool,
    case: Case,
}

/// `tokio-copy`: messages are copied into `Bytes` from the heap.
pub struct TokioCopy {
    case: Case,
}

pub struct TokioInlet<const PARKS: bool> {
    sender: Sender<Bytes>,
    pool: ClassPool,
    message_bytes: usize,
}

pub struct TokioCopyInlet {
    sender: Sender<Bytes>,
    packet: Vec<u8>,
}

pub struct TokioOutlet<const PARKS: bool>(Receiver<Bytes>);

impl<const PARKS: bool> Queue for Tokio<PARKS> {
    const NAME: &'static str = if PARKS { "tokio-parks" } else { "tokio" };
    const PARKS: bool = PARKS;

    type Inlet<'a> = TokioInlet<PARKS>;
    type Outlet<'a> = TokioOutlet<PARKS>;

    fn new(case: &Case) -> Result<Self, String> {
        let pool = ClassPool::new(&ClassOptions::default()).map_err(|error| error.to_string())?;
        Ok(Self { pool, case: *case })
    }

    fn ends(&self) -> Result<(TokioInlet<PARKS>, TokioOutlet<PARKS>), String> {
        let (sender, receiver) = channel(self.case.messages);
        let inlet =
            TokioInlet { sender, pool: self.pool.clone(), message_bytes: self.case.message_bytes };
        Ok((inlet, TokioOutlet(receiver)))
    }
}

impl Queue for TokioCopy {
    const NAME: &'static str = "tokio-copy";

    type Inlet<'a> = TokioCopyInlet;
    type Outlet<'a> = TokioOutlet<false>;

    fn new(case: &Case) -> Result<Self, String> {
        Ok(Self { case: *case })
    }

    fn ends(&self) -> Result<(TokioCopyInlet, TokioOutlet<false>), String> {
        let (sender, receiver) = channel(self.case.messages);
        Ok((
            TokioCopyInlet { sender, packet: vec![0; self.case.message_bytes] },
            TokioOutlet(receiver),
        ))
    }
}

#[inline]
fn send(sender: &Sender<Bytes>, mut message: Bytes, tally: &Tally) -> Result<(), String> {
    let mut patience = Patience::default();
    loop {
        match sender.try_send(message) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(back)) => message = back,
            Err(TrySendError::Closed(_)) => return Err(gone(tally)),
        }
        patience.round(tally)?;
    }
}

fn gone(tally: &Tally) -> String {
    format!("the receiver has gone after {} messages", tally.read())
}

impl<const PARKS: bool> Inlet for TokioInlet<PARKS> {
    #[inline]
    fn enqueue(
        &mut self,
        number: u64,
        arrival: &impl Arrival,
        tally: &Tally,
    ) -> Result<(), String> {
        let mut message = self.pool.get(self.message_bytes).map_err(|error| error.to_string())?;
        arrival.write(number, &mut message);
        let message = message.into_bytes();
        if PARKS {
            self.sender.blocking_send(message).map_err(|_| gone(tally))
        } else {
            send(&self.sender, message, tally)
        }
    }
}

impl Inlet for TokioCopyInlet {
    #[inline]
    fn enqueue(
        &mut self,
        number: u64,
        arrival: &impl Arrival,
        tally: &Tally,
    ) -> Result<(), String> {
        arrival.write(number, &mut self.packet);
        send(&self.sender, Bytes::copy_from_slice(&self.packet), tally)
    }
}

impl<const PARKS: bool> Outlet for TokioOutlet<PARKS> {
    fn dequeue_all(mut self, arrival: &impl Arrival, mut reader: Reader) -> Result<(), String> {
        let mut idle = Idle::default();
        loop {
            let message = if PARKS {
                self.0.blocking_recv()
            } else {
                match self.0.try_recv() {
                    Ok(message) => Some(message),
                    Err(TryRecvError::Disconnected) => None,
                    Err(TryRecvError::Empty) => {
                        idle.round();
                        continue;
                    }
                }
            };
            let Some(message) = message else { return Ok(()) };
            idle.reset();
            let holds = arrival.holds(reader.number(), &message);
            // Dropped before it is counted, so that the clock includes the last drop.
            drop(message);
            reader.note(holds);
        }
    }
}
