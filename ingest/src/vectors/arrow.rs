//! Arrow IPC images: finds the record batches of a file or a stream, and in each the rows of one
//! column of vectors.
//!
//! ```text
//!  message   │ ffffffff │ length │ metadata: a flatbuffer │ body: buffers │      (before Arrow 0.15 without the first four bytes)
//!  stream    │ schema │ dictionaries and batches ... │ a length of 0, or the end │
//!  file      │ ARROW1 00 00 │ a stream │ footer: schema, and the position of each batch │ length │ ARROW1 │
//! ```
//! It reads metadata and returns positions; no body buffer is copied, regardless of its alignment.
//! `arrow-ipc`'s own readers panic at positions outside the image, and an object can contain
//! anything.
//!
//! A record batch lists its nodes (a length and a count of nulls per field, children included) and
//! its buffers without names. Which of them belong to a column follows from the types of all
//! columns before it.

use std::ops::Range;

use arrow_ipc::reader::read_footer_length;
use arrow_ipc::{
    Endianness, Field, Message, MetadataVersion, Precision, RecordBatch, Schema, Type, UnionMode,
    root_as_footer, root_as_message,
};

/// The first bytes of a file; two bytes of padding follow.
pub(super) const FILE_MAGIC: &[u8] = b"ARROW1";
/// The first bytes of a stream, and of every message in it.
pub(super) const CONTINUATION: &[u8] = &[0xff; 4];
/// Length of the footer and magic, at the end of a file.
const TAIL_BYTES: usize = 10;
/// The preferred column if there are several: the one in our own segments.
const USUAL_NAME: &str = "vector";
/// The most names that an error lists.
const LISTED_MAX: usize = 8;
/// Buffers of a list before those of its items' values: its validity and its items' validity.
const ITEMS_AT: usize = 2;

/// Errors of an Arrow image, and unsupported features of Arrow.
#[derive(Debug, thiserror::Error)]
pub enum ArrowError {
    /// The end of a file isn't there.
    #[error("the file has no footer at its end; it may be cut off")]
    NoFooter,
    /// A stream without its first message.
    #[error("the stream doesn't begin with a schema")]
    NoSchema,
    /// A message that is longer than the image from there on.
    #[error(
        "the message at byte {at} goes beyond the {bytes} bytes that are there; it may be cut off"
    )]
    CutOff {
        /// Where the message begins.
        at: u64,
        /// Length of the image.
        bytes: u64,
    },
    /// Metadata that is empty or impossible.
    #[error("the message at byte {at} is damaged: {why}")]
    Damaged {
        /// Where the message begins.
        at: u64,
        /// The damage.
        why: String,
    },
    /// Written by an Arrow before 0.8, or newer than this build knows.
    #[error("metadata of version V{}, V4 and V5 are read; write it again with an Arrow that writes V5", i32::from(*.0) + 1)]
    Version(i16),
    /// Written for another kind of machine.
    #[error("it is big-endian; write it again little-endian")]
    BigEndian,
    /// No column of that name holds vectors.
    #[error(
        "--column is {wanted}: no column of that name is a fixed-size list of f32; such columns: {vectors}; others: {others}"
    )]
    NoColumn {
        /// The option.
        wanted: String,
        /// Names of the columns that hold vectors.
        vectors: String,
        /// Names and types of the other columns.
        others: String,
    },
    /// No column holds vectors.
    #[error(
        "no column is a fixed-size list of f32, but {others}; cast one, with pyarrow to pa.list_(pa.float32(), dim)"
    )]
    NoVectors {
        /// Names and types of the columns.
        others: String,
    },
    /// More than one column holds vectors, and none has the usual name.
    #[error(
        "several columns are fixed-size lists of f32, and none is named vector; choose with --column: {vectors}"
    )]
    Several {
        /// Names of these columns.
        vectors: String,
    },
    /// A compressed body.
    #[error("its batches are compressed ({codec}); write it without compression")]
    Compressed {
        /// LZ4_FRAME or ZSTD.
        codec: &'static str,
    },
    /// A vector or a component is null.
    #[error("column {column} holds nulls; drop those rows")]
    Nulls {
        /// Name of the column.
        column: String,
    },
}

/// The column's dimension and the positions of its rows: one entry per record batch, in the order
/// of the image.
pub(super) type ArrowRows = (u32, Vec<Range<usize>>);

/// Finds a column of vectors in an image of the file format.
pub(super) fn file(bytes: &[u8], wanted: Option<&str>) -> Result<ArrowRows, ArrowError> {
    let (before_tail, tail) = bytes.split_last_chunk::<TAIL_BYTES>().ok_or(ArrowError::NoFooter)?;
    let footer_bytes = read_footer_length(*tail).map_err(|_| ArrowError::NoFooter)?;
    let footer_at = before_tail.len().checked_sub(footer_bytes).ok_or(ArrowError::NoFooter)?;
    let damaged = |why| ArrowError::Damaged { at: footer_at as u64, why };
    let footer =
        root_as_footer(&before_tail[footer_at..]).map_err(|error| damaged(error.to_string()))?;
    let schema = footer.schema().ok_or_else(|| damaged("the footer has no schema".to_owned()))?;
    let column = VectorColumn::find(&schema, footer.version(), wanted)?;
    let mut batches = Vec::new();
    for block in footer.recordBatches().into_iter().flatten() {
        let at = usize::try_from(block.offset())
            .map_err(|_| damaged("a batch before the file".to_owned()))?;
        let message = message_at(&before_tail[..footer_at], at)?.ok_or_else(|| no_batch(at))?;
        batches.push(column.rows(&message.batch(at)?, message.body, at)?);
    }
    Ok((column.dim, batches))
}

/// Finds a column of vectors in an image of the stream format.
pub(super) fn stream(bytes: &[u8], wanted: Option<&str>) -> Result<ArrowRows, ArrowError> {
    let first = message_at(bytes, 0)?.ok_or(ArrowError::NoSchema)?;
    let schema = first.head.header_as_schema().ok_or(ArrowError::NoSchema)?;
    let column = VectorColumn::find(&schema, first.head.version(), wanted)?;
    let (mut batches, mut at) = (Vec::new(), first.body.end);
    while let Some(message) = message_at(bytes, at)? {
        // Dictionaries come between the record batches and belong to other columns.
        if message.head.header_as_dictionary_batch().is_none() {
            batches.push(column.rows(&message.batch(at)?, message.body.clone(), at)?);
        }
        at = message.body.end;
    }
    Ok((column.dim, batches))
}

/// A message: its metadata, and the position of its body in the image.
struct ArrowMessage<'a> {
    head: Message<'a>,
    body: Range<usize>,
}

impl<'a> ArrowMessage<'a> {
    fn batch(&self, at: usize) -> Result<RecordBatch<'a>, ArrowError> {
        self.head.header_as_record_batch().ok_or_else(|| no_batch(at))
    }
}

/// The message at byte `at`, or None at the end of the stream.
fn message_at(bytes: &[u8], at: usize) -> Result<Option<ArrowMessage<'_>>, ArrowError> {
    let cut_off = || ArrowError::CutOff { at: at as u64, bytes: bytes.len() as u64 };
    let damaged = |why: String| ArrowError::Damaged { at: at as u64, why };
    let from_here = bytes.get(at..).ok_or_else(cut_off)?;
    if from_here.is_empty() {
        return Ok(None);
    }
    let (head_bytes, after) = match from_here.strip_prefix(CONTINUATION) {
        Some(after) => (2 * CONTINUATION.len(), after),
        None => (CONTINUATION.len(), from_here),
    };
    let (length, after) = after.split_first_chunk::<4>().ok_or_else(cut_off)?;
    let length = i32::from_le_bytes(*length);
    if length == 0 {
        return Ok(None);
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
    Ok(Some(ArrowMessage { head, body: body_at..end }))
}

fn no_batch(at: usize) -> ArrowError {
    ArrowError::Damaged { at: at as u64, why: "there is no record batch".to_owned() }
}

/// A column of vectors, and its position in a record batch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct VectorColumn {
    name: String,
    dim: u32,
    /// Nodes and buffers of all columns before it.
    before: BatchPosition,
}

/// A position in the lists of a record batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct BatchPosition {
    nodes: usize,
    buffers: usize,
    /// Columns of views, each of which has as many further buffers as the batch says.
    views: usize,
}

impl VectorColumn {
    /// The column named `wanted`. Without a name: the only column of vectors, or, if there are
    /// several, the one named `vector`.
    fn find(
        schema: &Schema<'_>,
        version: MetadataVersion,
        wanted: Option<&str>,
    ) -> Result<VectorColumn, ArrowError> {
        if schema.endianness() != Endianness::Little {
            return Err(ArrowError::BigEndian);
        }
        let (mut before, mut found, mut others) =
            (Some(BatchPosition::default()), Vec::new(), Vec::new());
        for field in schema.fields().into_iter().flatten() {
            let name = field.name().unwrap_or_default();
            match (dim(&field), before) {
                (Some(dim), Some(before)) => {
                    found.push(VectorColumn { name: name.to_owned(), dim, before })
                }
                (Some(_), None) => {
                    others.push(format!("{name} (after a column of an unknown type)"))
                }
                (None, _) => others.push(described(&field)),
            }
            before = before.and_then(|before| before.after(&field, version));
        }
        let named = |name: &str| found.iter().position(|column| column.name == name);
        let at = match wanted {
            Some(name) => named(name).ok_or_else(|| ArrowError::NoColumn {
                wanted: name.to_owned(),
                vectors: listed(found.iter().map(|column| &column.name)),
                others: listed(&others),
            })?,
            None if found.len() == 1 => 0,
            None if found.is_empty() => {
                return Err(ArrowError::NoVectors { others: listed(&others) });
            }
            None => named(USUAL_NAME).ok_or_else(|| ArrowError::Several {
                vectors: listed(found.iter().map(|column| &column.name)),
            })?,
        };
        Ok(found.swap_remove(at))
    }

    /// The position in the image of the column's rows in the batch at byte `at`, whose body is
    /// `body`.
    fn rows(
        &self,
        batch: &RecordBatch<'_>,
        body: Range<usize>,
        at: usize,
    ) -> Result<Range<usize>, ArrowError> {
        if let Some(compression) = batch.compression() {
            let codec = compression.codec().variant_name().unwrap_or("an unknown codec");
            return Err(ArrowError::Compressed { codec });
        }
        let damaged = |why: &str| ArrowError::Damaged { at: at as u64, why: why.to_owned() };
        let rows = u64::try_from(batch.length()).map_err(|_| damaged("its length is negative"))?;
        let items = rows
            .checked_mul(u64::from(self.dim))
            .ok_or_else(|| damaged("its length is beyond all memory"))?;
        let nodes = batch.nodes().ok_or_else(|| damaged("it has no columns"))?;
        for (index, length) in [(self.before.nodes, rows), (self.before.nodes + 1, items)] {
            if index >= nodes.len() || u64::try_from(nodes.get(index).length()) != Ok(length) {
                return Err(damaged("its columns aren't those of the schema"));
            }
            if nodes.get(index).null_count() != 0 {
                return Err(ArrowError::Nulls { column: self.name.clone() });
            }
        }
        let counts = batch.variadicBufferCounts();
        let views = counts.iter().flat_map(|counts| counts.iter()).take(self.before.views);
        let extra = views
            .map(|count| usize::try_from(count).unwrap_or(usize::MAX))
            .fold(0, usize::saturating_add);
        let index = (self.before.buffers + ITEMS_AT).saturating_add(extra);
        let buffers = batch.buffers().filter(|buffers| index < buffers.len());
        let buffer = *buffers
            .ok_or_else(|| damaged("it has fewer buffers than the schema says"))?
            .get(index);
        let position = || {
            let start = body.start.checked_add(usize::try_from(buffer.offset()).ok()?)?;
            let bytes = usize::try_from(items.checked_mul(4)?).ok()?;
            let end = start.checked_add(bytes)?;
            let fits = u64::try_from(buffer.length()).ok()? >= bytes as u64 && end <= body.end;
            fits.then_some(start..end)
        };
        position().ok_or_else(|| damaged("its components are outside of it"))
    }
}

impl BatchPosition {
    /// The position after a field and its children; None if the field's type is unknown.
    fn after(mut self, field: &Field<'_>, version: MetadataVersion) -> Option<BatchPosition> {
        if !(Type::ENUM_MIN + 1..=Type::ENUM_MAX).contains(&field.type_type().0) {
            return None;
        }
        self.nodes += 1;
        if field.dictionary().is_some() {
            // The batch holds only the indices: validity and integers.
            self.buffers += 2;
            return Some(self);
        }
        self.buffers += match field.type_type() {
            Type::Null | Type::RunEndEncoded => 0,
            Type::Struct_ | Type::FixedSizeList => 1,
            Type::Binary
            | Type::Utf8
            | Type::LargeBinary
            | Type::LargeUtf8
            | Type::ListView
            | Type::LargeListView => 3,
            Type::Union => {
                let dense =
                    field.type_as_union().is_some_and(|union| union.mode() == UnionMode::Dense);
                1 + usize::from(dense) + usize::from(version < MetadataVersion::V5)
            }
            // Numbers, lists, maps, and the first two buffers of views.
            _ => 2,
        };
        self.views += usize::from(matches!(field.type_type(), Type::BinaryView | Type::Utf8View));
        field
            .children()
            .into_iter()
            .flatten()
            .try_fold(self, |position, child| position.after(&child, version))
    }
}

/// The dimension of a field, if it is a fixed-size list of f32 and not dictionary-encoded.
fn dim(field: &Field<'_>) -> Option<u32> {
    let item = field.children().filter(|children| children.len() == 1)?.get(0);
    let single = item.type_as_floating_point()?.precision() == Precision::SINGLE;
    let plain = field.dictionary().is_none() && item.dictionary().is_none();
    let dim = u32::try_from(field.type_as_fixed_size_list()?.listSize()).ok()?;
    (single && plain).then_some(dim)
}

fn described(field: &Field<'_>) -> String {
    format!(
        "{} ({})",
        field.name().unwrap_or_default(),
        field.type_type().variant_name().unwrap_or("unknown")
    )
}

fn listed<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<S> = names.into_iter().collect();
    let shown: Vec<&str> = names.iter().take(LISTED_MAX).map(AsRef::as_ref).collect();
    match (shown.is_empty(), names.len() > LISTED_MAX) {
        (true, _) => "none".to_owned(),
        (_, false) => shown.join(", "),
        (_, true) => format!("{}, and {} more", shown.join(", "), names.len() - LISTED_MAX),
    }
}
