//! What a pool counts: [`ClassPoolStats`], by class and for direct buffers; and what a warm-up
//! reached: [`WarmUp`].
//!
//! - Counting touches nothing that threads share: each thread counts in its own bins, and the
//!   reader adds up.
//! - A snapshot that is read while other threads work isn't of one moment.
//! - A counter never goes back, except by a reset.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

/// A snapshot of a pool: see [`ClassPool::stats`](super::ClassPool::stats).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassPoolStats {
    /// One per size, ascending.
    pub classes: Vec<ClassStats>,
    /// Buffers that belong to no class.
    pub direct: DirectStats,
}

/// The figures of one class. Counters start at the last reset; gauges show the present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// The class's size.
    pub class_bytes: usize,
    /// Buffers got, including fresh ones at the limit.
    pub gets: u64,
    /// Buffers dropped.
    pub puts: u64,
    /// Gets that found a buffer with pages.
    pub hits: u64,
    /// Gets that found none: the buffer was new, had given its pages back, or was a fresh one at
    /// the limit.
    pub misses: u64,
    /// Fresh direct buffers at the limit; also counted as direct.
    pub fresh: u64,
    /// Gets that had to wait, by threads and by tasks.
    pub waits: u64,
    /// Gets that were refused at the limit without waiting.
    pub refusals: u64,
    /// Buffers that gave their pages back.
    pub shrunk: u64,
    /// Bytes of hits, in whole buffers.
    pub reused_bytes: u64,
    /// Bytes of misses, in whole buffers: memory that needed new pages.
    pub allocated_bytes: u64,
    /// Gauge: buffers in use.
    pub in_use: u64,
    /// Gauge: buffers with pages, in use or not.
    pub resident: u64,
    /// Gauge: bytes of the resident buffers.
    pub resident_bytes: u64,
    /// Gauge: gets that wait.
    pub waiting: u64,
    /// The limit, in buffers.
    pub buffers_max: u64,
}

/// The figures of direct buffers: those too large for every class, and fresh ones at a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectStats {
    /// Allocated.
    pub gets: u64,
    /// Freed.
    pub puts: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Gauge: direct buffers in use.
    pub in_use: u64,
}

/// The result of a warm-up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmUp {
    /// One per size, ascending.
    pub classes: Vec<ClassWarmUp>,
    /// The time that it took.
    pub elapsed: Duration,
}

/// The result of a warm-up in one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassWarmUp {
    /// The class's size.
    pub class_bytes: usize,
    /// The requested number of resident buffers.
    pub asked: usize,
    /// The buffers that are resident; fewer than requested if the limit is lower.
    pub resident: usize,
    /// The buffers that this call made resident.
    pub touched: usize,
}

impl ClassStats {
    /// The share of hits among all gets, from 0 to 1; 1 without any get.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        rate(self.hits, self.gets)
    }

    /// Subtracts `base`.
    fn subtract(&mut self, base: &Self) {
        let counters: [fn(&mut Self) -> &mut u64; 10] = [
            |class| &mut class.gets,
            |class| &mut class.puts,
            |class| &mut class.hits,
            |class| &mut class.misses,
            |class| &mut class.fresh,
            |class| &mut class.waits,
            |class| &mut class.refusals,
            |class| &mut class.shrunk,
            |class| &mut class.reused_bytes,
            |class| &mut class.allocated_bytes,
        ];
        let mut base = *base;
        for counter in counters {
            *counter(self) = counter(self).saturating_sub(*counter(&mut base));
        }
    }
}

impl ClassPoolStats {
    /// The share of hits among the gets of all classes and direct buffers, from 0 to 1; 1 without
    /// any get.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        let sum = |of: fn(&ClassStats) -> u64| self.classes.iter().map(of).sum::<u64>();
        // A fresh buffer at a limit is already counted as a get of its class.
        let too_large = self.direct.gets.saturating_sub(sum(|class| class.fresh));
        rate(sum(|class| class.hits), sum(|class| class.gets) + too_large)
    }

    /// The counts since `base`, an earlier snapshot of the same pool. Gauges stay as they are.
    pub(super) fn since(mut self, base: &Self) -> Self {
        self.classes.iter_mut().zip(&base.classes).for_each(|(class, base)| class.subtract(base));
        self.direct.gets = self.direct.gets.saturating_sub(base.direct.gets);
        self.direct.puts = self.direct.puts.saturating_sub(base.direct.puts);
        self.direct.bytes = self.direct.bytes.saturating_sub(base.direct.bytes);
        self
    }
}

fn rate(hits: u64, gets: u64) -> f64 {
    debug_assert!(hits <= gets, "{hits} hits of {gets} gets");
    if gets == 0 { 1.0 } else { hits as f64 / gets as f64 }
}

impl fmt::Display for ClassPoolStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "class", "gets", "puts", "hits", "misses", "rate %", "waits", "refused", "in use",
            "resident",
        ];
        writeln!(f, "{}", head.map(|name| format!("{name:>11}")).concat())?;
        for class in &self.classes {
            write!(
                f,
                "{:>11}{:>11}{:>11}{:>11}",
                class.class_bytes, class.gets, class.puts, class.hits
            )?;
            // A class that nobody used has no rate.
            let rate = match class.gets {
                0 => "-".to_owned(),
                _ => format!("{:.3}", 100.0 * class.hit_rate()),
            };
            write!(f, "{:>11}{rate:>11}{:>11}", class.misses, class.waits)?;
            writeln!(f, "{:>11}{:>11}{:>11}", class.refusals, class.in_use, class.resident)?;
        }
        let DirectStats { gets, puts, bytes, in_use } = self.direct;
        write!(
            f,
            "direct: {gets} allocated, {puts} freed, {bytes} bytes, {in_use} in use; hit rate of all gets "
        )?;
        match self.direct.gets + self.classes.iter().map(|class| class.gets).sum::<u64>() {
            0 => f.write_str("-"),
            _ => write!(f, "{:.3} %", 100.0 * self.hit_rate()),
        }
    }
}

impl fmt::Display for WarmUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ClassWarmUp { class_bytes, asked, resident, touched } in &self.classes {
            writeln!(
                f,
                "class of {class_bytes} bytes: {resident} of {asked} buffers resident, {touched} of them by this call"
            )?;
        }
        write!(f, "in {:?}", self.elapsed)
    }
}
