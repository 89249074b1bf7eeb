//! Object downloads straight into pooled buffers: a range engine over crate `object_store` (S3,
//! GCS, Azure, HTTP, local files, memory).
//!
//! The life of a download:
//!
//! 1. **Open.** [`Stores::download`] takes a URL. [`Stores`] finds the client for it, one per
//!    store, and keeps its connections.
//! 2. **Ask.** The first request fetches the first bytes and learns the size and the ETag from the
//!    answer.
//! 3. **Buffer.** One buffer of the smallest class that holds the whole object, from the engine's
//!    [`ClassPool`](slipring::class::ClassPool).
//! 4. **Fetch.** The other ranges are fetched concurrently, and each chunk is written at its final
//!    place. A local file is read with `pread`.
//! 5. **Check.** Every answer is about the same object and the range that was asked for, and has
//!    its length; or the download is an error.
//! 6. **Use.** [`Download::bytes`] gives the buffer back when its last clone or slice is dropped.
//!
//! An object that needn't be in memory as a whole is streamed: [`RangeEngine::download_into`] gives
//! each part to a [`PartSink`] in a buffer of its own. The number and the size of these buffers
//! ([`PartBufferOptions`]) bound the memory, whatever the object's size.
//!
//! It keeps no parts besides the object, starts no task except the blocking reader of a local file,
//! and never returns bytes that it can't account for. It doesn't verify checksums that the store
//! may have: those are of whole objects, or of parts as they were uploaded.
#![forbid(unsafe_code)]

mod address;
#[cfg(feature = "serde")]
mod configuration;
mod connector;
mod engine;
mod error;
mod exact;
mod file;
mod gate;
mod identity;
mod job;
mod local;
mod metadata;
mod options;
mod part;
mod part_buffers;
mod progress;
mod redact;
mod retry;
mod servers;
mod settings;
mod setup;
mod sink;
mod stats;
mod stores;
mod stream;

pub use connector::StoreAnswer;
pub use engine::{Download, RangeEngine, StreamedObject};
pub use error::{Cause, DownloadError};
pub use job::POOL_FROM_BYTES;
pub use options::{
    BufferPoolOptions, CONCURRENCY_MAX, OptionsError, PART_BYTES_MIN, RangeOptions, StoreOptions,
};

pub use part_buffers::{PART_BUFFER_BYTES_MAX, PartBufferOptions, PartBufferStats};

pub use redact::redact;

pub use servers::ServerOptions;

pub use settings::SettingError;

pub use sink::PartSink;

pub use stats::{BufferPoolUse, DownloadStats, EngineStats};

pub use stores::{StoreError, Stores, UrlError};

/// What the fuzz targets call that isn't public otherwise.
#[cfg(fuzzing)]
pub mod fuzzing {
    use crate::address::Address;

    /// Reads a URL or a path. Returns the text of the refusal if there is one.
    pub fn parse_address(text: &str) -> Option<String> {
        Address::parse(text).err().map(|refusal| refusal.to_string())
    }
}
