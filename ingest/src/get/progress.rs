//! Progress on a terminal: a bar of bytes (of known sizes), a bar of objects, and a line per object
//! in progress.
//!
//! Nothing is drawn with `--json`, or when standard error isn't a terminal.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use slipring_objects::EngineStats;

use super::report::{Outcome, rate};

/// The interval of redrawing.
pub(super) const TURN: Duration = Duration::from_millis(120);

/// The bar and the lines. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    lines: MultiProgress,
    bytes: ProgressBar,
    objects: ProgressBar,
}

impl Progress {
    /// For so many objects.
    pub(super) fn new(objects: usize, json: bool) -> Progress {
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
        Progress { lines, bytes, objects }
    }

    /// The progress of the engine's downloads.
    pub(super) fn shows(&self, stats: &EngineStats) {
        self.bytes.set_length(stats.expected_bytes);
        self.bytes.set_position(stats.received_bytes);
    }

    /// A line for an object, which stays until it is dropped.
    pub(super) fn begin(&self, url: &str) -> Line {
        let style = ProgressStyle::with_template("{spinner} {prefix}: {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar =
            self.lines.insert_before(&self.bytes, ProgressBar::new_spinner().with_style(style));
        if !bar.is_hidden() {
            // It is a thread.
            bar.enable_steady_tick(TURN);
        }
        bar.set_prefix(url.to_owned());
        bar.set_message("fetching");
        Line(bar)
    }

    /// An object has ended; `told` prints its result between two drawings.
    pub(super) fn ended(
        &self,
        outcome: &Outcome,
        fetched_bytes: u64,
        mut told: impl FnMut(&Outcome),
    ) {
        self.lines.suspend(|| told(outcome));
        self.objects.inc(1);
        self.objects.set_message(rate(fetched_bytes, self.objects.elapsed()));
    }

    /// Clears everything.
    pub(super) fn end(&self) {
        self.bytes.finish_and_clear();
        self.objects.finish_and_clear();
    }
}

/// The line of one object.
#[derive(Debug)]
pub(super) struct Line(ProgressBar);

impl Line {
    /// What is done with it now.
    pub(super) fn says(&self, what: &'static str) {
        self.0.set_message(what);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
