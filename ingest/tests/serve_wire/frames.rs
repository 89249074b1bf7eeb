//! Frames in pieces: wherever the border of a receive or of a chunk falls, the answer is the same.

use std::thread::sleep;
use std::time::Duration;

use slipring_ingest::io::Counter;
use slipring_ingest::protocol::Mode;
use slipring_test_support::{Draw, within};

use crate::support::client::Client;
use crate::support::service::Service;
use crate::support::{score, segments, vector};

/// Long enough for the service to receive what was sent, so that the pieces arrive one by one. If
/// it is too short, a test shows less and still passes.
const PIECE_PAUSE: Duration = Duration::from_millis(1);

#[test]
fn a_frame_may_break_at_every_byte() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(3, "--max-vectors 8");
        let mut sent = 0;
        for mode in [Mode::Count, Mode::Header] {
            let mut client = Client::new(&service.tcp(), mode, 3);
            let length = client.request(0, &vector(3, 0)).len();
            for border in 0..=length {
                // Three frames in two pieces: the border falls into the second.
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
        assert_eq!(segments::ids(&service.data(), 3), (0..sent).collect::<Vec<_>>());
    });
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(3, "--max-vectors 8");
        for (mode, address) in [
            (Mode::Count, service.tcp()),
            (Mode::Header, service.tcp()),
            (Mode::Header, service.unix()),
        ] {
            let mut slow = Client::new(&address, mode, 3);
            let mut quick = service.count();
            for byte in slow.request(7, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) {
                slow.send_bytes(&[byte]);
                // A client that takes its time takes nobody else's.
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
            for mode in [Mode::Count, Mode::Header] {
                let mut client = Client::new(&service.tcp(), mode, dim);
                let requests: Vec<Vec<f32>> = (0..400)
                    .map(|id| vector(dim as usize, id).repeat(1 + draw.below(24) as usize))
                    .collect();
                let bytes: Vec<u8> =
                    requests.iter().flat_map(|vectors| client.request(3, vectors)).collect();
                let mut writer = client.twin();
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

/// Half a frame and then the end: it is dropped without an answer, whatever came before is
/// answered.
#[test]
fn half_a_frame_at_the_end_is_dropped() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(3, "--max-vectors 8");
        for mode in [Mode::Count, Mode::Header] {
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
        assert_eq!(service.stop().counts[Counter::CutOff], 20);
    });
}

/// Half a frame and then nothing: it waits, and holds no memory of the pool.
#[test]
fn half_frames_that_wait_hold_up_nobody() {
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
