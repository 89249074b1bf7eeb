//! Caps: what a connection and a lane may hold, and what happens beyond.

use std::time::Duration;

use slipring_ingest::io::Counter;
use slipring_ingest::protocol::{Mode, Status};
use slipring_test_support::{wait_until, within};

use crate::support::client::Client;
use crate::support::service::Service;
use crate::support::{score, segments, vector};

/// All of these requests in one write.
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
        // Sent again one by one, each is taken.
        for &id in &busy {
            client.send(id.into(), &vector(4, id));
            assert!(client.answer().is_ok());
        }
        drop(client);
        let totals = service.stop();
        assert_eq!(totals.counts.answers(Status::Busy), busy.len() as u64);
        // Refused ones aren't there, until they were taken.
        assert_eq!(segments::ids(&service.data(), 4), [ok, busy].concat());
    });
}

/// An answer's credits are what may be sent without being refused.
#[test]
fn credits_are_enough() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(4, "--in-flight 8");
        let mut client = service.header();
        let (mut next, mut in_flight, mut credits) = (0u32, 0u32, 8u32);
        for _ in 0..300 {
            // Credits count from the answer on: what is under way since then uses them up.
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
        // A place that becomes free is given again.
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

/// Where no carry buffer is left, the frame that has waited longest makes room: its connection is
/// refused behind all that it is owed, also with a ring that is always full, and never just closed.
#[test]
fn beyond_the_carry_cap_the_oldest_is_refused_last() {
    within(Duration::from_secs(120), || {
        for mode in [Mode::Count, Mode::Header] {
            // One buffer for all.
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
                    let (mut answers, mut told) = (0, false);
                    while let Some(answer) = client.answer_or_end() {
                        assert!(!told, "{mode:?}: an answer behind the last one");
                        told = answer.scores.is_empty();
                        assert!(
                            told || answer.scores == [score(4, answers)],
                            "{mode:?}: {answer:?}"
                        );
                        answers += u32::from(!told);
                    }
                    assert!(
                        told || answers == 5,
                        "{mode:?}: closed after {answers} answers without a word"
                    );
                    refused += u64::from(told);
                }
            }
            let totals = service.stop();
            assert!(totals.counts[Counter::OverCarryCap] > 100, "{totals}");
            assert!(refused >= 100, "{refused} were told, {totals}");
        }
    });
}

/// Clients that never finish their frames can't take the carry buffers from those that do.
#[test]
fn unfinished_frames_give_way_to_clients_that_go_on() {
    within(Duration::from_secs(60), || {
        let mut service =
            Service::start(4, "--carry-bytes 70000 --slots 4 --pool 8KiB --max-vectors 8");
        let mut idle: Vec<Client> = (0..10).map(|_| service.header()).collect();
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
