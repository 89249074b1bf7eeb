//! `slipring load` against servers on real sockets. Correct servers give exact totals; with a wrong
//! one it fails, and names the request.

#[path = "../support/mod.rs"]
mod support;

mod acks;
mod convert;
mod ids;
mod server;
mod verdict;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use server::{Conduct, LIMITS, start, start_unix};
use slipring_ingest::client::{Target, WrongAnswer};
use slipring_ingest::load::{
    ConnectionError, LoadError, LoadOptions, LoadReport, Score, VectorRange, run, run_rows,
};
use slipring_ingest::vectors::VectorRows;
use slipring_ingest::wire::frames::{Limits, Mode, Status};

const MODES: [Mode; 3] = [Mode::Count, Mode::Header1, Mode::Header];

/// 200 requests of 1-8 vectors on 3 connections, verified.
fn options(to: Target) -> LoadOptions {
    LoadOptions {
        vectors: VectorRange { least: 1, most: 8 },
        connections: 3,
        in_flight: 5,
        count: Some(200),
        verify: true,
        timeout: Duration::from_secs(20),
        ..LoadOptions::new(to, LIMITS.dim)
    }
}

/// An unused path for this test, short enough for a Unix socket's address.
fn free_path(name: &str) -> PathBuf {
    let path = Path::new("/tmp").join(format!("slipring-load-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn npy(components: &[f32], dim: usize) -> Vec<u8> {
    let header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {dim}), }}\n",
        components.len() / dim
    );
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(components.iter().flat_map(|component| component.to_le_bytes()));
    bytes
}

fn assert_complete(report: &LoadReport, requests: u64) {
    assert_eq!((report.sent.requests, report.sent), (requests, report.accepted));
    assert_eq!(
        (report.measured, report.latency.count),
        (report.accepted, requests),
        "no warm-up with a count"
    );
    assert_eq!((report.refusals.total(), report.requests_missed), (0, 0));
}

#[test]
fn totals_are_exact_in_every_shape() {
    for mode in MODES {
        for (connections, window, threads, most) in
            [(1, 1, 1, 1), (3, 5, 1, 8), (4, 64, 3, 64), (7, 2, 7, 3)]
        {
            let (to, seen) = start(Conduct::Right, LIMITS);
            let vectors = VectorRange { least: 1, most };
            let options = LoadOptions {
                mode,
                connections,
                in_flight: window,
                threads,
                vectors,
                ..options(to)
            };
            let report = run(&options).unwrap();
            assert_complete(&report, 200);
            let seen = seen.lock().unwrap().clone();
            assert_eq!(
                (seen.requests, seen.vectors, seen.connections),
                (200, report.sent.vectors, u64::from(connections))
            );
            assert_eq!(
                seen.sum, report.accepted.sum,
                "generated components add up exactly, in any order"
            );
            assert_eq!(report.vectors_verified, report.sent.vectors);
            assert_eq!(
                report.sent.bytes,
                200 * mode.header_bytes() as u64 + report.sent.vectors * 16
            );
            assert_eq!(
                report.answer_bytes,
                200 * mode.answer_header_bytes() as u64 + report.sent.vectors * 4
            );
        }
    }
}

/// Wherever their bytes end, and also behind the last answer.
#[test]
fn watermarks_are_no_answers() {
    for mode in MODES {
        let (to, _) = start(Conduct::Watermarks, LIMITS);
        let report =
            run(&LoadOptions { mode, connections: 2, in_flight: 5, ..options(to) }).unwrap();
        assert_complete(&report, 200);
    }
}

#[test]
fn the_same_seed_sends_the_same() {
    let report = |seed| {
        let (to, _) = start(Conduct::Right, LIMITS);
        run(&LoadOptions { seed, ..options(to) }).unwrap().sent
    };
    assert_eq!(report(5), report(5));
    assert_ne!(report(5), report(6));
}

#[test]
fn unix_sockets_and_every_score() {
    for (conduct, score) in [
        (Conduct::Right, Score::Sum),
        (Conduct::Weighted, Score::Weighted),
        (Conduct::Zeros, Score::None),
    ] {
        let path = free_path(&format!("{conduct:?}.sock"));
        let (to, seen) = start_unix(conduct, path.clone());
        let report = run(&LoadOptions { score, ..options(to) }).unwrap();
        assert_complete(&report, 200);
        assert_eq!(seen.lock().unwrap().sum, report.sent.sum);
        std::fs::remove_file(path).unwrap();
    }
    let (to, _) = start(Conduct::Weighted, LIMITS);
    assert!(
        matches!(failure(&options(to)).2, ConnectionError::WrongScore { .. }),
        "verified against the wrong score"
    );
}

#[test]
fn a_file_is_sent_in_turn_over_and_over() {
    let components: Vec<f32> = (0..20u16).map(f32::from).collect();
    let path = free_path("rows.npy");
    std::fs::write(&path, npy(&components, 4)).unwrap();
    let (to, seen) = start(Conduct::Right, LIMITS);
    // 3 connections, 35 requests of 2 vectors: 70 rows, 14 times each of the five.
    let vectors = VectorRange { least: 2, most: 2 };
    let report = run(&LoadOptions {
        vectors,
        count: Some(35),
        file: Some(path.clone()),
        ..options(to.clone())
    })
    .unwrap();
    assert_eq!((report.sent.vectors, report.sent.sum), (70, 14.0 * 190.0));
    assert_eq!(seen.lock().unwrap().sum, report.sent.sum);

    let error =
        run(&LoadOptions { dim: 5, file: Some(path.clone()), ..options(to.clone()) }).unwrap_err();
    assert!(error.to_string().contains("pass --dim 4"), "{error}");
    assert_eq!(error.exit_code(), 2);
    std::fs::remove_file(&path).unwrap();
    for unreadable in [path, std::env::temp_dir()] {
        let error =
            run(&LoadOptions { file: Some(unreadable), ..options(to.clone()) }).unwrap_err().error;
        assert!(matches!(error, LoadError::File { .. }), "{error}");
    }
}

#[test]
fn frames_larger_than_the_socket_takes() {
    let limits = Limits::new(4096, 64);
    let (to, seen) = start(Conduct::Right, limits);
    let vectors = VectorRange { least: 60, most: 64 };
    let report =
        run(&LoadOptions { dim: limits.dim, vectors, count: Some(40), ..options(to) }).unwrap();
    assert_complete(&report, 40);
    assert_eq!(seen.lock().unwrap().vectors, report.sent.vectors);
}

#[test]
fn answers_a_byte_at_a_time() {
    for mode in MODES {
        let (to, _) = start(Conduct::Trickle, LIMITS);
        assert_complete(&run(&LoadOptions { mode, ..options(to) }).unwrap(), 200);
    }
}

#[test]
fn time_ends_a_run_and_warm_up_stays_out_of_the_latencies() {
    for rate in [None, Some(2_000.0)] {
        let (to, seen) = start(Conduct::Right, LIMITS);
        let (duration, warmup) =
            (Some(Duration::from_millis(500)), Some(Duration::from_millis(300)));
        let report =
            run(&LoadOptions { count: None, duration, warmup, rate, threads: 2, ..options(to) })
                .unwrap();
        assert_eq!(report.sent, report.accepted);
        assert_eq!(seen.lock().unwrap().vectors, report.sent.vectors);
        assert!(report.measured.requests < report.sent.requests && report.measured.requests > 0);
        assert_eq!(report.latency.count, report.measured.requests);
        if rate.is_some() {
            assert_eq!(
                report.sent.requests + report.requests_missed,
                1_600,
                "2000 a second for 0.8 s"
            );
        }
    }
}

#[test]
fn an_open_loop_sends_its_count() {
    let (to, _) = start(Conduct::Right, LIMITS);
    assert_complete(&run(&LoadOptions { rate: Some(5_000.0), ..options(to) }).unwrap(), 200);
    // The time between two requests is longer than the timeout: a connection that waits for nothing
    // isn't stalled.
    let (to, _) = start(Conduct::Right, LIMITS);
    let timeout = Duration::from_millis(600);
    let idle =
        LoadOptions { rate: Some(1.25), count: Some(3), connections: 1, timeout, ..options(to) };
    assert_complete(&run(&idle).unwrap(), 3);
}

#[test]
fn refusals_are_counted_by_status() {
    let (to, seen) = start(Conduct::RefuseEvery(5, Status::Busy), LIMITS);
    let report = run(&LoadOptions { mode: Mode::Header, connections: 2, ..options(to) }).unwrap();
    assert_eq!(report.refusals.iter().collect::<Vec<_>>(), [("busy", 40)]);
    assert_eq!(
        (report.sent.requests, report.accepted.requests, report.latency.count),
        (200, 160, 200)
    );
    assert_eq!(seen.lock().unwrap().sum, report.accepted.sum);

    // Count mode carries no reason. While verifying, valid vectors must not be refused.
    let (to, _) = start(Conduct::RefuseEvery(5, Status::Failed), LIMITS);
    let count = LoadOptions { mode: Mode::Count, ..options(to) };
    let report = run(&LoadOptions { verify: false, connections: 1, ..count.clone() }).unwrap();
    assert_eq!(report.refusals.iter().collect::<Vec<_>>(), [("refused", 40)]);
    assert!(matches!(failure(&count), (_, 0, ConnectionError::Refused("refused"))));
}

#[test]
fn vectors_that_are_not_finite_must_be_refused() {
    let components = [1.0, 2.0, 3.0, 4.0, 5.0, f32::NAN, 7.0, 8.0, 1.0, f32::INFINITY, 3.0, 4.0];
    let rows = VectorRows::from_npy(&npy(&components, 4), 4).unwrap();
    let one = |to| LoadOptions {
        vectors: VectorRange { least: 1, most: 1 },
        connections: 1,
        count: Some(9),
        ..options(to)
    };
    for mode in MODES {
        let (to, _) = start(Conduct::Right, LIMITS);
        let report = run_rows(&LoadOptions { mode, ..one(to) }, rows.clone()).unwrap();
        assert_eq!(
            (report.refusals.total(), report.accepted.vectors, report.accepted.sum),
            (6, 3, 30.0)
        );
    }
    let (to, _) = start(Conduct::Credulous, LIMITS);
    let error = run_rows(&one(to), rows).unwrap_err().error;
    assert!(
        matches!(
            error,
            LoadError::Connection { connection: 0, request: 1, error: ConnectionError::Accepted }
        ),
        "{error}"
    );
}

/// Connection, request and error of a run that must fail.
fn failure(options: &LoadOptions) -> (u32, u64, ConnectionError) {
    match run(options).map_err(|broken| broken.error) {
        Err(LoadError::Connection { connection, request, error }) => (connection, request, error),
        Err(other) => panic!("expected a connection's error, got {other}"),
        Ok(report) => panic!("a wrong server passed: {report}"),
    }
}

#[test]
fn wrong_servers_are_caught_at_the_request() {
    use ConnectionError::{Answer, Closed, Extra, Stalled, WrongScore};

    for mode in MODES {
        for window in [1, 5] {
            let failure_of = |conduct| {
                let (to, _) = start(conduct, LIMITS);
                let stalls = matches!(
                    conduct,
                    Conduct::Silent | Conduct::Missing(_) | Conduct::SwapWithNext(_)
                );
                let timeout =
                    if stalls { Duration::from_millis(600) } else { Duration::from_secs(20) };
                let vectors = VectorRange { least: 1, most: 1 };
                let (_, request, error) = failure(&LoadOptions {
                    mode,
                    in_flight: window,
                    timeout,
                    vectors,
                    ..options(to)
                });
                (request, error)
            };
            assert!(matches!(
                failure_of(Conduct::WrongScore(7)),
                (7, WrongScore { vector: 0, .. })
            ));
            assert!(matches!(
                failure_of(Conduct::WrongCount(8)),
                (8, Answer(WrongAnswer::Count { expected: 1, got: 2 }))
            ));
            assert!(matches!(
                failure_of(Conduct::Garbage(9)),
                (9, Answer(WrongAnswer::Unreadable(_)))
            ));
            assert!(matches!(
                failure_of(Conduct::CloseAfter(10)),
                (10, Closed { answered: 10, .. })
            ));
            assert!(
                matches!(failure_of(Conduct::Silent), (0, Stalled { unanswered, .. }) if unanswered == u64::from(window))
            );
            // Requests are counted from 0, their sequences from 1.
            // The same row twice in turn would hide a swap from the count mode: rows differ, so a
            // score gives it away.
            match (failure_of(Conduct::Missing(6)), mode, window) {
                ((6, Stalled { unanswered: 1, .. }), _, 1) => {}
                ((6, WrongScore { .. }), Mode::Count, 5) => {}
                ((6, Answer(WrongAnswer::Sequence { got: 8 })), _, 5) if mode != Mode::Count => {}
                other => panic!("a missing answer gave {other:?}"),
            }
            match (failure_of(Conduct::SwapWithNext(6)), mode, window) {
                ((6, Stalled { .. }), _, 1) => {}
                ((6, WrongScore { .. }), Mode::Count, 5) => {}
                ((6, Answer(WrongAnswer::Sequence { got: 8 })), _, 5) if mode != Mode::Count => {}
                other => panic!("a swapped answer gave {other:?}"),
            }
            match (failure_of(Conduct::Twice(6)), mode, window) {
                ((7, Extra { .. }), _, 1) => {}
                ((7, WrongScore { .. }), Mode::Count, _) => {}
                ((7, Answer(WrongAnswer::Sequence { got: 7 })), _, _) if mode != Mode::Count => {}
                other => panic!("an answer given twice gave {other:?}"),
            }
        }
    }
}

/// What the person who started the load may have got wrong is named.
#[test]
fn errors_name_the_option_that_may_not_fit() {
    let said = |conduct| {
        let (to, _) = start(conduct, LIMITS);
        let vectors = VectorRange { least: 1, most: 1 };
        let count = LoadOptions { mode: Mode::Count, vectors, connections: 1, ..options(to) };
        failure(&count).2.to_string()
    };
    let text = said(Conduct::Weighted);
    assert!(text.contains("has score ") && text.ends_with("is --score the service's?"), "{text}");
    let text = said(Conduct::Twice(199));
    assert!(text.contains("never sent; do --dim and --mode fit"), "{text}");
    let hint = "may have reached --max-connections or --connections-per-peer";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = Target::Tcp(listener.local_addr().unwrap().to_string());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    for mode in [Mode::Count, Mode::Header] {
        let closed = LoadOptions { mode, connections: 1, ..options(to.clone()) };
        let text = run(&closed).unwrap_err().to_string();
        assert!(text.contains(hint), "{text}");
    }
    let text = said(Conduct::CloseAfter(5));
    assert!(text.contains("5 requests answered") && !text.contains(hint), "{text}");
}

#[test]
fn the_end_of_the_stream_is_checked() {
    // 12 requests, 4 per connection: the last answer sent twice, the last answer missing, and a
    // server that doesn't close.
    let last = |conduct| {
        let (to, _) = start(conduct, LIMITS);
        failure(&LoadOptions {
            count: Some(12),
            timeout: Duration::from_millis(600),
            ..options(to)
        })
    };
    assert!(matches!(last(Conduct::Twice(3)), (_, 4, ConnectionError::Extra { .. })));
    assert!(matches!(
        last(Conduct::Missing(3)),
        (_, 3, ConnectionError::Closed { answered: 3, unanswered: 1, cause: None, .. })
    ));
    assert!(matches!(
        last(Conduct::NeverCloses),
        (_, 4, ConnectionError::Stalled { unanswered: 0, .. })
    ));
}

#[test]
fn limits_that_differ_from_the_servers() {
    let (to, _) = start(Conduct::Right, LIMITS);
    let narrow = LoadOptions { mode: Mode::Header1, dim: 3, verify: false, ..options(to.clone()) };
    let report = run(&narrow).unwrap();
    assert_eq!(
        (report.refusals.iter().collect::<Vec<_>>(), report.accepted.requests),
        (vec![("wrong-dimension", 200)], 0)
    );
    assert!(matches!(
        failure(&LoadOptions { verify: true, ..narrow }),
        (_, 0, ConnectionError::Refused("wrong-dimension"))
    ));

    let vectors = VectorRange { least: 65, most: 65 };
    for (mode, label) in [(Mode::Count, "refused"), (Mode::Header1, "too-many-vectors")] {
        let (_, request, error) =
            failure(&LoadOptions { mode, vectors, verify: false, ..options(to.clone()) });
        assert!(
            matches!(error, ConnectionError::Closed { answered: 1, refusal: Some(found), .. } if found == label),
            "{error:?}"
        );
        assert_eq!(request, 1);
    }
}

/// In header mode the hello tells, so nothing is sent; and an answer must name the connection's
/// lane, and rows that no answer has named.
#[test]
fn the_hello_tells_what_the_server_takes() {
    let (to, seen) = start(Conduct::Right, LIMITS);
    let error = run(&LoadOptions { dim: 8, ..options(to.clone()) }).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("the server's dimension is 4, --dim is 8"), "{text}");
    let vectors = VectorRange { least: 1, most: 65 };
    let text = run(&LoadOptions { vectors, ..options(to) }).unwrap_err().to_string();
    assert!(text.contains("--vectors is 1-65") && text.contains("at most 64"), "{text}");
    assert_eq!(seen.lock().unwrap().requests, 0);
    for verify in [true, false] {
        let wrong = |conduct| {
            let (to, _) = start(conduct, LIMITS);
            failure(&LoadOptions { verify, ..options(to) }).2
        };
        assert!(matches!(
            wrong(Conduct::OtherLane(6)),
            ConnectionError::Answer(WrongAnswer::Lane { expected: 3, got: 4 })
        ));
        assert!(matches!(
            wrong(Conduct::RowAgain(6)),
            ConnectionError::Answer(WrongAnswer::Row { got: 0, .. })
        ));
        assert!(matches!(
            wrong(Conduct::LostAsBusy(6)),
            ConnectionError::Answer(WrongAnswer::AfterLast { refusal: "busy" })
        ));
        assert!(matches!(
            wrong(Conduct::RefusedRow(6)),
            ConnectionError::Answer(WrongAnswer::RowRefused { status: Status::Busy, got: 1 })
        ));
        assert!(matches!(
            wrong(Conduct::RefusedDetail(6)),
            ConnectionError::Answer(WrongAnswer::Detail { status: Status::Busy, got: 1, .. })
        ));
        assert!(matches!(
            wrong(Conduct::StoredOnce(6)),
            ConnectionError::Answer(WrongAnswer::StoredBack { before: 1, got: 0 })
        ));
    }
}

/// A server that accepts the hello and says something else than the hello gets no vectors.
#[test]
fn a_hello_s_answer_must_fit_the_hello() {
    for (at, byte, named) in [
        (5, 1, "id column 1, but 0 was asked for"),
        (5, 4, "columns 4, this client knows 0"),
        (8, 5, "dimension 5, but 4 was asked for"),
        (12, 0, "max vectors 0, but 1 to 65535 was asked for"),
        (15, 1, "max vectors 16777280, but 1 to 65535"),
        (18, 1, "element type 1, this client knows 0"),
        (19, 1, "ack level 1, but 0 was asked for"),
        (19, 2, "ack level 2, this client knows 1"),
        (20, 1, "reserved 1, this client knows 0"),
    ] {
        let (to, seen) = start(Conduct::HelloByte(at, byte), LIMITS);
        let text = run(&options(to)).unwrap_err().to_string();
        assert!(text.contains(named), "byte {at}: {text}");
        assert_eq!(seen.lock().unwrap().requests, 0, "byte {at}");
    }
}

/// With `--verify` also on connections of several threads; a service of one connection may count
/// its rows alone.
#[test]
fn no_row_is_named_on_two_connections() {
    let alone = |connections, threads| {
        let (to, _) = start(Conduct::RowsAlone, LIMITS);
        LoadOptions { connections, threads, ..options(to) }
    };
    for threads in [1, 2] {
        assert!(matches!(
            failure(&alone(2, threads)).2,
            ConnectionError::Answer(WrongAnswer::RowsTwice { lane: 3, .. })
        ));
    }
    assert_eq!(run(&alone(1, 1)).unwrap().accepted.requests, 200);
}

#[test]
fn a_target_without_a_server_is_an_error() {
    let (to, _) = start(Conduct::Right, LIMITS);
    for to in [Target::Unix(free_path("absent.sock")), Target::Tcp("127.0.0.1:1".to_string())] {
        let error = run(&options(to)).unwrap_err().error;
        assert!(matches!(error, LoadError::Connect { connection: 0, .. }), "{error}");
        assert_eq!(error.exit_code(), 1);
    }
    drop(to);
}

#[test]
fn both_reports_carry_the_figures() {
    let (to, _) = start(Conduct::RefuseEvery(10, Status::Busy), LIMITS);
    let report = run(&LoadOptions { mode: Mode::Header, connections: 1, ..options(to) }).unwrap();
    let json = report.to_json();
    assert_eq!(
        (&json["sent"]["requests"], &json["accepted"]["requests"]),
        (&200.into(), &180.into())
    );
    assert_eq!(json["refused"]["reasons"]["busy"], 20);
    assert_eq!(json["accepted"]["sum"], report.accepted.sum);
    for quantile in ["p50", "p90", "p99", "p99.9", "p99.99", "max"] {
        assert!(json["latency_us"][quantile].as_f64().unwrap() > 0.0, "{quantile}");
    }
    assert!(report.latency.columns().is_sorted_by(|(_, earlier), (_, later)| earlier <= later));
    let table = report.to_string();
    assert!(
        table.contains("vectors/s") && table.contains("(busy)") && table.contains("p99.99"),
        "{table}"
    );
}

/// The Python client printed in docs/PROTOCOL.md, run unchanged except for the port. Machines
/// without Python skip it.
#[test]
fn the_python_client_of_the_page_works() {
    let page = include_str!("../../../docs/PROTOCOL.md");
    let client = page
        .split("```python\n")
        .nth(1)
        .and_then(|after| after.split("```").next())
        .expect("a client on the page");
    assert!(client.contains("9900") && client.lines().count() <= 24);
    let (Target::Tcp(address), seen) = start(Conduct::Right, LIMITS) else { unreachable!() };
    let port = address.rsplit(':').next().unwrap();
    match Command::new("python3").arg("-c").arg(client.replace("9900", port)).output() {
        Err(error) => eprintln!("skipped: python3: {error}"),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            let expected = "status 0, lane 3, rows 0 to 1, scores (10.0, 2.0)";
            assert_eq!(text.trim(), expected, "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(seen.lock().unwrap().vectors, 2);
        }
    }
}
