//! Downloads objects of 64 MiB, 32 concurrently, each into one piece of memory: with pooled
//! buffers, without a pool, and with object_store alone.
//!
//! ```text
//!   parent ──▶ server of files (a process)                 task 1 ─▶ fetch ─▶ checksum ─▶ drop ─┐
//!     │            ▲                                       task 2 ─▶ fetch ─▶ ...               ├─▶ next object
//!     └──▶ variant │ (one process each, in turn: A B C A B C) ...                               │
//!          └───────┘                                       task 32 ─▶ ...                      ─┘
//! ```
//!
//! A variant has a process of its own, so its peak of memory, its page faults and its processor
//! time are its own. [`variant`] says what is measured when. An operation is one object.
//!
//! # Cases
//! | case | where objects come from |
//! |---|---|
//! | `s3-…` | the built-in server over a socket of this machine: S3's interface, sendfile from the page cache, no signature |
//! | `memory-…` | object_store's `InMemory` in the client's process. A get there takes a reference, so `object_store-get` copies nothing. Nothing waits either, so at most one object per processor is in flight |
//! | `file-…` | object_store's `LocalFileSystem` over files whose pages are in memory |
//! | with `--endpoint` | any server with S3's interface; `--server` names the case |
//!
//! # Contenders
//! | contender | how |
//! |---|---|
//! | `slipring` | the range engine: it writes parts to their places in one pooled buffer; the pool has 16 buffers per class, as by default, and a download that finds none waits for one |
//! | `slipring-roomy` | the same with one buffer per object in flight |
//! | `slipring-unpooled` | the same with a fresh buffer per object |
//! | `object_store`, `object_store-parts`, `object_store-get` | see [`contender`]; targets compare with the first |
//!
//! # What is the same for all, and what isn't
//! - The store, its client and the options of its connections are the same. With slipring the
//!   client doesn't retry by itself, because the engine retries and counts.
//! - The part size is the same for all that split objects. `object_store` passes all parts to
//!   object_store, which joins adjacent parts: one request per object, so 32 in flight. `slipring`
//!   and `object_store-parts` may have `--concurrency` requests in flight.
//! - The server shares the machine's cores with the client. Its processor time is
//!   `server_cpu_seconds`, beside the client's. The memory store and the folder have no server.
//! - `large_allocations_total` counts allocations of 1 MiB and more by the program's allocator, and
//!   regions of the pool that were mapped or filled with pages again. A block that grows counts
//!   each time. The client's own allocations count too. `large_allocations` are those after the
//!   warm-up, which fills the pool.
//! - A peak is the memory of 32 objects in flight. A contender that allocates as bytes arrive holds
//!   less than one that has a whole buffer from the first byte on. So the number of buffers sets
//!   the pool's peak; `slipring-roomy` shows the cost and the gain of twice as many.

mod contender;
mod corpus;
pub mod files;
mod options;
mod report;
mod run;
pub mod server;
mod source;
pub mod usage;
pub mod variant;

pub use options::{Options, Variant};
pub use report::Figures;
pub use run::{SERVER, VARIANT, run};
