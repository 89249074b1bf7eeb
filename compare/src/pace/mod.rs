//! Does the range engine find its own pace? Compares fixed part sizes and concurrencies with those
//! that the engine chooses, against stores of four shapes.
//!
//! ```text
//!   tasks ──▶ range engine, one setting ──▶ two lines, one per request and one shared ──▶ a store in memory
//! ```
//!
//! An operation is one object. The runtime's clock is paused: it jumps to the next timer. So a slow
//! store takes no real time, and other work of the machine doesn't disturb the figures. This leaves
//! out the client's own work, which `objects` measures. With `--real-time` the clock runs.
//!
//! | shape | first byte | per request | all together | refuses |
//! |---|---|---|---|---|
//! | `far` | 30 ms | 40 MiB/s | 800 MiB/s | nothing |
//! | `near` | 1 ms | 200 MiB/s | 400 MiB/s | nothing |
//! | `throttling` | 10 ms | 40 MiB/s | 2000 MiB/s | with 503, beyond 16 in flight |
//! | `slow` | 100 ms | 2 MiB/s | 8 MiB/s | nothing, but a request of 16 MiB beside 31 others exceeds its time limit |
//!
//! Every setting starts with a new engine. Retries are the engine's defaults. An object for which
//! they don't suffice is `failed`, and its bytes don't count. All bytes are compared.

mod case;
mod run;
mod store;

pub use run::{Options, run};
