//! One answer a request, in the order of the requests, whatever becomes of each; and the end of the
//! stream.

use std::time::Duration;

use slipring_ingest::io::Counter;
use slipring_ingest::protocol::{Mode, Status};
use slipring_test_support::{Draw, within};

use crate::support::client::{Address, Client};
use crate::support::service::Service;
use crate::support::{score, segments, vector};

/// What a request is to be answered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Taken(u32),
    Refused(Status),
}

/// `count` random requests, some of which are refused for the one or the other reason, and what
/// becomes of them.
fn mixed(client: &Client, draw: &mut Draw, count: u32) -> (Vec<u8>, Vec<Fate>) {
    let dim = client.dim as usize;
    let (mut bytes, mut fates) = (Vec::new(), Vec::new());
    for id in 0..count {
        let mut vectors = vector(dim, id).repeat(1 + draw.below(4) as usize);
        let fate = match draw.below(8) {
            0 => {
                vectors.clear();
                Fate::Refused(Status::ZeroVectors)
            }
            1 => {
                let at = draw.below(vectors.len() as u64) as usize;
                vectors[at] = f32::NAN;
                Fate::Refused(Status::NotFinite)
            }
            2 if client.mode == Mode::Header => Fate::Refused(Status::WrongDimension),
            _ => Fate::Taken((vectors.len() / dim) as u32),
        };
        let mut request = client.request(id.into(), &vectors);
        if fate == Fate::Refused(Status::WrongDimension) {
            // Half the dimension, twice the vectors: the same payload.
            request[4..6].copy_from_slice(&(2 * (vectors.len() / dim) as u16).to_le_bytes());
            request[6..8].copy_from_slice(&(dim as u16 / 2).to_le_bytes());
        }
        bytes.extend(request);
        fates.push(fate);
    }
    (bytes, fates)
}

/// Writes while it reads, checks every answer, half-closes and reads to the end. Returns the ids of
/// the vectors that were taken.
fn converse(address: &Address, mode: Mode, dim: u32, seed: u64, count: u32) -> Vec<u32> {
    let mut client = Client::new(address, mode, dim);
    let mut draw = Draw::new(seed);
    let (bytes, fates) = mixed(&client, &mut draw, count);
    let mut writer = client.twin();
    let sender = std::thread::spawn(move || {
        for piece in bytes.chunks(1 + draw.below(3000) as usize) {
            writer.send_bytes(piece);
        }
        writer.end_sending();
    });
    let mut taken = Vec::new();
    for (id, fate) in (0u32..).zip(&fates) {
        let answer = client.answer();
        if mode == Mode::Header {
            assert_eq!(answer.sequence, u64::from(id), "seed {seed}");
        }
        match *fate {
            Fate::Taken(vectors) => {
                assert_eq!(
                    answer.scores,
                    vec![score(dim as usize, id); vectors as usize],
                    "request {id}, seed {seed}"
                );
                taken.extend(vec![id; vectors as usize]);
            }
            Fate::Refused(status) => {
                let expected = (mode == Mode::Header).then_some(status);
                assert_eq!(
                    (answer.status, answer.scores.len()),
                    (expected, 0),
                    "request {id}, seed {seed}"
                );
            }
        }
    }
    client.expect_end();
    sender.join().unwrap();
    taken
}

/// Refusals take their place among the answers, with the stages inline and on threads, and leave
/// nothing in a segment.
#[test]
fn answers_keep_the_order_of_requests() {
    within(Duration::from_secs(120), || {
        for words in [
            "",
            "--stages threads",
            "--slots 2 --pool 16KiB",
            "--stages threads --slots 4 --wait backoff --in-flight 4",
        ] {
            let mut service = Service::start(4, &format!("--max-vectors 16 {words}"));
            let modes = if words.contains("in-flight") {
                vec![Mode::Count]
            } else {
                vec![Mode::Count, Mode::Header]
            };
            let mut taken = Vec::new();
            for mode in modes {
                for (seed, address) in [(1, service.tcp()), (2, service.unix())] {
                    taken.extend(converse(&address, mode, 4, seed, 200));
                }
            }
            let totals = service.stop();
            assert!(totals.counts.refused() > 20, "{totals}");
            assert_eq!(
                segments::ids(&service.data(), 4),
                taken,
                "{words}: exactly what was taken, in order"
            );
        }
    });
}

/// Several at once: each sees its own order, and together they fill the segments with exactly what
/// was taken.
#[test]
fn clients_side_by_side_keep_their_order() {
    within(Duration::from_secs(120), || {
        let mut service = Service::start(4, "--max-vectors 16 --slots 8 --pool 16KiB --lanes 2");
        let threads: Vec<_> = (0..8u64)
            .map(|number| {
                let address = if number % 2 == 0 { service.tcp() } else { service.unix() };
                let mode = if number < 4 { Mode::Count } else { Mode::Header };
                std::thread::spawn(move || converse(&address, mode, 4, number, 300))
            })
            .collect();
        let mut taken: Vec<u32> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        service.stop();
        let mut stored: Vec<u32> = segments::rows(&service.data(), 4)
            .values()
            .flatten()
            .map(|row| row[0] as u32)
            .collect();
        taken.sort_unstable();
        stored.sort_unstable();
        assert_eq!(stored, taken);
    });
}

/// A connection belongs to one lane, and its vectors lie there in the order in which they were
/// sent.
#[test]
fn each_lane_holds_its_connections_in_order() {
    within(Duration::from_secs(60), || {
        let mut service =
            Service::start(4, "--lanes 2 --slots 8 --pool 16KiB --segment-bytes 3000");
        let clients: Vec<_> = (0..10u32)
            .map(|number| {
                let mut client =
                    Client::count(&if number % 2 == 0 { service.tcp() } else { service.unix() }, 4);
                std::thread::spawn(move || {
                    for id in 0..300u32 {
                        client.send(0, &[id as f32, number as f32, 0.5, 0.25]);
                        assert_eq!(client.answer().scores, [(id + number) as f32 + 0.75]);
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        service.stop();
        let lanes = segments::rows(&service.data(), 4);
        assert_eq!(lanes.values().map(Vec::len).sum::<usize>(), 3000);
        for number in 0..10 {
            let of = |rows: &Vec<Vec<f32>>| -> Vec<u32> {
                rows.iter().filter(|row| row[1] == number as f32).map(|row| row[0] as u32).collect()
            };
            let found: Vec<Vec<u32>> =
                lanes.values().map(of).filter(|ids| !ids.is_empty()).collect();
            assert_eq!(found, [(0..300).collect::<Vec<_>>()], "connection {number}");
        }
    });
}

/// Everything in one write, the end right behind it: all of it is answered, then the stream ends.
#[test]
fn half_close_loses_no_answer() {
    within(Duration::from_secs(120), || {
        for words in ["", "--stages threads", "--slots 2 --pool 8KiB --in-flight 2", "--wait spin"]
        {
            let mut service = Service::start(4, &format!("--max-vectors 8 {words}"));
            for round in 0..30 {
                for mode in [Mode::Count, Mode::Header] {
                    let address = if round % 2 == 0 { service.tcp() } else { service.unix() };
                    let mut client = Client::new(&address, mode, 4);
                    let bytes: Vec<u8> =
                        (0..100).flat_map(|id| client.request(id.into(), &vector(4, id))).collect();
                    client.send_bytes(&bytes);
                    client.end_sending();
                    let mut answers = 0;
                    while let Some(answer) = client.answer_or_end() {
                        assert!(
                            answer.is_ok() || answer.status == Some(Status::Busy),
                            "{answer:?}"
                        );
                        answers += 1;
                    }
                    assert_eq!(answers, 100, "{words}, {mode:?}");
                }
            }
            let totals = service.stop();
            assert_eq!(totals.counts[Counter::Ended], 60, "{totals}");
        }
    });
}
