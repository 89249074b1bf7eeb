//! tokio's bounded channel with `Bytes`, outside of a runtime. By attempts as all others, or by its
//! blocking calls, which park their thread.

use bytes::Bytes;
use slipring::class::{ClassOptions, ClassPool};
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Arrival, Case, Inlet, Outlet, Queue};
use crate::two_threads::{Idle, Patience, Reader, Tally};

/// Messages lie in buffers of slipring's class pool, as `Bytes`.
pub struct Tokio<const PARKS: bool> {
    pool: ClassPool,
    case: Case,
}

/// Messages are copied into `Bytes` from the heap.
pub struct TokioCopy {
    case: Case,
}

pub struct Pooling<const PARKS: bool> {
    sender: Sender<Bytes>,
    pool: ClassPool,
    message_bytes: usize,
}

pub struct Copying {
    sender: Sender<Bytes>,
    packet: Vec<u8>,
}

pub struct Receiving<const PARKS: bool>(Receiver<Bytes>);

impl<const PARKS: bool> Queue for Tokio<PARKS> {
    const NAME: &'static str = if PARKS { "tokio-parks" } else { "tokio" };
    const PARKS: bool = PARKS;

    type Inlet<'a> = Pooling<PARKS>;
    type Outlet<'a> = Receiving<PARKS>;

    fn new(case: &Case) -> Result<Self, String> {
        let pool = ClassPool::new(&ClassOptions::default()).map_err(|error| error.to_string())?;
        Ok(Self { pool, case: *case })
    }

    fn ends(&self) -> Result<(Pooling<PARKS>, Receiving<PARKS>), String> {
        let (sender, receiver) = channel(self.case.messages);
        let inlet =
            Pooling { sender, pool: self.pool.clone(), message_bytes: self.case.message_bytes };
        Ok((inlet, Receiving(receiver)))
    }
}

impl Queue for TokioCopy {
    const NAME: &'static str = "tokio-copy";

    type Inlet<'a> = Copying;
    type Outlet<'a> = Receiving<false>;

    fn new(case: &Case) -> Result<Self, String> {
        Ok(Self { case: *case })
    }

    fn ends(&self) -> Result<(Copying, Receiving<false>), String> {
        let (sender, receiver) = channel(self.case.messages);
        Ok((Copying { sender, packet: vec![0; self.case.message_bytes] }, Receiving(receiver)))
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

impl<const PARKS: bool> Inlet for Pooling<PARKS> {
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

impl Inlet for Copying {
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

impl<const PARKS: bool> Outlet for Receiving<PARKS> {
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
            // Done before it counts, so that the clock stops behind the last one.
            drop(message);
            reader.note(holds);
        }
    }
}
