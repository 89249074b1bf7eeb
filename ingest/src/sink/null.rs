//! A sink that keeps nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::dim::check_dim;
use super::{Sink, SinkCounts, SinkError};
use crate::log::{FeedError, LogRows};

/// Counts rows and discards them: for measuring what comes before the sink.
#[derive(Debug)]
pub struct NullSink {
    vector_bytes: usize,
    rows: u64,
    counted: Arc<AtomicU64>,
}

impl NullSink {
    /// A sink for rows of `dim` components.
    ///
    /// # Errors
    /// A dimension of 0 or above [`DIM_MAX`](super::DIM_MAX).
    pub fn new(dim: u32) -> Result<Self, SinkError> {
        check_dim(dim)?;
        Ok(Self { vector_bytes: dim as usize * size_of::<f32>(), rows: 0, counted: Arc::default() })
    }
}

impl Sink for NullSink {
    fn append(&mut self, rows: &LogRows<'_>, _: bool) -> Result<(), FeedError> {
        self.rows += (rows.vectors.len() / self.vector_bytes) as u64;
        self.counted.store(self.rows, Ordering::Relaxed);
        Ok(())
    }

    /// Counts from 0.
    fn next_sequence(&self) -> u64 {
        self.rows
    }

    fn close(&mut self, _: Instant) -> Result<(), String> {
        Ok(())
    }

    /// All rows counted: discarding is their destination.
    fn counts(&self) -> SinkCounts {
        SinkCounts::Rows(Arc::clone(&self.counted))
    }
}
