//! The open batch of a lane, whose rows are accepted and not yet encoded.
//!
//! Promises:
//! - Rows are copied once, into the open batch, and not again before they are encoded.
//! - Memory for rows is allocated at start. The batch grows beyond its size only by the rows of the
//!   one `append` during which the disk began to refuse.

use std::io::Write;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, TimestampMicrosecondArray, UInt64Array,
};
use arrow_buffer::{ArrowNativeType, Buffer, ScalarBuffer};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{DataType, Field, SchemaRef};

use super::SinkError;
use super::columns::Columns;
use super::rows::{ID_BYTES, SinkRows};

/// Rows that are accepted and not yet encoded.
pub(super) struct OpenBatch {
    values: Vec<f32>,
    /// Empty without the column.
    ids: Vec<u64>,
    times_us: Vec<i64>,
    columns: Columns,
    dim: usize,
    rows_max: usize,
    schema: SchemaRef,
}

impl OpenBatch {
    /// An empty batch of these columns that is full at `rows_max` rows.
    pub fn new(schema: SchemaRef, dim: u32, columns: Columns, rows_max: usize) -> Self {
        let dim = dim as usize;
        assert!(dim > 0 && rows_max > 0, "checked when the folder and the log were opened");
        Self {
            values: Vec::with_capacity(dim * rows_max),
            ids: Vec::with_capacity(if columns.id { rows_max } else { 0 }),
            times_us: Vec::with_capacity(if columns.time { rows_max } else { 0 }),
            columns,
            dim,
            rows_max,
            schema,
        }
    }

    pub fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    pub fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// The encoded size of a full batch: its columns, and 4 KiB for the headers of file and batch
    /// and for padding.
    pub fn encoded_bytes(&self) -> usize {
        let integers = 1 + usize::from(self.columns.id) + usize::from(self.columns.time);
        self.rows_max * (integers * size_of::<u64>() + self.dim * size_of::<f32>()) + 4096
    }

    pub fn is_full(&self) -> bool {
        self.rows() >= self.rows_max
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The number of rows, if they are whole rows with what the columns need.
    pub fn whole_rows(&self, rows: &SinkRows<'_>) -> Result<u64, SinkError> {
        rows.count(self.dim, self.columns)
    }

    /// Appends rows until the batch is full, and returns the others.
    pub fn fill<'a>(&mut self, rows: SinkRows<'a>) -> SinkRows<'a> {
        let room = self.rows_max.saturating_sub(self.rows());
        let (now, later) = rows.split_at(room.min(rows.values.len() / self.dim), self.dim);
        self.copy(now);
        later
    }

    /// Appends all rows, even beyond a full batch.
    pub fn overfill(&mut self, rows: SinkRows<'_>) {
        self.values.reserve_exact(rows.values.len());
        self.copy(rows);
    }

    fn copy(&mut self, rows: SinkRows<'_>) {
        self.values.extend_from_slice(rows.values);
        if self.columns.id {
            let (ids, _) = rows.ids.as_chunks::<ID_BYTES>();
            self.ids.extend(ids.iter().map(|id| u64::from_le_bytes(*id)));
        }
        if self.columns.time {
            self.times_us.resize(self.rows(), rows.time_us);
        }
    }

    /// Encodes the first `rows` rows into `writer` and removes them from the batch. The encoder
    /// borrows the batch's memory as Arrow buffers and returns it, so rows are neither copied nor
    /// allocated here. `writer` must not be able to fail.
    pub fn encode<W: Write>(
        &mut self,
        rows: usize,
        first_sequence: u64,
        writer: &mut FileWriter<W>,
    ) {
        assert!(rows > 0 && rows <= self.rows(), "{rows} rows to encode of {}", self.rows());
        let values = Lent::new(&mut self.values);
        let ids = Lent::new(&mut self.ids);
        let times_us = Lent::new(&mut self.times_us);
        let components = Float32Array::new(values.first(rows * self.dim), None);
        let vectors = FixedSizeListArray::new(
            Arc::new(item()),
            list_size(self.dim as u32),
            Arc::new(components),
            None,
        );
        let sequences = UInt64Array::from_iter_values(first_sequence..first_sequence + rows as u64);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(sequences), Arc::new(vectors)];
        if self.columns.id {
            columns.push(Arc::new(UInt64Array::new(ids.first(rows), None)));
        }
        if self.columns.time {
            columns.push(Arc::new(TimestampMicrosecondArray::new(times_us.first(rows), None)));
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .expect("the columns were built for this schema");
        writer.write(&batch).expect("the writer writes to memory");
        drop(batch);
        values.give_back(rows * self.dim, &mut self.values);
        ids.give_back(rows, &mut self.ids);
        times_us.give_back(rows, &mut self.times_us);
    }
}

/// The memory of a column while the encoder borrows it.
struct Lent(Buffer);

impl Lent {
    fn new<T: ArrowNativeType>(column: &mut Vec<T>) -> Self {
        Self(Buffer::from_vec(std::mem::take(column)))
    }

    fn first<T: ArrowNativeType>(&self, values: usize) -> ScalarBuffer<T> {
        ScalarBuffer::new(self.0.clone(), 0, values)
    }

    /// Gives the memory back to the column, without the values that were encoded.
    fn give_back<T: ArrowNativeType>(self, encoded: usize, column: &mut Vec<T>) {
        // The encoder keeps no reference after writing. If a later version of it does, this copies
        // the rows, which is slower but correct.
        *column = self.0.into_vec().unwrap_or_else(|shared| shared.typed_data::<T>().to_vec());
        column.drain(..encoded.min(column.len()));
    }
}

fn item() -> Field {
    Field::new("item", DataType::Float32, false)
}

fn list_size(dim: u32) -> i32 {
    i32::try_from(dim).expect("a dimension is at most DIM_MAX")
}
