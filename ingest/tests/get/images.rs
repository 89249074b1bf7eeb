//! The digits of examples/data in each format, and small images of other rows.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{DataType, Field};
use slipring_ingest::vectors::VectorRows;

pub const DIM: usize = 64;
/// As examples/data/README.md says.
pub const DIGITS: u64 = 1797;
pub const DIGITS_SUM: f64 = 561_718.0;

pub fn digits_npy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/digits-64.npy")
}

/// The digits' components.
pub fn digits() -> Vec<f32> {
    let rows = VectorRows::from_npy(&fs::read(digits_npy()).unwrap(), DIM as u32).unwrap();
    rows.bytes().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

pub fn npy(components: &[f32], dim: usize) -> Vec<u8> {
    let header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {dim}), }}\n",
        components.len() / dim
    );
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(wire(components));
    bytes
}

pub fn fvecs(components: &[f32], dim: usize) -> Vec<u8> {
    components
        .chunks(dim)
        .flat_map(|row| [(dim as u32).to_le_bytes().to_vec(), wire(row)].concat())
        .collect()
}

/// Batches of 500 rows, with a column of labels before the vectors.
pub fn arrow_file(components: &[f32], dim: usize) -> Vec<u8> {
    let batches = batches(components, dim);
    let mut writer = FileWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

pub fn arrow_stream(components: &[f32], dim: usize) -> Vec<u8> {
    let batches = batches(components, dim);
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn batches(components: &[f32], dim: usize) -> Vec<RecordBatch> {
    let batch = |rows: &[f32]| {
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let labels: ArrayRef = Arc::new(StringArray::from(vec!["a label"; rows.len() / dim]));
        let values = Arc::new(Float32Array::from(rows.to_vec()));
        let vectors: ArrayRef = Arc::new(FixedSizeListArray::new(item, dim as i32, values, None));
        RecordBatch::try_from_iter([("label", labels), ("embedding", vectors)]).unwrap()
    };
    components.chunks(500 * dim).map(batch).collect()
}

fn wire(components: &[f32]) -> Vec<u8> {
    components.iter().flat_map(|component| component.to_le_bytes()).collect()
}
