//! Frames that no server takes: each is answered as the protocol says, counted, and hurts nobody
//! else.

use std::time::Duration;

use slipring_ingest::io::Counter;
use slipring_ingest::protocol::{Mode, Status};
use slipring_test_support::{Draw, within};

use crate::support::client::Client;
use crate::support::service::Service;
use crate::support::{score, segments, vector};

const DIM: u32 = 4;

/// A header-mode header with these fields; version 1 and no flags unless `bytes_2_3` say otherwise.
fn header(bytes_2_3: [u8; 2], n: u16, dim: u16, sequence: u64) -> Vec<u8> {
    let mut bytes = b"SR".to_vec();
    bytes.extend(bytes_2_3);
    bytes.extend(n.to_le_bytes());
    bytes.extend(dim.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes
}

/// What is sent, what status it gets with which sequence, and whether the connection lives on.
fn cases() -> Vec<(&'static str, Vec<u8>, Status, u64, bool)> {
    let with_payload = |mut head: Vec<u8>, floats: usize| {
        head.extend(std::iter::repeat_n(1.0f32.to_le_bytes(), floats).flatten());
        head
    };
    let bad_float = |value: f32| {
        let mut frame = header([1, 0], 2, 4, 9);
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, value, 7.0, 8.0f32];
        frame.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        frame
    };
    vec![
        ("no vector", header([1, 0], 0, 4, 9), Status::ZeroVectors, 9, true),
        ("no vector and another dimension", header([1, 0], 0, 77, 9), Status::ZeroVectors, 9, true),
        (
            "another dimension",
            with_payload(header([1, 0], 2, 3, 9), 6),
            Status::WrongDimension,
            9,
            true,
        ),
        ("dimension 0", header([1, 0], 2, 0, 9), Status::WrongDimension, 9, true),
        (
            "a longer payload of another dimension",
            header([1, 0], 8, 500, 9),
            Status::WrongDimension,
            0,
            false,
        ),
        ("too many vectors", header([1, 0], 9, 4, 9), Status::TooManyVectors, 0, false),
        ("NaN", bad_float(f32::NAN), Status::NotFinite, 9, true),
        ("infinity", bad_float(f32::NEG_INFINITY), Status::NotFinite, 9, true),
        ("another version", header([2, 0], 1, 4, 9), Status::BadVersion, 0, false),
        ("version 0", header([0, 1], 1, 4, 9), Status::BadVersion, 0, false),
        ("a flag", header([1, 0x80], 1, 4, 9), Status::BadFlags, 0, false),
    ]
}

#[test]
fn each_bad_frame_is_answered_by_its_status() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(DIM, "--max-vectors 8");
        let mut neighbour = service.count();
        let mut good = 0;
        for (what, bytes, status, sequence, lives) in cases() {
            let mut client = service.header();
            // Good ones around it: order holds, and the refused one leaves nothing behind.
            client.send(1, &vector(4, good));
            client.send_bytes(&bytes);
            let answer = client.answer();
            assert!(answer.is_ok() && answer.scores == [score(4, good)], "{what}: {answer:?}");
            good += 1;
            let answer = client.answer();
            assert_eq!(
                (answer.status, answer.sequence, answer.scores.len()),
                (Some(status), sequence, 0),
                "{what}"
            );
            if lives {
                client.send(3, &vector(4, good));
                assert_eq!(client.answer().scores, [score(4, good)], "{what}");
                good += 1;
            } else {
                client.expect_end();
            }
            neighbour.send(0, &vector(4, good));
            assert_eq!(neighbour.answer().scores, [score(4, good)], "{what}");
            good += 1;
        }
        drop(neighbour);
        let totals = service.stop();
        for (what, _, status, ..) in cases() {
            assert!(totals.counts.answers(status) > 0, "{what} isn't counted");
        }
        assert_eq!(totals.counts.refused(), cases().len() as u64);
        assert_eq!(segments::ids(&service.data(), 4), (0..good).collect::<Vec<_>>());
    });
}

/// The sum of large components may be infinite without one of them being so: such vectors are
/// taken, and that sum is their score.
#[test]
fn large_components_are_taken() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(DIM, "--max-vectors 8");
        let mut client = service.header();
        let large = [f32::MAX, f32::MAX, 1.0, 2.0];
        client.send(1, &[large, [1.0, 2.0, 3.0, 4.0]].concat());
        let answer = client.answer();
        assert!(answer.is_ok() && answer.scores == [f32::INFINITY, 10.0], "{answer:?}");
        drop(client);
        assert_eq!(service.stop().counts.refused(), 0);
    });
}

#[test]
fn lost_framing_in_the_middle_of_header_mode_is_answered_last() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(DIM, "--max-vectors 8");
        let mut client = service.header();
        let mut bytes = client.request(1, &vector(4, 1));
        bytes.extend([0xff; 500]);
        client.send_bytes(&bytes);
        assert!(client.answer().is_ok());
        assert_eq!(client.answer().status, Some(Status::BadMagic));
        client.expect_end();
        service.stop();
    });
}

#[test]
fn count_mode_refuses_with_zero() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(DIM, "--max-vectors 8");
        let mut client = service.count();
        // Refused and alive: no vector, NaN, infinity; in one write with good ones.
        let mut bytes = vec![0; 4];
        for value in [1.0, f32::NAN, 2.0, f32::INFINITY] {
            bytes.extend(client.request(0, &[value, 0.0, 0.0, 0.0]));
        }
        client.send_bytes(&bytes);
        let scores: Vec<Vec<f32>> = (0..5).map(|_| client.answer().scores).collect();
        assert_eq!(scores, [vec![], vec![1.0], vec![], vec![2.0], vec![]]);
        // Too many: framing is lost.
        client.send_bytes(&9u32.to_le_bytes());
        assert!(client.answer().scores.is_empty());
        client.expect_end();
        for first in [[0x39, 0x30, 1, 0], *b"GET ", *b"*3\r\n", [0xff; 4]] {
            let mut client = service.count();
            client.send_bytes(&first);
            client.send_bytes(&[7; 300]);
            assert_eq!(client.bytes_to_end(true), [0; 4], "{first:?}");
        }
        let totals = service.stop();
        assert_eq!(totals.vectors_in_segments, 2);
        assert_eq!(totals.counts.answers(Status::TooManyVectors), 1);
        assert_eq!(totals.counts.answers(Status::BadMagic), 4);
    });
}

/// Whatever comes, the service answers by the protocol or closes, and goes on for everybody else.
#[test]
fn random_bytes_hurt_nobody() {
    within(Duration::from_secs(120), || {
        let mut service = Service::start(DIM, "--max-vectors 8 --slots 16 --pool 32KiB");
        let mut neighbour = service.header();
        for seed in 0..300u64 {
            let mut draw = Draw::new(seed);
            let mode = if draw.below(2) == 0 { Mode::Count } else { Mode::Header };
            let mut client = Client::new(
                &if draw.below(2) == 0 { service.tcp() } else { service.unix() },
                mode,
                DIM,
            );
            let bytes = random_frames(&client, &mut draw);
            for piece in bytes.chunks(1 + draw.below(200) as usize) {
                if client.try_send_bytes(piece).is_err() {
                    break;
                }
            }
            client.end_sending();
            // `bytes_of_answer` fails on bytes that are no answer.
            client.mode = if bytes.len() < 4 || bytes[2..4] == [0, 0] || bytes[..2] != *b"SR" {
                Mode::Count
            } else {
                Mode::Header
            };
            let mut answers = 0;
            while !client.bytes_of_answer().is_empty() {
                answers += 1;
            }
            assert!(
                answers <= bytes.len() / 4,
                "seed {seed}: {answers} answers to {} bytes",
                bytes.len()
            );
            neighbour.send(seed, &vector(4, 1));
            assert_eq!(neighbour.answer().sequence, seed);
        }
        drop(neighbour);
        let totals = service.stop();
        assert_eq!(totals.counts[Counter::VectorsAnswered], totals.vectors_in_segments);
        assert!(totals.counts.refused() > 100, "{totals}");
    });
}

/// Good frames, some of them with a byte changed, cut short or with noise between them.
fn random_frames(client: &Client, draw: &mut Draw) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..draw.below(8) {
        let mut frame = client.request(draw.next(), &vec![1.5; 4 * (1 + draw.below(8) as usize)]);
        match draw.below(6) {
            0 => {
                let at = draw.below(frame.len() as u64) as usize;
                frame[at] ^= 1 << draw.below(8);
            }
            1 => frame.truncate(draw.below(frame.len() as u64) as usize),
            2 => frame.extend((0..draw.below(40)).map(|_| draw.next() as u8)),
            3 => frame = (0..draw.below(100)).map(|_| draw.next() as u8).collect(),
            _ => {}
        }
        bytes.extend(frame);
    }
    bytes
}
