//! Limits of a connection, a lane and a pool, and what happens beyond them.

use std::time::Duration;

use slipring_ingest::io::Counter;
use slipring_ingest::wire::frames::{Hello, Mode, Status, encode_hello};
use slipring_test_support::{wait_until, within};

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

/// A client may send its hello and as many requests as it knows of in one write: the hello takes
/// none of their places, and not the last refusal's either.
#[test]
fn a_hello_is_no_request_in_flight() {
    within(Duration::from_secs(60), || {
        for cap in [1, 2, 8] {
            let mut service = Service::start(4, &format!("--in-flight {cap} --max-vectors 1"));
            for address in [service.tcp(), service.unix()] {
                let mut client = Client::silent(&address, Mode::Header, 4);
                let mut bytes = Vec::new();
                encode_hello(&Hello::new(4), &mut bytes);
                (0..cap).for_each(|id| bytes.extend(client.request(id.into(), &vector(4, id))));
                client.send_bytes(&bytes);
                let greeted = client.hello_answer().map(|answer| answer.status);
                assert_eq!(greeted, Some(Status::Ok));
                for id in 0..cap {
                    let answer = client.answer();
                    assert_eq!(answer.scores, [score(4, id)], "cap {cap}: {answer:?}");
                }
                // Many more behind a hello: each is answered, and lost framing too.
                let mut client = Client::silent(&address, Mode::Header, 4);
                bytes.extend(std::iter::repeat_n(client.request(7, &vector(4, 7)), 50).flatten());
                bytes.extend([0xff; 24]);
                client.send_bytes(&bytes);
                assert!(client.hello_answered());
                for _ in 0..cap + 50 {
                    let status = client.answer().status;
                    assert!(matches!(status, Some(Status::Ok | Status::Busy)), "{status:?}");
                }
                assert_eq!(client.answer().status, Some(Status::BadMagic));
                client.expect_end();
            }
            service.stop();
        }
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

/// With one carry buffer for all, connections with deep windows that break their frames anywhere
/// are read one after the other. Everything is answered, and nobody is closed.
#[test]
fn beyond_the_carry_cap_connections_wait() {
    within(Duration::from_secs(120), || {
        for (mode, words) in [
            (Mode::Count, "--slots 2 --pool 8KiB --max-vectors 1"),
            (Mode::Count, "--in-flight 3"),
            (Mode::Header1, "--in-flight 65536 --max-vectors 1"),
            (Mode::Header, "--in-flight 65536 --max-vectors 1"),
        ] {
            let mut service = Service::start(4, &format!("--carry-bytes 1 {words}"));
            let threads: Vec<_> = (0..32)
                .map(|number: usize| {
                    let mut client = Client::new(&service.tcp(), mode, 4);
                    let mut writer = client.second_handle();
                    let bytes: Vec<u8> =
                        (0..500).flat_map(|id| client.request(id, &vector(4, id as u32))).collect();
                    let writes = std::thread::spawn(move || {
                        for piece in bytes.chunks(number * 7 + 900) {
                            writer.send_bytes(piece);
                            std::thread::yield_now();
                        }
                    });
                    std::thread::spawn(move || {
                        for id in 0..500 {
                            assert_eq!(client.answer().scores, [score(4, id)], "{mode:?}");
                        }
                        writes.join().unwrap();
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            let totals = service.stop();
            let counts = &totals.counts;
            assert_eq!(
                (counts[Counter::OverCarryCap], counts[Counter::Broken], counts.refused()),
                (0, 0, 0),
                "{totals}"
            );
            assert_eq!(totals.vectors_in_segments, 32 * 500);
        }
    });
}

/// Frames that are larger than what a socket holds need a carry buffer. One after the other gets
/// the only one.
#[test]
fn frames_larger_than_a_socket_take_turns() {
    within(Duration::from_secs(120), || {
        let mut service = Service::start(64, "--carry-bytes 1 --max-vectors 8192 --pool 16MiB");
        let (tcp, unix) = (service.tcp(), service.unix());
        let threads = (0..8u32).map(|id| {
            let address = if id % 2 == 0 { tcp.clone() } else { unix.clone() };
            std::thread::spawn(move || {
                let mut client = Client::count(&address, 64);
                for _ in 0..3 {
                    client.send(0, &vector(64, id).repeat(8192));
                    assert_eq!(client.answer().scores, [score(64, id); 8192]);
                }
            })
        });
        threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
        let totals = service.stop();
        assert_eq!(totals.counts[Counter::OverCarryCap], 0, "{totals}");
        assert_eq!(totals.vectors_in_segments, 8 * 3 * 8192);
    });
}

/// Half frames that are never completed hold all carry buffers. A client that pipelines whole
/// frames is served without one, and one whose frames come in pieces too. Only half frames are
/// refused, as busy, and only if something waits for their buffers.
#[test]
fn half_frames_dont_hurt_clients_that_go_on() {
    within(Duration::from_secs(60), || {
        let mut service =
            Service::start(4, "--carry-bytes 70000 --slots 4 --pool 8KiB --max-vectors 8");
        let mut halves: Vec<Client> = (0..10).map(|_| service.header1()).collect();
        for client in &mut halves {
            // Four bytes choose the mode; the header isn't complete.
            client.send_bytes(b"SR\x01\0\x01");
        }
        wait_until("half frames wait", || {
            let watch = service.server().watches().next().map(|watch| watch.counters.counts());
            watch.is_some_and(|counts| counts[Counter::CarryWaits] > 0)
        });
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
        // After a second without a byte they give way to others, the oldest first.
        assert_eq!(halves[0].answer().status, Some(Status::Busy));
        drop((halves, good));
        let totals = service.stop();
        assert!(totals.counts[Counter::OverCarryCap] >= 1, "{totals}");
    });
}

/// With memory for one connection's answers, connections take turns, however deep their windows
/// are. Everything is answered, and nobody is closed.
#[test]
fn beyond_the_output_cap_connections_take_turns() {
    within(Duration::from_secs(120), || {
        for (mode, words) in [
            (Mode::Count, "--output-bytes 1 --in-flight 8"),
            (Mode::Header, "--output-bytes 1 --in-flight 300 --carry-bytes 1"),
            (Mode::Count, "--output-bytes 1 --max-vectors 1 --slots 2 --pool 8KiB"),
        ] {
            let mut service = Service::start(4, words);
            let threads: Vec<_> = (0..16)
                .map(|number| {
                    let address = if number % 2 == 0 { service.tcp() } else { service.unix() };
                    let mut client = Client::new(&address, mode, 4);
                    std::thread::spawn(move || {
                        for round in 0..5u32 {
                            burst(&mut client, round * 50..round * 50 + 50);
                            for id in round * 50..round * 50 + 50 {
                                assert_eq!(client.answer().scores, [score(4, id)], "{mode:?}");
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            let totals = service.stop();
            let counts = &totals.counts;
            assert!(counts[Counter::OutputWaits] > 0, "{totals}");
            assert_eq!((counts[Counter::Broken], counts.refused()), (0, 0), "{totals}");
            assert_eq!(totals.vectors_in_segments, 16 * 250);
        }
    });
}

/// A client that reads nothing keeps the memory of answers from others until it is closed.
#[test]
fn a_client_that_never_reads_holds_the_others_up_for_a_while() {
    within(Duration::from_secs(60), || {
        let words = "--output-bytes 1 --unread-timeout 2s --idle-timeout 1s --header-timeout 1s";
        let mut service = Service::start(4, words);
        let mut deaf = Client::count(&service.unix(), 4);
        let request = deaf.request(0, &vector(4, 1).repeat(64));
        deaf.send_until_stopped(&request);
        let mut others: Vec<Client> = (0..4).map(|_| service.count()).collect();
        others.iter_mut().for_each(|client| client.send(0, &vector(4, 1)));
        for client in &mut others {
            assert_eq!(
                client.answer().scores,
                [score(4, 1)],
                "it waits longer than its own limits"
            );
        }
        drop((others, deaf));
        let totals = service.stop();
        assert_eq!(totals.counts[Counter::UnreadTimeouts], 1, "{totals}");
    });
}

/// Connections wait for the memory of answers. A half frame holds none of it, so it isn't to blame,
/// however long it lacks its bytes: carry buffers are left for everybody.
#[test]
fn a_half_frame_stays_while_others_wait_for_output() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(4, "--output-bytes 1 --in-flight 4");
        let mut halves = [service.header(), service.header()];
        let frame = halves[0].request(7, &vector(4, 7));
        halves.iter_mut().for_each(|half| half.send_bytes(&frame[..30]));
        let mut other = service.count();
        other.send(0, &vector(4, 1));
        assert_eq!(other.answer().scores, [score(4, 1)], "the half frames keep it from nothing");
        let mut deaf = Client::count(&service.unix(), 4);
        let request = deaf.request(0, &vector(4, 1).repeat(64));
        deaf.send_until_stopped(&request);
        other.send(0, &vector(4, 2));
        let watch = service.server().watches().next().expect("a lane");
        wait_until("others wait", || watch.counters.counts()[Counter::OutputWaits] > 0);
        std::thread::sleep(Duration::from_millis(2500));
        // One goes on now, and waits for its answer's memory like the others.
        halves[0].send_bytes(&frame[30..]);
        std::thread::sleep(Duration::from_millis(100));
        drop(deaf);
        assert_eq!(other.answer().scores, [score(4, 2)]);
        halves[1].send_bytes(&frame[30..]);
        for half in &mut halves {
            assert_eq!(half.answer().scores, [score(4, 7)]);
        }
        drop((halves, other, watch));
        let totals = service.stop();
        assert_eq!(totals.counts[Counter::OverCarryCap], 0, "{totals}");
    });
}

/// The smallest pool that `--reclaim overwrite` accepts with these words.
fn least_pool(dim: u32, words: &str) -> String {
    let folder = folder();
    let error = try_start(folder.path(), dim, &format!("{words} --pool 8KiB"))
        .expect_err("8 KiB are too little")
        .to_string();
    let after = error.split("at least ").nth(1).unwrap_or_else(|| panic!("no figure in {error}"));
    let words: Vec<&str> = after.split(' ').take(2).collect();
    words.concat().replace("bytes", "")
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
