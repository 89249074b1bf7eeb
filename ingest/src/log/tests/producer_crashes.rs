//! Producers that repeat what they don't know to be stored, over crashes, failing disks and
//! segments that are moved away.
//!
//! Each producer numbers its requests from 1, and has at most as many unanswered as a window holds.
//! An answer comes once the request's rows are durable; after a crash every request without an
//! answer is sent again. Then
//! - no request is in the log twice, and none in part;
//! - a request that was answered is there once, unless the disk lost it before the answer;
//! - no request is refused as unknown.
//!
//! `SLIPRING_LOG_CRASHES` and `SLIPRING_LOG_SEED` as for the log's simulation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::super::*;
use super::random::Random;
use super::rows::{Row, folders, options, sealed_rows};
use super::sim_disk::{Faults, SimDisk};
use super::simulation::number_of;

const REQUESTS: u64 = 6;
const LIMITS: ProducerLimits =
    ProducerLimits { producers: 3, requests: REQUESTS as usize, window_ns: u64::MAX };
const PRODUCERS: u64 = 3;
const ROWS_MAX: u64 = 8;
const INTERVAL: Duration = Duration::from_millis(100);

/// A request of a producer: its rows say whose they are.
fn rows_of(producer: u64, sequence: u64) -> Vec<Row> {
    let first = producer * 20_000 + sequence * ROWS_MAX;
    (first..first + 1 + sequence * 5 % ROWS_MAX).map(Row::of).collect()
}

/// Whose row it is: producer and sequence.
fn owner(row: &Row) -> (u64, u64) {
    let number = row.id ^ 0xabcd_ef01_2345_6789;
    (number / 20_000, number % 20_000 / ROWS_MAX)
}

/// What a producer knows of itself.
#[derive(Default)]
struct Client {
    /// Its requests that aren't answered, and where the server has said that they will be.
    waiting: BTreeMap<u64, Option<KnownRequest>>,
    last: u64,
    answered: BTreeSet<u64>,
}

struct World {
    seed: u64,
    random: Random,
    disk: SimDisk,
    clients: BTreeMap<u64, Client>,
    /// Rows of segments that were moved away.
    moved: Vec<Row>,
    repeats: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let clients = (1..=PRODUCERS).map(|id| (id, Client::default())).collect();
        let (random, disk) = (Random(seed), SimDisk::new(seed ^ 0x77));
        Self { seed, random, disk, clients, moved: Vec::new(), repeats: 0 }
    }

    fn live(&mut self) {
        let faults = match self.random.below(3) {
            0 => Faults::default(),
            1 => Faults { short: 100, refused: 60, write: 50, ..Faults::default() },
            _ => Faults { short: 50, refused: 10, sync: 100, background: 20, ..Faults::default() },
        };
        self.disk.set_faults(Faults::default());
        let limits = ProducerLimits { window_ns: 0, ..LIMITS };
        let stops = self.random.below(40) as u64;
        // A start may be stopped too: the next one does the rest.
        self.disk.stop_in((self.random.below(3) == 0).then_some(stops));
        let options = LogOptions { producers: limits, ..options(self.random.number()) };
        let opened = LaneLog::open(self.disk.clone(), folders(), options);
        if let Ok((log, recovery)) = opened {
            assert!(!recovery.producers_lost, "seed {}", self.seed);
            self.disk.set_faults(faults);
            self.disk.stop_in(Some(self.random.below(300) as u64));
            self.work(log);
        }
        self.disk.restart();
        self.check();
    }

    fn work(&mut self, log: LaneLog<SimDisk>) {
        let mut table = ProducerTable::new(LIMITS);
        table.absorb(log.producers(), |_| true, 0);
        let times = CommitTimes { interval: INTERVAL, segment_age: Duration::from_secs(600) };
        let mut committer = Committer::new(times);
        let sizes = BufferSizes { count: 2, rows: 16 };
        let mut feed = committer.add_lane(log, sizes, Box::new(|| ())).unwrap();
        let (asks, mut now, mut unsent) = (committer.asks(), Instant::now(), Vec::new());
        for (id, client) in &mut self.clients {
            for (sequence, answer) in &mut client.waiting {
                *answer = None;
                unsent.push((*id, *sequence));
            }
        }
        // A request whose rows have no room yet.
        let mut pending = None;
        for step in 0..80 {
            if self.disk.is_stopped() {
                return;
            }
            let next = pending.take().or_else(|| self.next_request(&mut unsent, &mut table, &feed));
            if let Some((producer, sequence)) = next
                && !offer(&mut feed, producer, sequence, now)
            {
                pending = next;
            }
            match self.random.below(8) {
                0 => asks.seal(),
                1 => now += INTERVAL,
                _ => {}
            }
            if self.random.below(3) > 0 {
                let _due = committer.round(&|| now);
            }
            self.answer(feed.progress(), &mut unsent);
            if step == 79 && self.random.below(2) == 0 {
                asks.close(now + Duration::from_secs(1));
                for _ in 0..50 {
                    let _due = committer.round(&|| now);
                }
                self.answer(feed.progress(), &mut unsent);
            }
        }
    }

    /// The next request whose rows go into the log; repeats are noted for their answers.
    fn next_request(
        &mut self,
        unsent: &mut Vec<(u64, u64)>,
        table: &mut ProducerTable,
        feed: &LaneFeed,
    ) -> Option<(u64, u64)> {
        let again = (!unsent.is_empty() && self.random.below(2) == 0)
            .then(|| unsent.remove(self.random.below(unsent.len())));
        // Sometimes one that was sent already is sent once more.
        let (id, sequence) = again.or_else(|| {
            let id = 1 + self.random.below(PRODUCERS as usize) as u64;
            let client = self.clients.get_mut(&id)?;
            if self.random.below(3) == 0
                && let Some((sequence, Some(_))) = client.waiting.last_key_value()
            {
                return Some((id, *sequence));
            }
            let next = client.last + 1;
            let first = client.waiting.keys().next().copied().unwrap_or(next);
            // Its first request is answered before others follow: only 1 begins a producer.
            let is_begun = !client.answered.is_empty() || next == 1;
            if !is_begun || next >= first + REQUESTS {
                return None;
            }
            client.last = next;
            client.waiting.insert(next, None);
            Some((id, next))
        })?;
        let rows = rows_of(id, sequence).len() as u32;
        let asked = KnownRequest { sequence, row: feed.next_sequence(), rows, lane: 0 };
        let progress = feed.progress();
        let verdict = table.decide(id, asked, 0, |known| progress.is_lost(known.row));
        let known = match verdict {
            ProducerVerdict::Fresh => asked,
            ProducerVerdict::Repeat(known) => known,
            ProducerVerdict::Unknown => {
                panic!("seed {}: {sequence} of {id} is unknown", self.seed)
            }
        };
        self.repeats += u64::from(known != asked);
        self.clients.get_mut(&id)?.waiting.insert(sequence, Some(known));
        (known == asked).then_some((id, sequence))
    }

    /// Answers what is durable. What is lost is sent again.
    fn answer(&mut self, progress: &LogProgress, unsent: &mut Vec<(u64, u64)>) {
        for (id, client) in &mut self.clients {
            let is_decided = |known: &KnownRequest| {
                known.row + u64::from(known.rows) <= progress.durable_through()
            };
            let decided: Vec<(u64, KnownRequest)> = client
                .waiting
                .iter()
                .filter_map(|(sequence, known)| Some((*sequence, known.filter(is_decided)?)))
                .collect();
            for (sequence, known) in decided {
                if progress.is_lost(known.row) {
                    client.waiting.insert(sequence, None);
                    unsent.push((*id, sequence));
                } else {
                    client.waiting.remove(&sequence);
                    client.answered.insert(sequence);
                }
            }
        }
    }

    /// Somebody moves the sealed segments away, which hold these rows.
    fn move_sealed(&mut self, rows: Vec<Row>) {
        let folder = folders().complete;
        for path in self.disk.paths().iter().filter(|path| path.starts_with(&folder)) {
            self.disk.remove(path).unwrap();
        }
        self.disk.sync_folder(&folder).unwrap();
        self.moved.extend(rows);
    }

    fn check(&mut self) {
        self.disk.set_faults(Faults::default());
        let options = LogOptions { producers: LIMITS, ..options(self.random.number()) };
        let (log, _) = LaneLog::open(self.disk.clone(), folders(), options).unwrap();
        let table = log.producers().clone();
        drop(log);
        let seed = self.seed;
        let rows = sealed_rows(&self.disk).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        let sealed: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        let rows: Vec<Row> = self.moved.iter().chain(&sealed).cloned().collect();
        let mut at = 0;
        let mut found = BTreeSet::new();
        while let Some(row) = rows.get(at) {
            let (producer, sequence) = owner(row);
            let request = rows_of(producer, sequence);
            let whole = rows.get(at..at + request.len());
            assert_eq!(whole, Some(&request[..]), "seed {seed}: {sequence} of {producer} in part");
            assert!(
                found.insert((producer, sequence)),
                "seed {seed}: {sequence} of {producer} twice"
            );
            at += request.len();
        }
        for (id, client) in &self.clients {
            let lost = client.answered.iter().find(|sequence| !found.contains(&(*id, **sequence)));
            assert_eq!(lost, None, "seed {seed}: of {id}: answered, and not in the log");
        }
        // What the log says of producers is what it holds.
        for (id, window) in table.windows() {
            for known in &window.known {
                let is_there = found.contains(&(id, known.sequence));
                assert!(is_there, "seed {seed}: {} of {id} is known and not there", known.sequence);
            }
        }
        if self.random.below(3) == 0 {
            self.move_sealed(sealed);
        }
    }
}

/// Offers the rows of a request to the feed.
fn offer(feed: &mut LaneFeed, producer: u64, sequence: u64, now: Instant) -> bool {
    let rows = rows_of(producer, sequence);
    let vectors: Vec<u8> = rows.iter().flat_map(|row| row.vector.clone()).collect();
    let ids: Vec<u8> = rows.iter().flat_map(|row| row.id.to_le_bytes()).collect();
    let times: Vec<u8> = rows.iter().flat_map(|row| row.time.to_le_bytes()).collect();
    let mark = Some(RequestMark { producer, sequence });
    let rows = LogRows { vectors: &vectors, ids: &ids, times: RowTimes::Each(&times), mark };
    feed.offer(&rows, true, || now).unwrap_or(true)
}

#[test]
fn a_repeated_request_is_in_the_log_once() {
    let crashes = number_of("SLIPRING_LOG_CRASHES", 400);
    let first = number_of("SLIPRING_LOG_SEED", 1);
    let (mut done, mut answered, mut repeats, mut seed) = (0, 0, 0, first);
    while done < crashes {
        let mut world = World::new(seed);
        (0..10).for_each(|_| world.live());
        done += 10;
        answered += world.clients.values().map(|client| client.answered.len() as u64).sum::<u64>();
        repeats += world.repeats;
        seed += 1;
    }
    println!("{done} crashes, {answered} requests answered, {repeats} repeats");
    assert!(answered > crashes && repeats > crashes, "{answered} answered, {repeats} repeats");
}
