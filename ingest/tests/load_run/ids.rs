//! A server with an id column: a load in header mode fills it, and the other modes say why they
//! can't.

use std::time::{Duration, Instant};

use slipring_ingest::client::Target;
use slipring_ingest::load::{LoadOptions, VectorRange, run};
use slipring_ingest::wire::frames::{Limits, Mode, WireColumns};
use slipring_test_support::within;

use super::server::{Conduct, LIMITS, start};
use super::support::data::rows_with_ids;
use super::support::service::Service;
use super::{assert_complete, free_path, npy, options};

#[test]
fn every_vector_has_a_number_of_its_own() {
    within(Duration::from_secs(120), || {
        for (words, connections, threads, most) in [
            ("", 1, 1, 1),
            ("", 7, 3, 8),
            ("--stages threads", 3, 1, 64),
            ("--lanes 2 --slots 2 --pool 32KiB", 4, 2, 8),
        ] {
            let mut service = Service::start(4, &format!("--columns id {words}"));
            let vectors = VectorRange { least: 1, most };
            let options =
                LoadOptions { connections, threads, vectors, ..options(service.target()) };
            let report = run(&options).unwrap();
            assert_complete(&report, 200);
            let sent = report.sent.vectors;
            assert_eq!(report.vectors_verified, sent);
            // A header, and an id and four components for each vector.
            assert_eq!(report.sent.bytes, 200 * 24 + sent * (8 + 16));
            service.stop();
            let rows = rows_with_ids(&service.data(), 4);
            let mut ids: Vec<u64> = rows.iter().map(|(id, _)| *id).collect();
            if connections == 1 {
                assert_eq!(ids, (0..sent).collect::<Vec<u64>>(), "{words}");
            }
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len() as u64, sent, "{words}: each id once");
            let connections = u64::from(connections);
            for connection in 0..connections {
                let own = ids.iter().filter(|id| **id % connections == connection);
                let expected = (connection..).step_by(connections as usize);
                assert!(own.zip(expected).all(|(id, next)| *id == next), "{words}: in a row");
            }
        }
    });
}

#[test]
fn the_same_options_send_the_same_ids() {
    let stored = || {
        let mut service = Service::start(4, "--columns id,time");
        run(&options(service.target())).unwrap();
        service.stop();
        let mut rows = rows_with_ids(&service.data(), 4);
        rows.sort_by_key(|(id, _)| *id);
        rows
    };
    assert_eq!(stored(), stored());
}

#[test]
fn the_rows_of_a_file_have_their_numbers_in_it() {
    let components: Vec<f32> = (0..20u16).map(f32::from).collect();
    let path = free_path("numbered.npy");
    std::fs::write(&path, npy(&components, 4)).unwrap();
    let mut service = Service::start(4, "--columns id");
    // 3 connections, 35 requests of 2 vectors: 70 rows, 14 times each of the five.
    let vectors = VectorRange { least: 2, most: 2 };
    let (count, file) = (Some(35), Some(path.clone()));
    let report = run(&LoadOptions { vectors, count, file, ..options(service.target()) }).unwrap();
    assert_complete(&report, 35);
    service.stop();
    std::fs::remove_file(path).unwrap();
    let rows = rows_with_ids(&service.data(), 4);
    for row in 0..5 {
        let of_row = rows.iter().filter(|(id, _)| *id == row);
        let first = row as f32 * 4.0;
        let expected = vec![first, first + 1.0, first + 2.0, first + 3.0];
        assert!(of_row.clone().all(|(_, components)| *components == expected), "{row}");
        assert_eq!(of_row.count(), 14, "{row}");
    }
}

/// Requests that are larger by their ids than the buffers of requests without.
#[test]
fn requests_of_small_vectors_have_room_for_their_ids() {
    let mut service = Service::start(1, "--columns id --max-vectors 65535 --pool 16MiB");
    let vectors = VectorRange { least: 65_535, most: 65_535 };
    let (dim, count) = (1, Some(6));
    let report = run(&LoadOptions { dim, vectors, count, ..options(service.target()) }).unwrap();
    assert_complete(&report, 6);
    service.stop();
    assert_eq!(rows_with_ids(&service.data(), 1).len(), 6 * 65_535);
}

/// Before a vector is stored, and without waiting for the end of the run.
#[test]
fn modes_without_ids_name_the_option() {
    for mode in [Mode::Count, Mode::Header1] {
        for verify in [true, false] {
            let mut service = Service::start(4, "--columns id");
            let (count, duration) = (None, Some(Duration::from_secs(600)));
            let options =
                LoadOptions { mode, verify, count, duration, ..options(service.target()) };
            let started = Instant::now();
            let error = run(&options).unwrap_err();
            let named = format!("--mode {} carries none; say --mode header", mode.label());
            let text = error.to_string();
            assert!(text.contains("(--columns id)") && text.contains(&named), "{text}");
            assert_eq!(error.exit_code(), 1);
            assert!(started.elapsed() < Duration::from_secs(300), "it waited for the end");
            assert_eq!(service.stop().vectors_in_segments, 0);
        }
    }
}

/// A bound of bytes that has no room for ids, which only the server tells.
#[test]
fn a_bound_of_bytes_counts_ids() {
    let columns = WireColumns { id: true, time: false };
    let (to, seen) = start(Conduct::Right, Limits { columns, ..LIMITS });
    let one = VectorRange { least: 1, most: 1 };
    let of = |to: Target, bytes| LoadOptions {
        vectors: one,
        connections: 1,
        bytes_max: Some(bytes),
        ..options(to)
    };
    let text = run(&of(to, 24 + 16)).unwrap_err().to_string();
    assert!(text.contains("--bytes is 40: at least 48"), "{text}");
    assert_eq!(seen.lock().unwrap().requests, 0);
    let (to, _) = start(Conduct::Right, LIMITS);
    assert_eq!(run(&of(to, 24 + 16)).unwrap().sent.requests, 1);
}
