//! A sink that discards everything: for measuring what comes before it.

use super::{Sink, SinkError, Totals};

/// Counts rows and discards them.
#[derive(Debug)]
pub struct NullSink {
    dim: usize,
    rows: u64,
}

impl NullSink {
    /// A sink for rows of `dim` components.
    ///
    /// # Errors
    /// A dimension of 0 or above [`DIM_MAX`](super::DIM_MAX).
    pub fn new(dim: u32) -> Result<Self, SinkError> {
        super::folder::check_dim(dim)?;
        Ok(Self { dim: dim as usize, rows: 0 })
    }
}

impl Sink for NullSink {
    fn append(&mut self, rows: &[f32]) -> Result<(), SinkError> {
        if !rows.len().is_multiple_of(self.dim) {
            return Err(SinkError::PartialRow { values: rows.len(), dim: self.dim });
        }
        self.rows += (rows.len() / self.dim) as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// The rows counted; no segments and no bytes.
    fn finish(&mut self) -> Result<Totals, SinkError> {
        Ok(Totals { rows: self.rows, segments: 0, bytes: 0 })
    }

    /// All rows counted: they have reached their destination, which is nowhere.
    fn rows_in_segments(&self) -> u64 {
        self.rows
    }
}
