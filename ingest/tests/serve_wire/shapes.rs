//! The options of the service, one by one: with each the answers are correct.

use std::time::Duration;

use slipring_ingest::io::Counter;
use slipring_test_support::{Draw, within};

use crate::MODES;
use crate::support::client::Client;
use crate::support::data;
use crate::support::service::Service;

const DIM: usize = 33;

/// Small integers, so that the order of additions doesn't change the sum.
fn vectors(draw: &mut Draw) -> Vec<f32> {
    let count = 1 + draw.below(8) as usize;
    (0..count * DIM).map(|_| draw.below(200) as f32 - 100.0).collect()
}

fn expected(words: &str, vectors: &[f32]) -> Vec<f32> {
    let weighted =
        |row: &[f32]| row.iter().zip(1..).map(|(value, weight)| value * weight as f32).sum();
    vectors
        .chunks(DIM)
        .map(|row| match words {
            w if w.contains("none") => 0.0,
            w if w.contains("weighted") => weighted(row),
            _ => row.iter().sum(),
        })
        .collect()
}

/// Sends requests, a few at a time, over every kind of connection. Which rows went to which lane is
/// unknown, so the rows are compared as a set.
fn exercise(words: &str) {
    println!("{words}");
    let mut service = Service::start(DIM as u32, &format!("--max-vectors 8 {words}"));
    let mut sent: Vec<Vec<u32>> = Vec::new();
    for (number, mode) in (0..6).zip(MODES.into_iter().cycle()) {
        let address = if number < 3 { service.tcp() } else { service.unix() };
        let mut client = Client::new(&address, mode, DIM as u32);
        let mut draw = Draw::new(number);
        for round in 0..40 {
            let requests: Vec<Vec<f32>> =
                (0..1 + draw.below(5)).map(|_| vectors(&mut draw)).collect();
            let bytes: Vec<u8> =
                requests.iter().flat_map(|vectors| client.request(round, vectors)).collect();
            client.send_bytes(&bytes);
            for vectors in &requests {
                assert_eq!(client.answer().scores, expected(words, vectors), "{words}, {mode:?}");
                sent.extend(
                    vectors
                        .chunks(DIM)
                        .map(|row| row.iter().map(|value| value.to_bits()).collect()),
                );
            }
        }
    }
    let totals = service.stop();
    assert_eq!(totals.counts[Counter::VectorsAnswered], sent.len() as u64, "{words}");
    let bits = |row: &Vec<f32>| row.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let mut stored: Vec<Vec<u32>> =
        data::rows(&service.data(), DIM).values().flatten().map(bits).collect();
    if !words.contains("--lanes") {
        assert!(stored == sent, "{words}: the segment holds what was sent, in order");
    }
    stored.sort_unstable();
    sent.sort_unstable();
    assert!(stored == sent, "{words}");
}

#[test]
fn scores_are_right() {
    within(Duration::from_secs(60), || {
        ["--score sum", "--score weighted", "--score none"].into_iter().for_each(exercise)
    });
}

#[test]
fn stages_on_threads_answer_the_same() {
    within(Duration::from_secs(60), || {
        [
            "--stages threads",
            "--stages threads --wait backoff --score weighted",
            "--stages threads --slots 2",
        ]
        .into_iter()
        .for_each(exercise);
    });
}

#[test]
fn every_way_to_wait_answers_the_same() {
    within(Duration::from_secs(60), || {
        for stages in ["inline", "threads"] {
            for wait in ["spin", "backoff", "park"] {
                exercise(&format!("--wait {wait} --stages {stages}"));
            }
        }
    });
}

#[test]
fn both_policies_of_reclaiming_answer_the_same() {
    within(Duration::from_secs(60), || {
        exercise("--reclaim consume --pool 8KiB --slots 16");
        exercise("--reclaim overwrite --pool 512KiB --slots 64");
        exercise("--reclaim overwrite --pool 512KiB --slots 64 --stages threads");
    });
}

#[test]
fn lanes_answer_the_same() {
    within(Duration::from_secs(60), || {
        exercise("--lanes 2");
        exercise("--lanes 3 --stages threads --segment-bytes 4KiB");
    });
}

#[test]
fn a_ring_of_two_slots_works() {
    within(Duration::from_secs(60), || {
        exercise("--slots 2");
        exercise("--slots 2 --pool 8KiB --window 8KiB");
    });
}

#[test]
fn segments_are_cut_by_size_and_a_null_sink_writes_none() {
    within(Duration::from_secs(60), || {
        exercise("--segment-bytes 1");
        let mut service = Service::start(DIM as u32, "--sink null");
        let mut client = service.count();
        client.send(0, &[1.0; DIM]);
        assert_eq!(client.answer().scores, [DIM as f32]);
        drop(client);
        assert_eq!(service.stop().vectors_in_segments, 1);
        assert!(!service.data().join("lane=0").exists());
    });
}
