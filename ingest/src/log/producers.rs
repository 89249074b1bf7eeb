//! Which requests of which producers are known: what a lane remembers so that a repeated request
//! isn't stored again.
//!
//! ```text
//!   producer ──▶ floor │ 3 │ 4 │ 7 │ 8 │        at most `requests` known ones, in ascending order
//!                ▲ at and below it nothing is known any more: Unknown
//!   above the floor:   known ──▶ Repeat         not known ──▶ Fresh: it is known from now on
//! ```
//! What falls out of a full window raises the floor, so no sequence is ever fresh twice. A producer
//! that isn't known begins with 1, and with nothing else: after it was forgotten its later
//! sequences are refused instead of being taken for new ones.
//!
//! A lane has two of these tables: validate decides by one, and the log has its own, of what is in
//! its records, which outlives the process.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

/// The most producers that a lane remembers.
pub const PRODUCERS_MAX: usize = 1024;
/// The most requests of a producer that a lane remembers.
pub const PRODUCER_REQUESTS_MAX: usize = 512;
/// Bytes in the file: at its beginning and for each producer, and for each request.
pub(super) const FILE_HEAD_BYTES: usize = 24;
pub(super) const REQUEST_BYTES: usize = 24;
/// The sequence that a new producer begins with.
const FIRST: u64 = 1;

/// How much a table remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerLimits {
    /// The most producers.
    pub producers: usize,
    /// The most requests of each.
    pub requests: usize,
    /// Nanoseconds that a producer is remembered after its last request, at least.
    pub window_ns: u64,
}

impl Default for ProducerLimits {
    /// The most of both, without a time: where a new producer needs room, the one that has been
    /// silent for longest is forgotten.
    fn default() -> Self {
        Self { producers: PRODUCERS_MAX, requests: PRODUCER_REQUESTS_MAX, window_ns: 0 }
    }
}

/// Where the rows of a producer's request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownRequest {
    /// The producer's own number for the request.
    pub sequence: u64,
    /// The sequence of its first row.
    pub row: u64,
    /// Its rows.
    pub rows: u32,
    /// The lane of the rows.
    pub lane: u32,
}

/// What a producer's request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerVerdict {
    /// It was never accepted, and is known from now on.
    Fresh,
    /// It was accepted before.
    Repeat(KnownRequest),
    /// Nobody knows whether it was accepted before.
    Unknown,
}

/// The known requests of producers.
#[derive(Clone, Debug)]
pub struct ProducerTable {
    limits: ProducerLimits,
    producers: HashMap<u64, ProducerWindow>,
}

/// The known requests of a producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProducerWindow {
    /// The greatest sequence that was forgotten.
    pub floor: u64,
    /// In ascending order of their sequences.
    pub known: VecDeque<KnownRequest>,
    /// When it was last heard of.
    heard: u64,
}

impl ProducerWindow {
    /// Adds a request above the floor that isn't known.
    fn add(&mut self, request: KnownRequest, requests_max: usize) {
        let at = match self.known.back() {
            Some(last) if last.sequence > request.sequence => self.place(request.sequence),
            _ => self.known.len(),
        };
        self.known.insert(at, request);
        while self.known.len() > requests_max {
            self.floor = self.known.pop_front().map_or(self.floor, |oldest| oldest.sequence);
        }
    }

    fn place(&self, sequence: u64) -> usize {
        self.known.partition_point(|known| known.sequence < sequence)
    }

    fn find(&self, sequence: u64) -> Option<(usize, KnownRequest)> {
        let at = self.place(sequence);
        let known = self.known.get(at).filter(|known| known.sequence == sequence)?;
        Some((at, *known))
    }
}

impl ProducerTable {
    /// A table that knows nobody.
    #[must_use]
    pub fn new(limits: ProducerLimits) -> Self {
        Self { limits, producers: HashMap::with_capacity(limits.producers.min(PRODUCERS_MAX)) }
    }

    /// The most bytes that a table with these limits holds.
    #[must_use]
    pub fn bytes_max(limits: &ProducerLimits) -> u64 {
        let window = (limits.requests + 1) * size_of::<KnownRequest>()
            + 2 * (size_of::<ProducerWindow>() + size_of::<u64>());
        limits.producers as u64 * window as u64
    }

    /// Bytes of the file that says the same; 0 if there is nothing to say.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        if self.producers.is_empty() {
            return 0;
        }
        let requests: usize = self.producers.values().map(|window| window.known.len()).sum();
        (FILE_HEAD_BYTES + self.producers.len() * FILE_HEAD_BYTES + requests * REQUEST_BYTES) as u64
    }

    /// Producers that it remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether it remembers nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Decides about a request whose rows would be where it says. `now` never goes back. A known
    /// request whose rows `is_lost` says to be lost is fresh.
    pub fn decide(
        &mut self,
        producer: u64,
        request: KnownRequest,
        now: u64,
        is_lost: impl FnOnce(&KnownRequest) -> bool,
    ) -> ProducerVerdict {
        self.begin(producer, request.sequence, now);
        let Some(window) = self.producers.get_mut(&producer) else {
            return ProducerVerdict::Unknown;
        };
        window.heard = now;
        if let Some((at, known)) = window.find(request.sequence) {
            if !is_lost(&known) {
                // With another number of rows it isn't the request that is known.
                return match known.rows == request.rows {
                    true => ProducerVerdict::Repeat(known),
                    false => ProducerVerdict::Unknown,
                };
            }
            window.known.remove(at);
        }
        if request.sequence <= window.floor {
            return ProducerVerdict::Unknown;
        }
        window.add(request, self.limits.requests);
        ProducerVerdict::Fresh
    }

    /// A request has come, and may be refused for another cause: one with the first sequence makes
    /// its producer known, if there is room.
    pub fn begin(&mut self, producer: u64, sequence: u64, now: u64) {
        if sequence == FIRST && !self.producers.contains_key(&producer) && self.has_room(now) {
            self.insert(producer, now);
        }
    }

    fn insert(&mut self, producer: u64, heard: u64) -> &mut ProducerWindow {
        let known = VecDeque::with_capacity(self.limits.requests + 1);
        self.producers.entry(producer).or_insert(ProducerWindow { floor: 0, known, heard })
    }

    /// Whether there is room for one more producer, after those are forgotten that may be.
    fn has_room(&mut self, now: u64) -> bool {
        while self.producers.len() >= self.limits.producers {
            let oldest = self.producers.iter().min_by_key(|(id, window)| (window.heard, **id));
            let Some((id, heard)) = oldest.map(|(id, window)| (*id, window.heard)) else {
                return false;
            };
            if now.saturating_sub(heard) < self.limits.window_ns {
                return false;
            }
            self.producers.remove(&id);
        }
        true
    }

    /// Notes a request that a record holds. `now` is later with each record.
    pub(super) fn note(&mut self, producer: u64, request: KnownRequest, now: u64) {
        if !self.producers.contains_key(&producer) && self.has_room(now) {
            self.insert(producer, now);
        }
        let Some(window) = self.producers.get_mut(&producer) else { return };
        window.heard = now;
        if request.sequence > window.floor && window.find(request.sequence).is_none() {
            window.add(request, self.limits.requests);
        }
    }

    /// Adds what another table knows, all of it heard of now. The limit of producers doesn't count
    /// here: nobody is forgotten for a number of lanes that has changed.
    pub fn absorb(&mut self, other: &Self, is_ours: impl Fn(u64) -> bool, now: u64) {
        for (producer, theirs) in other.producers.iter().filter(|(id, _)| is_ours(**id)) {
            self.insert(*producer, now);
            self.raise(*producer, theirs.floor);
            theirs.known.iter().for_each(|request| self.note(*producer, *request, now));
        }
    }

    /// Nothing up to this sequence is known any more.
    pub(super) fn raise(&mut self, producer: u64, floor: u64) {
        let Some(window) = self.producers.get_mut(&producer) else { return };
        window.floor = window.floor.max(floor);
        while window.known.front().is_some_and(|first| first.sequence <= window.floor) {
            window.known.pop_front();
        }
    }

    /// Forgets the requests of a lane with a row among these: they may come again.
    pub(super) fn forget_rows(&mut self, lane: u32, rows: &Range<u64>) {
        let is_kept = |known: &KnownRequest| {
            let end = known.row + u64::from(known.rows);
            known.lane != lane || end <= rows.start || rows.end <= known.row
        };
        self.producers.values_mut().for_each(|window| window.known.retain(is_kept));
    }

    /// Every producer, those that were heard of first first, with its floor and its known requests.
    pub(super) fn windows(&self) -> Vec<(u64, &ProducerWindow)> {
        let mut all: Vec<_> = self.producers.iter().map(|(id, window)| (*id, window)).collect();
        all.sort_unstable_by_key(|(id, window)| (window.heard, *id));
        all
    }

    /// Adds a producer with its floor.
    pub(super) fn restore(&mut self, producer: u64, floor: u64, now: u64) {
        if self.has_room(now) {
            self.insert(producer, now);
            self.raise(producer, floor);
        }
    }
}
