//! The memory in which a record comes into being.
//!
//! ```text
//!           │ header │ sequences │ ids │ times │ gap │ vectors 0 1 2 ...      │ marks │ 0 │
//!           ▲                                        ▲ vectors_at: fixed              ▲
//!           start, a multiple of the block                          end, a multiple of the block
//! ```
//! Vectors are copied once, to where they stay. Nobody knows the number of rows before the record
//! is closed, so what lies before the vectors is laid out backwards from them at that moment: only
//! ids and times, 16 bytes a row, move a second time. `vectors_at` is chosen so that with up to 8
//! rows all of that fits into the block in which the vectors begin. So a commit of one small vector
//! costs one block, and a larger one up to one block more than its bytes.
//!
//! Promises:
//! - Bytes of earlier records never get into a later one.
//! - Nothing is allocated after the buffer is made.

use std::ops::Range;

use super::disk::{AlignedBytes, BLOCK_BYTES};
use super::error::LogError;
use super::header::{BodyLayout, COLUMN_ALIGN, MARK_BYTES, RecordStamp, RecordTemplate};
use super::shape::{INTEGER_BYTES, RowShape};

/// The most bytes of vectors in a record (which holds at least one row).
pub const RECORD_VECTOR_BYTES_MAX: usize = 64 << 20;

/// The most producer marks in a record.
pub const MARKS_MAX: usize = 1 << 16;

/// The times of rows, in microseconds since 1970 in UTC. A log without the column ignores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowTimes<'a> {
    /// One time for all rows.
    One(i64),
    /// 8 little-endian bytes for each row.
    Each(&'a [u8]),
}

/// Rows on their way into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRows<'a> {
    /// Little-endian components, vector after vector.
    pub vectors: &'a [u8],
    /// The rows' ids, 8 little-endian bytes each; empty without an id column.
    pub ids: &'a [u8],
    /// The rows' times.
    pub times: RowTimes<'a>,
    /// The producer's request that the rows are: then they are in one record, or in none.
    pub mark: Option<RequestMark>,
}

/// A request of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestMark {
    /// The producer's id.
    pub producer: u64,
    /// The producer's own number for the request.
    pub sequence: u64,
}

impl LogRows<'_> {
    /// The rows behind the first `rows`, with vectors of this size.
    pub(super) fn behind(&self, rows: usize, vector_bytes: usize) -> Self {
        let integers = rows * INTEGER_BYTES;
        let times = match self.times {
            RowTimes::Each(times) => RowTimes::Each(times.get(integers..).unwrap_or(&[])),
            one @ RowTimes::One(_) => one,
        };
        let vectors = self.vectors.get(rows * vector_bytes..).unwrap_or(&[]);
        let ids = self.ids.get(integers..).unwrap_or(&[]);
        Self { vectors, ids, times, mark: self.mark }
    }
}

/// What a producer has got into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerMark {
    /// Its request.
    pub request: RequestMark,
    /// The sequence of the request's first row.
    pub row: u64,
    /// The request's rows.
    pub rows: u32,
}

/// Memory for one record: open for rows until it gets its place in a file, then read-only until it
/// is cleared.
#[derive(Debug)]
pub struct RecordBuffer {
    memory: AlignedBytes,
    template: RecordTemplate,
    block_bytes: usize,
    /// Where vectors begin in the memory.
    vectors_at: usize,
    rows: usize,
    rows_max: usize,
    /// Ids and times until the record is closed.
    ids: Vec<u8>,
    times: Vec<u8>,
    /// Their rows are counted from the record's first.
    marks: Vec<ProducerMark>,
    marks_max: usize,
    placed: Option<PlacedRecord>,
}

/// A closed record: where it is in the memory, and where it goes.
#[derive(Clone, Debug)]
pub(super) struct PlacedRecord {
    /// The first sequence of its segment.
    pub segment: u64,
    pub stamp: RecordStamp,
    pub range: Range<usize>,
    pub header_bytes: usize,
    pub rows: usize,
    pub crc: u32,
    /// Bytes that are in the file.
    pub written: usize,
}

impl RecordBuffer {
    /// Memory for up to `rows_max` rows and `marks_max` producer marks a record.
    ///
    /// # Errors
    /// A size out of its range.
    pub(super) fn new(
        template: &RecordTemplate,
        block_bytes: usize,
        rows_max: usize,
        marks_max: usize,
    ) -> Result<Self, LogError> {
        let shape = template.shape();
        let most = (RECORD_VECTOR_BYTES_MAX / shape.vector_bytes()).max(1);
        check("rows_max", rows_max, 1, most)?;
        check("marks_max", marks_max, 0, MARKS_MAX)?;
        let before = |rows: usize| template.header_bytes() + shape.integers() * column_bytes(rows);
        let in_block = before(8);
        let vectors_at = in_block
            + (before(rows_max) - in_block.min(before(rows_max))).next_multiple_of(block_bytes);
        let end = (vectors_at + rows_max * shape.vector_bytes()).next_multiple_of(COLUMN_ALIGN)
            + marks_max * MARK_BYTES;
        let integers = |is: bool| Vec::with_capacity(if is { rows_max * INTEGER_BYTES } else { 0 });
        Ok(Self {
            memory: AlignedBytes::zeroed(end.next_multiple_of(block_bytes)),
            template: template.clone(),
            block_bytes,
            vectors_at,
            rows: 0,
            rows_max,
            ids: integers(shape.columns.id),
            times: integers(shape.columns.time),
            marks: Vec::with_capacity(marks_max),
            marks_max,
            placed: None,
        })
    }

    /// Bytes of memory that the buffer holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let marks = self.marks.capacity() * size_of::<ProducerMark>();
        self.memory.len() + BLOCK_BYTES - 1 + self.ids.capacity() + self.times.capacity() + marks
    }

    /// Rows that it holds.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Rows that it still takes.
    #[must_use]
    pub fn room(&self) -> usize {
        self.rows_max - self.rows
    }

    /// Producer marks that it still takes.
    pub(super) fn marks_room(&self) -> usize {
        self.marks_max - self.marks.len()
    }

    /// Whether it takes no more rows: it is full, or has its place.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.placed.is_some() || self.room() == 0
    }

    /// Copies rows until the buffer is full, and returns how many it has taken. It takes none once
    /// it has its place. Rows with a mark are taken together, or none of them.
    ///
    /// # Errors
    /// Bytes that aren't whole rows with what the columns need: then none are taken.
    pub fn append(&mut self, rows: &LogRows<'_>) -> Result<usize, LogError> {
        let shape = self.template.shape();
        let count = count_rows(shape, rows)?;
        let now = match rows.mark {
            _ if self.placed.is_some() => 0,
            Some(request) if count > 0 => self.mark(request, count),
            _ => count.min(self.room()),
        };
        let bytes = now * shape.vector_bytes();
        let at = self.vectors_at + self.rows * shape.vector_bytes();
        self.memory[at..at + bytes].copy_from_slice(&rows.vectors[..bytes]);
        let integers = now * INTEGER_BYTES;
        if shape.columns.id {
            self.ids.extend_from_slice(&rows.ids[..integers]);
        }
        match rows.times {
            _ if !shape.columns.time => {}
            RowTimes::Each(times) => self.times.extend_from_slice(&times[..integers]),
            RowTimes::One(time) => {
                (0..now).for_each(|_| self.times.extend_from_slice(&time.to_le_bytes()));
            }
        }
        self.rows += now;
        Ok(now)
    }

    /// Marks the next rows as a producer's request, and returns their number: 0 if there is no room
    /// for all of them.
    fn mark(&mut self, request: RequestMark, rows: usize) -> usize {
        if rows > self.room() || self.marks.len() >= self.marks_max {
            return 0;
        }
        // No buffer has as many rows as this number may count.
        self.marks.push(ProducerMark { request, row: self.rows as u64, rows: rows as u32 });
        rows
    }

    /// Marks rows that it holds already, which are counted from its first. There is room for it.
    pub(super) fn keep_mark(&mut self, mark: ProducerMark) {
        debug_assert!(self.placed.is_none() && self.marks_room() > 0);
        self.marks.push(mark);
    }

    /// What its producers have got into it, once it has its place.
    pub(super) fn marks(&self) -> impl Iterator<Item = ProducerMark> + '_ {
        let first = self.placed.as_ref().map_or(0, |placed| placed.stamp.first_sequence);
        self.marks.iter().map(move |mark| ProducerMark { row: first + mark.row, ..*mark })
    }

    /// Empties the buffer for the next record.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.ids.clear();
        self.times.clear();
        self.marks.clear();
        self.placed = None;
    }

    /// What its rows hold.
    pub(super) fn shape(&self) -> RowShape {
        self.template.shape()
    }

    /// Whether the record has its place in a file.
    pub(super) fn placed(&self) -> Option<&PlacedRecord> {
        self.placed.as_ref()
    }

    /// The record's bytes and the count of those that are written.
    pub(super) fn record_and_written(&mut self) -> Option<(&[u8], &mut usize)> {
        let placed = self.placed.as_mut()?;
        Some((&self.memory[placed.range.clone()], &mut placed.written))
    }

    /// The bytes of a record that has its place, at a multiple of the block: what goes into the
    /// file at [`Placed::offset`](super::Placed::offset).
    #[must_use]
    pub fn record(&self) -> Option<&[u8]> {
        self.placed.as_ref().map(|placed| &self.memory[placed.range.clone()])
    }

    /// Closes the record: lays out what lies before the vectors, and writes the header. There must
    /// be rows, and no place yet.
    pub(super) fn place(&mut self, stamp: RecordStamp, segment: u64) -> PlacedRecord {
        assert!(self.rows > 0 && self.placed.is_none(), "a record without rows, or a second time");
        let (shape, rows, header_bytes) =
            (self.template.shape(), self.rows, self.template.header_bytes());
        let column = column_bytes(rows);
        let start = (self.vectors_at - header_bytes - shape.integers() * column) / self.block_bytes
            * self.block_bytes;
        let body_at = start + header_bytes;
        let vectors_end = self.vectors_at + rows * shape.vector_bytes();
        let marks_at = vectors_end.next_multiple_of(COLUMN_ALIGN);
        let marks_end = match self.marks.len() {
            0 => vectors_end,
            marks => marks_at + marks * MARK_BYTES,
        };
        let end = marks_end.next_multiple_of(self.block_bytes);
        let times_column = 1 + usize::from(shape.columns.id);
        let body = BodyLayout {
            rows,
            sequences: 0,
            ids: if shape.columns.id { column } else { 0 },
            times: if shape.columns.time { times_column * column } else { 0 },
            vectors: self.vectors_at - body_at,
            marks: marks_at - body_at,
            producers: self.marks.len(),
            bytes: end - body_at,
        };
        // What earlier records have left there.
        self.memory[body_at..self.vectors_at].fill(0);
        self.memory[vectors_end..end].fill(0);
        let sequences = self.memory[body_at..body_at + rows * INTEGER_BYTES].as_chunks_mut().0;
        for (place, sequence) in sequences.iter_mut().zip(stamp.first_sequence..) {
            *place = u64::to_le_bytes(sequence);
        }
        let put = |memory: &mut AlignedBytes, at: usize, column: &[u8]| {
            memory[at..at + column.len()].copy_from_slice(column);
        };
        put(&mut self.memory, body_at + body.ids, &self.ids);
        put(&mut self.memory, body_at + body.times, &self.times);
        for (index, mark) in self.marks.iter().enumerate() {
            let ProducerMark { request, row, rows } = *mark;
            let row = stamp.first_sequence + row;
            let figures = [request.producer, request.sequence, row, rows.into()];
            let figures = figures.map(u64::to_le_bytes);
            put(&mut self.memory, marks_at + index * MARK_BYTES, figures.as_flattened());
        }
        let crc = self.template.write(&mut self.memory[start..end], &stamp, &body);
        let placed =
            PlacedRecord { segment, stamp, range: start..end, header_bytes, rows, crc, written: 0 };
        self.placed.insert(placed).clone()
    }
}

/// Bytes of a column of integers.
fn column_bytes(rows: usize) -> usize {
    (rows * INTEGER_BYTES).next_multiple_of(COLUMN_ALIGN)
}

/// The number of rows, if they are whole rows with what the columns need.
fn count_rows(shape: RowShape, rows: &LogRows<'_>) -> Result<usize, LogError> {
    let vector_bytes = shape.vector_bytes();
    let count = rows.vectors.len() / vector_bytes;
    let ids = if shape.columns.id { count * INTEGER_BYTES } else { 0 };
    let times_fit = match rows.times {
        RowTimes::Each(times) if shape.columns.time => times.len() == count * INTEGER_BYTES,
        _ => true,
    };
    let fits = rows.vectors.len().is_multiple_of(vector_bytes) && rows.ids.len() == ids;
    if fits && times_fit {
        return Ok(count);
    }
    let time_bytes = match rows.times {
        RowTimes::Each(times) => times.len(),
        RowTimes::One(_) => 0,
    };
    let id = if shape.columns.id { ", 8 of an id" } else { ", no id" };
    let time = if shape.columns.time { ", 8 of a time unless one is for all" } else { "" };
    Err(LogError::Rows {
        vector_bytes: rows.vectors.len(),
        id_bytes: rows.ids.len(),
        time_bytes,
        row: format!("{vector_bytes} bytes of a vector{id}{time}"),
    })
}

pub(super) fn check(
    field: &'static str,
    value: usize,
    min: usize,
    max: usize,
) -> Result<(), LogError> {
    match (min..=max).contains(&value) {
        true => Ok(()),
        false => Err(LogError::Option {
            field,
            value: value as u64,
            allowed: format!("between {min} and {max}"),
        }),
    }
}
