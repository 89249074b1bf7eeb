//! Progress on standard error, and the clock: it is read twenty times a run, so it costs the loop
//! nothing.

use std::time::Instant;

const STEPS: u64 = 20;

/// The iterations of a run, cut into steps.
pub struct Progress {
    name: &'static str,
    iterations: u64,
    batch: u64,
    start: Instant,
    done: u64,
}

impl Progress {
    /// Iterations are cut at whole batches, but for the last one.
    pub fn start(name: &'static str, iterations: u64, batch: u64) -> Self {
        Self { name, iterations, batch, start: Instant::now(), done: 0 }
    }

    /// How many to run next; None once all are done. What was handed out before is reported.
    pub fn next(&mut self) -> Option<u64> {
        if self.done > 0 {
            let (done, all) = (self.done, self.iterations);
            eprintln!(
                "{}: {done} of {all}, {:.2} ns an iteration so far",
                self.name,
                self.ns_per_iteration()
            );
        }
        let step = self
            .iterations
            .div_ceil(STEPS)
            .next_multiple_of(self.batch)
            .min(self.iterations - self.done);
        self.done += step;
        (step > 0).then_some(step)
    }

    /// Of those that were handed out, which all have run.
    pub fn ns_per_iteration(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * 1e9 / self.done.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_add_up_and_are_whole_batches() {
        for (iterations, batch) in
            [(1, 64), (64, 64), (1000, 1), (1000, 7), (100_000, 64), (12_345, 100)]
        {
            let mut progress = Progress::start("test", iterations, batch);
            let steps: Vec<u64> = std::iter::from_fn(|| progress.next()).collect();
            assert_eq!(steps.iter().sum::<u64>(), iterations);
            assert!(
                steps.len() <= 20
                    && steps[..steps.len() - 1].iter().all(|step| step.is_multiple_of(batch))
            );
        }
    }
}
