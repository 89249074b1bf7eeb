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
//! Bytes that no service takes as they are (packed Arrow bodies, and other types of components) are
//! unpacked or converted into memory of their own.
//!
//! It promises: the first bytes of an image decide its format (its name does for `.fvecs`, which
//! has no magic number); a damaged image is an error and never a panic; rows come in the image's
//! order, each with its own id if ids are read.
//!
//! Rows whose components aren't all finite are found by [`RowCursor::next_run`], because a service
//! refuses every request that holds one. Components of other types than f32 are converted on
//! request only. Unpacked bytes are bounded by the size of the image.
#![forbid(unsafe_code)]

mod arrow;
mod element;
mod finite;
mod foreign;
mod fvecs;
mod ids;
mod image;
mod npy;
#[cfg(feature = "objects")]
mod pieces;
mod rows;

#[cfg(test)]
mod tests;

pub use arrow::ArrowError;
#[cfg(feature = "objects")]
pub(crate) use arrow::{ArrowStep, ArrowWalk};
pub use finite::RefusedRows;
pub use foreign::ForeignFormat;
pub use fvecs::FvecsError;
pub use ids::{NoIds, NumbersBeyond, RowIds};
pub use image::{FormatError, ImageOptions, RowCursor, VectorImage};
pub use npy::NpyError;
#[cfg(feature = "objects")]
pub(crate) use pieces::{ImageStart, PieceLayout, batch_image};
pub(crate) use rows::Draw;
pub use rows::{FILE_BYTES_MAX, FileError, VectorRows};
