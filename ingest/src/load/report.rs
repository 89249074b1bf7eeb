//! The result of a load: a table for people, one JSON object for programs.

use std::fmt;

use serde_json::{Value, json};

use super::LoadOptions;
use super::tally::{Refusals, Tally, Total};
use crate::latency::Latency;

/// A successful run: every request was answered once, in order, and (with `--verify`) correctly.
#[derive(Clone, Debug)]
pub struct LoadReport {
    /// What was run.
    pub options: LoadOptions,
    /// All requests sent, warm-up included.
    pub sent: Total,
    /// Those that the service accepted: what a sink must hold afterwards.
    pub accepted: Total,
    /// Those that it refused.
    pub refusals: Refusals,
    /// Accepted requests sent after the warm-up; the rates count these.
    pub measured: Total,
    /// From the end of the warm-up to the last answer.
    pub seconds: f64,
    /// Vectors whose score was compared.
    pub vectors_verified: u64,
    /// With `--rate`: requests that were due but weren't sent because windows were full.
    pub requests_missed: u64,
    /// Bytes of all answers.
    pub answer_bytes: u64,
    /// Of requests sent after the warm-up, from the (intended) sending time to the answer's
    /// arrival.
    pub latency: Latency,
}

impl LoadReport {
    pub(super) fn new(options: &LoadOptions, tally: &Tally) -> LoadReport {
        let warmup_ns = options.warmup_effective().as_nanos() as u64;
        LoadReport {
            options: options.clone(),
            sent: tally.sent,
            accepted: tally.accepted,
            refusals: tally.refusals,
            measured: tally.measured,
            seconds: tally.last_answer_ns.saturating_sub(warmup_ns) as f64 / 1e9,
            vectors_verified: tally.vectors_verified,
            requests_missed: tally.requests_missed,
            answer_bytes: tally.answer_bytes,
            latency: Latency::of(&tally.latency_ns),
        }
    }

    /// `amount` per measured second; 0 if nothing was measured.
    fn rate(&self, amount: u64) -> f64 {
        if self.seconds > 0.0 { amount as f64 / self.seconds } else { 0.0 }
    }

    /// Accepted vectors per measured second.
    pub fn vectors_per_s(&self) -> f64 {
        self.rate(self.measured.vectors)
    }

    /// Accepted requests per measured second.
    pub fn requests_per_s(&self) -> f64 {
        self.rate(self.measured.requests)
    }

    /// Bytes of accepted requests per measured second, in units of 10^6.
    pub fn megabytes_per_s(&self) -> f64 {
        self.rate(self.measured.bytes) / 1e6
    }

    /// One object with all of it.
    pub fn to_json(&self) -> Value {
        let options = &self.options;
        let total = |total: &Total| json!({"requests": total.requests, "vectors": total.vectors, "bytes": total.bytes, "sum": total.sum});
        let reasons: serde_json::Map<String, Value> =
            self.refusals.iter().map(|(label, count)| (label.to_string(), json!(count))).collect();
        let mut latency_us = json!({"count": self.latency.count});
        self.latency.columns().for_each(|(name, us)| latency_us[name] = json!(us));
        json!({
            "to": options.to.to_string(),
            "mode": mode_label(options),
            "dim": options.dim,
            "vectors": options.vectors.to_string(),
            "connections": options.connections,
            "window": options.window,
            "threads": options.threads,
            "rate": options.rate,
            "seed": options.seed,
            "seconds": self.seconds,
            "requests_per_s": self.requests_per_s(),
            "vectors_per_s": self.vectors_per_s(),
            "megabytes_per_s": self.megabytes_per_s(),
            "measured": total(&self.measured),
            "sent": total(&self.sent),
            "accepted": total(&self.accepted),
            "refused": {"requests": self.refusals.total(), "reasons": reasons},
            "vectors_verified": self.vectors_verified,
            "requests_missed": self.requests_missed,
            "answer_bytes": self.answer_bytes,
            "latency_us": latency_us,
        })
    }
}

fn mode_label(options: &LoadOptions) -> &'static str {
    match options.mode {
        crate::wire::frames::Mode::Count => "count",
        crate::wire::frames::Mode::Header => "header",
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        writeln!(
            f,
            "to {}: {} mode, {} x {} in flight, {} vectors of {} a request",
            options.to,
            mode_label(options),
            options.connections,
            options.window,
            options.vectors,
            options.dim
        )?;
        writeln!(
            f,
            "{:<9} {:>12} {:>12} {:>15}  sum of components",
            "", "requests", "vectors", "bytes"
        )?;
        for (name, total) in
            [("sent", &self.sent), ("accepted", &self.accepted), ("measured", &self.measured)]
        {
            writeln!(
                f,
                "{name:<9} {:>12} {:>12} {:>15}  {}",
                total.requests, total.vectors, total.bytes, total.sum
            )?;
        }
        for (label, count) in self.refusals.iter() {
            writeln!(f, "{:<9} {count:>12} ({label})", "refused")?;
        }
        if self.requests_missed > 0 {
            writeln!(
                f,
                "{:<9} {:>12} (their time came while the windows were full)",
                "missed", self.requests_missed
            )?;
        }
        if options.verify {
            writeln!(
                f,
                "{:<9} {:>12} {:>12} scores are right",
                "verified", "", self.vectors_verified
            )?;
        }
        writeln!(
            f,
            "{:.3} s: {:.0} vectors/s, {:.0} requests/s, {:.1} MB/s",
            self.seconds,
            self.vectors_per_s(),
            self.requests_per_s(),
            self.megabytes_per_s()
        )?;
        write!(f, "latency us{}\n{:<10}{}", Latency::head(), "", self.latency)
    }
}
