//! The outcomes of a run: lines and bars on a terminal while it runs, a table for people, JSON
//! lines for programs.

use std::fmt;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use slipring_objects::{
    BufferPoolUse, Cause, DownloadError, DownloadStats, EngineStats, PartBufferStats,
};

use super::error::{ObjectError, Sent};
use crate::printable::Printable;

/// The outcome of one object.
#[derive(Debug)]
pub struct GetOutcome {
    /// The URL as it was given.
    pub url: String,
    /// Statistics of the download, if it succeeded.
    pub fetched: Option<DownloadStats>,
    /// How the store says that the object is packed (`Content-Encoding`); it is stored and sent as
    /// it came.
    pub content_encoding: Option<String>,
    /// For an object that came part by part: the use of the part buffers by the whole run so far.
    pub part_buffers: Option<PartBufferStats>,
    /// With `--ingest`: the vectors that were sent to the service.
    pub sent: Option<Sent>,
    /// Retries of the object's ranges.
    pub retries: u32,
    /// The time until the download succeeded or failed. With `--output` it includes writing, which
    /// goes on meanwhile, and so with `--ingest` does sending the rows.
    pub elapsed: Duration,
    /// The error, if the object failed.
    pub error: Option<ObjectError>,
}

impl GetOutcome {
    /// Of an object that was fetched.
    pub(super) fn fetched(
        url: &str,
        stats: DownloadStats,
        content_encoding: Option<String>,
    ) -> GetOutcome {
        GetOutcome {
            url: url.to_owned(),
            fetched: Some(stats),
            content_encoding,
            part_buffers: None,
            sent: None,
            retries: stats.retries,
            elapsed: stats.elapsed,
            error: None,
        }
    }

    /// Of an object that wasn't fetched.
    pub(super) fn failed(
        url: &str,
        error: ObjectError,
        retries: u32,
        elapsed: Duration,
    ) -> GetOutcome {
        GetOutcome {
            url: url.to_owned(),
            fetched: None,
            content_encoding: None,
            part_buffers: None,
            sent: None,
            retries,
            elapsed,
            error: Some(error),
        }
    }

    /// Of an object that couldn't be downloaded.
    pub(super) fn not_fetched(url: &str, error: DownloadError, elapsed: Duration) -> GetOutcome {
        let retries = error.retries;
        let error = match error.cause {
            Cause::Cancelled => ObjectError::Cancelled,
            _ => ObjectError::Download(Box::new(error)),
        };
        GetOutcome::failed(url, error, retries, elapsed)
    }

    /// Whether the object was interrupted and didn't fail.
    pub(super) fn is_cancelled(&self) -> bool {
        matches!(self.error, Some(ObjectError::Cancelled | ObjectError::CancelledSending(_)))
    }

    /// Whether the outcome is reported. An interrupted object is only if its vectors were being
    /// sent.
    pub(super) fn is_reported(&self) -> bool {
        !matches!(self.error, Some(ObjectError::Cancelled))
    }

    /// The outcome as one object: the download, with `--ingest` the vectors, and `error` if it
    /// failed. If nothing was fetched, `pool` is null. `content_encoding` is there if the store
    /// tells one.
    pub fn to_json(&self) -> Value {
        let fetched = self.fetched.as_ref();
        let mut line = json!({
            "url": self.url,
            "bytes": fetched.map_or(0, |stats| stats.bytes),
            "ranges": fetched.map_or(0, |stats| stats.ranges),
            "retries": self.retries,
            "elapsed_ms": self.elapsed.as_micros() as f64 / 1e3,
            "pool": fetched.map(|stats| stats.pool.to_string()),
        });
        if let Some(buffers) = &self.part_buffers {
            line["part_buffers"] = json!({
                "gets": buffers.gets,
                "hits": buffers.hits,
                "high_water": buffers.high_water,
                "buffer_bytes": buffers.buffer_bytes,
            });
        }
        if let Some(encoding) = &self.content_encoding {
            line["content_encoding"] = encoding.as_str().into();
        }
        if let Some(sent) = &self.sent {
            line["vectors_sent"] = sent.vectors.into();
            line["vectors_answered"] = sent.answered.into();
            line["vectors_refused"] = (sent.refused + sent.not_finite).into();
        }
        if let Some(error) = &self.error {
            line["error"] = error.to_string().into();
        }
        line
    }
}

/// The outcomes of all objects.
#[derive(Debug)]
pub struct GetReport {
    /// In the order in which they ended.
    pub outcomes: Vec<GetOutcome>,
    /// From the first request to the end of the last object.
    pub elapsed: Duration,
}

impl GetReport {
    /// Whether every object succeeded.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.error.is_none())
    }

    fn fetched(&self) -> impl Iterator<Item = &DownloadStats> {
        self.outcomes.iter().filter_map(|outcome| outcome.fetched.as_ref())
    }

    fn pool(&self) -> String {
        let count = |pool| self.fetched().filter(|stats| stats.pool == pool).count();
        let all =
            [BufferPoolUse::Hit, BufferPoolUse::Fresh, BufferPoolUse::Skip, BufferPoolUse::Off]
                .map(|pool| (count(pool), pool));
        let counts: Vec<String> = all
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, pool)| format!("{count} {pool}"))
            .collect();
        counts.join(", ")
    }
}

impl fmt::Display for GetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>12} {:>6} {:>7} {:>9} {:>14}  {:<5} object",
            "size", "ranges", "retries", "seconds", "rate", "pool"
        )?;
        for outcome in &self.outcomes {
            let GetOutcome { url, retries, elapsed, .. } = outcome;
            let (size, ranges, speed, pool) = match &outcome.fetched {
                Some(stats) => (
                    HumanBytes(stats.bytes).to_string(),
                    stats.ranges.to_string(),
                    rate(stats.bytes, *elapsed),
                    stats.pool.to_string(),
                ),
                None => ["-"; 4].map(str::to_owned).into(),
            };
            let seconds = elapsed.as_secs_f64();
            let url = Printable(url);
            write!(
                f,
                "{size:>12} {ranges:>6} {retries:>7} {seconds:>9.3} {speed:>14}  {pool:<5} {url}"
            )?;
            if let Some(Sent { vectors, answered, not_finite, .. }) = &outcome.sent {
                write!(f, ": {answered} of {} vectors answered", vectors + not_finite)?;
            }
            writeln!(f, "{}", if outcome.error.is_some() { " FAILED" } else { "" })?;
        }
        let bytes = self.fetched().map(|stats| stats.bytes).sum();
        let good = self.outcomes.iter().filter(|outcome| outcome.error.is_none()).count();
        write!(
            f,
            "{good} of {} objects arrived: {} in {:.3} s, {}; pool: {}",
            self.outcomes.len(),
            HumanBytes(bytes),
            self.elapsed.as_secs_f64(),
            rate(bytes, self.elapsed),
            self.pool()
        )?;
        // The figures of a run only grow, so the largest are the last.
        let buffers = self.outcomes.iter().filter_map(|outcome| outcome.part_buffers.as_ref());
        let Some(buffers) = buffers.max_by_key(|buffers| buffers.gets) else { return Ok(()) };
        let PartBufferStats { gets, hits, high_water, buffer_bytes, .. } = *buffers;
        let each = HumanBytes(buffer_bytes);
        write!(f, "; part buffers: {gets} taken, {hits} reused, at most {high_water} of {each}")
    }
}

/// A rate in bytes per second, for people.
fn rate(bytes: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let rate = if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 };
    format!("{}/s", HumanBytes(rate as u64))
}

/// The interval between two drawings.
pub(super) const DRAW_INTERVAL: Duration = Duration::from_millis(120);

/// Progress on a terminal: a bar of bytes (of known sizes), a bar of objects, and a line per object
/// in progress. Nothing is drawn with `--json`, or if standard error isn't a terminal. Clones share
/// the bars and lines.
#[derive(Clone, Debug)]
pub(super) struct GetProgress {
    lines: MultiProgress,
    bytes: ProgressBar,
    objects: ProgressBar,
}

impl GetProgress {
    /// Progress of this number of objects.
    pub(super) fn new(objects: usize, json: bool) -> GetProgress {
        let seen = !json && stderr().is_terminal();
        let target = if seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let lines = MultiProgress::with_draw_target(target);
        let bar = |template: &str, length| {
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            lines.add(ProgressBar::new(length).with_style(style))
        };
        let bytes = bar("{bar:30} {binary_bytes} of {binary_total_bytes}", 0);
        let objects = bar("{bar:30} {pos} of {len} objects {elapsed} {msg}", objects as u64);
        GetProgress { lines, bytes, objects }
    }

    /// Draws the progress of the engine's downloads.
    pub(super) fn show_downloads(&self, stats: &EngineStats) {
        self.bytes.set_length(stats.expected_bytes);
        self.bytes.set_position(stats.received_bytes);
    }

    /// Adds the line of an object, which is drawn until it is dropped.
    pub(super) fn add_line(&self, url: &str) -> ObjectLine {
        let style = ProgressStyle::with_template("{spinner} {prefix}: {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar =
            self.lines.insert_before(&self.bytes, ProgressBar::new_spinner().with_style(style));
        if !bar.is_hidden() {
            // This starts a thread.
            bar.enable_steady_tick(DRAW_INTERVAL);
        }
        bar.set_prefix(Printable(url).to_string());
        bar.set_message("fetching");
        ObjectLine(bar)
    }

    /// Counts a completed or failed object. `report` prints its outcome between two drawings.
    pub(super) fn count_outcome(
        &self,
        outcome: &GetOutcome,
        fetched_bytes: u64,
        mut report: impl FnMut(&GetOutcome),
    ) {
        self.lines.suspend(|| report(outcome));
        self.objects.inc(1);
        self.objects.set_message(rate(fetched_bytes, self.objects.elapsed()));
    }

    /// Removes the bars.
    pub(super) fn clear(&self) {
        self.bytes.finish_and_clear();
        self.objects.finish_and_clear();
    }
}

/// The line of one object.
#[derive(Debug)]
pub(super) struct ObjectLine(ProgressBar);

impl Drop for ObjectLine {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes() -> GetReport {
        let mut stats = DownloadStats::default();
        (stats.bytes, stats.ranges, stats.retries) = (3 << 20, 3, 1);
        (stats.elapsed, stats.pool) = (Duration::from_millis(1500), BufferPoolUse::Hit);
        let mut buffers = PartBufferStats::default();
        (buffers.gets, buffers.hits, buffers.high_water) = (3, 1, 2);
        buffers.buffer_bytes = 8 << 20;
        let good = GetOutcome {
            url: "s3://b/good".to_owned(),
            fetched: Some(stats),
            content_encoding: Some("gzip".to_owned()),
            part_buffers: Some(buffers),
            sent: Some(Sent { vectors: 10, answered: 10, refused: 0, not_finite: 0 }),
            retries: 1,
            elapsed: stats.elapsed,
            error: None,
        };
        let bad = GetOutcome {
            url: "s3://b/bad".to_owned(),
            fetched: None,
            content_encoding: None,
            part_buffers: None,
            sent: None,
            retries: 4,
            elapsed: Duration::from_millis(20),
            error: Some(ObjectError::Cancelled),
        };
        GetReport { outcomes: vec![good, bad], elapsed: Duration::from_secs(2) }
    }

    #[test]
    fn lines_have_the_promised_keys() {
        let report = outcomes();
        let [good, bad] = [0, 1].map(|at: usize| report.outcomes[at].to_json());
        assert_eq!(
            good,
            json!({"url": "s3://b/good", "bytes": 3_145_728, "ranges": 3, "retries": 1, "elapsed_ms": 1500.0, "pool": "hit",
                   "part_buffers":
                       {"gets": 3, "hits": 1, "high_water": 2, "buffer_bytes": 8_388_608},
                   "content_encoding": "gzip",
                   "vectors_sent": 10, "vectors_answered": 10, "vectors_refused": 0})
        );
        assert_eq!(
            bad,
            json!({"url": "s3://b/bad", "bytes": 0, "ranges": 0, "retries": 4, "elapsed_ms": 20.0, "pool": null,
                   "error": "interrupted"})
        );
    }

    #[test]
    fn the_table_is_for_people() {
        let report = outcomes();
        let text = report.to_string();
        for part in [
            "3.00 MiB",
            "2.00 MiB/s",
            "s3://b/good: 10 of 10 vectors answered\n",
            "s3://b/bad FAILED\n",
            "1 of 2 objects arrived: 3.00 MiB in 2.000 s, 1.50 MiB/s; pool: 1 hit; part buffers: 3 taken, 1 reused, \
             at most 2 of 8.00 MiB",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!report.is_complete());
    }
}
