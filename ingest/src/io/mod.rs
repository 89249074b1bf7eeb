//! One lane's IO: sockets in, slots out, answers back.
//!
//! The life of a byte: a listener accepts a connection, and the poller reports what it sends
//! (`poller`) into the table (`conn`). A receive goes straight into the lane's pool; an incomplete
//! frame waits in a carry buffer (`intake`). Complete frames are cut into slices in place, and
//! pushed (`pusher`). The stages run. The answering stage encodes one answer per slot into its
//! connection's output, which is sent (`answers`). An answer that says *stored* waits there until
//! the disk has its vectors (`acks`, `held`, `disk`), and other connections are told how far that
//! is (`marks`). The driver (`driver`) repeats this, sleeps when there is nothing to do, and drains
//! at the end (`drain`). Carry buffers and outputs come from the lane's class pool (`buffers`).
//! Connections have time limits (`overdue`), end in a way that loses no answer (`linger`), and are
//! counted and spread over lanes (`lobby`). Other threads watch (`counters`, `duty`, `watch`).
//!
//! It promises: one answer per request, in order, also after half-close; no stored answer leaves
//! before its vectors are on the disk; no answer goes to a connection that has another's place in
//! the table; a full ring or pool pauses reading and closes no connection; every buffer is bounded.

mod acks;
mod answers;
mod buffers;
mod conn;
mod counters;
mod disk;
mod drain;
mod driver;
mod duty;
mod held;
mod intake;
mod linger;
mod lobby;
mod marks;
mod overdue;
mod poller;
mod pusher;
mod queued;
mod receipt;
mod waiters;
mod watch;

pub use answers::AnswerStage;
pub use buffers::{IoBuffers, IoBuffersError, output_bytes};
pub use counters::{Counter, Counters, CountersReader, Counts};
pub use disk::DiskCall;
pub use driver::{Driver, DriverOptions};
pub use duty::{Activity, DutyReader, clock};
pub use held::HELD_ANSWER_BYTES;
pub use intake::receive_bytes_max;
pub use lobby::{Lobby, LobbySeat, home_of};
pub use overdue::TimeLimits;
pub use poller::{Bell, Listener};
pub use watch::{ClassUse, IoFigures, IoReport, IoWatch, PoolUse};
