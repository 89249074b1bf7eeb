//! One variant in a process of its own: it warms up, fetches, and prints one line of figures.
//!
//! ```text
//!   process starts ─▶ store, contender ─▶ warm-up: `parallel` objects ─▶ measured: `objects` objects ─▶ one line of JSON
//!                     base_rss            warm_peak_rss                  processor time, faults,          peak_rss
//!                                                                        large allocations, clock
//! ```
//!
//! Each of `parallel` tasks fetches one object after the other, verifies its checksum, and drops
//! it. The checksum covers every byte and is the same work for every contender. It runs while the
//! clock runs. Its processor time is measured per thread: it isn't part of `cpu_seconds` but is
//! `verify_cpu_seconds`.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use object_store::path::Path;
use serde_json::{Value, json};

use super::contender::{CONTENDERS, Fetch};
use super::corpus::{DISTINCT, checksum, key};
use super::options::Variant;
use super::source;
use super::usage::{self, Usage};
use crate::choice::Wrong;
use crate::heap;
use crate::memory::{peak_resident_bytes, resident_bytes};

/// A variant that takes longer than this hangs.
const LONGEST: Duration = Duration::from_secs(600);

/// Runs one and prints its line.
///
/// # Errors
/// An object didn't arrive, or its bytes are wrong.
pub fn run(variant: &Variant) -> Result<(), Wrong> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.map_err(|error| Wrong::Case(format!("there is no runtime: {error}")))?;
    let figures = runtime.block_on(async {
        let late = |_| format!("it took longer than {} s", LONGEST.as_secs());
        tokio::time::timeout(LONGEST, measure(variant)).await.map_err(late)?
    });
    println!("{}", figures.map_err(Wrong::Case)?);
    Ok(())
}

/// What all tasks of a variant share.
struct Work {
    store: Arc<dyn ObjectStore>,
    fetch: Box<dyn Fetch>,
    checksums: Vec<u32>,
    object_bytes: usize,
    /// Objects that were started, and the number at which to stop.
    begun: AtomicUsize,
    end: AtomicUsize,
    verify_us: AtomicU64,
}

/// The counters at one time.
struct Reading {
    at: Instant,
    usage: Usage,
    verify_us: u64,
    large: u64,
    server_ms: Option<u64>,
}

impl Work {
    /// Fetches with `parallel` tasks until `end` objects have been started in all.
    ///
    /// # Errors
    /// The first object that didn't arrive, or whose bytes are wrong.
    async fn until(self: &Arc<Self>, end: usize, parallel: usize) -> Result<(), String> {
        self.end.store(end, Ordering::Relaxed);
        let tasks: Vec<_> =
            (0..parallel).map(|_| tokio::spawn(Arc::clone(self).worker())).collect();
        let mut outcome = Ok(());
        for task in tasks {
            let ended = task.await.map_err(|error| error.to_string()).and_then(|ended| ended);
            outcome = outcome.and(ended);
        }
        outcome
    }

    async fn worker(self: Arc<Self>) -> Result<(), String> {
        loop {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            if number >= self.end.load(Ordering::Relaxed) {
                // A later call continues with this number.
                self.begun.fetch_sub(1, Ordering::Relaxed);
                return Ok(());
            }
            let which = number % DISTINCT;
            let failed = |why: &str| format!("object {number}, {}: {why}", key(which));
            let path = Path::from(key(which));
            let bytes = self.fetch.fetch(&*self.store, &path).await.map_err(|why| failed(&why))?;
            // There is no await between the two readings, so the time is this thread's.
            let before = usage::thread();
            let is_right =
                bytes.len() == self.object_bytes && checksum(&bytes) == self.checksums[which];
            self.verify_us.fetch_add(usage::thread().since(before).cpu_us, Ordering::Relaxed);
            if !is_right {
                return Err(failed("it isn't the object: its length or its checksum differs"));
            }
        }
    }

    fn reading(&self, server_process: Option<u32>) -> Reading {
        Reading {
            at: Instant::now(),
            usage: usage::process(),
            verify_us: self.verify_us.load(Ordering::Relaxed),
            large: heap::large() + self.fetch.mapped(),
            server_ms: server_process.and_then(usage::cpu_ms_of),
        }
    }
}

async fn measure(variant: &Variant) -> Result<Value, String> {
    let name = &variant.contender;
    let contender = CONTENDERS.iter().find(|contender| contender.name == name);
    let contender =
        contender.ok_or_else(|| format!("--contender {name}: there is none of this name"))?;
    if variant.checksums.len() != DISTINCT {
        return Err(format!("--checksums: {} of {DISTINCT}", variant.checksums.len()));
    }
    let work = Arc::new(Work {
        store: source::open(variant, contender.client_retries).await?,
        fetch: contender.make(&variant.plan)?,
        checksums: variant.checksums.clone(),
        object_bytes: variant.plan.object_size,
        begun: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        verify_us: AtomicU64::new(0),
    });
    let (parallel, objects) = (variant.plan.parallel.get(), variant.objects.get());
    let base_rss = peak_resident_bytes();
    heap::begin();
    work.until(parallel, parallel).await?;
    let (before, warm_peak_rss) = (work.reading(variant.server_process), peak_resident_bytes());
    work.until(parallel + objects, parallel).await?;
    let after = work.reading(variant.server_process);
    heap::end();
    let (seconds, spent) =
        (after.at.duration_since(before.at).as_secs_f64(), after.usage.since(before.usage));
    let verify_us = after.verify_us - before.verify_us;
    // Read before the peak, so that the peak is at least as large.
    let end_rss = resident_bytes();
    let mut figures = json!({
        "objects": objects,
        "object_bytes": variant.plan.object_size,
        "ns_per_op": seconds * 1e9 / objects as f64,
        "bytes_per_second": (objects * variant.plan.object_size) as f64 / seconds,
        "cpu_seconds": spent.cpu_us.saturating_sub(verify_us) as f64 / 1e6,
        "verify_cpu_seconds": verify_us as f64 / 1e6,
        "base_rss_bytes": base_rss,
        "warm_peak_rss_bytes": warm_peak_rss,
        "peak_rss_bytes": peak_resident_bytes(),
        "end_rss_bytes": end_rss,
        "large_allocations_total": after.large,
        "large_allocations": after.large - before.large,
        "faults_per_object": spent.faults as f64 / objects as f64,
    });
    if let Some(retries) = work.fetch.retries() {
        figures["retries"] = json!(retries);
    }
    if let (Some(before), Some(after)) = (before.server_ms, after.server_ms) {
        figures["server_cpu_seconds"] = json!((after - before) as f64 / 1e3);
    }
    Ok(figures)
}
