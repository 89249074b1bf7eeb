//! flume: a queue under a mutex, for many senders and receivers; without its asynchronous half. One
//! message at a time, at both ends.

use std::ops::Range;

use flume::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use super::Tally;
use super::channel::{Channel, Found, Refused, receive_one_by_one, send_one_by_one};

pub struct Flume;

impl Channel for Flume {
    const NAME: &'static str = "flume";
    const NAME_VEC: &'static str = "flume-vec";

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
