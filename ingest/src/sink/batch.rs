//! The open batch: rows that are accepted and not yet encoded.
//!
//! Promises that rows are copied once into it and not again before they are encoded. It allocates
//! at start. It grows beyond one batch only by the rows of a single `append` that came while the
//! disk refused.

use std::io::Write;
use std::sync::Arc;

use arrow_array::{FixedSizeListArray, Float32Array, RecordBatch, UInt64Array};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::SinkError;

/// The names of the two columns.
pub(super) const SEQUENCE: &str = "sequence";
pub(super) const VECTOR: &str = "vector";

/// The schema of a lane's segments.
pub(super) fn schema(dim: u32, lane: u32) -> SchemaRef {
    let fields = vec![
        Field::new(SEQUENCE, DataType::UInt64, false),
        Field::new(VECTOR, DataType::FixedSizeList(Arc::new(item()), list_size(dim)), false),
    ];
    let metadata = [
        ("slipring.format", "1".to_owned()),
        ("slipring.dim", dim.to_string()),
        ("slipring.lane", lane.to_string()),
    ];
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// Rows waiting to be encoded.
pub(super) struct OpenBatch {
    values: Vec<f32>,
    dim: usize,
    rows_max: usize,
    schema: SchemaRef,
}

impl OpenBatch {
    /// An empty batch that is full at `rows_max` rows.
    pub fn new(schema: SchemaRef, dim: u32, rows_max: usize) -> Self {
        let dim = dim as usize;
        assert!(dim > 0 && rows_max > 0, "checked when the folder and the log were opened");
        Self { values: Vec::with_capacity(dim * rows_max), dim, rows_max, schema }
    }

    pub fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    pub fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// The encoded size of a full batch: its two columns, and 4 KiB for the headers of file and
    /// batch and for padding.
    pub fn encoded_bytes(&self) -> usize {
        self.rows_max * (size_of::<u64>() + self.dim * size_of::<f32>()) + 4096
    }

    pub fn is_full(&self) -> bool {
        self.rows() >= self.rows_max
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The number of rows in `values`, if they are whole rows.
    pub fn whole_rows(&self, values: &[f32]) -> Result<u64, SinkError> {
        if !values.len().is_multiple_of(self.dim) {
            return Err(SinkError::PartialRow { values: values.len(), dim: self.dim });
        }
        Ok((values.len() / self.dim) as u64)
    }

    /// Takes rows until the batch is full, and returns the others.
    pub fn fill<'a>(&mut self, rows: &'a [f32]) -> &'a [f32] {
        let room = (self.dim * self.rows_max).saturating_sub(self.values.len());
        let (now, later) = rows.split_at(room.min(rows.len()));
        self.values.extend_from_slice(now);
        later
    }

    /// Takes all rows, also beyond a full batch.
    pub fn overfill(&mut self, rows: &[f32]) {
        self.values.reserve_exact(rows.len());
        self.values.extend_from_slice(rows);
    }

    /// Encodes the first `rows` rows into `writer` and takes them out of the batch. The encoder
    /// borrows the batch's memory as an Arrow buffer and gives it back, so neither a copy nor an
    /// allocation of rows happens here; `writer` must not be able to fail.
    pub fn encode<W: Write>(
        &mut self,
        rows: usize,
        first_sequence: u64,
        writer: &mut FileWriter<W>,
    ) {
        assert!(rows > 0 && rows <= self.rows(), "{rows} rows to encode of {}", self.rows());
        let held = Buffer::from_vec(std::mem::take(&mut self.values));
        let values = Float32Array::new(ScalarBuffer::new(held.clone(), 0, rows * self.dim), None);
        let vectors = FixedSizeListArray::new(
            Arc::new(item()),
            list_size(self.dim as u32),
            Arc::new(values),
            None,
        );
        let sequences = UInt64Array::from_iter_values(first_sequence..first_sequence + rows as u64);
        let batch = RecordBatch::try_new(
            Arc::clone(&self.schema),
            vec![Arc::new(sequences), Arc::new(vectors)],
        )
        .expect("the columns were built for this schema");
        writer.write(&batch).expect("the writer writes to memory");
        drop(batch);
        // The encoder keeps no reference after writing. If a later version does, this copies
        // instead, which is correct and only slower.
        self.values = held.into_vec().unwrap_or_else(|shared| shared.typed_data::<f32>().to_vec());
        self.values.drain(..rows * self.dim);
    }
}

fn item() -> Field {
    Field::new("item", DataType::Float32, false)
}

fn list_size(dim: u32) -> i32 {
    i32::try_from(dim).expect("a dimension is at most DIM_MAX")
}
