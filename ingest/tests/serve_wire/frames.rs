//! Frames: the answer doesn't depend on where a receive or a chunk ends. Frames that no server
//! accepts are answered as the protocol says, are counted, and harm no other connection.

use std::thread::sleep;
use std::time::Duration;

use slipring_ingest::io::Counter;
use slipring_ingest::wire::frames::{Detected, Hello, Mode, Status, detect, encode_hello};
use slipring_test_support::{Draw, within};

use crate::MODES;
use crate::support::client::Client;
use crate::support::service::Service;
use crate::support::{data, score, vector};

/// Long enough for the service to receive what was sent, so that the pieces arrive one by one. If
/// it is too short, the test shows less and still passes.
const PIECE_PAUSE: Duration = Duration::from_millis(1);

#[test]
fn a_frame_may_break_at_every_byte() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(3, "--max-vectors 8");
        let mut sent = 0;
        for mode in MODES {
            let mut client = Client::new(&service.tcp(), mode, 3);
            let length = client.request(0, &vector(3, 0)).len();
            for border in 0..=length {
                // Three frames in two pieces: the border is in the second frame.
                let mut bytes = Vec::new();
                for id in sent..sent + 3 {
                    bytes.extend(client.request(id.into(), &vector(3, id)));
                }
                let (first, second) = bytes.split_at(length + border);
                client.send_bytes(first);
                sleep(PIECE_PAUSE);
                client.send_bytes(second);
                for id in sent..sent + 3 {
                    let answer = client.answer();
                    assert_eq!(answer.scores, [score(3, id)], "{mode:?}, border at {border}");
                    assert!(mode == Mode::Count || answer.sequence == u64::from(id));
                }
                sent += 3;
            }
        }
        let totals = service.stop();
        assert!(
            totals.counts[Counter::CopiedBytes] > 0 && totals.counts[Counter::UncopiedBytes] > 0,
            "{totals}"
        );
        assert_eq!(data::ids(&service.data(), 3), (0..sent).collect::<Vec<_>>());
    });
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(3, "--max-vectors 8");
        for (mode, address) in [
            (Mode::Count, service.tcp()),
            (Mode::Header1, service.tcp()),
            (Mode::Header, service.tcp()),
            (Mode::Header, service.unix()),
        ] {
            let mut slow = Client::new(&address, mode, 3);
            let mut quick = service.count();
            for byte in slow.request(7, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) {
                slow.send_bytes(&[byte]);
                // A slow client doesn't delay others.
                quick.send(0, &vector(3, 5));
                assert_eq!(quick.answer().scores, [score(3, 5)]);
            }
            assert_eq!(slow.answer().scores, [6.0, 15.0]);
        }
        service.stop();
    });
}

/// Frames of every size up to the largest, written in random pieces, over chunks that hold two of
/// the largest.
#[test]
fn frames_may_cross_the_ends_of_chunks() {
    within(Duration::from_secs(120), || {
        for (dim, pool) in [(16, "8KiB"), (16, "16KiB"), (150, "128KiB")] {
            let mut service =
                Service::start(dim, &format!("--max-vectors 24 --pool {pool} --slots 8"));
            let mut draw = Draw::new(u64::from(dim));
            for mode in MODES {
                let mut client = Client::new(&service.tcp(), mode, dim);
                let requests: Vec<Vec<f32>> = (0..400)
                    .map(|id| vector(dim as usize, id).repeat(1 + draw.below(24) as usize))
                    .collect();
                let bytes: Vec<u8> =
                    requests.iter().flat_map(|vectors| client.request(3, vectors)).collect();
                let mut writer = client.second_handle();
                let seed = draw.next();
                let sender = std::thread::spawn(move || {
                    let (mut at, mut draw) = (0, Draw::new(seed));
                    while at < bytes.len() {
                        let end = bytes.len().min(at + 1 + draw.below(9000) as usize);
                        writer.send_bytes(&bytes[at..end]);
                        at = end;
                    }
                });
                for (id, vectors) in requests.iter().enumerate() {
                    let expected =
                        vec![score(dim as usize, id as u32); vectors.len() / dim as usize];
                    assert_eq!(
                        client.answer().scores,
                        expected,
                        "request {id}, {mode:?}, pool {pool}"
                    );
                }
                sender.join().unwrap();
            }
            let totals = service.stop();
            assert_eq!(totals.counts[Counter::VectorsAnswered], totals.vectors_in_segments);
            assert!(
                totals.counts[Counter::CopiedBytes] > 0
                    && totals.counts[Counter::UncopiedBytes] > 0,
                "{totals}"
            );
        }
    });
}

/// Half a frame and then the end: the frame is dropped without an answer, and everything before it
/// is answered.
#[test]
fn half_a_frame_at_the_end_is_dropped() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(3, "--max-vectors 8");
        for mode in MODES {
            for address in [service.tcp(), service.unix()] {
                for cut in [1, 3, 4, 5, 15] {
                    let mut client = Client::new(&address, mode, 3);
                    let mut bytes = client.request(1, &vector(3, 1));
                    let half = client.request(2, &vector(3, 2));
                    bytes.extend(&half[..cut.min(half.len() - 1)]);
                    client.send_bytes(&bytes);
                    client.end_sending();
                    assert_eq!(client.answer().scores, [score(3, 1)]);
                    client.expect_end();
                }
            }
        }
        assert_eq!(service.stop().counts[Counter::CutOff], 30);
    });
}

/// Half a frame and then nothing: the frame waits, and holds no memory of the pool.
#[test]
fn half_frames_that_wait_delay_no_other_client() {
    within(Duration::from_secs(60), || {
        let mut service =
            Service::start(16, "--max-vectors 8 --pool 8KiB --slots 4 --carry-bytes 4MiB");
        let mut waiting: Vec<Client> = (0..60).map(|_| service.header()).collect();
        for client in &mut waiting {
            let frame = client.request(1, &vector(16, 1).repeat(8));
            client.send_bytes(&frame[..frame.len() - 1]);
        }
        let mut busy = service.count();
        for id in 0..500 {
            busy.send(0, &vector(16, id).repeat(8));
            assert_eq!(busy.answer().scores, [score(16, id); 8]);
        }
        for client in &mut waiting {
            client.send_bytes(&1.0f32.to_le_bytes()[3..]);
            assert_eq!(client.answer().scores, [score(16, 1); 8]);
        }
        drop((waiting, busy));
        service.stop();
    });
}

const DIM: u32 = 4;

/// A header of version 1 with these fields; `bytes_2_3` are the version and the flags.
fn header(bytes_2_3: [u8; 2], n: u16, dim: u16, sequence: u64) -> Vec<u8> {
    let mut bytes = b"SR".to_vec();
    bytes.extend(bytes_2_3);
    bytes.extend(n.to_le_bytes());
    bytes.extend(dim.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes
}

/// Name, bytes, status and sequence of the answer, and whether the connection continues.
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
        ("another version", header([3, 0], 1, 4, 9), Status::BadVersion, 0, false),
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
            let mut client = service.header1();
            // Good requests before and after it: the order is kept, and the refused one leaves
            // nothing.
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
        assert_eq!(data::ids(&service.data(), 4), (0..good).collect::<Vec<_>>());
    });
}

/// The sum of large components may be infinite although each of them is finite. Such vectors are
/// accepted, and that sum is their score.
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
        // Refused while the connection continues: no vector, NaN, infinity; in one write with good
        // requests.
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

/// To any bytes the service answers by the protocol or closes the connection, and it continues to
/// serve all others.
#[test]
fn random_bytes_harm_no_other_connection() {
    within(Duration::from_secs(120), || {
        let mut service = Service::start(DIM, "--max-vectors 8 --slots 16 --pool 32KiB");
        let mut neighbour = service.header();
        for seed in 0..300u64 {
            let mut draw = Draw::new(seed);
            let mode = MODES[draw.below(3) as usize];
            let address = if draw.below(2) == 0 { service.tcp() } else { service.unix() };
            let mut client = Client::silent(&address, mode, DIM);
            let mut bytes = Vec::new();
            if mode == Mode::Header && draw.below(4) > 0 {
                encode_hello(&Hello { ids: draw.below(8) == 0, ..Hello::new(DIM) }, &mut bytes);
            }
            bytes.extend(random_frames(&client, &mut draw));
            for piece in bytes.chunks(1 + draw.below(200) as usize) {
                if client.try_send_bytes(piece).is_err() {
                    break;
                }
            }
            client.end_sending();
            // `bytes_of_answer` fails if the bytes aren't an answer.
            client.mode = match detect(&bytes) {
                Detected::Mode(mode) => mode,
                Detected::Need | Detected::Unknown => Mode::Count,
            };
            let mut answers = 0;
            if client.mode == Mode::Header && client.hello_answered() {
                answers += 1;
            }
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

/// Good frames, some with a changed byte, some cut short, some with noise after them.
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
