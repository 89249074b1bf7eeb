//! The parts that all clients of the service share: `slipring load` and `slipring get --ingest` are
//! built on them.
//!
//! The life cycle: a [`Target`] is connected to, in header mode client and server greet each other,
//! a connection sends requests and receives answers, and each answer is checked against its
//! request.
//!
//! It promises: after a hello whose answer says anything else than the hello, nothing is sent. An
//! answer is returned only if its count and its sequence are those of its request, its lane that of
//! the hello, its row behind the rows before it (but for a producer, whose repeats have the places
//! of the first time), no refusal has a row, what it says is stored was sent and is no less than
//! before, and no answer that closes the connection came before; everything else is a
//! [`WrongAnswer`]. A connection's memory is allocated when it is opened.
//!
//! It doesn't wait, retry or time out, and it doesn't judge refusals: that is up to its users.
#![forbid(unsafe_code)]

mod check;
mod connection;
mod greet;
mod target;

pub use check::WrongAnswer;
pub(crate) use connection::{CheckedAnswer, ClientConnection, ExpectedAnswer};
pub(crate) use greet::CONNECTIONS_HINT;
pub use greet::GreetError;
pub use target::Target;
pub(crate) use target::check_socket_path;
