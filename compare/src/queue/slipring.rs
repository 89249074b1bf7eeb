//! slipring's receive queue over a class pool: messages that were received into a buffer of the
//! pool and move in, or that the queue copies in.

use slipring::class::{ClassOptions, ClassPool};
use slipring::queue::{
    CopyError, DequeueError, Dequeuer, EnqueueError, Enqueuer, QueueOptions, queue,
};

use super::case::Case;
use super::contender::{Arrival, Inlet, Outlet, Queue};
use crate::threads::{Idle, Patience, Reader, Tally};

/// The pool and the queue's bounds, for both contenders.
struct Bounded {
    pool: ClassPool,
    case: Case,
}

impl Bounded {
    fn new(case: &Case) -> Result<Self, String> {
        let pool = ClassPool::new(&ClassOptions::default()).map_err(|error| error.to_string())?;
        Ok(Self { pool, case: *case })
    }

    fn ends(&self) -> Result<(Enqueuer, Dequeuer), String> {
        let Case { messages, message_bytes } = self.case;
        let options = QueueOptions { messages, bytes: messages * message_bytes };
        queue(&self.pool, options).map_err(|error| error.to_string())
    }
}

/// `slipring` and `slipring-parks`: messages move. With `PARKS` both ends wait by the blocking
/// calls.
pub struct Slipring<const PARKS: bool>(Bounded);

pub struct Moving<const PARKS: bool> {
    enqueuer: Enqueuer,
    message_bytes: usize,
}

pub struct Dequeuing<const PARKS: bool>(Dequeuer);

impl<const PARKS: bool> Queue for Slipring<PARKS> {
    const NAME: &'static str = if PARKS { "slipring-parks" } else { "slipring" };
    const PARKS: bool = PARKS;

    type Inlet<'a> = Moving<PARKS>;
    type Outlet<'a> = Dequeuing<PARKS>;

    fn new(case: &Case) -> Result<Self, String> {
        Bounded::new(case).map(Self)
    }

    fn ends(&self) -> Result<(Moving<PARKS>, Dequeuing<PARKS>), String> {
        let (enqueuer, dequeuer) = self.0.ends()?;
        Ok((Moving { enqueuer, message_bytes: self.0.case.message_bytes }, Dequeuing(dequeuer)))
    }
}

impl<const PARKS: bool> Inlet for Moving<PARKS> {
    #[inline]
    fn enqueue(
        &mut self,
        number: u64,
        arrival: &impl Arrival,
        tally: &Tally,
    ) -> Result<(), String> {
        let mut buf =
            self.enqueuer.pool().get(self.message_bytes).map_err(|error| error.to_string())?;
        arrival.write(number, &mut buf);
        if PARKS {
            return self.enqueuer.enqueue(buf).map_err(|error| error.to_string());
        }
        let mut patience = Patience::default();
        while let Err(refused) = self.enqueuer.try_enqueue(buf) {
            if let EnqueueError::Closed { end, .. } = refused {
                return Err(end.to_string());
            }
            buf = refused.into_buf();
            patience.round(tally)?;
        }
        Ok(())
    }
}

impl<const PARKS: bool> Outlet for Dequeuing<PARKS> {
    fn dequeue_all(self, arrival: &impl Arrival, mut reader: Reader) -> Result<(), String> {
        let (mut dequeuer, mut idle) = (self.0, Idle::default());
        loop {
            let message = if PARKS {
                dequeuer.dequeue().map_err(|error| error.to_string())?
            } else {
                match dequeuer.try_dequeue() {
                    Ok(message) => message,
                    Err(DequeueError::Empty) => {
                        idle.round();
                        continue;
                    }
                    Err(error) => return Err(error.to_string()),
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

/// `slipring-copy`: messages are copied in, outside of any lock.
pub struct SlipringCopy(Bounded);

pub struct Copying {
    enqueuer: Enqueuer,
    packet: Vec<u8>,
}

impl Queue for SlipringCopy {
    const NAME: &'static str = "slipring-copy";

    type Inlet<'a> = Copying;
    type Outlet<'a> = Dequeuing<false>;

    fn new(case: &Case) -> Result<Self, String> {
        Bounded::new(case).map(Self)
    }

    fn ends(&self) -> Result<(Copying, Dequeuing<false>), String> {
        let (enqueuer, dequeuer) = self.0.ends()?;
        Ok((Copying { enqueuer, packet: vec![0; self.0.case.message_bytes] }, Dequeuing(dequeuer)))
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
        let mut patience = Patience::default();
        loop {
            match self.enqueuer.try_enqueue_copy(&self.packet) {
                Ok(()) => return Ok(()),
                Err(CopyError::Full(_)) => patience.round(tally)?,
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
