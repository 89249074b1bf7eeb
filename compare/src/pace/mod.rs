//! Does the range engine find its own pace? Fixed part sizes and concurrencies beside those that it
//! chooses, against stores of four shapes.
//!
//! ```text
//!   tasks ──▶ range engine, one setting ──▶ a store in memory behind two lines: its request's, and everybody's
//! ```
//!
//! An operation is one object. Time is the runtime's, paused: it jumps to the next timer, so that a
//! second of a slow store takes none, and what the machine does beside it doesn't show. What is
//! left out by that is the client's own work, which `objects` measures. `--real-time` lets it pass.
//!
//! | shape | first byte | a request | all together | refuses |
//! |---|---|---|---|---|
//! | `far` | 30 ms | 40 MiB/s | 800 MiB/s | nothing |
//! | `near` | 1 ms | 200 MiB/s | 400 MiB/s | nothing |
//! | `throttling` | 10 ms | 40 MiB/s | 2000 MiB/s | with 503, beyond 16 in flight |
//! | `slow` | 100 ms | 2 MiB/s | 8 MiB/s | nothing, but a request of 16 MiB beside 31 others takes longer than it may |
//!
//! Every setting starts from an engine that has learnt nothing. Retries are the engine's defaults;
//! an object that they don't suffice for is `failed`, and its bytes don't count. Bytes are compared
//! whole.

mod case;
mod run;
mod store;

pub use run::{Options, run};
