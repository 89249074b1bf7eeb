//! Objects from storage, `slipring get`: fetched by ranges into reusable buffers, and then written,
//! sent to a service, or only measured.
//!
//! The life cycle: [`run`] checks options and names, creates the folder or connects to the service,
//! downloads the objects with a few tasks ([`GetOutcome`]), and returns a [`GetReport`].
//!
//! It promises: nothing is fetched before everything that can be checked is checked; a failed
//! object doesn't stop the others; a file is complete or absent; with `--ingest` every answer is
//! checked; memory is bounded by the buffers of parts and, for Arrow, a record batch per object,
//! where objects are written or sent part by part, and else by the objects under way
//! ([`GetOptions::objects_under_way_max`]) and, in the pool's classes, by its buffers. An
//! interruption ends the run quickly and leaves no incomplete file.
//!
//! It doesn't list buckets, doesn't resume an interrupted run, and doesn't order objects.
#![forbid(unsafe_code)]

mod client;
mod error;
mod folder;
mod ingest;
mod object;
mod options;
mod report;
mod row_stream;
mod run;

pub use error::{ClientError, GetRunError, ObjectError, Sent};
pub use options::GetOptions;
pub use report::{GetOutcome, GetReport};
pub use run::{cancel_on_signals, run};
