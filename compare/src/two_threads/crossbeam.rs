//! crossbeam-channel: a lock-free array for many senders and receivers. One message at a time, at
//! both ends.

use std::ops::Range;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use super::Tally;
use super::channel::{Channel, Found, Refused, receive_one_by_one, send_one_by_one};

pub struct Crossbeam;

impl Channel for Crossbeam {
    const NAME: &'static str = "crossbeam";
    const NAME_VEC: &'static str = "crossbeam-vec";

    type Sender<T: Send + 'static> = Sender<T>;
    type Receiver<T: Send + 'static> = Receiver<T>;

    fn bounded<T: Send + 'static>(slots: usize) -> (Sender<T>, Receiver<T>) {
        bounded(slots)
    }

    #[inline]
    fn send<T: Send + 'static>(
        sender: &mut Sender<T>,
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
