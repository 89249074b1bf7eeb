//! kanal: a queue under a spinning lock, for many senders and receivers; without its asynchronous
//! half. One message at a time, at both ends.

use std::ops::Range;

use kanal::{Receiver, Sender, bounded};

use super::Tally;
use super::channel::{Channel, Found, Refused, receive_one_by_one, send_one_by_one};

pub struct Kanal;

impl Channel for Kanal {
    const NAME: &'static str = "kanal";
    const NAME_VEC: &'static str = "kanal-vec";

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
            // A plain `try_send` drops the message when the channel is full.
            let mut message = Some(message);
            match sender.try_send_option(&mut message) {
                Ok(true) => Ok(()),
                Ok(false) => message.map_or(Err(Refused::Gone), |back| Err(Refused::Full(back))),
                Err(_closed) => Err(Refused::Gone),
            }
        })
    }

    fn receive<T: Send + 'static>(receiver: Receiver<T>, each: impl FnMut(T)) {
        let found = || match receiver.try_recv() {
            Ok(Some(message)) => Found::Message(message),
            Ok(None) => Found::Nothing,
            Err(_closed) => Found::End,
        };
        receive_one_by_one(found, each);
    }
}
