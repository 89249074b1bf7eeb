//! Ten thousand random faults. With any of them, a download returns the right bytes or an error,
//! and every buffer and every turn is given back. (A turn is the permission to have a request in
//! flight.)
//!
//! A plain run draws fewer; `SLIPRING_FAULTS=10000` is the long form. `SLIPRING_SEED` repeats a
//! run's draws. Which request gets which fault depends on the order of arrival.

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::join_all;
use slipring::class::AtLimit;
use slipring_objects::{Download, DownloadError, RangeOptions};
use tokio_util::sync::CancellationToken;

use super::fault::{Deck, Fault, NAMES};
use super::harness::{Client, KEY, PART_BYTES, Site, failed, in_time, name, options, pool};
use super::limits::Polls;
use super::object::Object;

const FAULTS_IN_SHORT: u64 = 750;
/// Downloads at a time.
const WORKERS: u64 = 12;
/// Requests in flight.
const TURNS: usize = 16;
const REQUEST_TIMEOUT: Duration = Duration::from_millis(500);
const ATTEMPTS_MAX: u32 = 50;
/// One request in this many has a fault, so that about half of the downloads of nine parts succeed.
const FAULTY_IN: u64 = 5;

fn variable(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value}: give a number")))
}

/// How downloads ended, and how often.
type Outcomes = Mutex<BTreeMap<String, u64>>;

/// Outcomes that every run must have seen. A run continues until all have occurred, within reason.
const WANTED: [&str; 6] =
    ["dropped", "Cancelled", "Changed", "right, skip", "right, hit", "right, fresh"];

fn goes_on(site: &Site, faults: u64, outcomes: &Outcomes) -> bool {
    let done = site.server.faults();
    let outcomes = outcomes.lock().unwrap();
    done < faults
        || done < 10 * faults && WANTED.iter().any(|wanted| !outcomes.contains_key(*wanted))
}

/// Objects with sizes at each of the engine's bounds: empty, one part, the smallest object that
/// uses the pool, each class, and above the largest class.
fn objects(random: &mut Rng) -> Vec<Object> {
    let part = PART_BYTES as usize;
    let mib = 1 << 20;
    let mut sizes =
        vec![0, 1, part - 1, part, part + 1, 3 * part, mib - 1, mib, 1280 << 10, (1280 << 10) + 1];
    sizes.extend((0..6).map(|_| random.usize(mib..mib + mib / 2)));
    let seeds = (0..).step_by(1_000_000);
    sizes
        .into_iter()
        .zip(seeds)
        .map(|(size, seed)| Object::new(&format!("bucket/{size}"), seed, size))
        .collect()
}

/// One download, and how it is cut short.
struct Attempt {
    key: String,
    /// The download is dropped after this many polls, unless it is complete by then.
    polls: Option<u32>,
    /// The token is cancelled after this many yields to the runtime.
    cancel: Option<u32>,
}

impl Attempt {
    fn random(random: &mut Rng, keys: &[String]) -> Self {
        Self {
            key: random.choice(keys).expect("there are objects").clone(),
            polls: some_turns(random),
            cancel: some_turns(random),
        }
    }

    async fn run(&self, site: &Site) -> Option<Result<Download, DownloadError>> {
        let cancel = CancellationToken::new();
        let get =
            Polls::new(site.get_cancellable(&self.key, &cancel), self.polls.unwrap_or(u32::MAX));
        let Some(turns) = self.cancel else { return get.await };
        let canceller = async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            cancel.cancel();
        };
        tokio::join!(get, canceller).0
    }
}

/// None for three of four downloads, else a random number on a logarithmic scale: most of what
/// happens to a download happens early.
fn some_turns(random: &mut Rng) -> Option<u32> {
    let most = 2 << random.u32(..8);
    (random.u8(..4) == 0).then(|| random.u32(..most))
}

/// A successful download has the bytes of a version that the server held during the download.
fn assert_right(site: &Site, key: &str, before: usize, bytes: &[u8]) {
    let versions = site.versions(key);
    let right = versions[before - 1..].iter().any(|version| version.bytes == bytes);
    let old = versions.iter().any(|version| version.bytes == bytes);
    assert!(
        right,
        "{key}: {} bytes that aren't the object's (an old version's: {old})",
        bytes.len()
    );
}

/// Slices of objects that are held for a while, so that buffers are returned late and from other
/// threads.
#[derive(Default)]
struct HeldSlices(VecDeque<Bytes>);

impl HeldSlices {
    fn hold(&mut self, random: &mut Rng, bytes: &Bytes) {
        if random.bool() && !bytes.is_empty() {
            let start = random.usize(..bytes.len());
            self.0.push_back(bytes.slice(start..random.usize(start..bytes.len())));
            self.0.push_back(bytes.clone());
        }
        while self.0.len() > random.usize(..4) {
            self.0.pop_front();
        }
    }
}

async fn work(
    site: Arc<Site>,
    keys: Arc<Vec<String>>,
    mut random: Rng,
    faults: u64,
    outcomes: Arc<Outcomes>,
) {
    let mut held = HeldSlices::default();
    while goes_on(&site, faults, &outcomes) {
        let attempt = Attempt::random(&mut random, &keys);
        let before = site.versions(&attempt.key).len();
        let outcome = match attempt.run(&site).await {
            None => "dropped".to_owned(),
            Some(Ok(download)) => {
                assert_right(&site, &attempt.key, before, &download.bytes);
                held.hold(&mut random, &download.bytes);
                format!("right, {}", download.stats.pool)
            }
            Some(Err(error)) => {
                assert!(error.to_string().contains(&attempt.key["bucket/".len()..]), "{error}");
                name(&error.cause)
            }
        };
        *outcomes.lock().unwrap().entry(outcome).or_default() += 1;
    }
}

async fn leak(
    client: Client,
    seed: u64,
    faults: u64,
    at_limit: AtLimit,
    concurrency: Option<usize>,
) {
    let mut random = Rng::with_seed(seed);
    let options = RangeOptions {
        concurrency,
        retries: 6,
        retry_budget: 1000,
        request_timeout: REQUEST_TIMEOUT,
        // When downloads wait for buffers, workers that hold two of them may all wait for a third.
        total_timeout: Some(Duration::from_secs(2)),
        ..options()
    };
    let mut objects = objects(&mut random);
    let keys: Arc<Vec<String>> =
        Arc::new(objects.iter().map(|object| object.key.clone()).collect());
    objects.push(Object::new(KEY, 5, 3 << 20));
    let site = Arc::new(Site::with_objects(client, &options, pool(3, at_limit), objects).await);
    let mut deck = Deck::new(random.fork(), PART_BYTES as usize);
    site.server.set_plan(move |_| deck.draw_sometimes(FAULTY_IN));
    let outcomes = Arc::new(Outcomes::default());
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(
            Arc::clone(&site),
            Arc::clone(&keys),
            random.fork(),
            faults,
            Arc::clone(&outcomes),
        ));
    }
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    report(&site, &outcomes.lock().unwrap());
    site.assert_back("after all faults");
    if concurrency.is_some() {
        assert_all_turns_are_back(&site).await;
    }
    site.server.set_faults([]);
    let gets = (0..4).map(|_| async { drop(site.get(KEY).await.unwrap()) });
    in_time(join_all(gets), "all faults").await;
}

fn report(site: &Site, outcomes: &BTreeMap<String, u64>) {
    let counts = site.server.fault_counts();
    println!("faults {counts:?}\ndownloads {outcomes:?}\nengine {:?}", site.engine.stats());
    let missing: Vec<&&str> = NAMES.iter().filter(|name| !counts.contains_key(*name)).collect();
    assert!(missing.is_empty(), "faults that never came: {missing:?}");
    for outcome in WANTED {
        assert!(outcomes.contains_key(outcome), "no download ended by: {outcome}");
    }
    let stats = site.engine.stats();
    let right: u64 = outcomes
        .iter()
        .filter(|(outcome, _)| outcome.starts_with("right"))
        .map(|(_, count)| count)
        .sum();
    let failed = outcomes.values().sum::<u64>() - right - outcomes["dropped"];
    assert_eq!(
        (stats.objects, stats.failed),
        (right, failed),
        "the engine counts what it handed out"
    );
    assert_eq!((stats.hits, stats.fresh), (outcomes["right, hit"], outcomes["right, fresh"]));
}

/// As many requests can be silent concurrently as there are turns. If a turn was lost, there is one
/// request fewer until the first of them times out.
async fn assert_all_turns_are_back(site: &Site) {
    site.server.set_plan(|request| if request.first() == 0 { Fault::None } else { Fault::Silent });
    for _ in 0..ATTEMPTS_MAX {
        let cancel = CancellationToken::new();
        site.server.take_seen();
        let mut at = Vec::new();
        let waiting = async {
            while at.len() < TURNS + 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                at.extend(site.server.take_seen().into_iter().map(|seen| seen.at));
            }
            cancel.cancel();
        };
        let (got, ()) = in_time(
            async { tokio::join!(site.get_cancellable(KEY, &cancel), waiting) },
            "all faults",
        )
        .await;
        assert_eq!(name(&failed(got, "all requests are silent").cause), "Cancelled");
        // On a busy machine the requests may have come one by one. Then this tries again.
        if at[TURNS] - at[1] < REQUEST_TIMEOUT / 2 {
            return site.assert_sound("all turns together").await;
        }
    }
    panic!("never {TURNS} requests in flight together: a turn is lost");
}

fn run(client: Client, at_limit: AtLimit, concurrency: Option<usize>) {
    let seed = variable("SLIPRING_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    let faults = variable("SLIPRING_FAULTS").unwrap_or(FAULTS_IN_SHORT).div_ceil(3);
    println!("{client:?}, {at_limit:?}: {faults} faults, SLIPRING_SEED={seed}");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(leak(client, seed, faults, at_limit, concurrency));
}

#[test]
fn nothing_leaks_over_http() {
    run(Client::Http, AtLimit::Fresh, Some(TURNS));
}

#[test]
fn nothing_leaks_over_s3_where_buffers_are_waited_for() {
    run(Client::S3, AtLimit::Wait, Some(TURNS));
}

#[test]
fn nothing_leaks_where_turns_follow_what_they_bring() {
    run(Client::Http, AtLimit::Refuse, None);
}
