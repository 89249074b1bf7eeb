//! One answer per request, in the order of the requests; the end of a connection; and clients that
//! misbehave: some never read, some are slow, some disconnect with requests in flight.

use std::time::Duration;

use slipring_ingest::io::Counter;
use slipring_ingest::wire::frames::{Mode, Status};
use slipring_test_support::{Draw, wait_until, within};

use crate::MODES;
use crate::support::client::{Address, Client};
use crate::support::service::Service;
use crate::support::{data, score, vector};

/// The answer that a request must get.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    Accepted(u32),
    Refused(Status),
}

/// `count` random requests, some of which are refused for various reasons, and the answers that
/// they must get.
pub fn mixed(client: &Client, draw: &mut Draw, count: u32) -> (Vec<u8>, Vec<Fate>) {
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
            2 if client.mode != Mode::Count => Fate::Refused(Status::WrongDimension),
            _ => Fate::Accepted((vectors.len() / dim) as u32),
        };
        let mut request = client.request(id.into(), &vectors);
        if fate == Fate::Refused(Status::WrongDimension) {
            // Half the dimension, twice the vectors: the same payload.
            let (n_at, dim_at) = if client.mode == Mode::Header { (6, 8) } else { (4, 6) };
            request[n_at..n_at + 2]
                .copy_from_slice(&(2 * (vectors.len() / dim) as u16).to_le_bytes());
            request[dim_at..dim_at + 2].copy_from_slice(&(dim as u16 / 2).to_le_bytes());
        }
        bytes.extend(request);
        fates.push(fate);
    }
    (bytes, fates)
}

/// Writes while it reads, checks every answer, half-closes and reads to the end. Returns the ids of
/// the accepted vectors.
fn converse(address: &Address, mode: Mode, dim: u32, seed: u64, count: u32) -> Vec<u32> {
    let mut client = Client::new(address, mode, dim);
    let mut draw = Draw::new(seed);
    let (bytes, fates) = mixed(&client, &mut draw, count);
    let mut writer = client.second_handle();
    let sender = std::thread::spawn(move || {
        for piece in bytes.chunks(1 + draw.below(3000) as usize) {
            writer.send_bytes(piece);
        }
        writer.end_sending();
    });
    let mut accepted = Vec::new();
    for (id, fate) in (0u32..).zip(&fates) {
        let answer = client.answer();
        if mode != Mode::Count {
            assert_eq!(answer.sequence, u64::from(id), "seed {seed}");
        }
        match *fate {
            Fate::Accepted(vectors) => {
                assert_eq!(
                    answer.scores,
                    vec![score(dim as usize, id); vectors as usize],
                    "request {id}, seed {seed}"
                );
                accepted.extend(vec![id; vectors as usize]);
            }
            Fate::Refused(status) => {
                let expected = (mode != Mode::Count).then_some(status);
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
    accepted
}

/// Refusals keep their place among the answers, with the stages inline and on threads, and leave
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
            let modes =
                if words.contains("in-flight") { vec![Mode::Count] } else { MODES.to_vec() };
            let mut accepted = Vec::new();
            for mode in modes {
                for (seed, address) in [(1, service.tcp()), (2, service.unix())] {
                    accepted.extend(converse(&address, mode, 4, seed, 200));
                }
            }
            let totals = service.stop();
            assert!(totals.counts.refused() > 20, "{totals}");
            assert_eq!(
                data::ids(&service.data(), 4),
                accepted,
                "{words}: exactly what was accepted, in order"
            );
        }
    });
}

/// Several clients side by side: each sees its own order, and the segments hold exactly the
/// accepted vectors of all.
#[test]
fn clients_side_by_side_keep_their_order() {
    within(Duration::from_secs(120), || {
        let mut service = Service::start(4, "--max-vectors 16 --slots 8 --pool 16KiB --lanes 2");
        let threads: Vec<_> = (0..8u64)
            .map(|number| {
                let address = if number % 2 == 0 { service.tcp() } else { service.unix() };
                let mode = MODES[number as usize % 3];
                std::thread::spawn(move || converse(&address, mode, 4, number, 300))
            })
            .collect();
        let mut accepted: Vec<u32> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        service.stop();
        let mut stored: Vec<u32> =
            data::rows(&service.data(), 4).values().flatten().map(|row| row[0] as u32).collect();
        accepted.sort_unstable();
        stored.sort_unstable();
        assert_eq!(stored, accepted);
    });
}

/// A connection belongs to one lane, and its vectors are there in the order in which they were
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
        let lanes = data::rows(&service.data(), 4);
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

/// All requests in one write, directly followed by the half-close: all are answered, then the
/// service closes the connection.
#[test]
fn half_close_loses_no_answer() {
    within(Duration::from_secs(120), || {
        for words in ["", "--stages threads", "--slots 2 --pool 8KiB --in-flight 2", "--wait spin"]
        {
            let mut service = Service::start(4, &format!("--max-vectors 8 {words}"));
            for round in 0..30 {
                for mode in MODES {
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
            assert_eq!(totals.counts[Counter::Ended], 90, "{totals}");
        }
    });
}

/// A frame of 4 KiB, as its answer. 200 of these are more than a client's socket takes.
fn large(client: &Client) -> Vec<u8> {
    client.request(0, &(0..1024).map(|i| i as f32).collect::<Vec<_>>())
}

/// Reads 200 answers to [`large`] frames.
fn read_large(client: &mut Client) {
    for number in 0..200 {
        let answer = client.answer();
        assert!(answer.is_ok() && answer.scores.len() == 1024, "answer {number}: {answer:?}");
    }
}

/// Streams end while half frames of others hold every carry buffer. Closing a socket with unread
/// bytes would reset it: a frame that the end cuts off is read to its end, and a complete one that
/// comes in pieces is answered.
#[test]
fn an_end_without_a_carry_buffer_loses_no_answer() {
    within(Duration::from_secs(60), || {
        let words = "--carry-bytes 1 --max-vectors 1024 --pool 4MiB";
        let mut service = Service::start(1, words);
        let watch = service.server().watches().next().expect("a lane");
        let count = |counter| watch.counters.counts()[counter];
        // One after the other gives way, after a second.
        let mut halves: Vec<Client> = (0..40).map(|_| service.header1()).collect();
        halves.iter_mut().for_each(|half| half.send_bytes(b"SR\x01\0\x01"));
        wait_until("half frames wait", || count(Counter::CarryWaits) > 0);
        for (address, cut_off) in [(service.tcp(), 1), (service.unix(), 2)] {
            let mut client = Client::count(&address, 1);
            let (frame, mut writer) = (large(&client), client.second_handle());
            let writes = std::thread::spawn(move || {
                for _ in 0..200 {
                    writer.send_bytes(&frame);
                    // One after the other: no half frame waits for a carry buffer.
                    std::thread::sleep(Duration::from_millis(2));
                }
                writer.send_bytes(&frame[..6]);
                writer.end_sending();
            });
            if cut_off == 1 {
                // Its answers are all with the system: only the end is left to be done.
                writes.join().unwrap();
                wait_until("the end", || count(Counter::CutOff) == cut_off);
                std::thread::sleep(Duration::from_millis(100));
            }
            read_large(&mut client);
            client.expect_end();
            assert_eq!(count(Counter::CutOff), cut_off);
        }
        let mut pieces = service.count();
        let frame = pieces.request(0, &[1.0; 64]);
        pieces.send_bytes(&frame[..70]);
        pieces.send_urgent(b'!');
        pieces.send_bytes(&frame[70..]);
        pieces.end_sending();
        assert_eq!(pieces.answer().scores, [1.0; 64]);
        pieces.expect_end();
        assert!(halves.iter_mut().any(|half| half.take_answers().is_empty()), "none held a buffer");
        // Before the half frames end, which are cut off too if that is seen before the stop.
        assert_eq!(count(Counter::CutOff), 2);
        drop((halves, watch));
        service.stop();
    });
}

/// A client whose framing is lost sends on for a while, and reads its answers after that: all of
/// them are there.
#[test]
fn answers_are_there_while_their_client_sends_on() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(1, "--max-vectors 1024 --pool 4MiB");
        for address in [service.tcp(), service.unix()] {
            let mut client = Client::count(&address, 1);
            client.send_bytes(&large(&client).repeat(200));
            for _ in 0..25 {
                client.send_bytes(&[0xff; 64]);
                std::thread::sleep(Duration::from_millis(100));
            }
            read_large(&mut client);
            let last = client.answer();
            assert!(last.scores.is_empty(), "framing is lost: {last:?}");
            client.expect_end();
        }
        service.stop();
    });
}

/// The service stops reading from the client when the client's output is full. Others don't notice.
/// When the client reads, all its answers are there, in order.
#[test]
fn a_client_that_never_reads_is_left_waiting() {
    within(Duration::from_secs(120), || {
        for mode in MODES {
            // Answers as large as the requests, so that they soon fill the buffers on their way
            // back.
            let mut service =
                Service::start(1, "--max-vectors 1024 --in-flight 16 --pool 256KiB --slots 64");
            let mut deaf = Client::new(&service.unix(), mode, 1);
            let request = deaf.request(5, &(0..1024).map(|i| i as f32).collect::<Vec<_>>());
            let sent = deaf.send_until_stopped(&request);
            let mut other = service.count();
            for id in 0..200 {
                other.send(0, &[id as f32]);
                assert_eq!(other.answer().scores, [id as f32]);
            }
            // Complete the frame that the service has read in part, and send no more.
            let mut writer = deaf.second_handle();
            let remainder = request[sent % request.len()..].to_vec();
            let whole = sent.div_ceil(request.len());
            let writes = std::thread::spawn(move || {
                if remainder.len() < request.len() {
                    writer.send_bytes(&remainder);
                }
                writer.end_sending();
            });
            let expected: Vec<f32> = (0..1024).map(|i| i as f32).collect();
            for number in 0..whole {
                let answer = deaf.answer();
                // In header mode requests beyond the limit were refused as busy.
                if mode == Mode::Count || answer.is_ok() {
                    assert!(answer.scores == expected, "answer {number} of {whole}, {mode:?}");
                }
            }
            deaf.expect_end();
            writes.join().unwrap();
            drop(other);
            let totals = service.stop();
            assert_eq!(totals.counts[Counter::VectorsAnswered], totals.vectors_in_segments);
        }
    });
}

/// A client sends a byte now and then. Others are served meanwhile, and in the end so is this
/// client.
#[test]
fn a_client_that_sends_a_byte_now_and_then_is_served() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(4, "--wait backoff");
        let mut slow: Vec<Client> =
            vec![service.count(), service.header(), Client::header(&service.unix(), 4)];
        let requests: Vec<Vec<u8>> =
            slow.iter().map(|client| client.request(3, &vector(4, 3))).collect();
        let mut quick = service.header();
        for at in 0..requests[1].len() {
            for (client, request) in slow.iter_mut().zip(&requests) {
                client.send_bytes(&request[at.min(request.len())..(at + 1).min(request.len())]);
            }
            std::thread::sleep(Duration::from_millis(20));
            quick.send(at as u64, &vector(4, 1));
            assert!(quick.answer().is_ok());
        }
        for client in &mut slow {
            assert_eq!(client.answer().scores, [score(4, 3)]);
        }
        drop((slow, quick));
        service.stop();
    });
}

/// Clients disconnect with requests in flight, with an end or a reset, and others take their places
/// immediately. No client ever gets the answer to another, and the service counts the answers that
/// no client waits for.
#[test]
fn an_answer_never_goes_to_a_successor() {
    within(Duration::from_secs(120), || {
        let mut service =
            Service::start(4, "--max-connections 2 --slots 64 --stages threads --lanes 1");
        let mut draw = Draw::new(11);
        for life in 0..400u32 {
            let mut dying = service.header();
            let bytes: Vec<u8> =
                (0..30).flat_map(|id| dying.request(7_000 + id, &vector(4, 9_999))).collect();
            if dying.try_send_bytes(&bytes[..draw.below(bytes.len() as u64) as usize]).is_ok()
                && draw.below(2) == 0
            {
                dying.reset();
            } else {
                drop(dying);
            }
            // At most one other connection exists: this one takes its place as soon as that is
            // free.
            let mut heir = service.header();
            if heir.try_send_bytes(&heir.request(life.into(), &vector(4, life))).is_err() {
                continue;
            }
            if let Some((sequence, scores)) = heir.next_if_served() {
                assert_eq!(
                    (sequence, scores),
                    (u64::from(life), vec![score(4, life)]),
                    "an answer of the one before"
                );
            }
        }
        let totals = service.stop();
        assert!(
            totals.counts[Counter::Orphans] > 0,
            "no client died with requests in flight: {totals}"
        );
        assert_eq!(totals.counts[Counter::VectorsAnswered], totals.vectors_in_segments);
    });
}

/// Clients reset their connections at any moment. The others are served, and the segments hold
/// everything that was answered.
#[test]
fn resets_under_load_harm_no_other_client() {
    within(Duration::from_secs(120), || {
        let mut service = Service::start(4, "--slots 8 --pool 16KiB --max-vectors 8");
        let address = service.tcp();
        let killer = std::thread::spawn(move || {
            let mut draw = Draw::new(5);
            for _ in 0..300 {
                let mut client = Client::new(&address, MODES[draw.below(3) as usize], 4);
                let bytes: Vec<u8> =
                    (0..50).flat_map(|id| client.request(id, &vector(4, 1))).collect();
                let _reset =
                    client.try_send_bytes(&bytes[..draw.below(bytes.len() as u64) as usize]);
                client.reset();
            }
        });
        let mut steady = service.header();
        let mut id = 0;
        while !killer.is_finished() {
            steady.send(id, &vector(4, 2));
            let answer = steady.answer();
            assert!(answer.is_ok() && answer.sequence == id, "{answer:?}");
            id += 1;
        }
        killer.join().unwrap();
        drop(steady);
        let totals = service.stop();
        assert_eq!(totals.counts[Counter::VectorsAnswered], totals.vectors_in_segments);
        assert!(totals.counts[Counter::Broken] > 0, "{totals}");
        assert_eq!(data::ids(&service.data(), 4).len() as u64, totals.vectors_in_segments);
    });
}

/// A client whose framing is lost and that continues to send is answered, sees the end, and is
/// dropped.
#[test]
fn a_client_that_never_stops_is_let_go() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(4, "");
        let mut client = service.count();
        client.send_bytes(&[0xff; 64]);
        wait_until("the service closes", || client.try_send_bytes(&[0xff; 1 << 16]).is_err());
        service.stop();
    });
}
