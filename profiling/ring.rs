//! A long run of the ring pool alone, for perf and callgrind (profiling/README.md has the recipes).
//!
//! ```text
//!   push_batch:               batch x { reserve ─▶ write the payload, its number first ─▶ commit ─▶ push }
//!   check_and_release_batch:  batch x { view ─▶ compare the number and the last byte }, one release
//! ```
//! One iteration is one slice. With `--written 8`, nearly all of the time is the pool's.

mod long_run;

use std::process::ExitCode;

use long_run::{Ended, Options, Program, Progress, run};
use slipring::machine::{CpuMask, PinPolicy, pin_current};
use slipring::ring::{Pushed, RingError, RingOptions, RingPool};

const RING: Program = Program {
    name: "ring",
    iteration: "one slice reserved, written, pushed, looked at and released",
    flags: &["--payload", "--written", "--batch", "--pool", "--window"],
    batch_max: 1 << 16,
};

fn main() -> ExitCode {
    run(&RING, |options| {
        if let Some(cpu) = CpuMask::read().cpus().first() {
            eprintln!("ring: {}", pin_current(*cpu, PinPolicy::Prefer).map_err(Ended::failed)?);
        }
        whole_run(options)
    })
}

/// A pool, the slices pushed in it, and the sum of all numbers that were read.
struct Loop {
    pool: RingPool,
    source: Vec<u8>,
    payload_bytes: usize,
    pushed: Vec<Pushed>,
    next: u64,
    seen: u64,
    batch: u64,
}

fn whole_run(options: &Options) -> Result<String, Ended> {
    let pool = RingOptions {
        bytes: options.pool_bytes,
        max_slice_bytes: options.payload_bytes,
        window_bytes: options.window_bytes,
        pinned_chunks_max: Some(0),
        ..RingOptions::default()
    };
    let pool = RingPool::new(&pool).map_err(|error| match error {
        RingError::Option { .. } => Ended::Usage(format!("--pool, --window, --payload: {error}")),
        _ => Ended::failed(error),
    })?;
    let mut this = Loop {
        pool,
        source: vec![0xA5; options.written_bytes],
        payload_bytes: options.payload_bytes,
        pushed: Vec::with_capacity(options.batch as usize),
        next: 0,
        seen: 0,
        batch: options.batch,
    };
    this.go(options.warm_up)?;
    let mut progress = Progress::start(RING.name, options.iterations, options.batch);
    while let Some(step) = progress.next() {
        this.go(step)?;
    }
    let ns = progress.ns_per_iteration();
    this.verified(options.warm_up + options.iterations)?;
    let stats = this.pool.stats();
    Ok(format!(
        "{} iterations verified, {} bytes written in each of {}; window {} bytes, {} bytes of tail waste; {ns:.2} ns per iteration",
        options.iterations,
        options.written_bytes,
        options.payload_bytes,
        stats.window_bytes,
        stats.tail_waste_bytes
    ))
}

impl Loop {
    fn go(&mut self, iterations: u64) -> Result<(), Ended> {
        let until = self.next + iterations;
        while self.next < until {
            self.push_batch(self.batch.min(until - self.next))?;
            self.check_and_release_batch()?;
        }
        Ok(())
    }

    #[inline(never)]
    fn push_batch(&mut self, count: u64) -> Result<(), Ended> {
        for number in self.next..self.next + count {
            let mut grant = self.pool.reserve(self.payload_bytes).map_err(|full| {
                Ended::Usage(format!("--pool, --batch: a batch doesn't fit: {full}"))
            })?;
            grant[..self.source.len()].copy_from_slice(&self.source);
            grant[..8].copy_from_slice(&number.to_le_bytes());
            let slice = grant.commit_all();
            self.pushed.push(self.pool.push(slice).map_err(Ended::failed)?);
        }
        self.next += count;
        Ok(())
    }

    #[inline(never)]
    fn check_and_release_batch(&mut self) -> Result<(), Ended> {
        let first = self.next - self.pushed.len() as u64;
        let last_written = self.source.len() - 1;
        for (number, pushed) in (first..).zip(&self.pushed) {
            let bytes =
                self.pool.view(pushed).ok_or_else(|| Ended::failed("a pushed slice is gone"))?;
            if bytes[..8] != number.to_le_bytes()
                || (last_written >= 8 && bytes[last_written] != 0xA5)
            {
                return Err(Ended::failed(format!("slice {number} doesn't hold what was written")));
            }
            self.seen = self.seen.wrapping_add(number);
        }
        if let Some(last) = self.pushed.last() {
            self.pool.release(last.sequence());
        }
        self.pushed.clear();
        Ok(())
    }

    fn verified(&self, all: u64) -> Result<(), Ended> {
        let expected = (u128::from(all) * u128::from(all.saturating_sub(1)) / 2) as u64;
        if (self.next, self.seen) == (all, expected) {
            return Ok(());
        }
        Err(Ended::failed(format!(
            "the sum of {} numbers is {}, not that of {all}",
            self.next, self.seen
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(words: &str) -> Result<String, Ended> {
        let defaults = "--iterations 5000 --warm-up 100 --pool 256KiB";
        let words = format!("{defaults} {words}");
        whole_run(&Options::parse(
            &words.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            &RING,
        )?)
    }

    #[test]
    fn a_small_run_is_verified() {
        for words in [
            "",
            "--batch 1",
            "--written 8",
            "--payload 8",
            "--payload 3000 --batch 7",
            "--window 32KiB",
        ] {
            let said = small(words).unwrap_or_else(|error| panic!("{words}: {error:?}"));
            assert!(said.starts_with("5000 iterations verified"), "{said}");
        }
    }

    #[test]
    fn what_does_not_fit_is_usage() {
        for (words, name) in [
            ("--pool 100", "--pool"),
            ("--batch 1000", "--batch"),
            ("--window 10", "--window"),
            ("--payload 1MiB", "--payload"),
            ("--stages inline", "--stages"),
        ] {
            assert!(
                matches!(small(words), Err(Ended::Usage(text)) if text.contains(name)),
                "{words}"
            );
        }
    }

    #[test]
    fn a_wrong_sum_fails() {
        let pool = RingOptions { bytes: 256 << 10, max_slice_bytes: 512, ..RingOptions::default() };
        let (pool, source) = (RingPool::new(&pool).unwrap(), vec![0xA5; 16]);
        let mut this = Loop {
            pool,
            source,
            payload_bytes: 512,
            pushed: Vec::new(),
            next: 0,
            seen: 0,
            batch: 8,
        };
        this.go(100).unwrap();
        assert_eq!(this.verified(100), Ok(()));
        this.seen += 1;
        assert!(matches!(this.verified(100), Err(Ended::Failed(_))));
        this.push_batch(8).unwrap();
        this.next += 1;
        assert!(
            matches!(this.check_and_release_batch(), Err(Ended::Failed(text)) if text.contains("slice 101"))
        );
    }
}
