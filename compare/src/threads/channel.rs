//! Bounded channels of other crates behind one trait, whatever they carry.

use std::iter;
use std::ops::Range;

use super::reader::{Idle, Patience, Tally};

/// One library's bounded channel between two threads. Neither end ever parks: a full channel is
/// tried again by [`Patience`], an empty one by [`Idle`].
pub trait Channel: 'static {
    /// The contender's name when our chunks carry the payloads.
    const NAME: &'static str;
    /// The contender's name when each payload is a vector of its own.
    const NAME_VEC: &'static str;

    type Sender<T: Send + 'static>;
    type Receiver<T: Send + 'static>: Send + 'static;

    /// A channel for `slots` messages, allocated in full.
    fn bounded<T: Send + 'static>(slots: usize) -> (Self::Sender<T>, Self::Receiver<T>);

    /// Makes a message for each number and sends it: as one batch where the library has one, else
    /// one by one.
    ///
    /// # Errors
    /// `make` failed, or the receiver has gone.
    fn send<T: Send + 'static>(
        sender: &mut Self::Sender<T>,
        numbers: Range<u64>,
        make: impl FnMut(u64) -> Result<T, String>,
        tally: &Tally,
    ) -> Result<(), String>;

    /// Passes every message to `each`, until the sender has gone and the channel is empty.
    fn receive<T: Send + 'static>(receiver: Self::Receiver<T>, each: impl FnMut(T));
}

/// Why a message wasn't sent.
enum Refused<T> {
    /// The channel is full; the message comes back, to be tried again.
    Full(T),
    /// There is no receiver any more.
    Gone,
}

/// [`Channel::send`] for a library that takes one message at a time.
#[inline]
fn send_one_by_one<T>(
    numbers: Range<u64>,
    mut make: impl FnMut(u64) -> Result<T, String>,
    tally: &Tally,
    mut try_send: impl FnMut(T) -> Result<(), Refused<T>>,
) -> Result<(), String> {
    for number in numbers {
        let (mut message, mut patience) = (make(number)?, Patience::default());
        while let Err(refused) = try_send(message) {
            let Refused::Full(back) = refused else { return Err(gone(tally)) };
            message = back;
            patience.round(tally)?;
        }
    }
    Ok(())
}

/// The outcome of an attempt to receive.
enum Found<T> {
    Message(T),
    Nothing,
    /// The sender has gone, and the channel is empty.
    End,
}

/// [`Channel::receive`] for a library that returns one message at a time.
#[inline]
fn receive_one_by_one<T>(mut try_receive: impl FnMut() -> Found<T>, mut each: impl FnMut(T)) {
    let mut idle = Idle::default();
    loop {
        match try_receive() {
            Found::Message(message) => {
                idle.reset();
                each(message);
            }
            Found::Nothing => idle.round(),
            Found::End => return,
        }
    }
}

fn gone(tally: &Tally) -> String {
    format!("the receiver has gone after {} payloads", tally.read())
}

/// Implements [`Channel`] for a library whose types have the names of the standard library's, and
/// whose refused message comes back: one message at a time, at both ends.
macro_rules! one_by_one {
    ($channel:ident, $name:literal, $sender:ident, $bounded:ident, $($library:ident)::+) => {
        impl Channel for $channel {
            const NAME: &'static str = $name;
            const NAME_VEC: &'static str = concat!($name, "-vec");

            type Sender<T: Send + 'static> = $($library)::+::$sender<T>;
            type Receiver<T: Send + 'static> = $($library)::+::Receiver<T>;

            fn bounded<T: Send + 'static>(slots: usize) -> (Self::Sender<T>, Self::Receiver<T>) {
                $($library)::+::$bounded(slots)
            }

            #[inline]
            fn send<T: Send + 'static>(
                sender: &mut Self::Sender<T>,
                numbers: Range<u64>,
                make: impl FnMut(u64) -> Result<T, String>,
                tally: &Tally,
            ) -> Result<(), String> {
                send_one_by_one(numbers, make, tally, |message| {
                    sender.try_send(message).map_err(|error| match error {
                        $($library)::+::TrySendError::Full(back) => Refused::Full(back),
                        $($library)::+::TrySendError::Disconnected(_) => Refused::Gone,
                    })
                })
            }

            fn receive<T: Send + 'static>(receiver: Self::Receiver<T>, each: impl FnMut(T)) {
                let found = || match receiver.try_recv() {
                    Ok(message) => Found::Message(message),
                    Err($($library)::+::TryRecvError::Empty) => Found::Nothing,
                    Err($($library)::+::TryRecvError::Disconnected) => Found::End,
                };
                receive_one_by_one(found, each);
            }
        }
    };
}

/// `crossbeam`: crossbeam-channel, a lock-free array for many senders and receivers.
pub struct Crossbeam;

/// `flume`: a queue under a mutex, for many senders and receivers; without its asynchronous half.
pub struct Flume;

/// `std-mpsc`: the standard library's `sync_channel`, a lock-free array for many senders and one
/// receiver.
pub struct StdMpsc;

one_by_one!(Crossbeam, "crossbeam", Sender, bounded, crossbeam_channel);
one_by_one!(Flume, "flume", Sender, bounded, flume);
one_by_one!(StdMpsc, "std-mpsc", SyncSender, sync_channel, std::sync::mpsc);

/// `kanal`: a queue under a spinning lock, for many senders and receivers; without its asynchronous
/// half. One message at a time, at both ends.
pub struct Kanal;

impl Channel for Kanal {
    const NAME: &'static str = "kanal";
    const NAME_VEC: &'static str = "kanal-vec";

    type Sender<T: Send + 'static> = kanal::Sender<T>;
    type Receiver<T: Send + 'static> = kanal::Receiver<T>;

    fn bounded<T: Send + 'static>(slots: usize) -> (kanal::Sender<T>, kanal::Receiver<T>) {
        kanal::bounded(slots)
    }

    #[inline]
    fn send<T: Send + 'static>(
        sender: &mut kanal::Sender<T>,
        numbers: Range<u64>,
        make: impl FnMut(u64) -> Result<T, String>,
        tally: &Tally,
    ) -> Result<(), String> {
        send_one_by_one(numbers, make, tally, |message| {
            // `try_send` would drop the message when the channel is full.
            let mut message = Some(message);
            match sender.try_send_option(&mut message) {
                Ok(true) => Ok(()),
                Ok(false) => message.map_or(Err(Refused::Gone), |back| Err(Refused::Full(back))),
                Err(_closed) => Err(Refused::Gone),
            }
        })
    }

    fn receive<T: Send + 'static>(receiver: kanal::Receiver<T>, each: impl FnMut(T)) {
        let found = || match receiver.try_recv() {
            Ok(Some(message)) => Found::Message(message),
            Ok(None) => Found::Nothing,
            Err(_closed) => Found::End,
        };
        receive_one_by_one(found, each);
    }
}

/// The most messages that the reader frees by one store: a stage's default.
const BATCH_MAX: usize = slipring::pipeline::BATCH_DEFAULT;

/// `rtrb`: a wait-free ring for one producer and one consumer, and the only rival that publishes a
/// batch by one store.
///
/// Batch 1 is a `push`. A larger batch waits until the ring has room for all of it, is written into
/// a chunk of the ring, and becomes visible by one store. The reader reads up to 256 messages, as a
/// stage does, and frees their slots by one store.
pub struct Rtrb;

impl Channel for Rtrb {
    const NAME: &'static str = "rtrb";
    const NAME_VEC: &'static str = "rtrb-vec";

    type Sender<T: Send + 'static> = rtrb::Producer<T>;
    type Receiver<T: Send + 'static> = rtrb::Consumer<T>;

    fn bounded<T: Send + 'static>(slots: usize) -> (rtrb::Producer<T>, rtrb::Consumer<T>) {
        rtrb::RingBuffer::new(slots)
    }

    #[inline]
    fn send<T: Send + 'static>(
        producer: &mut rtrb::Producer<T>,
        numbers: Range<u64>,
        mut make: impl FnMut(u64) -> Result<T, String>,
        tally: &Tally,
    ) -> Result<(), String> {
        let count = (numbers.end - numbers.start) as usize;
        if count == 1 {
            let push = |message| {
                producer.push(message).map_err(|rtrb::PushError::Full(back)| Refused::Full(back))
            };
            return send_one_by_one(numbers, make, tally, push);
        }
        let (mut numbers, mut refused, mut patience) = (numbers, None, Patience::default());
        let messages = iter::from_fn(|| match make(numbers.next()?) {
            Ok(message) => Some(message),
            Err(why) => {
                refused = Some(why);
                None
            }
        });
        loop {
            // It reads the consumer's position only if the cached one leaves too little room;
            // asking for the free slots first would read it every time.
            match producer.write_chunk_uninit(count) {
                Ok(chunk) => {
                    chunk.fill_from_iter(messages);
                    return refused.map_or(Ok(()), Err);
                }
                Err(_full) => patience.round(tally)?,
            }
        }
    }

    fn receive<T: Send + 'static>(mut consumer: rtrb::Consumer<T>, mut each: impl FnMut(T)) {
        let mut idle = Idle::default();
        loop {
            // Asked first: if the producer has gone, everything that it sent is in the ring by now.
            let is_last = consumer.is_abandoned();
            let ready = consumer.slots().min(BATCH_MAX);
            match consumer.read_chunk(ready) {
                Ok(chunk) if ready > 0 => {
                    idle.reset();
                    chunk.into_iter().for_each(&mut each);
                }
                _ if is_last => return,
                _ => idle.round(),
            }
        }
    }
}
