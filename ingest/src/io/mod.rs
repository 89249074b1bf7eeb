//! One lane's IO: sockets in, slots out, answers back.
//!
//! By life cycle of a byte: the listener accepts a connection (`accept`) into the table (`table`);
//! a receive goes straight into the lane's pool and is cut into slices where it lies, and what is
//! unfinished waits in a carry buffer (`receive`); the stages run; the answering stage encodes one
//! answer a slot into its connection's output, which is sent (`answer`); the driver (`driver`) goes
//! round, and sleeps when there is nothing to do, until it is told to stop (`drain`). Carry buffers
//! and outputs come from the lane's class pool (`classes`).
//!
//! It promises: one answer a request, in order, also after half-close; no answer to a connection
//! that took another's place; a full ring or pool stops reading and closes nobody; every buffer is
//! bounded.

mod accept;
mod answer;
mod classes;
mod conn;
mod counters;
mod drain;
mod driver;
mod duty;
mod poller;
mod receive;
mod stream;
mod table;
mod watch;

pub use accept::Listener;
pub use classes::{Classes, ClassesError, output_bytes};
pub use counters::{ClassUse, Counter, Counters, CountersReader, Counts, IoReport, PoolUse};
pub use driver::{AnswerEnd, Driver, DriverOptions, receive_bytes_max};
pub use duty::{Activity, DutyReader, clock};
pub use poller::Bell;
pub use watch::{IoFigures, IoWatch};
