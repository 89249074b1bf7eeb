//! The run: opens the connections, shares them out to threads, and drives those that are ready.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::thread;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::broken::BrokenLoad;
use super::connection::LoadConnection;
use super::error::LoadError;
use super::options::LoadOptions;
use super::plan::{ExpectedRows, LoadPlan};
use super::report::{LoadReport, Tally};
use crate::client::ClientConnection;
use crate::vectors::VectorRows;
use crate::wire::frames::{Hello, Mode};

/// How late the system may wake a sleeping thread. For times closer than this the thread spins.
const WAKE_SLACK: Duration = Duration::from_millis(1);
/// The interval between checks for stalls and for failures of other threads.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
const EVENTS_MAX: usize = 1024;

/// Runs a load with the vectors that the options name. Blocks until it ends.
///
/// # Errors
/// See [`LoadError`]; what was answered until then is in the report beside it.
pub fn run(options: &LoadOptions) -> Result<LoadReport, BrokenLoad> {
    report(options, |tally| {
        options.check()?;
        let rows = match &options.file {
            Some(path) => VectorRows::from_file(path, options.dim, options.convert)
                .map_err(|error| LoadError::File { path: path.clone(), error })?,
            None => VectorRows::generated(options.dim, options.seed),
        };
        run_counted(options, rows, tally)
    })
}

/// As [`run`], with these vectors instead of those of `options.file`.
///
/// # Errors
/// As [`run`].
pub fn run_rows(options: &LoadOptions, rows: VectorRows) -> Result<LoadReport, BrokenLoad> {
    report(options, |tally| run_counted(options, rows, tally))
}

/// The report of a run, which holds what was counted however the run ends.
fn report(
    options: &LoadOptions,
    run: impl FnOnce(&mut Tally) -> Result<(), LoadError>,
) -> Result<LoadReport, BrokenLoad> {
    let mut tally = Tally::new();
    let ended = run(&mut tally);
    let report = LoadReport::new(options, &tally);
    match ended {
        Ok(()) => Ok(report),
        Err(error) => Err(BrokenLoad { error, report: Box::new(report) }),
    }
}

fn run_counted(
    options: &LoadOptions,
    rows: VectorRows,
    tally: &mut Tally,
) -> Result<(), LoadError> {
    options.check()?;
    if rows.dim() != options.dim {
        let (value, limit) =
            (options.dim.to_string(), format!("the vectors have {} components", rows.dim()));
        return Err(LoadError::Option { field: "dim", value, limit, fix: "pass their dimension" });
    }
    let rows = ExpectedRows::new(rows, options.score);
    let (connections, ids) = open_all(options)?;
    options.check_bytes(ids)?;
    let allowed = connections.iter().map(ClientConnection::in_flight_max);
    tally.in_flight_allowed = allowed.min().unwrap_or(u32::MAX);
    // The clock starts when the last connection is established, so that connecting isn't part of
    // any latency.
    let plan = LoadPlan::new(options.clone(), rows, ids);
    let mut groups: Vec<Vec<LoadConnection>> = (0..options.threads).map(|_| Vec::new()).collect();
    for (index, connection) in (0..).zip(connections) {
        groups[(index % options.threads) as usize]
            .push(LoadConnection::new(&plan, index, connection));
    }
    run_groups(&plan, groups, tally)
}

/// Opens all connections, and says whether the server stores ids: then it refuses the first hello,
/// which announces none, and all others announce them.
fn open_all(options: &LoadOptions) -> Result<(Vec<ClientConnection>, bool), LoadError> {
    let (mut connections, mut ids) = (Vec::with_capacity(options.connections as usize), false);
    for connection in 0..options.connections {
        let opened = match open(options, connection, ids) {
            Err(LoadError::Greet { error, .. }) if connection == 0 && error.asks_for_ids() => {
                ids = true;
                open(options, connection, ids)
            }
            opened => opened,
        };
        connections.push(opened?);
    }
    Ok((connections, ids))
}

/// Opens a connection. In header mode the server says what it takes, before a vector is sent.
fn open(options: &LoadOptions, connection: u32, ids: bool) -> Result<ClientConnection, LoadError> {
    let to = || options.to.to_string();
    let mut opened =
        ClientConnection::open(&options.to, options.mode, options.input_bytes(), options.timeout)
            .map_err(|error| LoadError::Connect { connection, to: to(), error })?;
    if options.mode == Mode::Header {
        let (ack, producer) = (options.ack, options.producer_of(connection));
        let hello = Hello { ids, ack, producer, ..Hello::new(options.dim) };
        let server = opened
            .greet(&hello, options.timeout, || false)
            .map_err(|error| LoadError::Greet { connection, to: to(), error })?;
        let most = server.limits.max_vectors;
        if options.vectors.most > most {
            return Err(LoadError::Option {
                field: "vectors",
                value: options.vectors.to_string(),
                limit: format!("the server takes at most {most} vectors in a request"),
                fix: "lower it, or raise the server's --max-vectors",
            });
        }
    }
    Ok(opened)
}

/// Runs one thread per group, and counts into `tally` what each has got. Returns the error of the
/// first group that failed.
fn run_groups(
    plan: &LoadPlan,
    groups: Vec<Vec<LoadConnection>>,
    tally: &mut Tally,
) -> Result<(), LoadError> {
    let workers = groups
        .into_iter()
        .map(|group| LoadWorker::new(plan, group))
        .collect::<Result<Vec<_>, _>>()?;
    let results: Vec<(Tally, Result<(), LoadError>)> = thread::scope(|scope| {
        let threads: Vec<_> =
            workers.into_iter().map(|worker| scope.spawn(|| worker.run())).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut ended = Ok(());
    for (counted, result) in results {
        tally.merge(&counted);
        ended = ended.and(result);
    }
    ended
}

/// One thread of the generator. It waits for its connections' sockets and for the schedule.
struct LoadWorker<'a> {
    plan: &'a LoadPlan,
    poll: Poll,
    connections: Vec<LoadConnection>,
    live: usize,
    tally: Tally,
    /// With `--rate`: at most one entry per connection, (intended time, index).
    due: BinaryHeap<Reverse<(u64, usize)>>,
    is_due: Vec<bool>,
}

impl<'a> LoadWorker<'a> {
    fn new(plan: &'a LoadPlan, mut connections: Vec<LoadConnection>) -> io::Result<LoadWorker<'a>> {
        let poll = Poll::new()?;
        for (index, connection) in connections.iter_mut().enumerate() {
            connection.register(poll.registry(), Token(index))?;
        }
        let (live, is_due) = (connections.len(), vec![false; connections.len()]);
        Ok(LoadWorker {
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
    fn run(mut self) -> (Tally, Result<(), LoadError>) {
        let result = self.run_all();
        if result.is_err() {
            // Only the first failure matters; a second set is refused and that is fine.
            let _ = self.plan.failed.set(());
        }
        if self.plan.failed.get().is_some() {
            for connection in &mut self.connections {
                connection.count_arrived(self.plan, &mut self.tally);
            }
        } else {
            self.tally.requests_missed = self.connections.iter().map(LoadConnection::missed).sum();
        }
        (self.tally, result)
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
            match self.poll.poll(&mut events, Some(self.sleep_time(now_ns, next_ns))) {
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
                // Idle connections get no event, so they learn the end here.
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

    /// How long to sleep. Shortly before an intended time the thread doesn't sleep, because it may
    /// wake a millisecond late.
    fn sleep_time(&self, now_ns: u64, next_ns: u64) -> Duration {
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
            && let Some(due_ns) = connection.due_ns(self.plan.now_ns())
        {
            self.is_due[index] = true;
            self.due.push(Reverse((due_ns, index)));
        }
        Ok(())
    }
}
