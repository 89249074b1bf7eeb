//! The standard library's `sync_channel`: a lock-free array, for many senders and one receiver. One message at a time, at both ends.

use std::ops::Range;

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};

use super::channel::{Channel, Refused, send_one_by_one};
use super::{Idle, Tally};

pub struct StdMpsc;

impl Channel for StdMpsc {
    const NAME: &'static str = "std-mpsc";
    const NAME_VEC: &'static str = "std-mpsc-vec";

    type Sender<T: Send + 'static> = SyncSender<T>;
    type Receiver<T: Send + 'static> = Receiver<T>;

    fn bounded<T: Send + 'static>(slots: usize) -> (SyncSender<T>, Receiver<T>) {
        sync_channel(slots)
    }

    #[inline]
    fn send<T: Send + 'static>(
        sender: &mut SyncSender<T>,
        numbers: Range<u64>,
        make: impl FnMut(u64) -> Result<T, String>,
        tally: &Tally,
    ) -> Result<(), String> {
        send_one_by_one(numbers, make, tally, |message| {
            sender.try_send(message).map_err(|error| match error {
                TrySendError::Full(back) => Refused::Full(back),
                TrySendError::Disconnected(_) => Refused::Gone,
            })
        })
    }

    fn receive<T: Send + 'static>(receiver: Receiver<T>, mut each: impl FnMut(T)) {
        let mut idle = Idle::default();
        loop {
            match receiver.try_recv() {
                Ok(message) => {
                    idle.reset();
                    each(message);
                }
                Err(TryRecvError::Empty) => idle.round(),
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }
}
