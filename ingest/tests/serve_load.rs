//! Sustained load over pools and rings so small that they are usually full. Some hangs of such a
//! program show only here: a stall whose wake-up is lost, or two directions that wait for each
//! other. Every answer is verified, every vector is counted, and every test has a time limit.

mod support;

use std::time::Duration;

use slipring_ingest::client::Target;
use slipring_ingest::io::Counter;
use slipring_ingest::load::{self, LoadOptions, LoadReport, VectorRange};
use slipring_ingest::server::Totals;
use slipring_ingest::sink::read_segments;
use slipring_ingest::wire::frames::{AckLevel, Mode};

use slipring_test_support::within;
use support::client::{Address, Client};
use support::service::{Service, merged};
use support::{score, vector};

/// How long each load runs.
const TIME: Duration = Duration::from_secs(2);
const DIM: u32 = 16;
/// A request has at most 8 vectors of 64 bytes: two chunks of 4 KiB hold about a dozen.
const TINY: &str = "--max-vectors 8 --pool 8KiB --slots 4 --segment-bytes 4MiB";

fn options(to: Target, connections: u32, in_flight: u32) -> LoadOptions {
    LoadOptions {
        vectors: VectorRange { least: 1, most: 8 },
        connections,
        in_flight,
        duration: Some(TIME),
        warmup: Some(Duration::ZERO),
        verify: true,
        timeout: Duration::from_secs(20),
        ..LoadOptions::new(to, DIM)
    }
}

/// A load says how many requests it really had in flight.
#[test]
fn a_load_shows_what_the_service_allowed() {
    within(Duration::from_secs(60), || {
        for (asked, shown) in [
            (300, "4 x 8 in flight (300 asked for, the service allows 8), "),
            (5, "4 x 5 in flight, "),
        ] {
            let service = Service::start(DIM, "--in-flight 8");
            let few = LoadOptions {
                count: Some(200),
                duration: None,
                ..options(service.target(), 4, asked)
            };
            let report = load::run(&few).unwrap();
            let json = report.to_json();
            assert_eq!(
                (&json["in_flight"], &json["in_flight_used"]),
                (&asked.into(), &asked.min(8).into())
            );
            assert!(report.to_string().contains(shown), "{report}");
        }
    });
}

/// Everything answered is stored once, and the sums agree.
#[track_caller]
fn assert_all_there(service: &mut Service, reports: &[LoadReport]) -> Totals {
    let totals = service.stop();
    let summary = read_segments(&service.data()).unwrap();
    let vectors: u64 = reports.iter().map(|report| report.accepted.vectors).sum();
    let sum: f64 = reports.iter().map(|report| report.accepted.sum).sum();
    let refused: u64 = reports.iter().map(|report| report.refusals.total()).sum();
    assert_eq!(
        (totals.counts[Counter::VectorsAnswered], totals.vectors_in_segments, summary.rows),
        (vectors, vectors, vectors)
    );
    assert!(
        (summary.sum - sum).abs() <= 1e-7 * summary.rows as f64,
        "{} stored, {sum} sent",
        summary.sum
    );
    assert_eq!(totals.counts.refused(), refused, "{totals}");
    assert!(vectors > 100, "{totals}");
    totals
}

/// One load over a tiny service with these words.
fn sustain(words: &str, connections: u32, window: u32, mode: Mode) {
    let words = merged(TINY, words);
    within(Duration::from_secs(90), move || {
        let mut service = Service::start(DIM, &words);
        let report =
            load::run(&LoadOptions { mode, ..options(service.target(), connections, window) });
        let report = report.unwrap_or_else(|error| panic!("{words}: {error}"));
        let totals = assert_all_there(&mut service, &[report]);
        let counts = &totals.counts;
        assert!(counts[Counter::Stalls] > 10, "it was never full: {totals}");
        assert!(
            counts[Counter::UncopiedBytes] > 0 && (window == 1 || counts[Counter::CopiedBytes] > 0),
            "{totals}"
        );
        // Each byte of a payload was used where it was received, or was copied through a carry
        // buffer.
        assert!(
            counts[Counter::UncopiedBytes] + counts[Counter::CopiedBytes]
                >= counts[Counter::VectorsAnswered] * u64::from(DIM) * 4,
            "{totals}"
        );
    });
}

#[test]
fn few_and_deep_inline() {
    sustain("--wait backoff", 4, 64, Mode::Count);
}

#[test]
fn few_and_deep_on_threads() {
    sustain("--wait backoff --stages threads", 4, 64, Mode::Header);
}

#[test]
fn few_and_deep_with_a_small_in_flight_cap() {
    sustain("--wait park --in-flight 3", 4, 64, Mode::Count);
}

#[test]
fn many_and_shallow_inline() {
    sustain("--wait park", 200, 1, Mode::Header);
}

#[test]
fn many_and_shallow_on_threads() {
    sustain("--wait park --stages threads --slots 2", 200, 1, Mode::Count);
}

#[test]
fn many_and_shallow_over_two_lanes() {
    sustain("--wait backoff --lanes 2", 200, 1, Mode::Count);
}

#[test]
fn spinning_threads_make_progress() {
    sustain("--wait spin --slots 8", 8, 16, Mode::Count);
}

/// On overwrite memory is reclaimed one ring later: the pool holds a ring full of slices, and the
/// ring is always full.
#[test]
fn overwrite_makes_progress() {
    sustain("--reclaim overwrite --pool 32KiB --slots 4", 4, 64, Mode::Count);
}

/// Many connections with deep windows and one carry buffer for all of them: reading stops, and
/// nobody is closed.
#[test]
fn many_and_deep_with_one_carry_buffer() {
    for (words, mode) in [
        ("--carry-bytes 1 --in-flight 3", Mode::Count),
        ("--carry-bytes 1 --stages threads", Mode::Count),
        ("--carry-bytes 100KiB --in-flight 4096 --slots 64", Mode::Header),
    ] {
        let words = merged(TINY, words);
        within(Duration::from_secs(90), move || {
            let mut service = Service::start(DIM, &words);
            let report = load::run(&LoadOptions { mode, ..options(service.target(), 200, 400) });
            let report = report.unwrap_or_else(|error| panic!("{words}: {error}"));
            let totals = assert_all_there(&mut service, &[report]);
            let counts = &totals.counts;
            assert_eq!(
                (counts[Counter::OverCarryCap], counts[Counter::HeaderTimeouts]),
                (0, 0),
                "{totals}"
            );
        });
    }
}

/// Answers that mean stored are held back while the ring goes on, also where pool and ring are
/// tiny; a hello asks for them, or the service gives them to those who can't ask.
#[test]
fn answers_that_wait_for_the_disk() {
    let (asked, told) = (AckLevel::Stored, AckLevel::Received);
    for (words, mode, ack, connections, window) in [
        ("", Mode::Header, asked, 4, 64),
        ("--stages threads", Mode::Header, asked, 4, 64),
        ("--lanes 2 --in-flight 3", Mode::Header, asked, 200, 1),
        ("--ack stored", Mode::Count, told, 4, 64),
        ("--ack stored --stages threads", Mode::Count, told, 200, 1),
        ("--ack stored --lanes 2", Mode::Header1, told, 4, 32),
    ] {
        let words = merged(TINY, words);
        within(Duration::from_secs(90), move || {
            let mut service = Service::start(DIM, &words);
            let options = options(service.target(), connections, window);
            let report = load::run(&LoadOptions { mode, ack, ..options });
            let report = report.unwrap_or_else(|error| panic!("{words}: {error}"));
            assert_all_there(&mut service, &[report]);
        });
    }
}

/// A load that is repeated as the same producers is answered as before, and stored once; the
/// requests that it had not sent are stored then.
#[test]
fn a_repeated_load_is_stored_once() {
    within(Duration::from_secs(90), || {
        let mut service = Service::start(DIM, "--lanes 2");
        let load = |count, ack| LoadOptions {
            count: Some(count),
            duration: None,
            producer: Some(1000),
            ack,
            ..options(service.target(), 8, 16)
        };
        let mut reports = Vec::new();
        for (count, ack) in [
            (8 * 100, AckLevel::Received),
            (8 * 100, AckLevel::Stored),
            (8 * 300, AckLevel::Received),
        ] {
            reports.push(load::run(&load(count, ack)).unwrap());
        }
        for report in &reports {
            assert_eq!(report.accepted, report.sent, "{report}");
        }
        assert_eq!(reports[0].accepted, reports[1].accepted);
        service.stop();
        let summary = read_segments(&service.data()).unwrap();
        assert_eq!(summary.rows, reports[2].accepted.vectors, "each request once");
        assert!((summary.sum - reports[2].accepted.sum).abs() <= 1e-7 * summary.rows as f64);
    });
}

/// Both shapes side by side, over both kinds of socket. Header mode exceeds its limit, so that some
/// requests are refused as busy.
#[test]
fn both_shapes_at_once() {
    within(Duration::from_secs(90), || {
        let mut service = Service::start(DIM, &format!("{TINY} --in-flight 2 --wait backoff"));
        let Address::Unix(path) = service.unix() else {
            unreachable!("it listens on a Unix socket")
        };
        let loads = [
            LoadOptions { mode: Mode::Header1, ..options(service.target(), 4, 64) },
            options(Target::Unix(path), 200, 1),
        ];
        let runs = loads.map(|options| std::thread::spawn(move || load::run(&options).unwrap()));
        let reports = runs.map(|run| run.join().unwrap());
        assert!(reports[0].refusals.total() > 0, "nothing was busy");
        assert_all_there(&mut service, &reports);
    });
}

/// Several clients write all requests before they read the first answer: many times more than the
/// service holds. As long as the answers fit the buffers on their way back, nothing may wait
/// forever.
#[test]
fn writing_all_before_reading_any_does_not_deadlock() {
    within(Duration::from_secs(120), || {
        let mut service = Service::start(
            256,
            "--max-vectors 8 --pool 64KiB --slots 4 --in-flight 16 --wait park",
        );
        // 16 MiB of requests per connection, and 16 KiB of answers. A Unix socket holds some 200
        // answers, no matter how short they are.
        let loads = [
            (service.tcp(), 2048),
            (service.tcp(), 2048),
            (service.tcp(), 2048),
            (service.unix(), 150),
            (service.unix(), 150),
        ];
        let vectors_sent: u64 = loads.iter().map(|(_, requests)| u64::from(*requests) * 8).sum();
        let threads = loads.map(|(address, requests)| {
            std::thread::spawn(move || {
                let mut client = Client::count(&address, 256);
                for id in 0..requests {
                    client.send(0, &vector(256, id).repeat(8));
                }
                client.end_sending();
                for id in 0..requests {
                    assert_eq!(client.answer().scores, [score(256, id); 8]);
                }
                client.expect_end();
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let totals = service.stop();
        assert_eq!((totals.vectors_in_segments, totals.counts.refused()), (vectors_sent, 0));
        assert_eq!(read_segments(&service.data()).unwrap().rows, vectors_sent);
    });
}
