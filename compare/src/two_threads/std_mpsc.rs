//! The standard library's `sync_channel`: a lock-free array, for many senders and one receiver. One
//! message at a time, at both ends.

use std::ops::Range;

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};

use super::Tally;
use super::channel::{Channel, Found, Refused, receive_one_by_one, send_one_by_one};

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

    fn receive<T: Send + 'static>(receiver: Receiver<T>, each: impl FnMut(T)) {
        let found = || match receiver.try_recv() {
            Ok(message) => Found::Message(message),
            Err(TryRecvError::Empty) => Found::Nothing,
            Err(TryRecvError::Disconnected) => Found::End,
        };
        receive_one_by_one(found, each);
    }
}
