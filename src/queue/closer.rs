//! Closing a queue from anywhere.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

use super::end::End;
use super::shared::Shared;
use super::stats::QueueStats;
use crate::class::PooledBuf;
use crate::sync::Arc;

/// Closes a queue from any thread: for the teardown of a connection with all of its streams. It
/// keeps no message and no pool alive.
#[derive(Clone)]
pub struct Closer(Arc<Shared<PooledBuf>>);

impl Closer {
    pub(crate) fn new(shared: &Arc<Shared<PooledBuf>>) -> Self {
        Self(Arc::clone(shared))
    }

    /// Ends the queue: what is queued is dequeued first, then every dequeue says this error;
    /// enqueuers get their buffers back with it. It waits for nobody. The first end wins: false, if
    /// there had been one.
    pub fn close(&self, error: impl Into<Box<dyn Error + Send + Sync>>) -> bool {
        self.0.finish(End::Closed(error.into().into()))
    }

    /// How the queue ended, once it has.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.0.end.get()
    }

    /// Figures of the queue, from any thread.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        QueueStats::of(&self.0.ring)
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closer").field("end", &self.end()).finish_non_exhaustive()
    }
}
