//! Arrow IPC images: finds the record batches of a file or a stream, and in each the rows of one
//! column of vectors.
//!
//! ```text
//!  message   │ ffffffff │ length │ metadata: a flatbuffer │ body: buffers │      (before Arrow 0.15 without the first four bytes)
//!  stream    │ schema │ dictionaries and batches ... │ a length of 0, or the end │
//!  file      │ ARROW1 00 00 │ a stream │ footer: schema, and the position of each batch │ length │ ARROW1 │
//! ```
//! It reads metadata and returns the rows; no body buffer is copied, regardless of its alignment,
//! unless it is compressed. `arrow-ipc`'s own readers panic at positions outside the image, and an
//! object can contain anything.
//!
//! Streams that follow each other are read as one, if their vectors are of one kind; whatever else
//! follows a stream is an error. So are files that follow each other: the footer at the end knows
//! only the last one.

mod batch;
mod column;
mod error;
mod found;
mod ids;

use std::borrow::Cow;
use std::ops::Range;

use arrow_ipc::reader::read_footer_length;
use arrow_ipc::{Message, MetadataVersion, Schema, root_as_footer, root_as_message};

use self::batch::BatchBody;
use self::column::VectorColumn;
pub use self::error::ArrowError;
use self::found::{BatchColumns, FoundRows};
use self::ids::IdColumn;
use super::element::Element;
use super::ids::RowIds;

/// The first bytes of a file; two bytes of padding follow.
pub(super) const FILE_MAGIC: &[u8] = b"ARROW1";
/// Where the stream of a file begins, unless there is padding before it, in pieces of this length.
const FILE_STREAM_AT: usize = 8;
/// The first bytes of a stream, and of every message in it.
pub(super) const CONTINUATION: &[u8] = &[0xff; 4];
/// Length of the footer and magic, at the end of a file.
const TAIL_BYTES: usize = 10;

/// The rows of an image.
#[derive(Clone, Debug)]
pub(super) struct ArrowRows<'a> {
    /// None if there are no rows, and the schema doesn't say it.
    pub(super) dim: Option<u32>,
    pub(super) element: Element,
    /// One entry per record batch, in the order of the image.
    pub(super) batches: Vec<Cow<'a, [u8]>>,
    /// The same of their ids; None if a column of ids isn't asked for.
    pub(super) ids: Option<Vec<Cow<'a, [u8]>>>,
}

/// The columns to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct WantedColumns<'o> {
    /// The name of the column of vectors.
    pub(super) vectors: Option<&'o str>,
    pub(super) ids: RowIds<'o>,
    pub(super) convert: bool,
}

impl WantedColumns<'_> {
    fn find(
        &self,
        schema: &Schema<'_>,
        version: MetadataVersion,
    ) -> Result<BatchColumns, ArrowError> {
        let vectors = VectorColumn::find(schema, version, self.vectors, self.convert)?;
        let ids = match self.ids {
            RowIds::Column(name) => Some(IdColumn::find(schema, version, name, self.convert)?),
            RowIds::None | RowIds::NumbersFrom(_) => None,
        };
        Ok(BatchColumns { vectors, ids })
    }

    fn rows<'a>(&self, columns: &BatchColumns, found: FoundRows<'a>) -> ArrowRows<'a> {
        let (element, ids) = (columns.vectors.element, columns.ids.is_some().then_some(found.ids));
        ArrowRows { dim: found.dim, element, batches: found.batches, ids }
    }
}

/// Finds a column of vectors in an image of the file format.
pub(super) fn file<'a>(
    bytes: &'a [u8],
    wanted: &WantedColumns<'_>,
) -> Result<ArrowRows<'a>, ArrowError> {
    let (before_tail, tail) = bytes.split_last_chunk::<TAIL_BYTES>().ok_or(ArrowError::NoFooter)?;
    let footer_bytes = read_footer_length(*tail).map_err(|_| ArrowError::NoFooter)?;
    let footer_at = before_tail.len().checked_sub(footer_bytes).ok_or(ArrowError::NoFooter)?;
    let damaged = |why| ArrowError::Damaged { at: footer_at as u64, why };
    let (content, footer) = before_tail.split_at(footer_at);
    let footer = root_as_footer(footer).map_err(|error| damaged(error.to_string()))?;
    let schema = footer.schema().ok_or_else(|| damaged("the footer has no schema".to_owned()))?;
    let columns = wanted.find(&schema, footer.version())?;
    let position = |offset: i64| {
        usize::try_from(offset).map_err(|_| damaged("a batch before the file".to_owned()))
    };
    // What the footer knows ends here: its schema, its dictionaries, its batches.
    let padding = content.chunks_exact(FILE_STREAM_AT).skip(1);
    let padding = padding.take_while(|piece| piece.iter().all(|byte| *byte == 0)).count();
    let start = FILE_STREAM_AT * (1 + padding);
    let mut known_end = match bare_schema_bytes(content.get(start..).unwrap_or_default()) {
        Some(bytes) => start + bytes,
        None => message_at(content, start)?.end_of_message(),
    };
    for block in footer.dictionaries().into_iter().flatten() {
        let end = message_at(content, position(block.offset())?)?.end_of_message();
        known_end = known_end.max(end);
    }
    let (mut found, mut batch_bytes) = (FoundRows::new(&columns), 0_u64);
    for block in footer.recordBatches().into_iter().flatten() {
        let at = position(block.offset())?;
        let StreamStep::Message(message) = message_at(content, at)? else {
            return Err(no_batch(at));
        };
        batch_bytes += (message.body.end - at) as u64;
        if batch_bytes > content.len() as u64 {
            let bytes = content.len() as u64;
            return Err(ArrowError::Overlap { batches: batch_bytes, bytes });
        }
        found.add(&columns, &message.batch(content, at)?)?;
        known_end = known_end.max(message.body.end);
    }
    let known_end = known_end.max(FILE_STREAM_AT);
    let behind = content.get(known_end..).unwrap_or_default();
    // An end mark, and padding.
    if behind.iter().any(|byte| !matches!(byte, 0 | 0xff)) {
        let (at, bytes) = (known_end as u64, behind.len() as u64);
        return Err(ArrowError::SeveralFiles { at, bytes });
    }
    Ok(wanted.rows(&columns, found))
}

/// Finds a column of vectors in an image of the stream format: in one stream, or in several that
/// follow each other.
pub(super) fn stream<'a>(
    bytes: &'a [u8],
    wanted: &WantedColumns<'_>,
) -> Result<ArrowRows<'a>, ArrowError> {
    let columns_of = |message: &ArrowMessage<'_>| {
        let schema = message.head.header_as_schema().ok_or(ArrowError::NoSchema)?;
        wanted.find(&schema, message.head.version())
    };
    let StreamStep::Message(first) = message_at(bytes, 0)? else {
        return Err(ArrowError::NoSchema);
    };
    let (mut columns, mut at) = (columns_of(&first)?, first.body.end);
    let mut found = FoundRows::new(&columns);
    loop {
        let message = match message_at(bytes, at)? {
            StreamStep::End => break,
            StreamStep::EndMark(end) => match next_stream(bytes, end)? {
                Some(message) => {
                    at = end;
                    message
                }
                None => break,
            },
            StreamStep::Message(message) => message,
        };
        if message.head.header_as_schema().is_some() {
            let next = columns_of(&message)?;
            check_same(&columns.vectors, &next.vectors, at)?;
            columns = next;
        } else if message.head.header_as_dictionary_batch().is_none() {
            // Dictionaries come between the record batches and belong to other columns.
            found.add(&columns, &message.batch(bytes, at)?)?;
        }
        at = message.body.end;
    }
    Ok(wanted.rows(&columns, found))
}

/// The schema with which another stream begins behind an end mark; None if there are no bytes but
/// zeros.
fn next_stream(bytes: &[u8], at: usize) -> Result<Option<ArrowMessage<'_>>, ArrowError> {
    let behind = bytes.get(at..).unwrap_or_default();
    if behind.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    match message_at(bytes, at) {
        Ok(StreamStep::Message(message)) if message.head.header_as_schema().is_some() => {
            Ok(Some(message))
        }
        _ => Err(ArrowError::Behind { at: at as u64, bytes: behind.len() as u64 }),
    }
}

/// Refuses a stream at `at` whose vectors are of another kind than those before it. Lists without a
/// fixed size are compared row by row.
fn check_same(before: &VectorColumn, next: &VectorColumn, at: usize) -> Result<(), ArrowError> {
    let dim = |column: &VectorColumn| column.list.fixed_dim();
    let same_dim = dim(before).zip(dim(next)).is_none_or(|(before, next)| before == next);
    if same_dim && before.element == next.element {
        return Ok(());
    }
    let shown = |column: &VectorColumn| {
        let dim = dim(column).map_or_else(String::new, |dim| format!("{dim} "));
        format!("{dim}components of {}", column.element.name())
    };
    Err(ArrowError::OtherStream { at: at as u64, found: shown(next), first: shown(before) })
}

/// What is at a position of a stream.
enum StreamStep<'a> {
    Message(ArrowMessage<'a>),
    /// The mark of the stream's end, which itself ends here.
    EndMark(usize),
    /// The end of the image.
    End,
}

impl StreamStep<'_> {
    /// The end of the message or of the mark; 0 at the end of the image.
    fn end_of_message(&self) -> usize {
        match self {
            StreamStep::Message(message) => message.body.end,
            StreamStep::EndMark(end) => *end,
            StreamStep::End => 0,
        }
    }
}

/// A message: its metadata, and the position of its body in the image.
struct ArrowMessage<'a> {
    head: Message<'a>,
    body: Range<usize>,
}

impl<'a> ArrowMessage<'a> {
    fn batch(&self, image: &'a [u8], at: usize) -> Result<BatchBody<'a>, ArrowError> {
        let head = self.head.header_as_record_batch().ok_or_else(|| no_batch(at))?;
        Ok(BatchBody { head, body: &image[self.body.clone()], at })
    }
}

/// What is at byte `at`.
fn message_at(bytes: &[u8], at: usize) -> Result<StreamStep<'_>, ArrowError> {
    let cut_off = || ArrowError::CutOff { at: at as u64, bytes: bytes.len() as u64 };
    let damaged = |why: String| ArrowError::Damaged { at: at as u64, why };
    let from_here = bytes.get(at..).ok_or_else(cut_off)?;
    if from_here.is_empty() {
        return Ok(StreamStep::End);
    }
    let (head_bytes, after) = match from_here.strip_prefix(CONTINUATION) {
        Some(after) => (2 * CONTINUATION.len(), after),
        None => (CONTINUATION.len(), from_here),
    };
    let (length, after) = after.split_first_chunk::<4>().ok_or_else(cut_off)?;
    let length = i32::from_le_bytes(*length);
    if length == 0 {
        return Ok(StreamStep::EndMark(at + head_bytes));
    }
    let length = usize::try_from(length).map_err(|_| damaged(format!("its length is {length}")))?;
    let metadata = after.get(..length).ok_or_else(cut_off)?;
    let head = root_as_message(metadata).map_err(|error| damaged(error.to_string()))?;
    if !(MetadataVersion::V4..=MetadataVersion::V5).contains(&head.version()) {
        return Err(ArrowError::Version(head.version().0));
    }
    let body_bytes = usize::try_from(head.bodyLength())
        .map_err(|_| damaged("its body is negative".to_owned()))?;
    let body_at = at + head_bytes + length;
    let end =
        body_at.checked_add(body_bytes).filter(|end| *end <= bytes.len()).ok_or_else(cut_off)?;
    Ok(StreamStep::Message(ArrowMessage { head, body: body_at..end }))
}

/// Bytes of a schema without a length before it, up to the next message or end mark: polars begins
/// files so, and readers of files need only the footer's schema.
fn bare_schema_bytes(bytes: &[u8]) -> Option<usize> {
    let mut pieces = bytes.chunks_exact(FILE_STREAM_AT);
    let end = pieces.position(|piece| piece.starts_with(CONTINUATION))? * FILE_STREAM_AT;
    let head = root_as_message(&bytes[..end]).ok()?;
    head.header_as_schema().map(|_| end)
}

fn no_batch(at: usize) -> ArrowError {
    ArrowError::Damaged { at: at as u64, why: "there is no record batch".to_owned() }
}
