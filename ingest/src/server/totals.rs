//! The totals that the service reports when it stops.

use std::fmt;

use super::hint::Hint;
use super::lane_thread::LaneEnd;
use crate::io::{ClassUse, Counter, Counts, IoFigures, PoolUse};

/// The sums over all lanes.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// What IO threads counted.
    pub counts: Counts,
    /// Vectors in complete segments (with a null sink: counted).
    pub vectors_in_segments: u64,
    /// Complete segments.
    pub segments: u64,
    /// Bytes of them.
    pub segment_bytes: u64,
    /// Connections given up at the deadline.
    pub connections_left: usize,
    /// Why lanes or sinks failed.
    pub failures: Vec<String>,
    /// Stages that hadn't ended by the deadline.
    pub late: Vec<String>,
    /// The lanes' pools: what was used, and what would have sufficed.
    pub pools: Vec<(usize, PoolUse)>,
    /// The lanes' class pools: how often an output or a carry buffer was ready.
    pub classes: Vec<(usize, ClassUse)>,
    /// The lanes' rates, shares of time and latencies, from start to stop.
    pub figures: Vec<(usize, IoFigures)>,
}

impl Totals {
    pub(super) fn add(&mut self, number: usize, end: &LaneEnd) {
        self.counts.add(&end.io.counts);
        self.vectors_in_segments += end.sink.totals.rows;
        self.segments += end.sink.totals.segments;
        self.segment_bytes += end.sink.totals.bytes;
        self.connections_left += end.io.left;
        self.pools.extend(end.io.pool.map(|pool| (number, pool)));
        self.classes.extend(end.io.classes.clone().map(|classes| (number, classes)));
        // A sink that fails is the lane's failure as well.
        for failure in end
            .io
            .failure
            .iter()
            .chain(end.sink.error.iter().filter(|&e| end.io.failure.as_ref() != Some(e)))
        {
            self.failures.push(format!("lane {number}: {failure}"));
        }
        self.late.extend(end.late.iter().map(|stage| format!("lane {number}: {stage}")));
    }

    /// Vectors that were answered and aren't in any complete segment.
    #[must_use]
    pub fn vectors_missing(&self) -> u64 {
        self.counts[Counter::VectorsAnswered].saturating_sub(self.vectors_in_segments)
    }

    /// Whether everything was answered and stored in time.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.failures.is_empty()
            && self.late.is_empty()
            && self.connections_left == 0
            && self.vectors_missing() == 0
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "totals {} vectors_in_segments={} segments={} segment_bytes={}",
            self.counts, self.vectors_in_segments, self.segments, self.segment_bytes
        )?;
        if self.connections_left > 0 {
            write!(f, " connections_left={}", self.connections_left)?;
        }
        for (lane, pool) in &self.pools {
            write!(f, "\nlane {lane}: {}", Hint(pool))?;
        }
        for (lane, classes) in &self.classes {
            write!(f, "\nlane {lane}: {classes}")?;
        }
        for (lane, figures) in &self.figures {
            figures.to_string().lines().try_for_each(|line| write!(f, "\nlane {lane}: {line}"))?;
        }
        for failure in &self.failures {
            write!(f, "\nfailed: {failure}")?;
        }
        for late in &self.late {
            write!(f, "\nlate: {late} hadn't ended by the deadline")?;
        }
        if self.vectors_missing() > 0 {
            write!(
                f,
                "\nmissing: {} answered vectors aren't in a segment",
                self.vectors_missing()
            )?;
        }
        Ok(())
    }
}
