//! A running lane seen from other threads: [`IoWatch`], and what it shows at one moment
//! ([`IoFigures`]).

use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use slipring::class::{ClassPool, ClassPoolStats, ClassStats};
use slipring::pipeline::{LaneStats, LaneWatch, StageActivity, StageTiming, ThreadTime};
use slipring::ring::{RightSize, RingStats};

use super::counters::{Counter, CountersReader, Counts};
use super::duty::{Activity, DutyReader};
use crate::latency::Latency;

/// How long the IO thread may take to report what only it knows. After that its last report is
/// used. The IO thread reports once per round.
const PATIENCE: Duration = Duration::from_millis(50);

/// What any thread can read of a running lane. A reading costs the IO thread one report.
#[derive(Clone, Debug)]
pub struct IoWatch {
    /// What was counted.
    pub counters: CountersReader,
    /// Time by activity.
    pub duty: DutyReader,
    /// The lane itself, while it exists.
    pub lane: LaneWatch,
    /// For each stage: the time from the flush of a request to its release, and what the stage's
    /// thread does. Also after the lane has gone.
    pub stages: Vec<StageTiming>,
    /// Its outputs and carry buffers.
    pub classes: ClassPool,
}

/// The figures of a lane at one moment, or between two.
#[derive(Clone, Debug)]
pub struct IoFigures {
    at: Instant,
    /// The time between the two moments, or since the start.
    pub seconds: f64,
    /// What was counted.
    pub counts: Counts,
    /// Time by activity, in the order of [`Activity::ALL`].
    pub times: [Duration; Activity::ALL.len()],
    /// The same for each stage that has a thread of its own, in the order of
    /// [`StageActivity::ALL`].
    pub stage_times: Vec<(String, [Duration; StageActivity::ALL.len()])>,
    /// The longest round, sleep aside, since the start.
    pub longest_round: Duration,
    /// Latencies in nanoseconds, in the order of a request's way: from its receive to its flush,
    /// from its flush to its release by each stage, and from its receive until its answer is sent.
    pub latencies: Vec<(String, Histogram<u64>)>,
    /// The lane at the later moment, while it exists.
    pub lane: Option<LaneStats>,
}

impl IoWatch {
    /// The figures since the start.
    #[must_use]
    pub fn figures(&self) -> IoFigures {
        let times = Activity::ALL.map(|activity| self.duty.time(activity));
        let mut latencies = vec![("receive to flush".to_owned(), self.duty.to_flush.histogram())];
        let stage = |timed: &StageTiming| {
            (format!("flush to {}", timed.stage), timed.latencies.histogram())
        };
        latencies.extend(self.stages.iter().map(stage));
        latencies.push(("receive to sent".to_owned(), self.duty.to_sent.histogram()));
        let spent = |thread: &ThreadTime| StageActivity::ALL.map(|activity| thread.spent(activity));
        // An inline stage's time counts as the IO thread's.
        let on_threads = self.stages.iter().filter(|stage| stage.thread.has_run());
        IoFigures {
            at: Instant::now(),
            seconds: times.iter().sum::<Duration>().as_secs_f64(),
            counts: self.counters.counts(),
            times,
            stage_times: on_threads
                .map(|stage| (stage.stage.clone(), spent(&stage.thread)))
                .collect(),
            longest_round: self.duty.longest_round(),
            latencies,
            lane: self.lane.stats(PATIENCE),
        }
    }
}

impl IoFigures {
    /// The difference since `before`, an earlier reading of the same lane.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        self.seconds = self.at.saturating_duration_since(before.at).as_secs_f64();
        self.counts.subtract(&before.counts);
        subtract(&mut self.times, &before.times);
        for (name, times) in &mut self.stage_times {
            if let Some((_, earlier)) =
                before.stage_times.iter().find(|(earlier, _)| earlier == name)
            {
                subtract(times, earlier);
            }
        }
        for (name, histogram) in &mut self.latencies {
            if let Some((_, earlier)) = before.latencies.iter().find(|(earlier, _)| earlier == name)
            {
                // Both have the same bounds, and counts only grow.
                let subtracted = histogram.subtract(earlier);
                debug_assert!(subtracted.is_ok());
            }
        }
        self
    }

    fn per_second(&self, counter: Counter) -> f64 {
        if self.seconds > 0.0 { self.counts[counter] as f64 / self.seconds } else { 0.0 }
    }
}

impl fmt::Display for IoFigures {
    /// One figure or group of figures per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, vectors) =
            (self.per_second(Counter::Requests), self.per_second(Counter::VectorsAnswered));
        write!(f, "{:.1} s: {requests:.0} requests/s, {vectors:.0} vectors/s", self.seconds)?;
        if let Some(lane) = &self.lane {
            write!(f, "; {} of {} slots in use", lane.slots_in_use, lane.slots)?;
            if let Some(slowest) = lane.blocked_by() {
                write!(f, ", `{slowest}` is furthest behind")?;
            }
        }
        write!(f, "\ntime{}", shares(Activity::ALL.map(Activity::label), self.times))?;
        let (overruns, longest) =
            (self.counts[Counter::Overruns], self.longest_round.as_secs_f64() * 1e3);
        write!(f, "; {overruns} rounds above 10 ms, the longest since the start {longest:.3} ms")?;
        for (name, times) in &self.stage_times {
            write!(
                f,
                "\ntime of {name}{}",
                shares(StageActivity::ALL.map(StageActivity::label), *times)
            )?;
        }
        write!(f, "\n{:<18}{} {:>11}", "latency us", Latency::head(), "requests")?;
        for (name, histogram) in &self.latencies {
            let latency = Latency::of(histogram);
            write!(f, "\n{name:<18}{latency} {:>11}", latency.count)?;
        }
        Ok(())
    }
}

fn subtract(times: &mut [Duration], before: &[Duration]) {
    times.iter_mut().zip(before).for_each(|(time, before)| *time = time.saturating_sub(*before));
}

/// ` name=12.3%` for each of the times: its share of their sum.
fn shares<const N: usize>(names: [&str; N], times: [Duration; N]) -> String {
    let all = times.iter().sum::<Duration>().as_secs_f64();
    let percent = |time: Duration| if all > 0.0 { 100.0 * time.as_secs_f64() / all } else { 0.0 };
    names
        .into_iter()
        .zip(times)
        .map(|(name, time)| format!(" {name}={:.1}%", percent(time)))
        .collect()
}

/// How a lane's IO ended.
#[derive(Clone, Debug, Default)]
pub struct IoReport {
    /// What was counted.
    pub counts: Counts,
    /// Connections that were still there at the deadline.
    pub left: usize,
    /// Why the lane ended by itself, if it did.
    pub failure: Option<String>,
    /// The use of its pool, if the lane ever ran.
    pub pool: Option<PoolUse>,
    /// The use of its class pool.
    pub classes: Option<ClassUse>,
}

/// A lane's pool at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// The last snapshot.
    pub stats: RingStats,
    /// The smallest options that would have sufficed.
    pub right_size: RightSize,
}

/// A lane's class pool at the end: outputs and carry buffers of every size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassUse(pub ClassPoolStats);

impl fmt::Display for ClassUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: fn(&ClassStats) -> u64| self.0.classes.iter().map(of).sum::<u64>();
        let (hits, misses) = (sum(|class| class.hits), sum(|class| class.misses));
        write!(
            f,
            "class pool hits={hits} misses={misses} resident_bytes={}",
            sum(|class| class.resident_bytes)
        )
    }
}
