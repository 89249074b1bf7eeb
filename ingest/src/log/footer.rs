//! The end of a sealed file: an end-of-stream mark and a footer, which make it an Arrow file.
//!
//! ```text
//! │ ... record │ FFFFFFFF 00000000 │ Footer { schema, blocks, format } │ length │ ARROW1 │
//!              └ end of the stream   └ one block a record                  i32
//! ```
//! Reading a sealed segment means its name, its length, its footer and the last sequence: never its
//! records. A file of an earlier version has the same end, so the same code reads it.

use std::path::{Path, PathBuf};

use arrow_ipc::convert::schema_to_fb_offset;
use arrow_ipc::{Block, Footer, FooterBuilder, MetadataVersion, root_as_footer, root_as_message};
use arrow_schema::Schema;
use flatbuffers::FlatBufferBuilder;

use super::disk::{DiskFile, read_enough};
use super::error::LogError;
use super::fields::{self, FixedField};
use super::header::RecordPlace;
use super::shape::{CONTINUATION, FORMAT, INTEGER_BYTES, PREFIX_BYTES, RowShape, shape_of};

/// The most records of a segment. Each has a block of 24 bytes in the footer, so the footer stays
/// within about 1.5 MiB however small the records are.
pub(super) const RECORDS_MAX: usize = 1 << 16;

const FIELDS: [FixedField; 1] = [fields::FORMAT];

const MAGIC_END: [u8; 6] = *b"ARROW1";
/// Length and magic at the end of an Arrow file.
const LAST_BYTES: usize = 10;

/// The end of a file with these records. The same records always have the same end.
pub(super) fn encode_end(schema: &Schema, records: &[RecordPlace]) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let schema = schema_to_fb_offset(&mut builder, schema);
    let blocks: Vec<Block> = records
        .iter()
        .map(|record| {
            let (at, body) = (record.offset as i64, record.body_bytes as i64);
            Block::new(at, record.header_bytes as i32, body)
        })
        .collect();
    let blocks = builder.create_vector(&blocks);
    let dictionaries = builder.create_vector::<Block>(&[]);
    let metadata = fields::metadata(&mut builder, &FIELDS);
    let mut footer = FooterBuilder::new(&mut builder);
    footer.add_version(MetadataVersion::V5);
    footer.add_schema(schema);
    footer.add_dictionaries(dictionaries);
    footer.add_recordBatches(blocks);
    footer.add_custom_metadata(metadata);
    let footer = footer.finish();
    builder.finish(footer, None);
    let mut footer = builder.finished_data().to_vec();
    if let Some(at) = format_at(&footer) {
        FIELDS[0].write(&mut footer[at..], u64::from(FORMAT));
    }
    let mut end = [CONTINUATION, [0; 4]].concat();
    end.extend_from_slice(&footer);
    end.extend_from_slice(&(footer.len() as u32).to_le_bytes());
    end.extend_from_slice(&MAGIC_END);
    end
}

/// Where the digits of a footer's format are.
fn format_at(bytes: &[u8]) -> Option<usize> {
    let footer = root_as_footer(bytes).ok()?;
    let pairs = footer.custom_metadata()?;
    let pair = pairs.iter().find(|pair| pair.key() == Some(FIELDS[0].key))?;
    let value = pair.value().filter(|value| value.len() == FIELDS[0].width)?;
    value.as_ptr().addr().checked_sub(bytes.as_ptr().addr())
}

/// A sealed segment, as its name, length and footer describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSegment {
    /// Its file.
    pub path: PathBuf,
    /// The sequence of its first row, from its name.
    pub first_sequence: u64,
    /// The sequence after its last row.
    pub next_sequence: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Records in it.
    pub records: usize,
    /// Whether an earlier version wrote it: its records have no checksums.
    pub is_old: bool,
}

impl SealedSegment {
    /// Whether it holds the row with this sequence.
    #[must_use]
    pub fn holds(&self, sequence: u64) -> bool {
        (self.first_sequence..self.next_sequence).contains(&sequence)
    }

    /// Reads the footer and the last sequence. Returns also where the records are, and the number
    /// of bytes read.
    ///
    /// # Errors
    /// System errors, a file of a later version or of other rows, or no whole segment.
    pub fn read<F: DiskFile>(
        file: &F,
        path: &Path,
        first_sequence: u64,
        shape: RowShape,
    ) -> Result<(Self, Vec<RecordPlace>, u64), LogError> {
        let mut end = EndReader { file, path, file_bytes: 0, bytes_read: 0 };
        end.file_bytes = file.len().map_err(LogError::io("look at", path))?;
        let (bytes, footer_at) = end.footer()?;
        let footer = root_as_footer(&bytes).map_err(|error| end.wrong(format!("{error}")))?;
        let is_old = end.check_format(&bytes)?;
        let columns = footer.schema().and_then(shape_of);
        let recorded =
            columns.ok_or_else(|| end.wrong("its columns aren't those that a log has"))?;
        if recorded != shape {
            return Err(LogError::OtherShape { path: path.into(), recorded, asked: shape });
        }
        let records = places(&footer, footer_at)
            .ok_or_else(|| end.wrong("its footer has no records, or some that aren't in it"))?;
        let next_sequence = match records.last() {
            Some(last) => end.next_sequence(last)?,
            None => return Err(end.wrong("it has no records")),
        };
        if next_sequence <= first_sequence {
            let why = format!("its last row has the sequence {}", next_sequence.wrapping_sub(1));
            return Err(end.wrong(why));
        }
        let sealed = Self {
            path: path.to_owned(),
            first_sequence,
            next_sequence,
            file_bytes: end.file_bytes,
            records: records.len(),
            is_old,
        };
        Ok((sealed, records, end.bytes_read))
    }
}

/// The records that a footer names, if all are before it, one after the other.
fn places(footer: &Footer<'_>, footer_at: u64) -> Option<Vec<RecordPlace>> {
    let mut at = 0;
    let mut records = Vec::new();
    for block in footer.recordBatches()?.iter() {
        let record = RecordPlace {
            offset: u64::try_from(block.offset()).ok()?,
            header_bytes: usize::try_from(block.metaDataLength()).ok()?,
            body_bytes: u64::try_from(block.bodyLength()).ok()?,
        };
        let header_end = record.offset.checked_add(record.header_bytes as u64)?;
        let end = header_end.checked_add(record.body_bytes)?;
        (record.offset >= at && record.header_bytes > PREFIX_BYTES && end <= footer_at)
            .then_some(())?;
        at = end;
        records.push(record);
    }
    Some(records)
}

struct EndReader<'a, F> {
    file: &'a F,
    path: &'a Path,
    file_bytes: u64,
    bytes_read: u64,
}

impl<F: DiskFile> EndReader<'_, F> {
    /// The footer and where it begins.
    fn footer(&mut self) -> Result<(Vec<u8>, u64), LogError> {
        let before_last = self.file_bytes.checked_sub(LAST_BYTES as u64);
        let before_last = before_last.ok_or_else(|| self.wrong("it is too short"))?;
        let last = self.read(before_last, LAST_BYTES)?;
        if last[4..] != MAGIC_END {
            return Err(self.wrong("it has no end"));
        }
        let length = u64::from(u32::from_le_bytes([last[0], last[1], last[2], last[3]]));
        let footer_at = before_last.checked_sub(length);
        let footer_at = footer_at.ok_or_else(|| self.wrong("its footer is cut"))?;
        Ok((self.read(footer_at, length as usize)?, footer_at))
    }

    /// Whether an earlier version wrote the file, whose footer has no format.
    fn check_format(&self, footer: &[u8]) -> Result<bool, LogError> {
        let Some(at) = format_at(footer) else { return Ok(true) };
        match FIELDS[0].read(&footer[at..]).and_then(|found| u32::try_from(found).ok()) {
            Some(found) if found > FORMAT => {
                let path = self.path.to_owned();
                Err(LogError::NewerVersion { path, found, known: FORMAT })
            }
            Some(_) => Ok(false),
            None => Err(self.wrong("its format isn't a number")),
        }
    }

    /// The sequence after the last of a record, from its column.
    fn next_sequence(&mut self, record: &RecordPlace) -> Result<u64, LogError> {
        let header = self.read(record.offset, record.header_bytes)?;
        let place = last_sequence_at(&header[PREFIX_BYTES..], record);
        let at = place.ok_or_else(|| self.wrong("its last record has no sequences"))?;
        let bytes = self.read(at, INTEGER_BYTES)?;
        let last = bytes.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
        last.checked_add(1).ok_or_else(|| self.wrong("its sequences don't end"))
    }

    /// Reads bytes whose end was compared with the file's.
    fn read(&mut self, at: u64, bytes: usize) -> Result<Vec<u8>, LogError> {
        let mut read = vec![0; bytes];
        let count = read_enough(self.file, &mut read, at, bytes)
            .map_err(LogError::io("read", self.path))?;
        self.bytes_read += count as u64;
        if count == bytes { Ok(read) } else { Err(self.wrong("it became shorter")) }
    }

    fn wrong(&self, why: impl Into<String>) -> LogError {
        LogError::no_segment(self.path, why)
    }
}

/// Where in the file the last sequence of a record is: the second buffer has the sequences.
fn last_sequence_at(metadata: &[u8], record: &RecordPlace) -> Option<u64> {
    let message = root_as_message(metadata).ok()?;
    let batch = message.header_as_record_batch()?;
    let rows = u64::try_from(batch.length()).ok().filter(|rows| *rows > 0)?;
    let buffers = batch.buffers().filter(|buffers| buffers.len() > 1)?;
    let column_at = u64::try_from(buffers.get(1).offset()).ok()?;
    let within = column_at.checked_add(rows.checked_mul(INTEGER_BYTES as u64)?)?;
    (within <= record.body_bytes && batch.compression().is_none()).then_some(())?;
    Some(record.offset + record.header_bytes as u64 + within - INTEGER_BYTES as u64)
}
