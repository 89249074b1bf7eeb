//! Arrow IPC images: finds the record batches of a file or a stream, and in each the rows of one
//! column of vectors.
//!
//! ```text
//!  message   │ ffffffff │ length │ metadata: a flatbuffer │ body: buffers │      (before Arrow 0.15 without the first four bytes)
//!  stream    │ schema │ dictionaries and batches ... │ a length of 0, or the end │
//!  file      │ ARROW1 00 00 │ a stream │ footer: schema, and the position of each batch │ length │ ARROW1 │
//! ```
//! An [`ArrowWalk`] goes through an image message by message: only the bytes of one message have to
//! be there. [`rows`] goes through an image that is there as a whole. No body buffer is copied,
//! regardless of its alignment, unless it is compressed. `arrow-ipc`'s own readers panic at
//! positions outside the image, and an object can contain anything.
//!
//! Streams that follow each other are read as one, if their vectors are of one kind; whatever else
//! follows a stream is an error. So are files that follow each other, and a footer that isn't that
//! of the messages before it: by its schema, and by the positions of its batches.

mod batch;
mod column;
mod error;
mod found;
mod ids;
mod message;
mod walk;

pub use self::error::ArrowError;
use self::found::FoundRows;
pub(super) use self::found::{ArrowRows, WantedColumns};
pub(super) use self::message::CONTINUATION;
pub(crate) use self::walk::{ArrowStep, ArrowWalk};

/// The first bytes of a file; two bytes of padding follow.
pub(super) const FILE_MAGIC: &[u8] = b"ARROW1";

/// The rows of a whole image, a file or a stream.
pub(super) fn rows<'a>(
    bytes: &'a [u8],
    is_file: bool,
    batch_bytes_max: u64,
    wanted: &WantedColumns<'_>,
) -> Result<ArrowRows<'a>, ArrowError> {
    let mut walk = ArrowWalk::new(is_file, bytes.len() as u64, batch_bytes_max);
    let mut found = FoundRows::default();
    loop {
        let from_here = bytes.get(walk.at() as usize..).unwrap_or_default();
        match walk.step(from_here, wanted)? {
            ArrowStep::Pass(_) => {}
            ArrowStep::Batch { bytes, rows } => {
                walk.read_batch(&from_here[..bytes as usize], wanted, &mut found)?;
                walk.pass_batch(bytes, rows, found.dim);
            }
            // A message that isn't there is an error already.
            ArrowStep::More(_) | ArrowStep::End => break,
        }
    }
    walk.rows(found, wanted)
}

/// The rows of the record batch that [`ArrowWalk::step`] has found in these bytes.
#[cfg(feature = "objects")]
pub(super) fn batch_rows<'a>(
    walk: &ArrowWalk,
    bytes: &'a [u8],
    wanted: &WantedColumns<'_>,
) -> Result<ArrowRows<'a>, ArrowError> {
    let mut found = walk.found();
    walk.read_batch(bytes, wanted, &mut found)?;
    walk.rows(found, wanted)
}
