//! The header of a record: a message of one Arrow record batch, with metadata of our own.
//!
//! ```text
//! 0          4        8                                header_bytes, a multiple of 64
//! │ FFFFFFFF │ length │ Message { RecordBatch { length, nodes, buffers },      │ body ...
//! │          │        │           bodyLength, custom_metadata { see FIELDS } } │
//! ```
//! The message is built once, as a template, because its size depends on the columns alone. A
//! record's header is a copy of the template with its figures written over. A header that is read
//! is parsed as any message is: another version may lay out the same message otherwise.
//!
//! Promises that reading a header neither panics nor allocates by what it says.

use arrow_ipc::{
    Buffer, FieldNode, Message, MessageBuilder, MessageHeader, MetadataVersion, RecordBatch,
    RecordBatchBuilder, root_as_message,
};
use flatbuffers::{FlatBufferBuilder, VOffsetT};

use super::error::RecordFault;
use super::fields::{
    self, BEFORE, CRC, DURABLE, EPOCH, FIRST, FORMAT as FORMAT_FIELD, FixedField, OFFSET, PRODUCERS,
};
use super::shape::{CONTINUATION, FORMAT, INTEGER_BYTES, PREFIX_BYTES, RowShape};

/// The figures of a record's metadata, in this order.
pub(super) const FIELDS: [FixedField; 8] =
    [FORMAT_FIELD, EPOCH, OFFSET, FIRST, DURABLE, BEFORE, PRODUCERS, CRC];
/// The place of the checksum among them.
const CRC_INDEX: usize = 7;

/// Columns begin at multiples of this many bytes of the record.
pub(super) const COLUMN_ALIGN: usize = 64;
/// The largest header that is read; ours have about 1 KiB.
pub(super) const HEADER_BYTES_MAX: usize = 16 << 10;
/// Bytes of a producer mark.
pub(super) const MARK_BYTES: usize = 32;

/// Where a record is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// Where it begins.
    pub offset: u64,
    /// Bytes of its header.
    pub header_bytes: usize,
    /// Bytes of its body.
    pub body_bytes: u64,
}

impl RecordPlace {
    /// Where it ends.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.header_bytes as u64 + self.body_bytes
    }
}

/// Where a record stands: what is written into its header besides its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordStamp {
    pub epoch: u64,
    pub offset: u64,
    pub first_sequence: u64,
    pub durable_bytes: u64,
    pub before: u32,
}

/// Where the columns of a record are: offsets from the beginning of its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BodyLayout {
    pub rows: usize,
    pub sequences: usize,
    pub ids: usize,
    pub times: usize,
    pub vectors: usize,
    pub marks: usize,
    pub producers: usize,
    /// Bytes of the body, padding included.
    pub bytes: usize,
}

/// What the header of a record says. Its layout has been checked against the row's shape; whether
/// its bytes are those that were written is for the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub(super) stamp: RecordStamp,
    pub(super) body: BodyLayout,
    pub(super) header_bytes: usize,
    pub(super) crc: u32,
    pub(super) crc_at: usize,
}

impl RecordHeader {
    /// Rows of the record; at least one.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.body.rows as u64
    }

    /// Whether it has marks of producers.
    #[must_use]
    pub fn has_marks(&self) -> bool {
        self.body.producers > 0
    }

    /// The sequence of its first row.
    #[must_use]
    pub fn first_sequence(&self) -> u64 {
        self.stamp.first_sequence
    }

    /// The sequence after its last row.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        // Checked when the header was read.
        self.stamp.first_sequence + self.body.rows as u64
    }

    /// Where it begins in its file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.stamp.offset
    }

    /// Bytes of the record, padding included.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        (self.header_bytes + self.body.bytes) as u64
    }

    /// The same as a footer has it.
    pub(super) fn place(&self) -> RecordPlace {
        let (offset, body_bytes) = (self.stamp.offset, self.body.bytes as u64);
        RecordPlace { offset, header_bytes: self.header_bytes, body_bytes }
    }

    /// The file's bytes before this one that had been synced when the record was made.
    #[must_use]
    pub fn durable_bytes(&self) -> u64 {
        self.stamp.durable_bytes
    }

    /// The epoch of the start that wrote it.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.stamp.epoch
    }
}

/// A header whose figures are written over for each record.
#[derive(Clone, Debug)]
pub(super) struct RecordTemplate {
    bytes: Vec<u8>,
    places: HeaderPlaces,
    shape: RowShape,
}

/// Where the figures of a header are: offsets from its beginning.
#[derive(Clone, Copy, Debug)]
struct HeaderPlaces {
    body_bytes: usize,
    rows: usize,
    nodes: usize,
    buffers: usize,
    fields: [usize; FIELDS.len()],
}

impl RecordTemplate {
    pub fn new(shape: RowShape) -> Self {
        let mut builder = FlatBufferBuilder::new();
        // A field that has its default value is left out, so nothing here is 0.
        let nodes = vec![FieldNode::new(1, 0); node_count(shape)];
        let nodes = builder.create_vector(&nodes);
        let buffers = builder.create_vector(&vec![Buffer::new(1, 1); buffer_count(shape)]);
        let mut batch = RecordBatchBuilder::new(&mut builder);
        batch.add_length(1);
        batch.add_nodes(nodes);
        batch.add_buffers(buffers);
        let batch = batch.finish().as_union_value();
        let metadata = fields::metadata(&mut builder, &FIELDS);
        let mut message = MessageBuilder::new(&mut builder);
        message.add_version(MetadataVersion::V5);
        message.add_header_type(MessageHeader::RecordBatch);
        message.add_bodyLength(1);
        message.add_header(batch);
        message.add_custom_metadata(metadata);
        let message = message.finish();
        builder.finish(message, None);
        let metadata = builder.finished_data();
        let header_bytes = (PREFIX_BYTES + metadata.len()).next_multiple_of(COLUMN_ALIGN);
        let mut bytes = vec![0; header_bytes];
        bytes[..4].copy_from_slice(&CONTINUATION);
        bytes[4..8].copy_from_slice(&((header_bytes - PREFIX_BYTES) as u32).to_le_bytes());
        bytes[PREFIX_BYTES..PREFIX_BYTES + metadata.len()].copy_from_slice(metadata);
        let places = header_places(&bytes[PREFIX_BYTES..]).expect("the message was built above");
        FIELDS[0].write(&mut bytes[places.fields[0]..], u64::from(FORMAT));
        Self { bytes, places, shape }
    }

    pub fn shape(&self) -> RowShape {
        self.shape
    }

    pub fn header_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Writes the header of a record to its beginning, computes the checksum over all of `record`,
    /// whose body is complete, and returns it.
    pub fn write(&self, record: &mut [u8], stamp: &RecordStamp, body: &BodyLayout) -> u32 {
        assert!(record.len() == self.header_bytes() + body.bytes, "a record of another layout");
        record[..self.bytes.len()].copy_from_slice(&self.bytes);
        let mut put = |at: usize, value: usize| {
            record[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
        };
        put(self.places.body_bytes, body.bytes);
        put(self.places.rows, body.rows);
        for (index, rows) in node_rows(self.shape, body.rows).enumerate() {
            put(self.places.nodes + 16 * index, rows);
        }
        for (index, (at, bytes)) in buffers_of(self.shape, body).enumerate() {
            put(self.places.buffers + 16 * index, at);
            put(self.places.buffers + 16 * index + 8, bytes);
        }
        write_stamp(record, &self.places.fields, stamp);
        FIELDS[6].write(&mut record[self.places.fields[6]..], body.producers as u64);
        write_crc(record, self.places.fields[CRC_INDEX])
    }
}

fn write_stamp(record: &mut [u8], places: &[usize; FIELDS.len()], stamp: &RecordStamp) {
    let values = [
        stamp.epoch,
        stamp.offset,
        stamp.first_sequence,
        stamp.durable_bytes,
        u64::from(stamp.before),
    ];
    for ((field, at), value) in FIELDS.iter().zip(places).skip(1).zip(values) {
        field.write(&mut record[*at..], value);
    }
}

/// Writes the checksum of a record whose other bytes are final.
fn write_crc(record: &mut [u8], at: usize) -> u32 {
    CRC.write(&mut record[at..], 0);
    let crc = fields::crc32c(record);
    CRC.write(&mut record[at..], u64::from(crc));
    crc
}

/// Gives a whole record another place: another file, offset and record before. Returns its
/// checksum.
pub(super) fn restamp(
    record: &mut [u8],
    header: &RecordHeader,
    stamp: &RecordStamp,
) -> Option<u32> {
    let message = record.get(PREFIX_BYTES..header.header_bytes)?;
    let places = fields::places(message, &FIELDS)?.map(|at| at + PREFIX_BYTES);
    write_stamp(record, &places, stamp);
    Some(write_crc(record, places[CRC_INDEX]))
}

/// The length of a record's header, from its first bytes.
pub(super) fn header_length(bytes: &[u8]) -> Result<usize, RecordFault> {
    let prefix = bytes.get(..PREFIX_BYTES).ok_or(RecordFault::NoRecord)?;
    let (marker, length) = prefix.split_at(4);
    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
    if marker != CONTINUATION || length == 0 {
        return Err(RecordFault::NoRecord);
    }
    let header_bytes = length.saturating_add(PREFIX_BYTES);
    if header_bytes > HEADER_BYTES_MAX || !header_bytes.is_multiple_of(COLUMN_ALIGN) {
        return Err(RecordFault::Header(format!("its length is {header_bytes}")));
    }
    Ok(header_bytes)
}

/// Reads a header, whose length is that of `bytes`. `left`: the file's bytes from the record's
/// beginning on.
pub(super) fn decode_header(
    bytes: &[u8],
    left: u64,
    shape: RowShape,
    block_bytes: usize,
) -> Result<RecordHeader, RecordFault> {
    let wrong = |why: &str| RecordFault::Header(why.to_owned());
    let metadata = &bytes[PREFIX_BYTES..];
    let message = root_as_message(metadata).map_err(|error| wrong(&error.to_string()))?;
    let batch = message.header_as_record_batch().ok_or_else(|| wrong("it is another message"))?;
    let places = fields::places(metadata, &FIELDS).ok_or_else(|| wrong("figures are missing"))?;
    let mut values = [0; FIELDS.len()];
    for ((field, at), value) in FIELDS.iter().zip(places).zip(&mut values) {
        *value = field.read(&metadata[at..]).ok_or_else(|| wrong("a figure isn't digits"))?;
    }
    let [format, epoch, offset, first_sequence, durable_bytes, before, producers, crc] = values;
    if format != u64::from(FORMAT) {
        let expected = u64::from(FORMAT);
        return Err(RecordFault::Other { field: "format", found: format, expected });
    }
    let body_bytes = u64::try_from(message.bodyLength()).unwrap_or(u64::MAX);
    let needed = body_bytes.saturating_add(bytes.len() as u64);
    if needed > left {
        return Err(RecordFault::Cut { needed, left });
    }
    if !needed.is_multiple_of(block_bytes as u64) {
        return Err(wrong("its record isn't whole blocks"));
    }
    let body = body_layout(&message, &batch, shape, producers)
        .ok_or_else(|| wrong("its columns aren't those of the log, or aren't within its body"))?;
    if first_sequence.checked_add(body.rows as u64).is_none() {
        return Err(wrong("its sequences don't end"));
    }
    let stamp = RecordStamp { epoch, offset, first_sequence, durable_bytes, before: before as u32 };
    Ok(RecordHeader {
        stamp,
        body,
        header_bytes: bytes.len(),
        crc: crc as u32,
        crc_at: PREFIX_BYTES + places[CRC_INDEX],
    })
}

/// Where the columns are, if they are those of the shape and within the body, whose length has been
/// checked against the file.
fn body_layout(
    message: &Message<'_>,
    batch: &RecordBatch<'_>,
    shape: RowShape,
    producers: u64,
) -> Option<BodyLayout> {
    let bytes = usize::try_from(message.bodyLength()).ok()?;
    let rows = usize::try_from(batch.length()).ok().filter(|rows| *rows > 0)?;
    // No row is smaller than its sequence: the products below can't overflow.
    (rows <= bytes / INTEGER_BYTES).then_some(())?;
    rows.checked_mul(shape.vector_bytes()).filter(|vectors| *vectors <= bytes)?;
    if batch.compression().is_some() || batch.nodes()?.len() != node_count(shape) {
        return None;
    }
    let node_rows = node_rows(shape, rows);
    for (node, rows) in batch.nodes()?.iter().zip(node_rows) {
        (node.length() == rows as i64 && node.null_count() == 0).then_some(())?;
    }
    let found = batch.buffers().filter(|buffers| buffers.len() == buffer_count(shape))?;
    let at = |index: usize| usize::try_from(found.get(index).offset()).ok();
    let (id, time) = (shape.columns.id, shape.columns.time);
    let (ids_at, times_at) = (FURTHER_DATA, FURTHER_DATA + if id { 2 } else { 0 });
    let vectors = at(VECTORS_DATA)?;
    let vectors_end = vectors.checked_add(rows * shape.vector_bytes())?;
    let body = BodyLayout {
        rows,
        sequences: at(SEQUENCES_DATA)?,
        ids: if id { at(ids_at)? } else { 0 },
        times: if time { at(times_at)? } else { 0 },
        vectors,
        marks: vectors_end.checked_next_multiple_of(COLUMN_ALIGN)?,
        producers: usize::try_from(producers).ok()?,
        bytes,
    };
    let marks_end = body.producers.checked_mul(MARK_BYTES)?.checked_add(body.marks);
    (body.producers == 0 || marks_end? <= bytes).then_some(())?;
    for (buffer, (offset, length)) in found.iter().zip(buffers_of(shape, &body)) {
        let same = buffer.offset() == offset as i64 && buffer.length() == length as i64;
        let within = offset.checked_add(length)? <= bytes && offset.is_multiple_of(COLUMN_ALIGN);
        (same && within).then_some(())?;
    }
    Some(body)
}

/// Which buffer holds a column's values: each column has one of validity and one of values, and the
/// vectors have a validity of their own.
const SEQUENCES_DATA: usize = 1;
const VECTORS_DATA: usize = 4;
const FURTHER_DATA: usize = 6;

fn node_count(shape: RowShape) -> usize {
    2 + shape.integers()
}

fn buffer_count(shape: RowShape) -> usize {
    3 + 2 * shape.integers()
}

/// The lengths that the nodes have: sequence, vector, component, further columns.
fn node_rows(shape: RowShape, rows: usize) -> impl Iterator<Item = usize> {
    let further = std::iter::repeat_n(rows, shape.integers() - 1);
    [rows, rows, rows * shape.dim as usize].into_iter().chain(further)
}

/// Offset and length of each buffer. Validities are empty and stand where their values do.
fn buffers_of(shape: RowShape, body: &BodyLayout) -> impl Iterator<Item = (usize, usize)> {
    let integers = INTEGER_BYTES * body.rows;
    let vectors = shape.vector_bytes() * body.rows;
    let column = |is: bool, at: usize| is.then_some([(at, 0), (at, integers)]);
    [(body.sequences, 0), (body.sequences, integers)]
        .into_iter()
        .chain([(body.vectors, 0), (body.vectors, 0), (body.vectors, vectors)])
        .chain(column(shape.columns.id, body.ids).into_iter().flatten())
        .chain(column(shape.columns.time, body.times).into_iter().flatten())
}

/// Finds the figures in a message without the prefix.
fn header_places(metadata: &[u8]) -> Option<HeaderPlaces> {
    let message = root_as_message(metadata).ok()?;
    let batch = message.header_as_record_batch()?;
    let field = |table: &flatbuffers::Table<'_>, field: VOffsetT| {
        let within = usize::from(table.vtable().get(field));
        (within > 0).then_some(PREFIX_BYTES + table.loc() + within)
    };
    let vector = |bytes: &[u8]| PREFIX_BYTES + bytes.as_ptr().addr() - metadata.as_ptr().addr();
    Some(HeaderPlaces {
        body_bytes: field(&message._tab, Message::VT_BODYLENGTH)?,
        rows: field(&batch._tab, RecordBatch::VT_LENGTH)?,
        nodes: vector(batch.nodes()?.bytes()),
        buffers: vector(batch.buffers()?.bytes()),
        fields: fields::places(metadata, &FIELDS)?.map(|at| at + PREFIX_BYTES),
    })
}
