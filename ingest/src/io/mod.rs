//! One lane's IO: sockets in, slots out, answers back.
//!
//! The life of a byte: the listener accepts a connection (`accept`) into the table (`table`). A
//! receive goes straight into the lane's pool and is cut into slices in place; an incomplete frame
//! waits in a carry buffer (`receive`). The stages run. The answering stage encodes one answer per
//! slot into its connection's output, which is sent (`answer`). The driver (`driver`) repeats this,
//! and sleeps when there is nothing to do, until it is stopped (`drain`). Carry buffers and outputs
//! come from the lane's class pool (`classes`).
//!
//! It promises: one answer per request, in order, also after half-close; no answer goes to a
//! connection that has taken another's place in the table; a full ring or pool pauses reading and
//! closes no connection; every buffer is bounded.

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
