//! What a lane's IO thread counts: plainly, by its own thread.

use std::fmt;

use slipring::class;
use slipring::ring::{PoolStats, RightSize};

use crate::protocol::Status;

/// Counts since start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once because `--max-connections` were there.
    pub over_connection_cap: u64,
    /// Times that no descriptor was left (EMFILE and its kind) and accepting paused.
    pub accept_pauses: u64,
    /// Connections that ended with everything answered.
    pub ended: u64,
    /// Connections that broke or were given up, with answers or an unfinished frame left.
    pub broken: u64,
    /// Connections refused as busy and closed because `--carry-bytes` were held by unfinished frames, and theirs had waited longest.
    pub over_carry_cap: u64,
    /// Unfinished frames that the end of their stream cut off.
    pub cut_off: u64,
    /// Requests taken, refused ones included.
    pub requests: u64,
    /// Answers by status.
    pub answers: [u64; Status::ALL.len()],
    /// Vectors answered with `Ok`.
    pub vectors_answered: u64,
    /// Answers whose connection was gone.
    pub orphans: u64,
    /// Payload bytes that stayed where they were received.
    pub uncopied_bytes: u64,
    /// Bytes that went through a carry buffer.
    pub copied_bytes: u64,
    /// Receives and sends that moved something.
    pub receives: u64,
    /// See `receives`.
    pub sends: u64,
    /// Times that reading stopped because the ring or the pool was full.
    pub stalls: u64,
    /// Times that the system refused memory for an answer or an unfinished frame, which then waited.
    pub memory_refusals: u64,
    /// Times that the thread slept.
    pub sleeps: u64,
}

impl Counters {
    /// Adds another lane's.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.accepted, other.accepted),
            (&mut self.over_connection_cap, other.over_connection_cap),
            (&mut self.accept_pauses, other.accept_pauses),
            (&mut self.ended, other.ended),
            (&mut self.broken, other.broken),
            (&mut self.over_carry_cap, other.over_carry_cap),
            (&mut self.cut_off, other.cut_off),
            (&mut self.requests, other.requests),
            (&mut self.vectors_answered, other.vectors_answered),
            (&mut self.orphans, other.orphans),
            (&mut self.uncopied_bytes, other.uncopied_bytes),
            (&mut self.copied_bytes, other.copied_bytes),
            (&mut self.receives, other.receives),
            (&mut self.sends, other.sends),
            (&mut self.stalls, other.stalls),
            (&mut self.memory_refusals, other.memory_refusals),
            (&mut self.sleeps, other.sleeps),
        ];
        pairs.into_iter().chain(self.answers.iter_mut().zip(other.answers)).for_each(|(sum, more)| *sum += more);
    }

    /// Requests refused, for whatever reason.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.answers.iter().sum::<u64>() - self.answers[Status::Ok as usize]
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connections={} requests={} vectors_answered={} refused={}",
            self.accepted,
            self.requests,
            self.vectors_answered,
            self.refused()
        )?;
        for status in
            Status::ALL.into_iter().filter(|&status| status != Status::Ok && self.answers[status as usize] > 0)
        {
            write!(f, " refused_{}={}", status.label().replace('-', "_"), self.answers[status as usize])?;
        }
        let rest = [
            ("broken", self.broken),
            ("orphans", self.orphans),
            ("cut_off", self.cut_off),
            ("over_connection_cap", self.over_connection_cap),
            ("over_carry_cap", self.over_carry_cap),
            ("accept_pauses", self.accept_pauses),
            ("stalls", self.stalls),
            ("memory_refusals", self.memory_refusals),
        ];
        for (name, count) in rest.into_iter().filter(|&(_, count)| count > 0) {
            write!(f, " {name}={count}")?;
        }
        write!(f, " uncopied_bytes={} copied_bytes={}", self.uncopied_bytes, self.copied_bytes)
    }
}

/// How a lane's IO ended.
#[derive(Clone, Debug, Default)]
pub struct IoReport {
    /// What was counted.
    pub counters: Counters,
    /// Connections that were still there at the deadline.
    pub left: usize,
    /// Why it ended by itself, if it did.
    pub failure: Option<String>,
    /// What became of its pool, if it ever ran.
    pub pool: Option<PoolUse>,
    /// And of its class pool.
    pub classes: Option<ClassUse>,
}

/// A lane's pool at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// The last snapshot.
    pub stats: PoolStats,
    /// What would have served.
    pub right_size: RightSize,
}

/// A lane's class pool at the end: outputs and carry buffers of every size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassUse(pub class::PoolStats);

impl fmt::Display for ClassUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: fn(&class::ClassStats) -> u64| self.0.classes.iter().map(of).sum::<u64>();
        let (hits, misses) = (sum(|class| class.hits), sum(|class| class.misses));
        write!(f, "class pool hits={hits} misses={misses} resident_bytes={}", sum(|class| class.resident_bytes))
    }
}
