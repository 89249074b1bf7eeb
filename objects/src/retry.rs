//! Retries: how many, after which wait, and from which [`Budget`].
//!
//! Waits double and are randomised, so that ranges that failed together don't retry together. See
//! "Exponential backoff and jitter" in the AWS architecture blog; its retry tokens are the budget
//! here.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::error::Cause;
use crate::options::RangeOptions;
use crate::progress::MOVED_BYTES;

/// Retries that are left to the engine, for all of its downloads.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicU32,
    most: u32,
}

impl Budget {
    pub(crate) fn new(most: u32) -> Self {
        Self { left: AtomicU32::new(most), most }
    }

    fn spend(&self) -> bool {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }

    /// Gives one retry back, because a range arrived.
    pub(crate) fn refund(&self) {
        // A full budget is the common case, and costs no write.
        if self.left.load(Ordering::Relaxed) < self.most {
            let more = |left| (left < self.most).then_some(left + 1);
            let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }
}

/// The tries of one range.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    options: &'a RangeOptions,
    budget: &'a Budget,
    left: u32,
    backoff: Duration,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(options: &'a RangeOptions, budget: &'a Budget) -> Self {
        Self { options, budget, left: options.retries, backoff: options.backoff_first }
    }

    /// How long to wait before the next try, after one that ended with `cause` and added
    /// `kept_bytes`; the cause if there is no next try.
    pub(crate) fn next(&mut self, cause: Cause, kept_bytes: u64) -> Result<Duration, Cause> {
        if matches!(cause, Cause::RequestTimeout { .. }) && kept_bytes >= MOVED_BYTES {
            (self.left, self.backoff) = (self.options.retries, self.options.backoff_first);
            return Ok(Duration::ZERO);
        }
        let asked = match cause {
            Cause::Throttled { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        if !cause.may_pass() || self.left == 0 || asked > self.options.retry_after_max {
            return Err(cause);
        }
        if !self.budget.spend() {
            return Err(Cause::Budget { retry_budget: self.budget.most, last: Box::new(cause) });
        }
        self.left -= 1;
        let wait = self.backoff.mul_f64(0.5 + 0.5 * fastrand::f64());
        self.backoff = self.backoff.saturating_mul(2).min(self.options.backoff_max);
        Ok(wait.max(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn options() -> RangeOptions {
        RangeOptions {
            retries: 5,
            backoff_first: MS(100),
            backoff_max: MS(300),
            ..RangeOptions::default()
        }
    }

    fn throttled(seconds: Option<u64>) -> Cause {
        Cause::Throttled { status: 503, retry_after: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let (options, budget) = (options(), Budget::new(64));
        let mut tries = Tries::new(&options, &budget);
        for most in [100, 200, 300, 300, 300].map(MS) {
            let wait = tries.next(throttled(None), 0).unwrap();
            assert!(wait >= most / 2 && wait <= most, "{wait:?} of {most:?}");
        }
        assert!(matches!(tries.next(throttled(None), 1 << 20), Err(Cause::Throttled { .. })));
    }

    #[test]
    fn a_server_that_says_when_is_heeded_within_reason() {
        let (options, budget) = (options(), Budget::new(64));
        let mut tries = Tries::new(&options, &budget);
        assert_eq!(tries.next(throttled(Some(7)), 0).unwrap(), Duration::from_secs(7));
        assert!(matches!(tries.next(throttled(Some(61)), 0), Err(Cause::Throttled { .. })));
    }

    #[test]
    fn a_slow_request_that_moves_is_no_failed_one() {
        let (options, budget) = (RangeOptions { retries: 1, ..options() }, Budget::new(3));
        let slow = || Cause::RequestTimeout { request_timeout: MS(1), got_bytes: 0 };
        let mut tries = Tries::new(&options, &budget);
        for _ in 0..10 {
            assert!(tries.next(slow(), MOVED_BYTES - 1).is_ok(), "a retry");
            assert!(
                (0..5).all(|_| tries.next(slow(), MOVED_BYTES).is_ok_and(|wait| wait.is_zero())),
                "none"
            );
            budget.refund();
        }
        assert!(tries.next(slow(), 0).is_ok());
        assert!(matches!(tries.next(slow(), MOVED_BYTES - 1), Err(Cause::RequestTimeout { .. })));
    }

    #[test]
    fn what_can_not_pass_is_not_tried_again() {
        let (options, budget) = (options(), Budget::new(64));
        assert!(matches!(
            Tries::new(&options, &budget).next(Cause::RangeIgnored, 0),
            Err(Cause::RangeIgnored)
        ));
    }

    #[test]
    fn a_budget_bounds_the_retries_of_all_and_fills_again() {
        let (options, budget) = (options(), Budget::new(2));
        let next = || Tries::new(&options, &budget).next(throttled(None), 0);
        assert!(next().is_ok() && next().is_ok());
        assert!(matches!(next(), Err(Cause::Budget { retry_budget: 2, .. })));
        budget.refund();
        assert!(next().is_ok() && next().is_err());
        for _ in 0..5 {
            budget.refund();
        }
        assert!(next().is_ok() && next().is_ok() && next().is_err());
    }
}
