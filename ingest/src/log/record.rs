//! A whole record in memory, checked.

use super::buffer::{ProducerMark, RequestMark};
use super::error::RecordFault;
use super::fields::RunningCrc;
use super::header::{MARK_BYTES, RecordHeader, decode_header, header_length};
use super::shape::{INTEGER_BYTES, RowShape, crc_without};

/// A record whose layout and checksum have been checked. Columns are the bytes of the record, as
/// they were written.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    header: RecordHeader,
    body: &'a [u8],
    shape: RowShape,
}

impl<'a> RecordView<'a> {
    /// Reads the record at the beginning of `bytes`. Never panics or allocates by what they say.
    ///
    /// # Errors
    /// Whatever isn't a whole record of that shape with its own checksum, and with the sequences
    /// that its header says.
    pub fn decode(
        bytes: &'a [u8],
        shape: RowShape,
        block_bytes: usize,
    ) -> Result<Self, RecordFault> {
        let left = bytes.len() as u64;
        let header_bytes = header_length(bytes)?;
        let header = bytes
            .get(..header_bytes)
            .ok_or(RecordFault::Cut { needed: header_bytes as u64, left })?;
        let header = decode_header(header, left, shape, block_bytes)?;
        // The header was checked against the length.
        let record = &bytes[..header_bytes + header.body.bytes];
        let expected = crc_without(record, header.crc_at);
        if header.crc != expected {
            return Err(RecordFault::Checksum { found: header.crc, expected });
        }
        let view = Self { header, body: &record[header_bytes..], shape };
        for (place, expected) in
            view.sequences().as_chunks().0.iter().zip(header.first_sequence()..)
        {
            let found = u64::from_le_bytes(*place);
            if found != expected {
                return Err(RecordFault::Other { field: "sequence column", found, expected });
            }
        }
        Ok(view)
    }

    /// What the header says.
    #[must_use]
    pub fn header(&self) -> &RecordHeader {
        &self.header
    }

    /// The rows' sequences, 8 little-endian bytes each.
    #[must_use]
    pub fn sequences(&self) -> &'a [u8] {
        self.column(self.header.body.sequences, INTEGER_BYTES)
    }

    /// The vectors, one after the other: little-endian components.
    #[must_use]
    pub fn vectors(&self) -> &'a [u8] {
        self.column(self.header.body.vectors, self.shape.vector_bytes())
    }

    /// The rows' ids, 8 little-endian bytes each; empty without an id column.
    #[must_use]
    pub fn ids(&self) -> &'a [u8] {
        let width = if self.shape.columns.id { INTEGER_BYTES } else { 0 };
        self.column(self.header.body.ids, width)
    }

    /// The rows' times, 8 little-endian bytes each; empty without a time column.
    #[must_use]
    pub fn times(&self) -> &'a [u8] {
        let width = if self.shape.columns.time { INTEGER_BYTES } else { 0 };
        self.column(self.header.body.times, width)
    }

    /// The producers' marks, in the order in which they were added.
    pub fn marks(&self) -> impl Iterator<Item = ProducerMark> + 'a {
        let (at, count) = (self.header.body.marks, self.header.body.producers);
        // Without marks their place may lie behind the body.
        let bytes = if count == 0 { &[][..] } else { &self.body[at..at + count * MARK_BYTES] };
        decode_marks(bytes)
    }

    fn column(&self, at: usize, width: usize) -> &'a [u8] {
        &self.body[at..at + self.header.body.rows * width]
    }
}

/// The marks in these bytes.
pub(super) fn decode_marks(bytes: &[u8]) -> impl Iterator<Item = ProducerMark> + '_ {
    bytes.as_chunks::<INTEGER_BYTES>().0.as_chunks::<4>().0.iter().map(|figures| {
        let [producer, sequence, row, rows] = figures.map(u64::from_le_bytes);
        let request = RequestMark { producer, sequence };
        ProducerMark { request, row, rows: u32::try_from(rows).unwrap_or(u32::MAX) }
    })
}

/// The checksum of a record that comes in pieces: its header first, then its body.
pub(super) struct RecordCrc(RunningCrc);

impl RecordCrc {
    pub fn of_header(header: &[u8], crc_at: usize) -> Self {
        let mut crc = RunningCrc::new();
        let behind = crc_at + super::fields::CRC.width;
        crc.update(&header[..crc_at]);
        crc.update(&[b'0'; super::fields::CRC.width]);
        crc.update(&header[behind..]);
        Self(crc)
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn value(&self) -> u32 {
        self.0.value()
    }
}
