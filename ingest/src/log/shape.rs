//! What a row of a log holds, the schema that says it to readers, and the head of a file.
//!
//! ```text
//! 0      8           16                                                  block
//! │ARROW1\0\0│ FFFFFFFF │ length │ Message { Schema, custom_metadata } │ 0 ... │ first record
//!              └────────── the metadata fills the block up to its end ──────┘
//! ```
//! The message's own metadata carries what the schema's must not, so that all files of a folder
//! have one schema: the format, the epoch, the block, the checksum of the whole head. The first
//! record's `before` is that checksum.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_ipc::convert::schema_to_fb_offset;
use arrow_ipc::{
    Int, MessageBuilder, MessageHeader, MetadataVersion, Precision, TimeUnit as IpcTimeUnit,
    root_as_message,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use flatbuffers::FlatBufferBuilder;

use super::disk::BLOCK_BYTES;
use super::fields::{self, CRC, FixedField};
use crate::sink::{Columns, ID, SEQUENCE, TIME, VECTOR};

/// What a row of a log holds besides its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowShape {
    /// Components of a vector.
    pub dim: u32,
    /// The columns besides `sequence` and `vector`.
    pub columns: Columns,
}

/// Bytes of a sequence, an id or a time.
pub(super) const INTEGER_BYTES: usize = 8;

impl RowShape {
    /// Bytes of a vector.
    #[must_use]
    pub fn vector_bytes(self) -> usize {
        self.dim as usize * size_of::<f32>()
    }

    /// The number of columns of integers: sequence, id, time.
    pub(super) fn integers(self) -> usize {
        1 + usize::from(self.columns.id) + usize::from(self.columns.time)
    }
}

/// The schema of a lane's segments. The metadata of each field says what the column holds.
pub(crate) fn segment_schema(shape: RowShape, lane: u32) -> SchemaRef {
    let item = Field::new("item", DataType::Float32, false);
    let size = i32::try_from(shape.dim).expect("a dimension is at most DIM_MAX");
    let mut fields = vec![
        field(
            SEQUENCE,
            DataType::UInt64,
            "number of the row in its lane, from 0, in the order in which rows were accepted",
            "rows",
        ),
        field(
            VECTOR,
            DataType::FixedSizeList(Arc::new(item), size),
            "components of the vector, as the client sent them",
            "the client's",
        ),
    ];
    if shape.columns.id {
        let content = "the client's name for the vector, as sent";
        fields.push(field(ID, DataType::UInt64, content, "none"));
    }
    if shape.columns.time {
        let content =
            "when the vector's request had arrived, by the clock of the service's machine";
        let unit = "microseconds since 1970-01-01T00:00:00 UTC";
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        fields.push(field(TIME, time, content, unit));
    }
    let metadata = [
        ("slipring.format", "1".to_owned()),
        ("slipring.dim", shape.dim.to_string()),
        ("slipring.lane", lane.to_string()),
    ];
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

fn field(name: &str, kind: DataType, content: &str, unit: &str) -> Field {
    let metadata = [("slipring.content", content), ("slipring.unit", unit)];
    Field::new(name, kind, false).with_metadata(HashMap::from(
        metadata.map(|(key, value)| (key.to_owned(), value.to_owned())),
    ))
}

/// What a file's schema says of its rows; None if its columns aren't those of a segment.
pub(crate) fn shape_of(schema: arrow_ipc::Schema<'_>) -> Option<RowShape> {
    let fields = schema.fields().filter(|fields| fields.len() >= 2)?;
    let names: Option<Vec<&str>> = fields.iter().map(|field| field.name()).collect();
    let names = names?;
    let [SEQUENCE, VECTOR, further @ ..] = names.as_slice() else { return None };
    let columns = Columns::of_names(further)?;
    for (field, name) in fields.iter().skip(2).zip(columns.names()) {
        let typed = match name {
            ID => field.type_as_int().is_some_and(|kind| is_u64(&kind)),
            TIME => field.type_as_timestamp()?.unit() == IpcTimeUnit::MICROSECOND,
            _ => false,
        };
        typed.then_some(())?;
    }
    let (sequence, vector) = (fields.get(0).type_as_int()?, fields.get(1));
    let item = vector.children().filter(|children| children.len() == 1)?.get(0);
    let typed =
        is_u64(&sequence) && item.type_as_floating_point()?.precision() == Precision::SINGLE;
    let dim =
        u32::try_from(vector.type_as_fixed_size_list()?.listSize()).ok().filter(|dim| *dim > 0)?;
    typed.then_some(RowShape { dim, columns })
}

fn is_u64(kind: &Int<'_>) -> bool {
    kind.bitWidth() == 64 && !kind.is_signed()
}

/// The format of heads and records.
pub(super) const FORMAT: u32 = 1;

/// What an Arrow file begins with.
pub(super) const MAGIC: [u8; 8] = *b"ARROW1\0\0";
/// What every message begins with.
pub(super) const CONTINUATION: [u8; 4] = [0xff; 4];
/// Marker and length before a message's metadata.
pub(super) const PREFIX_BYTES: usize = 8;

pub(super) const HEAD_FIELDS: [FixedField; 4] =
    [fields::FORMAT, fields::EPOCH, fields::BLOCK_LENGTH, fields::CRC];

/// The largest block of a file: devices have up to 64 KiB.
pub(super) const BLOCK_BYTES_MAX: usize = 64 << 10;

/// The head of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the rows hold.
    pub shape: RowShape,
    /// Of the start of the service that wrote the file: random.
    pub epoch: u64,
    /// Records begin at multiples of this many bytes, and the first behind that many.
    pub block_bytes: usize,
    /// The checksum of the head.
    pub crc: u32,
}

/// Why bytes aren't the head of a file of this format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    /// A file of a later format.
    Newer(u32),
    /// An Arrow file without our metadata: an earlier version of slipring, or somebody else's.
    Foreign,
    /// No whole head.
    Damaged,
}

/// The bytes of a head, which are one block, and its checksum.
pub(super) fn encode_head(schema: &Schema, epoch: u64, block_bytes: usize) -> (Vec<u8>, u32) {
    let mut builder = FlatBufferBuilder::new();
    let header = schema_to_fb_offset(&mut builder, schema).as_union_value();
    let metadata = fields::metadata(&mut builder, &HEAD_FIELDS);
    let mut message = MessageBuilder::new(&mut builder);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(MessageHeader::Schema);
    message.add_header(header);
    message.add_custom_metadata(metadata);
    let message = message.finish();
    builder.finish(message, None);
    let metadata = builder.finished_data();
    let metadata_at = MAGIC.len() + PREFIX_BYTES;
    assert!(metadata_at + metadata.len() <= BLOCK_BYTES, "a schema of {} bytes", metadata.len());
    let mut bytes = vec![0; block_bytes];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&CONTINUATION);
    bytes[12..16].copy_from_slice(&((block_bytes - metadata_at) as u32).to_le_bytes());
    bytes[metadata_at..metadata_at + metadata.len()].copy_from_slice(metadata);
    let places = fields::places(&bytes[metadata_at..], &HEAD_FIELDS)
        .expect("the metadata was built above")
        .map(|at| at + metadata_at);
    let values = [u64::from(FORMAT), epoch, block_bytes as u64, 0];
    for ((field, at), value) in HEAD_FIELDS.iter().zip(places).zip(values) {
        field.write(&mut bytes[at..], value);
    }
    let crc = fields::crc32c(&bytes);
    CRC.write(&mut bytes[places[3]..], u64::from(crc));
    (bytes, crc)
}

/// Reads a head from the first bytes of a file, which are a block if the file has that many.
pub(super) fn decode_head(bytes: &[u8]) -> Result<Head, HeadFault> {
    let metadata_at = MAGIC.len() + PREFIX_BYTES;
    if bytes.len() < metadata_at || bytes[..MAGIC.len()] != MAGIC {
        return Err(HeadFault::Damaged);
    }
    let metadata = &bytes[metadata_at..];
    let Ok(message) = root_as_message(metadata) else { return Err(head_of_others(bytes)) };
    let (Some(schema), Some(places)) =
        (message.header_as_schema(), fields::places(metadata, &HEAD_FIELDS))
    else {
        return Err(head_of_others(bytes));
    };
    let at = |index: usize| &metadata[places[index]..];
    let (Some(format), Some(epoch), Some(block), Some(crc)) = (
        HEAD_FIELDS[0].read(at(0)),
        HEAD_FIELDS[1].read(at(1)),
        HEAD_FIELDS[2].read(at(2)),
        HEAD_FIELDS[3].read(at(3)),
    ) else {
        return Err(HeadFault::Damaged);
    };
    let block_bytes = usize::try_from(block).unwrap_or(0);
    if bytes.len() != block_bytes || crc_without(bytes, metadata_at + places[3]) != crc as u32 {
        return Err(HeadFault::Damaged);
    }
    if format > u64::from(FORMAT) {
        return Err(HeadFault::Newer(u32::try_from(format).unwrap_or(u32::MAX)));
    }
    let shape = shape_of(schema).ok_or(HeadFault::Damaged)?;
    Ok(Head { shape, epoch, block_bytes, crc: crc as u32 })
}

/// The block length that a head names, be the head whole or not.
pub(super) fn block_named(bytes: &[u8]) -> Option<usize> {
    let length: [u8; 4] = bytes.get(12..16)?.try_into().ok()?;
    let block = u32::from_le_bytes(length) as usize + MAGIC.len() + PREFIX_BYTES;
    is_block(block).then_some(block)
}

/// Whether records may begin at multiples of this many bytes.
pub(super) fn is_block(bytes: usize) -> bool {
    bytes.is_power_of_two() && (BLOCK_BYTES..=BLOCK_BYTES_MAX).contains(&bytes)
}

/// A head that isn't ours is another program's, or damaged; one of ours fills its block.
fn head_of_others(bytes: &[u8]) -> HeadFault {
    match block_named(bytes) {
        Some(_) => HeadFault::Damaged,
        None => HeadFault::Foreign,
    }
}

/// The checksum of bytes in which it stands itself, as zeros.
pub(super) fn crc_without(bytes: &[u8], crc_at: usize) -> u32 {
    let behind = crc_at + CRC.width;
    let mut crc = fields::RunningCrc::new();
    crc.update(&bytes[..crc_at]);
    crc.update(&[b'0'; CRC.width]);
    crc.update(&bytes[behind..]);
    crc.value()
}
