//! The counters of a lane's IO thread: one table, written with plain stores by its owner and
//! readable from any thread.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::frames::Status;

/// Everything that is counted: the variant, its label, its help. The labels are the words of the
/// totals, and the names of the metrics after `slipring_io_`.
macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident $label:literal,)*) => {
        /// One counter of an IO thread. They count from the start on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter {
            $($(#[doc = $help])+ $name,)*
        }

        impl Counter {
            /// All of them, in the order of a table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name: lower case, words joined by an underscore. One that ends in `bytes` counts
            /// bytes.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            /// What it counts.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($help),+).trim_ascii(),)*
                }
            }
        }
    };
}

counters! {
    /// Connections accepted
    Accepted "connections",
    /// Connections closed at once because every lane had --max-connections
    OverConnectionCap "over_connection_cap",
    /// Connections closed at once because their peer had --connections-per-peer
    OverPeerCap "over_peer_cap",
    /// Times that the system refused to accept (no descriptor was left, for one), and accepting
    /// paused
    AcceptPauses "accept_pauses",
    /// Connections that ended with everything answered
    Ended "ended",
    /// Connections that broke or were given up, with answers or an unfinished frame left
    Broken "broken",
    /// Connections refused as busy and closed because --carry-bytes, or the system's memory, were
    /// held by unfinished frames, and theirs had waited longest
    OverCarryCap "over_carry_cap",
    /// Connections closed after --idle-timeout without a request
    IdleTimeouts "idle_timeouts",
    /// Connections closed because their first bytes, or the rest of a frame, didn't come within
    /// --header-timeout
    HeaderTimeouts "header_timeouts",
    /// Connections closed because their clients' systems accepted no byte of their answers for
    /// --unread-timeout
    UnreadTimeouts "unread_timeouts",
    /// Times that a connection wasn't read because all of --output-bytes were in use
    OutputWaits "output_waits",
    /// Times that an unfinished frame waited in its socket because all of --carry-bytes were in use
    CarryWaits "carry_waits",
    /// Unfinished frames that the end of their stream cut off
    CutOff "cut_off",
    /// Requests taken, hellos and refused ones included
    Requests "requests",
    /// Vectors that were accepted by an answer
    VectorsAnswered "vectors_answered",
    /// Requests of producers that had been accepted before, and weren't stored again
    Repeats "repeats",
    /// Stored answers that a stop has given up, because the disk hadn't taken their vectors in time
    GivenUp "given_up",
    /// Answers whose connection was gone
    Orphans "orphans",
    /// Payload bytes that stayed where they were received
    UncopiedBytes "uncopied_bytes",
    /// Bytes that went through a carry buffer
    CopiedBytes "copied_bytes",
    /// Receives that brought something
    Receives "receives",
    /// Sends that took something
    Sends "sends",
    /// Times that reading stopped because the ring or the pool was full
    Stalls "stalls",
    /// Times that the system refused memory for an answer or an unfinished frame, which then waited
    MemoryRefusals "memory_refusals",
    /// Times that the thread slept
    Sleeps "sleeps",
    /// Rounds that took longer than 10 ms, sleep aside
    Overruns "overruns",
}

const COUNTERS: usize = Counter::ALL.len();
const STATUSES: usize = Status::ALL.len();

/// Counts that one thread writes.
#[derive(Debug)]
struct CounterCells {
    counts: [AtomicU64; COUNTERS],
    answers: [AtomicU64; STATUSES],
}

/// The counters of one IO thread, for that thread: not Clone. A count costs a load and a store.
#[derive(Debug)]
pub struct Counters(Arc<CounterCells>);

impl Default for Counters {
    fn default() -> Self {
        let zeros = || AtomicU64::new(0);
        Self(Arc::new(CounterCells {
            counts: std::array::from_fn(|_| zeros()),
            answers: std::array::from_fn(|_| zeros()),
        }))
    }
}

/// Adds as the only writer does: a load and a store.
pub(super) fn plus(cell: &AtomicU64, more: u64) {
    cell.store(cell.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

impl Counters {
    #[inline]
    pub(super) fn add(&mut self, counter: Counter, more: u64) {
        plus(&self.0.counts[counter as usize], more);
    }

    /// Sets what is counted elsewhere.
    pub(super) fn set(&mut self, counter: Counter, count: u64) {
        self.0.counts[counter as usize].store(count, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn add_answer(&mut self, status: Status) {
        plus(&self.0.answers[status as usize], 1);
    }

    /// For any thread.
    #[must_use]
    pub fn reader(&self) -> CountersReader {
        CountersReader(Arc::clone(&self.0))
    }
}

/// Reads the counters of an IO thread while it runs. Send, Sync and Clone; it outlives the thread.
#[derive(Clone, Debug)]
pub struct CountersReader(Arc<CounterCells>);

impl CountersReader {
    /// A snapshot. It may show a round in part.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let CounterCells { counts, answers } = &*self.0;
        Counts {
            counts: std::array::from_fn(|at| load(&counts[at])),
            answers: std::array::from_fn(|at| load(&answers[at])),
        }
    }
}

/// What was counted in one lane, or the sum over several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    counts: [u64; COUNTERS],
    answers: [u64; STATUSES],
}

impl Counts {
    /// Adds another lane's.
    pub fn add(&mut self, other: &Self) {
        let more = other.counts.iter().chain(&other.answers);
        self.counts
            .iter_mut()
            .chain(&mut self.answers)
            .zip(more)
            .for_each(|(sum, more)| *sum += more);
    }

    /// Subtracts what had been counted by an earlier moment.
    pub fn subtract(&mut self, before: &Self) {
        let less = before.counts.iter().chain(&before.answers);
        self.counts
            .iter_mut()
            .chain(&mut self.answers)
            .zip(less)
            .for_each(|(count, less)| *count = count.saturating_sub(*less));
    }

    /// Answers of this status.
    #[must_use]
    pub fn answers(&self, status: Status) -> u64 {
        self.answers[status as usize]
    }

    /// Requests refused, for whatever reason.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.answers.iter().sum::<u64>() - self.answers(Status::Ok)
    }
}

impl Index<Counter> for Counts {
    type Output = u64;

    fn index(&self, counter: Counter) -> &u64 {
        &self.counts[counter as usize]
    }
}

impl IndexMut<Counter> for Counts {
    fn index_mut(&mut self, counter: Counter) -> &mut u64 {
        &mut self.counts[counter as usize]
    }
}

/// Counters that the totals name even if they are zero, in this order; others only if they aren't.
const SAID_FIRST: &[Counter] = &[Counter::Accepted, Counter::Requests, Counter::VectorsAnswered];
const SAID_LAST: &[Counter] = &[Counter::UncopiedBytes, Counter::CopiedBytes];
/// Counters that the totals leave out: they are expected not to be zero.
const UNSAID: &[Counter] = &[Counter::Ended, Counter::Receives, Counter::Sends, Counter::Sleeps];

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for counter in SAID_FIRST {
            write!(f, "{}={} ", counter.label(), self[*counter])?;
        }
        write!(f, "refused={}", self.refused())?;
        for status in Status::ALL
            .into_iter()
            .filter(|&status| status != Status::Ok && self.answers(status) > 0)
        {
            write!(f, " refused_{}={}", status.label().replace('-', "_"), self.answers(status))?;
        }
        let is_rest = |counter: &&Counter| {
            ![SAID_FIRST, SAID_LAST, UNSAID].iter().any(|said| said.contains(counter))
        };
        for counter in Counter::ALL.iter().filter(is_rest).filter(|&&counter| self[counter] > 0) {
            write!(f, " {}={}", counter.label(), self[*counter])?;
        }
        SAID_LAST
            .iter()
            .try_for_each(|counter| write!(f, " {}={}", counter.label(), self[*counter]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_say_what_is_news() {
        let mut counters = Counters::default();
        let reader = counters.reader();
        counters.add(Counter::Accepted, 2);
        counters.add(Counter::Sleeps, 9);
        counters.add(Counter::Stalls, 3);
        counters.add(Counter::CopiedBytes, 5);
        counters.add_answer(Status::Ok);
        counters.add_answer(Status::NotFinite);
        let mut counts = std::thread::spawn(move || reader.counts()).join().unwrap();
        assert_eq!(
            counts.to_string(),
            "connections=2 requests=0 vectors_answered=0 refused=1 refused_not_finite=1 stalls=3 uncopied_bytes=0 copied_bytes=5"
        );
        counts.add(&counts.clone());
        assert_eq!(
            (counts[Counter::Accepted], counts[Counter::Sleeps], counts.refused()),
            (4, 18, 2)
        );
    }

    #[test]
    fn every_counter_has_a_name_of_its_own_and_a_sentence() {
        let mut labels: Vec<&str> = Counter::ALL.iter().map(|counter| counter.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Counter::ALL.len());
        for (at, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, at);
            assert!(
                !counter.help().is_empty() && !counter.help().ends_with('.'),
                "{counter:?}: {}",
                counter.help()
            );
        }
    }
}
