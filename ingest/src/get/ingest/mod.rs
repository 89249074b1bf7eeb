//! Sends the vectors of a downloaded object to a running service.
//!
//! The life cycle: [`Vectors`] finds the rows in the object's bytes, without copying them;
//! [`Client`] sends them to the service frame by frame and checks every answer.
//!
//! ```text
//!  .npy     header │ row row row ...                        one part
//!  .fvecs   dim row │ dim row │ ...                         one part, whose rows have four bytes before them
//!  Arrow    ... message │ batch: other columns, rows │ ...  a part a record batch
//! ```
//! It promises: the first bytes of an object decide its format (its name does for `.fvecs`, which
//! has no magic number), a damaged object is an error and never a panic, and rows are sent in the
//! object's order. It doesn't check components: the service refuses those that aren't finite.

mod arrow;
mod client;
mod column;
mod error;
mod vectors;

#[cfg(test)]
mod tests;

pub(super) use client::Client;
pub use client::Sent;
pub use error::{ArrowError, ClientError, FormatError};
pub(super) use vectors::Vectors;
