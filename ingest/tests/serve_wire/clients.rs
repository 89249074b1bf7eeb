//! Clients that behave badly: deaf ones, slow ones, ones that die with requests in flight.

use std::time::Duration;

use slipring_ingest::io::Counter;
use slipring_ingest::protocol::Mode;
use slipring_test_support::{Draw, wait_until, within};

use crate::support::client::Client;
use crate::support::service::Service;
use crate::support::{score, segments, vector};

/// It stops being read when its output is full; others don't notice; when it reads, everything is
/// there, in order.
#[test]
fn a_client_that_never_reads_is_left_waiting() {
    within(Duration::from_secs(120), || {
        for mode in [Mode::Count, Mode::Header] {
            // Answers as large as requests, so that they fill the way back soon.
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
            // Finish the frame that the service cut in two, and no more.
            let mut writer = deaf.twin();
            let rest = request[sent % request.len()..].to_vec();
            let whole = sent.div_ceil(request.len());
            let writes = std::thread::spawn(move || {
                if rest.len() < request.len() {
                    writer.send_bytes(&rest);
                }
                writer.end_sending();
            });
            let expected: Vec<f32> = (0..1024).map(|i| i as f32).collect();
            for number in 0..whole {
                let answer = deaf.answer();
                // In header mode what came beyond the cap was refused as busy.
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

/// A byte now and then, for long; others are served meanwhile, and in the end so is it.
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

/// Clients die with requests in flight, by an end or a reset, and others take their places at once:
/// nobody ever gets an answer that isn't his, and the service counts the ones that nobody waited
/// for.
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
            // At most one other connection is there: this one takes the place as soon as it is
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

/// Resets in the middle of everything: whoever stays is served, and the segments hold what was
/// answered.
#[test]
fn resets_under_load_hurt_nobody() {
    within(Duration::from_secs(120), || {
        let mut service = Service::start(4, "--slots 8 --pool 16KiB --max-vectors 8");
        let address = service.tcp();
        let killer = std::thread::spawn(move || {
            let mut draw = Draw::new(5);
            for _ in 0..300 {
                let mut client = Client::new(
                    &address,
                    if draw.below(2) == 0 { Mode::Count } else { Mode::Header },
                    4,
                );
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
        assert_eq!(segments::ids(&service.data(), 4).len() as u64, totals.vectors_in_segments);
    });
}

/// A client whose framing is lost and that goes on sending is answered, told the end, and let go.
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
