//! Arrow IPC images: finds the record batches, in a file and in a stream.
//!
//! ```text
//!  message   │ ffffffff │ length │ metadata: a flatbuffer │ body: buffers │      (before Arrow 0.15 without the first four bytes)
//!  stream    │ schema │ dictionaries and batches ... │ a length of 0, or the end │
//!  file      │ ARROW1 00 00 │ a stream │ footer: schema, and where each batch lies │ length │ ARROW1 │
//! ```
//! It reads metadata and returns positions; no body buffer is copied, whatever its alignment.
//! `arrow-ipc`'s own readers panic at positions outside the image, and an object can contain
//! anything.

use std::ops::Range;

use arrow_ipc::reader::read_footer_length;
use arrow_ipc::{Message, MetadataVersion, RecordBatch, root_as_footer, root_as_message};

use super::ArrowError;
use super::column::Column;

/// The first bytes of a file; two of padding follow.
pub(super) const FILE_MAGIC: &[u8] = b"ARROW1";
/// The first bytes of a stream, and of every message in it.
pub(super) const CONTINUATION: &[u8] = &[0xff; 4];
/// Length of the footer and magic, at the end of a file.
const TAIL_BYTES: usize = 10;

/// The column's dimension and the positions of its rows: one entry per record batch, in the order
/// of the image.
pub(super) type Found = (u32, Vec<Range<usize>>);

/// Finds a column of vectors in an image of the file format.
pub(super) fn file(bytes: &[u8], wanted: Option<&str>) -> Result<Found, ArrowError> {
    let (before_tail, tail) = bytes.split_last_chunk::<TAIL_BYTES>().ok_or(ArrowError::NoFooter)?;
    let footer_bytes = read_footer_length(*tail).map_err(|_| ArrowError::NoFooter)?;
    let footer_at = before_tail.len().checked_sub(footer_bytes).ok_or(ArrowError::NoFooter)?;
    let damaged = |why| ArrowError::Damaged { at: footer_at as u64, why };
    let footer =
        root_as_footer(&before_tail[footer_at..]).map_err(|error| damaged(error.to_string()))?;
    let schema = footer.schema().ok_or_else(|| damaged("the footer has no schema".to_owned()))?;
    let column = Column::find(&schema, footer.version(), wanted)?;
    let mut batches = Vec::new();
    for block in footer.recordBatches().into_iter().flatten() {
        let at = usize::try_from(block.offset())
            .map_err(|_| damaged("a batch before the file".to_owned()))?;
        let placed = place(&before_tail[..footer_at], at)?.ok_or_else(|| no_batch(at))?;
        batches.push(column.rows(&placed.batch(at)?, placed.body, at)?);
    }
    Ok((column.dim(), batches))
}

/// Finds a column of vectors in an image of the stream format.
pub(super) fn stream(bytes: &[u8], wanted: Option<&str>) -> Result<Found, ArrowError> {
    let first = place(bytes, 0)?.ok_or(ArrowError::NoSchema)?;
    let schema = first.message.header_as_schema().ok_or(ArrowError::NoSchema)?;
    let column = Column::find(&schema, first.message.version(), wanted)?;
    let (mut batches, mut at) = (Vec::new(), first.body.end);
    while let Some(placed) = place(bytes, at)? {
        // Dictionaries come between the batches, and belong to other columns.
        if placed.message.header_as_dictionary_batch().is_none() {
            batches.push(column.rows(&placed.batch(at)?, placed.body.clone(), at)?);
        }
        at = placed.body.end;
    }
    Ok((column.dim(), batches))
}

/// A message and the position of its body, within the image.
struct Placed<'a> {
    message: Message<'a>,
    body: Range<usize>,
}

impl<'a> Placed<'a> {
    fn batch(&self, at: usize) -> Result<RecordBatch<'a>, ArrowError> {
        self.message.header_as_record_batch().ok_or_else(|| no_batch(at))
    }
}

/// The message at byte `at`, or None at the end of the stream.
fn place(bytes: &[u8], at: usize) -> Result<Option<Placed<'_>>, ArrowError> {
    let cut_off = || ArrowError::CutOff { at: at as u64, bytes: bytes.len() as u64 };
    let damaged = |why: String| ArrowError::Damaged { at: at as u64, why };
    let rest = bytes.get(at..).ok_or_else(cut_off)?;
    if rest.is_empty() {
        return Ok(None);
    }
    let (head_bytes, after) = match rest.strip_prefix(CONTINUATION) {
        Some(after) => (2 * CONTINUATION.len(), after),
        None => (CONTINUATION.len(), rest),
    };
    let (length, after) = after.split_first_chunk::<4>().ok_or_else(cut_off)?;
    let length = i32::from_le_bytes(*length);
    if length == 0 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| damaged(format!("its length is {length}")))?;
    let metadata = after.get(..length).ok_or_else(cut_off)?;
    let message = root_as_message(metadata).map_err(|error| damaged(error.to_string()))?;
    if !(MetadataVersion::V4..=MetadataVersion::V5).contains(&message.version()) {
        return Err(ArrowError::Version(message.version().0));
    }
    let body_bytes = usize::try_from(message.bodyLength())
        .map_err(|_| damaged("its body is negative".to_owned()))?;
    let body_at = at + head_bytes + length;
    let end =
        body_at.checked_add(body_bytes).filter(|end| *end <= bytes.len()).ok_or_else(cut_off)?;
    Ok(Some(Placed { message, body: body_at..end }))
}

fn no_batch(at: usize) -> ArrowError {
    ArrowError::Damaged { at: at as u64, why: "there is no record batch".to_owned() }
}
