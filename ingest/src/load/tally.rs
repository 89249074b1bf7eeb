//! What one thread counts while it runs.

use hdrhistogram::Histogram;

use crate::wire::frames::Status;

/// The longest latency that is distinguished: an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

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
        named.chain([(label(None), self.unnamed)]).filter(|(_, count)| *count > 0)
    }

    fn merge(&mut self, other: &Refusals) {
        self.unnamed += other.unnamed;
        for (mine, theirs) in self.by_status.iter_mut().zip(other.by_status) {
            *mine += theirs;
        }
    }
}

/// The name of a refusal for people.
pub(super) fn label(status: Option<Status>) -> &'static str {
    status.map_or("refused", Status::label)
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
    pub(super) vectors_verified: u64,
    pub(super) requests_missed: u64,
    pub(super) answer_bytes: u64,
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
            vectors_verified: 0,
            requests_missed: 0,
            answer_bytes: 0,
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
        self.vectors_verified += other.vectors_verified;
        self.requests_missed += other.requests_missed;
        self.answer_bytes += other.answer_bytes;
        self.last_answer_ns = self.last_answer_ns.max(other.last_answer_ns);
        self.latency_ns.add(&other.latency_ns).expect("both have the same bounds");
    }
}
