//! Limits of a connection, a lane and a pool, and what happens beyond them.

use std::time::Duration;

use slipring_ingest::io::Counter;
use slipring_ingest::wire::frames::{Mode, Status};
use slipring_test_support::{wait_until, within};

use crate::MODES;
use crate::support::client::Client;
use crate::support::service::{Service, try_start};
use crate::support::{data, folder, score, vector};

/// Sends all of these requests in one write.
fn burst(client: &mut Client, ids: std::ops::Range<u32>) {
    let dim = client.dim as usize;
    let bytes: Vec<u8> = ids.flat_map(|id| client.request(id.into(), &vector(dim, id))).collect();
    client.send_bytes(&bytes);
}

#[test]
fn beyond_the_in_flight_cap_count_mode_waits() {
    within(Duration::from_secs(60), || {
        for cap in [1, 4, 63] {
            let mut service = Service::start(4, &format!("--in-flight {cap}"));
            let mut clients = [service.count(), Client::count(&service.unix(), 4)];
            for client in &mut clients {
                burst(client, 0..1000);
                client.end_sending();
            }
            for client in &mut clients {
                for id in 0..1000 {
                    assert_eq!(client.answer().scores, [score(4, id)], "cap {cap}");
                }
                client.expect_end();
            }
            let totals = service.stop();
            assert_eq!((totals.counts.refused(), totals.vectors_in_segments), (0, 2000));
        }
    });
}

#[test]
fn beyond_the_in_flight_cap_header_mode_is_busy() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(4, "--in-flight 4");
        let mut client = service.header();
        let (mut ok, mut busy) = (Vec::new(), Vec::new());
        for round in 0..20u32 {
            burst(&mut client, round * 100..(round + 1) * 100);
            for id in round * 100..(round + 1) * 100 {
                let answer = client.answer();
                assert_eq!(answer.sequence, u64::from(id), "one answer a request, in order");
                assert!(answer.credits <= 4, "{answer:?}");
                match answer.status {
                    Some(Status::Ok) => ok.push(id),
                    Some(Status::Busy) => busy.push(id),
                    _ => panic!("{answer:?}"),
                }
            }
        }
        assert!(busy.len() > 100 && ok.len() >= 80, "{} busy, {} taken", busy.len(), ok.len());
        // Sent again one by one, each is accepted.
        for &id in &busy {
            client.send(id.into(), &vector(4, id));
            assert!(client.answer().is_ok());
        }
        drop(client);
        let totals = service.stop();
        assert_eq!(totals.counts.answers(Status::Busy), busy.len() as u64);
        // Refused requests are in no segment until they have been accepted.
        assert_eq!(data::ids(&service.data(), 4), [ok, busy].concat());
    });
}

/// The credits of an answer are the number of requests that may be sent without a refusal.
#[test]
fn credits_are_enough() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(4, "--in-flight 8");
        let mut client = service.header();
        let (mut next, mut in_flight, mut credits) = (0u32, 0u32, 8u32);
        for _ in 0..300 {
            // The credits are as of the answer; requests sent since then use them up.
            while credits > 0 {
                client.send(next.into(), &vector(4, next));
                (next, in_flight, credits) = (next + 1, in_flight + 1, credits - 1);
            }
            let mut last = 0;
            while in_flight > 0 {
                let answer = client.answer();
                assert!(answer.is_ok(), "{answer:?}");
                (in_flight, last) = (in_flight - 1, u32::from(answer.credits));
            }
            assert_eq!(last, 8, "with nothing in flight all are free");
            credits = last;
        }
        drop(client);
        service.stop();
    });
}

#[test]
fn beyond_the_connection_cap_a_connection_ends_at_once() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(4, "--max-connections 3");
        let mut clients: Vec<Client> = (0..3).map(|_| service.count()).collect();
        for client in &mut clients {
            client.send(0, &vector(4, 1));
            assert!(client.answer().is_ok());
        }
        for _ in 0..5 {
            assert!(service.count().bytes_to_end(true).is_empty());
        }
        // The place of a closed connection is used again.
        drop(clients.pop());
        wait_until("the free place is given", || {
            let mut client = service.count();
            client.try_send_bytes(&client.request(0, &vector(4, 1))).is_ok()
                && !client.bytes_of_answer().is_empty()
        });
        let totals = service.stop();
        assert!(totals.counts[Counter::OverConnectionCap] >= 5, "{totals}");
    });
}

/// When no carry buffer is left, the frame that has waited longest loses its buffer. Its connection
/// is refused after all answers that it is owed, even with a ring that is always full, and is never
/// just closed.
#[test]
fn beyond_the_carry_cap_the_oldest_is_refused_last() {
    within(Duration::from_secs(120), || {
        for mode in MODES {
            // One carry buffer for all connections.
            let mut service =
                Service::start(4, "--carry-bytes 1 --slots 2 --pool 8KiB --max-vectors 1");
            let mut refused = 0;
            for _ in 0..40 {
                let mut clients: Vec<Client> =
                    (0..8).map(|_| Client::new(&service.tcp(), mode, 4)).collect();
                let half = clients[0].request(9, &vector(4, 9));
                for client in &mut clients {
                    let mut bytes: Vec<u8> =
                        (0..5).flat_map(|id| client.request(id.into(), &vector(4, id))).collect();
                    bytes.extend(&half[..7]);
                    client.send_bytes(&bytes);
                }
                for client in &mut clients {
                    client.end_sending();
                    let (mut answers, mut refused_one) = (0, false);
                    while let Some(answer) = client.answer_or_end() {
                        assert!(!refused_one, "{mode:?}: an answer after the last one");
                        refused_one = answer.scores.is_empty();
                        assert!(
                            refused_one || answer.scores == [score(4, answers)],
                            "{mode:?}: {answer:?}"
                        );
                        answers += u32::from(!refused_one);
                    }
                    assert!(
                        refused_one || answers == 5,
                        "{mode:?}: closed after {answers} answers without a word"
                    );
                    refused += u64::from(refused_one);
                }
            }
            let totals = service.stop();
            assert!(totals.counts[Counter::OverCarryCap] > 100, "{totals}");
            assert!(refused >= 100, "{refused} were refused, {totals}");
        }
    });
}

/// Clients that never complete their frames don't take the carry buffers from those that do.
#[test]
fn unfinished_frames_give_way_to_clients_that_go_on() {
    within(Duration::from_secs(60), || {
        let mut service =
            Service::start(4, "--carry-bytes 70000 --slots 4 --pool 8KiB --max-vectors 8");
        let mut idle: Vec<Client> = (0..10).map(|_| service.header1()).collect();
        for client in &mut idle {
            client.send_bytes(b"SR\x01");
        }
        let mut good = service.count();
        for id in 0..2000 {
            let bytes = good.request(0, &vector(4, id).repeat(8));
            let (first, second) = bytes.split_at(id as usize % bytes.len());
            good.send_bytes(first);
            if id % 50 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
            good.send_bytes(second);
            assert_eq!(good.answer().scores, [score(4, id); 8]);
        }
        drop((idle, good));
        let totals = service.stop();
        assert!(totals.counts[Counter::OverCarryCap] >= 9, "{totals}");
    });
}

/// The smallest pool that `--reclaim overwrite` accepts with these words.
fn least_pool(dim: u32, words: &str) -> u64 {
    let folder = folder();
    let error = try_start(folder.path(), dim, &format!("{words} --pool 8KiB"))
        .expect_err("8 KiB are too little")
        .to_string();
    let figure = error.split("at least ").nth(1).and_then(|after| after.split(' ').next());
    figure.and_then(|figure| figure.parse().ok()).unwrap_or_else(|| panic!("no figure in {error}"))
}

/// Each request arrives alone, so each receive uses a header and the remainder of a cache line
/// besides the payload.
#[test]
fn the_least_pool_on_overwrite_holds_a_ring_of_lone_requests() {
    within(Duration::from_secs(60), || {
        for (dim, mode) in
            [(16, Mode::Header), (16, Mode::Count), (15, Mode::Count), (1, Mode::Header)]
        {
            let words = "--reclaim overwrite --slots 512 --max-vectors 1";
            let mut service =
                Service::start(dim, &format!("{words} --pool {}", least_pool(dim, words)));
            let mut client = Client::new(&service.tcp(), mode, dim);
            for id in 0..2000 {
                client.send(id.into(), &vector(dim as usize, id));
                assert_eq!(
                    client.answer().scores,
                    [score(dim as usize, id)],
                    "{mode:?}, dimension {dim}"
                );
            }
            drop(client);
            service.stop();
            assert_eq!(data::ids(&service.data(), dim as usize), (0..2000).collect::<Vec<_>>());
        }
    });
}
