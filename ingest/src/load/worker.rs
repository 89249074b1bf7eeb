//! One thread of the generator: waits for its connections' sockets and for the schedule, and drives
//! those that are ready.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::wire::frames::{Mode, encode_request_head};

use super::connection::Connection;
use super::schedule::requests_before;
use super::source::Source;
use super::tally::Tally;
use super::{LoadError, LoadOptions, VectorRange};

/// How late the system may wake a sleeper. For times closer than this the thread spins.
const WAKE_SLACK: Duration = Duration::from_millis(1);
/// The interval of checking for stalls and for failures of other threads.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
const EVENTS_MAX: usize = 1024;

/// Shared by all threads and never changed.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) options: LoadOptions,
    pub(super) source: Source,
    pub(super) start: Instant,
    /// Set by the thread that fails, so that the others stop.
    pub(super) failed: OnceLock<()>,
}

impl Plan {
    pub(super) fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    pub(super) fn request_bytes(&self, vectors: u32) -> usize {
        self.options.mode.header_bytes() + vectors as usize * self.options.dim as usize * 4
    }

    /// Appends request number `request` with `vectors` rows from `row` on. Rows are stored in wire
    /// order, so this writes a header and a copy.
    pub(super) fn append_request(&self, request: u64, row: usize, vectors: u32, out: &mut Vec<u8>) {
        let sequence = if self.options.mode == Mode::Header { request } else { 0 };
        encode_request_head(self.options.mode, self.options.dim, sequence, vectors, out);
        self.source.rows.append(row, vectors as usize, out);
    }

    /// The row that a connection starts with: with a count of requests of one size the connections
    /// together send the rows in turn, each as often as every other; else they start evenly spread.
    pub(super) fn row_first(&self, connection: u32) -> usize {
        let (rows, connections) = (self.source.count() as u128, self.options.connections);
        let VectorRange { least, most } = self.options.vectors;
        let row = match self.options.count {
            Some(count) if least == most => {
                requests_before(count, connection, connections) as u128 * u128::from(least)
            }
            _ => rows * u128::from(connection) / u128::from(connections),
        };
        (row % rows) as usize
    }

    /// The f64 sum of the rows' components.
    pub(super) fn sum(&self, row: usize, vectors: u32) -> f64 {
        self.source.expected(row, vectors as usize).map(|row| row.sum).sum()
    }
}

pub(super) struct Worker<'a> {
    plan: &'a Plan,
    poll: Poll,
    connections: Vec<Connection>,
    live: usize,
    tally: Tally,
    /// Open loop: at most one entry per connection, (intended time, index).
    due: BinaryHeap<Reverse<(u64, usize)>>,
    is_due: Vec<bool>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(plan: &'a Plan, mut connections: Vec<Connection>) -> io::Result<Worker<'a>> {
        let poll = Poll::new()?;
        for (index, connection) in connections.iter_mut().enumerate() {
            connection.register(poll.registry(), Token(index))?;
        }
        let (live, is_due) = (connections.len(), vec![false; connections.len()]);
        Ok(Worker {
            plan,
            poll,
            connections,
            live,
            tally: Tally::new(),
            due: BinaryHeap::with_capacity(live),
            is_due,
        })
    }

    /// Runs until every connection is done, one fails, or another thread has failed.
    pub(super) fn run(mut self) -> Result<Tally, LoadError> {
        let result = self.run_all();
        if result.is_err() {
            // Only the first failure matters; a second set is refused and that is fine.
            let _ = self.plan.failed.set(());
        }
        result.map(|()| {
            self.tally.requests_missed = self.connections.iter().map(Connection::missed).sum();
            self.tally
        })
    }

    fn run_all(&mut self) -> Result<(), LoadError> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let warmup = self.plan.options.warmup_effective();
        let mut end_ns = self
            .plan
            .options
            .duration_effective()
            .map(|duration| (warmup + duration).as_nanos() as u64);
        let check_ns = CHECK_INTERVAL.min(self.plan.options.timeout).as_nanos() as u64;
        let mut check_at_ns = check_ns;
        for index in 0..self.connections.len() {
            self.drive(index)?;
        }
        while self.live > 0 {
            let now_ns = self.plan.now_ns();
            let next_ns = end_ns.unwrap_or(u64::MAX).min(check_at_ns);
            match self.poll.poll(&mut events, Some(self.patience(now_ns, next_ns))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
            for event in &events {
                let index = event.token().0;
                self.connections[index].note(event);
                self.drive(index)?;
            }
            let now_ns = self.plan.now_ns();
            self.drive_due(now_ns)?;
            if end_ns.is_some_and(|end_ns| now_ns >= end_ns) {
                // Idle connections get no event that tells them to stop.
                end_ns = None;
                for index in 0..self.connections.len() {
                    self.drive(index)?;
                }
            }
            if now_ns >= check_at_ns {
                check_at_ns = now_ns + check_ns;
                if self.plan.failed.get().is_some() {
                    return Ok(());
                }
                self.connections
                    .iter()
                    .try_for_each(|connection| connection.check_stall(self.plan, now_ns))?;
            }
        }
        Ok(())
    }

    /// How long to sleep. Shortly before an intended time it doesn't sleep, because a sleeper may
    /// wake a millisecond late.
    fn patience(&self, now_ns: u64, next_ns: u64) -> Duration {
        let due_ns = self.due.peek().map_or(u64::MAX, |Reverse((due_ns, _))| *due_ns);
        let until_due =
            Duration::from_nanos(due_ns.saturating_sub(now_ns)).saturating_sub(WAKE_SLACK);
        // Whole milliseconds, rounded down, else the system rounds them up.
        let until_due = Duration::from_millis(until_due.as_millis() as u64);
        until_due.min(Duration::from_nanos(next_ns.saturating_sub(now_ns)))
    }

    fn drive_due(&mut self, now_ns: u64) -> Result<(), LoadError> {
        while let Some(Reverse((due_ns, index))) = self.due.peek().copied() {
            if due_ns > now_ns {
                break;
            }
            self.due.pop();
            self.is_due[index] = false;
            self.drive(index)?;
        }
        Ok(())
    }

    fn drive(&mut self, index: usize) -> Result<(), LoadError> {
        let connection = &mut self.connections[index];
        if connection.is_done() {
            return Ok(());
        }
        connection.drive(self.plan, &mut self.tally)?;
        self.live -= usize::from(connection.is_done());
        if self.plan.options.rate.is_some()
            && !self.is_due[index]
            && let Some(due_ns) = connection.due_ns(self.plan, self.plan.now_ns())
        {
            self.is_due[index] = true;
            self.due.push(Reverse((due_ns, index)));
        }
        Ok(())
    }
}
