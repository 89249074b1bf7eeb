//! Rows of a log as an Arrow stream or as text.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, TimestampMicrosecondArray, UInt64Array,
};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, SchemaRef};

use super::error::LogCommandError;
use super::options::CatFormat;
use super::output::Output;
use crate::log::{RecordView, RowShape, segment_schema};
use crate::sink::{ID, SEQUENCE, StoredRows, VECTOR};

const INTEGER_BYTES: usize = 8;

/// Rows that follow each other: the bytes of their columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowColumns<'a> {
    pub first_sequence: u64,
    pub rows: usize,
    pub vectors: &'a [u8],
    pub ids: &'a [u8],
    pub times: &'a [u8],
}

impl<'a> RowColumns<'a> {
    pub fn of_record(view: &RecordView<'a>) -> Self {
        Self {
            first_sequence: view.header().first_sequence(),
            rows: view.sequences().len() / INTEGER_BYTES,
            vectors: view.vectors(),
            ids: view.ids(),
            times: view.times(),
        }
    }

    /// Rows of an earlier version, whose sequences were found to follow each other.
    pub fn of_stored(rows: &'a StoredRows) -> Self {
        Self {
            first_sequence: rows.sequences.first().copied().unwrap_or(0),
            rows: rows.sequences.len(),
            vectors: bytemuck::cast_slice(&rows.values),
            ids: bytemuck::cast_slice(&rows.ids),
            times: bytemuck::cast_slice(&rows.times_us),
        }
    }

    /// Those within a range of sequences; None if there are none.
    pub fn within(&self, range: &Range<u64>, shape: RowShape) -> Option<Self> {
        let next = self.first_sequence + self.rows as u64;
        let (from, to) = (range.start.max(self.first_sequence), range.end.min(next));
        if from >= to {
            return None;
        }
        let skipped = (from - self.first_sequence) as usize;
        let rows = (to - from) as usize;
        let cut = |column: &'a [u8], width: usize| match column.is_empty() {
            true => column,
            false => &column[skipped * width..(skipped + rows) * width],
        };
        Some(Self {
            first_sequence: from,
            rows,
            vectors: cut(self.vectors, shape.vector_bytes()),
            ids: cut(self.ids, INTEGER_BYTES),
            times: cut(self.times, INTEGER_BYTES),
        })
    }

    fn sequences(&self) -> impl Iterator<Item = u64> {
        (self.first_sequence..).take(self.rows)
    }
}

/// Writes rows in one of the formats.
pub(super) enum RowWriter<'a> {
    Arrow(Box<StreamWriter<&'a mut Output>>, SchemaRef),
    Csv(&'a mut Output, RowShape),
}

impl<'a> RowWriter<'a> {
    /// A writer for the rows of a lane. Writes the schema, or the names of the columns.
    pub fn new(
        output: &'a mut Output,
        format: CatFormat,
        shape: RowShape,
        lane: u32,
    ) -> Result<Self, LogCommandError> {
        match format {
            CatFormat::Arrow => {
                let schema = segment_schema(shape, lane);
                let writer = StreamWriter::try_new(output, &schema)?;
                Ok(Self::Arrow(Box::new(writer), schema))
            }
            CatFormat::Csv => {
                let mut names = vec![SEQUENCE, VECTOR];
                names.extend(shape.columns.names());
                writeln!(output, "{}", names.join(",")).map_err(LogCommandError::Output)?;
                Ok(Self::Csv(output, shape))
            }
        }
    }

    pub fn write(&mut self, rows: &RowColumns<'_>) -> Result<(), LogCommandError> {
        match self {
            Self::Arrow(writer, schema) => Ok(writer.write(&batch_of(rows, schema)?)?),
            Self::Csv(output, shape) => {
                write_lines(output, rows, *shape).map_err(LogCommandError::Output)
            }
        }
    }

    /// Ends what is written.
    pub fn end(&mut self) -> Result<(), LogCommandError> {
        match self {
            Self::Arrow(writer, _) => Ok(writer.finish()?),
            Self::Csv(..) => Ok(()),
        }
    }
}

fn batch_of(rows: &RowColumns<'_>, schema: &SchemaRef) -> Result<RecordBatch, LogCommandError> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    for field in schema.fields() {
        let column: ArrayRef = match (field.name().as_str(), field.data_type()) {
            (SEQUENCE, _) => Arc::new(UInt64Array::from_iter_values(rows.sequences())),
            (VECTOR, DataType::FixedSizeList(item, dim)) => {
                let values = Float32Array::new(
                    ScalarBuffer::new(Buffer::from(rows.vectors), 0, rows.vectors.len() / 4),
                    None,
                );
                let item = Arc::clone(item);
                Arc::new(FixedSizeListArray::try_new(item, *dim, Arc::new(values), None)?)
            }
            (ID, _) => {
                let ids = ScalarBuffer::new(Buffer::from(rows.ids), 0, rows.rows);
                Arc::new(UInt64Array::new(ids, None))
            }
            _ => {
                let times = ScalarBuffer::new(Buffer::from(rows.times), 0, rows.rows);
                Arc::new(TimestampMicrosecondArray::new(times, None))
            }
        };
        columns.push(column);
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn write_lines(output: &mut Output, rows: &RowColumns<'_>, shape: RowShape) -> io::Result<()> {
    let vectors = rows.vectors.chunks_exact(shape.vector_bytes());
    let ids = rows.ids.as_chunks::<INTEGER_BYTES>().0;
    let times = rows.times.as_chunks::<INTEGER_BYTES>().0;
    for (row, (sequence, vector)) in rows.sequences().zip(vectors).enumerate() {
        write!(output, "{sequence},\"[")?;
        for (index, component) in vector.as_chunks::<4>().0.iter().enumerate() {
            let before = if index == 0 { "" } else { "," };
            // The shortest digits that are read back as the same number.
            write!(output, "{before}{:?}", f32::from_le_bytes(*component))?;
        }
        output.write_all(b"]\"")?;
        if let Some(id) = ids.get(row) {
            write!(output, ",{}", u64::from_le_bytes(*id))?;
        }
        if let Some(time) = times.get(row) {
            write!(output, ",{}", utc_micros(i64::from_le_bytes(*time)))?;
        }
        output.write_all(b"\n")?;
    }
    Ok(())
}

/// A time in UTC; one before 1970 or after 9999, which no clock gives, as its microseconds.
fn utc_micros(time_us: i64) -> String {
    const YEAR_10000_US: u64 = 253_402_300_800_000_000;
    match u64::try_from(time_us) {
        Ok(micros) if micros < YEAR_10000_US => {
            humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_micros(micros)).to_string()
        }
        _ => time_us.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Columns;

    #[test]
    fn times_are_those_of_a_calendar_or_numbers() {
        assert_eq!(utc_micros(1_700_000_000_123_456), "2023-11-14T22:13:20.123456Z");
        for odd in [-1, i64::MIN, i64::MAX] {
            assert_eq!(utc_micros(odd), odd.to_string());
        }
        assert_eq!(utc_micros(253_402_300_799_999_999), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn rows_are_cut_to_a_range() {
        let shape = RowShape { dim: 1, columns: Columns { id: true, time: false } };
        let (vectors, ids) = ([1_u8; 12], [2_u8; 24]);
        let rows =
            RowColumns { first_sequence: 10, rows: 3, vectors: &vectors, ids: &ids, times: &[] };
        for (range, expected) in [
            (0..10, None),
            (13..20, None),
            (0..11, Some((10, 1))),
            (11..12, Some((11, 1))),
            (12..u64::MAX, Some((12, 1))),
            (0..u64::MAX, Some((10, 3))),
        ] {
            let cut = rows.within(&range, shape);
            assert_eq!(cut.map(|cut| (cut.first_sequence, cut.rows)), expected, "{range:?}");
            if let Some(cut) = cut {
                assert_eq!((cut.vectors.len(), cut.ids.len()), (4 * cut.rows, 8 * cut.rows));
                assert!(cut.times.is_empty());
            }
        }
    }
}
