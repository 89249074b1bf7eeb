//! Vectors of a downloaded object into a running service.
//!
//! By life cycle: [`Vectors`] finds the rows in the object's bytes, where they stay; [`Client`]
//! copies them frame by frame to the service and checks every answer.
//!
//! ```text
//!  .npy     header │ row row row ...                        one part
//!  .fvecs   dim row │ dim row │ ...                         one part, whose rows have four bytes before them
//!  Arrow    ... message │ batch: other columns, rows │ ...  a part a record batch
//! ```
//! It promises: an object is read by its first bytes (`.fvecs`, which has none of its own, by its
//! name), damaged ones are errors and never panics, and the rows of an object arrive in their
//! order. It doesn't look at components: the service refuses what isn't finite.

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
