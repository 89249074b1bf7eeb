//! The result of a load: the counts of each thread, and the report of all together as a table for
//! people and one JSON object for programs.

use std::fmt;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::error::refusal_label;
use super::options::LoadOptions;
use crate::latency::Latency;
use crate::wire::frames::Status;

/// The longest latency that is distinguished: an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// A successful run: every request was answered once, in order, and (with `--verify`) correctly.
#[derive(Clone, Debug)]
pub struct LoadReport {
    /// The options of the run.
    pub options: LoadOptions,
    /// Requests in flight on each connection at most: `options.in_flight`, or fewer if the service
    /// allows fewer.
    pub in_flight_used: u32,
    /// All requests that were sent, warm-up included.
    pub sent: Total,
    /// The requests that the service accepted, which its answers said with the meaning that
    /// `options.ack` names: a sink must hold their vectors afterwards.
    pub accepted: Total,
    /// The requests that the service refused.
    pub refusals: Refusals,
    /// Those of them that had good vectors and weren't refused as busy, or by a service that stops.
    pub rejected: u64,
    /// Accepted requests sent after the warm-up; the rates count these.
    pub measured: Total,
    /// From the end of the warm-up to the last answer.
    pub seconds: f64,
    /// Vectors whose scores were compared.
    pub vectors_verified: u64,
    /// With `--rate`: requests that were due but weren't sent, because as many as allowed were in
    /// flight.
    pub requests_missed: u64,
    /// When the last request was sent, from the start of the warm-up.
    pub last_sent_seconds: f64,
    /// Bytes of all answers.
    pub answer_bytes: u64,
    /// Latencies of requests sent after the warm-up, refused ones included: from the (intended)
    /// send time to the arrival of the answer.
    pub latency: Latency,
}

impl LoadReport {
    pub(super) fn new(options: &LoadOptions, tally: &Tally) -> LoadReport {
        let warmup_ns = options.warmup_effective().as_nanos() as u64;
        LoadReport {
            options: options.clone(),
            in_flight_used: tally.in_flight_allowed.min(options.in_flight),
            sent: tally.sent,
            accepted: tally.accepted,
            refusals: tally.refusals,
            rejected: tally.rejected,
            measured: tally.measured,
            seconds: tally.last_answer_ns.saturating_sub(warmup_ns) as f64 / 1e9,
            vectors_verified: tally.vectors_verified,
            requests_missed: tally.requests_missed,
            last_sent_seconds: tally.last_sent_ns as f64 / 1e9,
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

    /// What is shown of the latencies: nothing if they are those of refusals alone.
    fn latency_shown(&self) -> Latency {
        if self.measured.requests > 0 { self.latency } else { Latency::NONE }
    }

    /// The whole report as one object.
    pub fn to_json(&self) -> Value {
        let options = &self.options;
        let total = |total: &Total| json!({"requests": total.requests, "vectors": total.vectors, "bytes": total.bytes, "sum": total.sum});
        let reasons: serde_json::Map<String, Value> =
            self.refusals.iter().map(|(label, count)| (label.to_string(), json!(count))).collect();
        let latency = self.latency_shown();
        let mut latency_us = json!({"count": latency.count});
        latency.columns().for_each(|(name, us)| latency_us[name] = json!(us));
        let measured = |rate: f64| (latency.count > 0).then_some(rate);
        let failures: Vec<String> = self.failures().iter().map(ToString::to_string).collect();
        json!({
            "to": options.to.to_string(),
            "mode": options.mode.label(),
            "ack": options.ack.label(),
            "producer": options.producer,
            "dim": options.dim,
            "vectors": options.vectors.to_string(),
            "connections": options.connections,
            "in_flight": options.in_flight,
            "in_flight_used": self.in_flight_used,
            "threads": options.threads,
            "rate": options.rate,
            "rate_reached": options.rate.map(|_| self.rate_reached()),
            "p99_max_us": options.p99_max.map(|most| most.as_secs_f64() * 1e6),
            "errors_max": options.errors_max,
            "failures": failures,
            "seed": options.seed,
            "seconds": self.seconds,
            "requests_per_s": measured(self.requests_per_s()),
            "vectors_per_s": measured(self.vectors_per_s()),
            "megabytes_per_s": measured(self.megabytes_per_s()),
            "measured": total(&self.measured),
            "sent": total(&self.sent),
            "accepted": total(&self.accepted),
            "acked_vectors": self.accepted.vectors,
            "refused": {"requests": self.refusals.total(), "rejected": self.rejected, "reasons": reasons},
            "vectors_verified": self.vectors_verified,
            "requests_missed": self.requests_missed,
            "answer_bytes": self.answer_bytes,
            "latency_us": latency_us,
        })
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        writeln!(
            f,
            "to {}: {} mode, {} x {} in flight{}, {} vectors of {} per request",
            options.to,
            options.mode.label(),
            options.connections,
            self.in_flight_used,
            self.in_flight_asked(),
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
        let accepted = &self.accepted;
        writeln!(
            f,
            "{:<9} {:>12} {:>12} ({})",
            "acked",
            accepted.requests,
            accepted.vectors,
            options.ack.label()
        )?;
        for (label, count) in self.refusals.iter() {
            writeln!(f, "{:<9} {count:>12} ({label})", "refused")?;
        }
        if self.requests_missed > 0 {
            writeln!(
                f,
                "{:<9} {:>12} (due while all of --in-flight were under way)",
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
        self.write_measured(f)
    }
}

impl LoadReport {
    /// What was asked for, if the service allows less.
    fn in_flight_asked(&self) -> String {
        match self.options.in_flight {
            asked if asked > self.in_flight_used => {
                format!(" ({asked} asked for, the service allows {})", self.in_flight_used)
            }
            _ => String::new(),
        }
    }

    /// Writes rates and latencies, as far as there are any.
    fn write_measured(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.latency.count == 0 {
            return write!(f, "nothing was measured");
        }
        if self.measured.requests == 0 {
            let latency = self.latency_shown();
            return write!(
                f,
                "no request was accepted while it was measured\nlatency us{}\n{:<10}{latency}",
                Latency::head(),
                ""
            );
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

/// Requests, their vectors and bytes, and the f64 sum of all their components.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    /// Requests.
    pub requests: u64,
    /// Their vectors.
    pub vectors: u64,
    /// Bytes of these requests on the wire, headers included.
    pub bytes: u64,
    /// Sum of all components; vectors with a NaN or an infinity count as 0.
    pub sum: f64,
}

impl Total {
    pub(super) fn add(&mut self, vectors: u32, bytes: usize, sum: f64) {
        self.requests += 1;
        self.vectors += u64::from(vectors);
        self.bytes += bytes as u64;
        self.sum += sum;
    }

    fn merge(&mut self, other: &Total) {
        self.requests += other.requests;
        self.vectors += other.vectors;
        self.bytes += other.bytes;
        self.sum += other.sum;
    }
}

/// Refused requests, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    by_status: [u64; Status::ALL.len()],
    unnamed: u64,
}

impl Refusals {
    pub(super) fn add(&mut self, status: Option<Status>) {
        match status {
            Some(status) => self.by_status[status as usize] += 1,
            None => self.unnamed += 1,
        }
    }

    /// All refused requests.
    pub fn total(&self) -> u64 {
        self.unnamed + self.by_status.iter().sum::<u64>()
    }

    /// Reasons that occurred, with their counts. Count mode doesn't name one: its refusals are
    /// called `refused`.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let named =
            Status::ALL.iter().map(|status| (status.label(), self.by_status[*status as usize]));
        named.chain([(refusal_label(None), self.unnamed)]).filter(|(_, count)| *count > 0)
    }

    fn merge(&mut self, other: &Refusals) {
        self.unnamed += other.unnamed;
        for (mine, theirs) in self.by_status.iter_mut().zip(other.by_status) {
            *mine += theirs;
        }
    }
}

/// One thread's counts. After a successful run,
/// `sent.requests == accepted.requests + refusals.total()`.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) sent: Total,
    pub(super) accepted: Total,
    /// The part of `accepted` that was sent after the warm-up.
    pub(super) measured: Total,
    pub(super) refusals: Refusals,
    /// The refusals that mean that something is wrong.
    pub(super) rejected: u64,
    pub(super) vectors_verified: u64,
    pub(super) requests_missed: u64,
    pub(super) answer_bytes: u64,
    /// The fewest requests in flight that the service allows on one of the connections.
    pub(super) in_flight_allowed: u32,
    /// When the last request was sent, since the start.
    pub(super) last_sent_ns: u64,
    /// When the last answer came, since the start.
    pub(super) last_answer_ns: u64,
    /// Latencies of answers, refusals included, to requests sent after the warm-up.
    pub(super) latency_ns: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Tally {
        Tally {
            sent: Total::default(),
            accepted: Total::default(),
            measured: Total::default(),
            refusals: Refusals::default(),
            rejected: 0,
            vectors_verified: 0,
            requests_missed: 0,
            answer_bytes: 0,
            in_flight_allowed: u32::MAX,
            last_sent_ns: 0,
            last_answer_ns: 0,
            latency_ns: Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
                .expect("constant bounds are legal"),
        }
    }

    pub(super) fn merge(&mut self, other: &Tally) {
        self.sent.merge(&other.sent);
        self.accepted.merge(&other.accepted);
        self.measured.merge(&other.measured);
        self.refusals.merge(&other.refusals);
        self.rejected += other.rejected;
        self.vectors_verified += other.vectors_verified;
        self.requests_missed += other.requests_missed;
        self.answer_bytes += other.answer_bytes;
        self.in_flight_allowed = self.in_flight_allowed.min(other.in_flight_allowed);
        self.last_sent_ns = self.last_sent_ns.max(other.last_sent_ns);
        self.last_answer_ns = self.last_answer_ns.max(other.last_answer_ns);
        self.latency_ns.add(&other.latency_ns).expect("both have the same bounds");
    }
}
