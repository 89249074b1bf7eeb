//! Vectors from files and objects, and generated ones.
//!
//! The life cycle: [`VectorImage`] finds the rows in the bytes of an image without copying them,
//! and a [`RowCursor`] appends them to requests. A load needs rows that it can send over and over
//! from any row on: [`VectorRows`] copies them out of an image, or generates them.
//!
//! ```text
//!  .npy     header │ row row row ...                        one range
//!  .fvecs   dim row │ dim row │ ...                         one range, with four bytes before each row
//!  Arrow    ... message │ batch: other columns, rows │ ...  one range per record batch
//! ```
//! It promises: the first bytes of an image decide its format (its name does for `.fvecs`, which
//! has no magic number); a damaged image is an error and never a panic; rows come in the image's
//! order.
//!
//! It doesn't check components: the service refuses those that aren't finite.
#![forbid(unsafe_code)]

mod arrow;
mod fvecs;
mod image;
mod npy;
mod rows;

#[cfg(test)]
mod tests;

pub use arrow::ArrowError;
pub use fvecs::FvecsError;
pub use image::{FormatError, RowCursor, VectorImage};
pub use npy::NpyError;
pub(crate) use rows::Draw;
pub use rows::{FILE_BYTES_MAX, FileError, VectorRows};
