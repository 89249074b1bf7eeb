//! A bounded channel of one library, whatever travels in it: what the rivals' files have in common.

use std::ops::Range;

use super::{Idle, Patience, Tally};

/// One library's bounded channel between two threads. Neither end ever parks: a full channel is
/// tried again by [`Patience`], an empty one by [`super::Idle`].
pub trait Channel: 'static {
    /// The contender's name when our chunks carry the payloads.
    const NAME: &'static str;
    /// The contender's name when each payload is a vector of its own.
    const NAME_VEC: &'static str;

    type Sender<T: Send + 'static>;
    type Receiver<T: Send + 'static>: Send + 'static;

    /// A channel for `slots` messages, allocated at once.
    fn bounded<T: Send + 'static>(slots: usize) -> (Self::Sender<T>, Self::Receiver<T>);

    /// Makes a message for each number and sends it: all of them at once where the library can, one
    /// by one where it can't.
    ///
    /// # Errors
    /// Those of `make`, or the receiver has gone.
    fn send<T: Send + 'static>(
        sender: &mut Self::Sender<T>,
        numbers: Range<u64>,
        make: impl FnMut(u64) -> Result<T, String>,
        tally: &Tally,
    ) -> Result<(), String>;

    /// Gives every message to `each`, until the sender has gone and nothing is left.
    fn receive<T: Send + 'static>(receiver: Self::Receiver<T>, each: impl FnMut(T));
}

/// Why a message wasn't sent.
pub enum Refused<T> {
    /// It comes back, to be tried again.
    Full(T),
    /// There is no receiver any more.
    Gone,
}

/// [`Channel::send`] for a library that takes one message at a time.
#[inline]
pub fn send_one_by_one<T>(
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

/// What an attempt to receive found.
pub enum Found<T> {
    Message(T),
    Nothing,
    /// The sender has gone, and nothing is left.
    End,
}

/// [`Channel::receive`] for a library that gives one message at a time.
#[inline]
pub fn receive_one_by_one<T>(mut try_receive: impl FnMut() -> Found<T>, mut each: impl FnMut(T)) {
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
