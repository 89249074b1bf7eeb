//! Whether a run was good enough: what makes `slipring load` fail although every request was
//! answered, and what a rate above the possible one means.

use std::fmt;
use std::time::Duration;

use super::report::LoadReport;
use crate::units::Time;

/// The part of the requests that may be missed before a rate counts as too high.
const MISSED_PART: f64 = 0.01;
/// With `--count`, how late the last request may be sent, as a part of the run and in seconds.
const LATE_PART: f64 = 0.05;
const LATE_SECONDS: f64 = 0.1;

/// A reason for which a run fails. Its `Display` says which limit was crossed, and by how much.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadFailure {
    /// Not one request was accepted.
    AllRefused {
        /// Requests that were refused.
        refused: u64,
        /// The most frequent reason.
        reason: &'static str,
    },
    /// Good vectors were refused, and not as busy.
    Rejected {
        /// Requests with such vectors.
        rejected: u64,
        /// All requests that were sent.
        sent: u64,
        /// The most frequent reason of a refusal.
        reason: &'static str,
    },
    /// More refusals than `--errors-max`.
    Errors {
        /// Requests that were refused.
        refused: u64,
        /// The option.
        errors_max: u64,
        /// The most frequent reason of a refusal.
        reason: &'static str,
    },
    /// Every request was sent before the warm-up ended.
    NotMeasured {
        /// Requests that were sent.
        sent: u64,
        /// How long the warm-up was.
        warmup: Duration,
    },
    /// At this rate the requests of the warm-up took the whole run.
    RateNotMeasured(RateShortfall),
    /// The 99th percentile is longer than `--p99-max`.
    P99 {
        /// The 99th percentile in microseconds.
        p99_us: f64,
        /// The option in microseconds.
        p99_max_us: f64,
    },
}

/// A `--rate` that wasn't reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateShortfall {
    /// Requests per second that were asked for.
    pub asked: f64,
    /// Requests per second that were sent.
    pub reached: f64,
}

impl LoadReport {
    /// Why the run fails; empty if it is good.
    #[must_use]
    pub fn failures(&self) -> Vec<LoadFailure> {
        let (refused, sent) = (self.refusals.total(), self.sent.requests);
        let mut failures = Vec::new();
        let reason = self.refusals.iter().max_by_key(|(_, count)| *count);
        if let Some((reason, _)) = reason {
            if self.accepted.requests == 0 {
                failures.push(LoadFailure::AllRefused { refused, reason });
            }
            match self.options.errors_max {
                Some(errors_max) if refused > errors_max => {
                    failures.push(LoadFailure::Errors { refused, errors_max, reason });
                }
                None if self.rejected > 0 && self.accepted.requests > 0 => {
                    let rejected = self.rejected;
                    failures.push(LoadFailure::Rejected { rejected, sent, reason });
                }
                _ => {}
            }
        }
        match self.latency.p99_us() {
            None => failures.push(self.not_measured()),
            Some(p99_us) => {
                let most = self.options.p99_max.map(|most| most.as_secs_f64() * 1e6);
                if let Some(p99_max_us) = most.filter(|most| p99_us > *most) {
                    failures.push(LoadFailure::P99 { p99_us, p99_max_us });
                }
            }
        }
        failures
    }

    fn not_measured(&self) -> LoadFailure {
        match self.shortfall() {
            Some(shortfall) => LoadFailure::RateNotMeasured(shortfall),
            None => LoadFailure::NotMeasured {
                sent: self.sent.requests,
                warmup: self.options.warmup_effective(),
            },
        }
    }

    /// Requests sent per second, warm-up included.
    #[must_use]
    pub fn rate_reached(&self) -> f64 {
        let warmup = self.options.warmup_effective();
        let whole = self.options.duration_effective().map(|duration| warmup + duration);
        let seconds = whole.map_or(self.last_sent_seconds, |whole| whole.as_secs_f64());
        // With a count, the first request is sent at the start of the time and the last at its end.
        let requests = self.sent.requests.saturating_sub(u64::from(whole.is_none()));
        if seconds > 0.0 { requests as f64 / seconds } else { 0.0 }
    }

    /// With `--rate`: whether it was above what service, connections and this machine can do.
    #[must_use]
    pub fn shortfall(&self) -> Option<RateShortfall> {
        let asked = self.options.rate?;
        let (sent, missed) = (self.sent.requests as f64, self.requests_missed as f64);
        let late_seconds = self.last_sent_seconds - (sent - 1.0).max(0.0) / asked;
        let is_late = late_seconds > (LATE_PART * self.last_sent_seconds).max(LATE_SECONDS);
        let counted = self.options.duration_effective().is_none();
        let is_short = missed > MISSED_PART * (sent + missed) || (counted && is_late);
        is_short.then(|| RateShortfall { asked, reached: self.rate_reached() })
    }
}

impl fmt::Display for LoadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllRefused { refused, reason } => write!(
                f,
                "every request was refused, {refused} of them, most often as {reason}; do --dim, \
                --vectors and --mode fit the service?"
            ),
            Self::Rejected { rejected, sent, reason } => write!(
                f,
                "{rejected} of {sent} requests had good vectors and were refused, most often as \
                {reason}; do --dim and --vectors fit the service? --errors-max says how many may be"
            ),
            Self::Errors { refused, errors_max, reason } => write!(
                f,
                "{refused} requests were refused, {} more than --errors-max {errors_max} allows, \
                most often as {reason}",
                refused - errors_max
            ),
            Self::NotMeasured { sent, warmup } => write!(
                f,
                "nothing was measured: all {sent} requests were sent during the warm-up of \
                {}; raise --count or --duration, or lower --warmup",
                Time(*warmup)
            ),
            Self::RateNotMeasured(shortfall) => write!(
                f,
                "{shortfall}: nothing could be measured at that rate; lower --rate, or raise \
                --connections, --in-flight or --threads"
            ),
            Self::P99 { p99_us, p99_max_us } => write!(
                f,
                "p99 is {}, {} more than --p99-max {} allows",
                Micros(*p99_us),
                Micros(p99_us - p99_max_us),
                Micros(*p99_max_us)
            ),
        }
    }
}

impl fmt::Display for RateShortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asked {}/s, reached {:.0}/s", self.asked, self.reached)
    }
}

/// A time for people, from microseconds.
struct Micros(f64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            us if us < 1e3 => (us, "us"),
            us if us < 1e6 => (us / 1e3, "ms"),
            us => (us / 1e6, "s"),
        };
        let text = format!("{value:.1}");
        write!(f, "{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
    }
}
