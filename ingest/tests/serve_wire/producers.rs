//! Producers: a repeated request is answered as before and stored once; what nobody knows is
//! refused. All of a producer's connections meet in one lane, also over restarts.

use std::time::Duration;

use slipring_ingest::server::Server;
use slipring_ingest::wire::frames::{AckLevel, Hello, Mode, Status, encode_hello};
use slipring_test_support::{wait_until, within};

use crate::support::client::{Address, Answer, Client};
use crate::support::service::{Service, try_start};
use crate::support::{data, folder, score, vector};

const DIM: u32 = 4;
/// Requests of a producer that a lane remembers.
const WINDOW: u64 = 512;

fn hello(producer: u64) -> Hello {
    Hello { producer, ..Hello::new(DIM) }
}

/// A connection of a producer.
fn connect(address: &Address, producer: u64) -> Client {
    let mut client = Client::silent(address, Mode::Header, DIM);
    let answer = client.greet(&hello(producer)).expect("an answer");
    assert_eq!(answer.status, Status::Ok);
    client
}

/// Sends a request whose vector has the sequence as its id.
fn ask(client: &mut Client, sequence: u64) -> Answer {
    client.send(sequence, &vector(4, sequence as u32));
    client.answer()
}

fn place(answer: &Answer) -> (Option<Status>, u16, u64) {
    let place = answer.place.expect("header mode");
    (answer.status, place.lane, place.first_row)
}

#[test]
fn a_repeat_is_answered_as_before_and_stored_once() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(DIM, "");
        let mut client = connect(&service.tcp(), 7);
        // Any step upwards, and another connection's rows between.
        let first: Vec<Answer> = [1, 2, 5].map(|sequence| ask(&mut client, sequence)).to_vec();
        assert!(ask(&mut service.header(), 9).is_ok());
        let mut other = connect(&service.unix(), 7);
        for (sequence, before) in [1, 2, 5].into_iter().zip(&first) {
            // On the same connection, and on a second one at the same time.
            for client in [&mut client, &mut other] {
                let again = ask(client, sequence);
                assert_eq!(place(&again), place(before));
                assert_eq!(again.scores, [score(4, sequence as u32)]);
            }
        }
        // What was never accepted is accepted in any order above the window's end, once.
        let three = ask(&mut other, 3);
        assert_eq!(place(&three), (Some(Status::Ok), 0, 4));
        assert_eq!(place(&ask(&mut client, 3)), place(&three));
        drop((client, other));
        let totals = service.stop();
        assert_eq!((totals.vectors_in_segments, totals.vectors_missing()), (5, 0));
        assert_eq!(data::ids(&service.data(), 4), [1, 2, 5, 9, 3]);
        assert!(totals.to_string().contains(" repeats=7 "), "{totals}");
    });
}

#[test]
fn what_was_refused_may_come_again() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(DIM, "--in-flight 1");
        let mut client = connect(&service.tcp(), 7);
        client.send(1, &[f32::NAN; 4]);
        assert_eq!(client.answer().status, Some(Status::NotFinite));
        assert!(ask(&mut client, 2).is_ok(), "its first one begins a producer, refused or not");
        assert!(ask(&mut client, 1).is_ok());
        // More at once than may be in flight: some are busy.
        let burst: Vec<u8> = (3..40)
            .flat_map(|sequence| client.request(sequence, &vector(4, sequence as u32)))
            .collect();
        client.send_bytes(&burst);
        let answers: Vec<Answer> = (3..40).map(|_| client.answer()).collect();
        let busy: Vec<u64> =
            answers.iter().filter(|answer| !answer.is_ok()).map(|answer| answer.sequence).collect();
        for sequence in busy.iter().copied() {
            assert!(ask(&mut client, sequence).is_ok(), "{sequence}");
        }
        for sequence in 1..40 {
            assert!(ask(&mut client, sequence).is_ok(), "{sequence}");
        }
        drop(client);
        assert_eq!(service.stop().vectors_in_segments, 39);
        let mut ids = data::ids(&service.data(), 4);
        ids.sort_unstable();
        assert_eq!(ids, (1..40).collect::<Vec<_>>());
    });
}

#[test]
fn what_nobody_knows_is_refused_and_the_connection_lives_on() {
    within(Duration::from_secs(120), || {
        let mut service = Service::start(DIM, "");
        let mut client = connect(&service.tcp(), 7);
        let unknown = Some(Status::UnknownProducer);
        assert_eq!(ask(&mut client, 2).status, unknown, "a new producer begins with 1");
        assert_eq!(ask(&mut client, 0).status, unknown, "0 is no sequence of a producer");
        for sequence in 1..=WINDOW + 1 {
            assert!(ask(&mut client, sequence).is_ok());
        }
        assert_eq!(ask(&mut client, 1).status, unknown, "it fell out of the window");
        assert!(ask(&mut client, 2).is_ok());
        // Two vectors where there was one: it isn't the request that is known.
        client.send(2, &[vector(4, 2), vector(4, 3)].concat());
        assert_eq!(client.answer().status, unknown);
        assert!(ask(&mut client, WINDOW + 2).is_ok());
        drop(client);
        assert_eq!(service.stop().vectors_in_segments, WINDOW + 2);
    });
}

#[test]
fn a_connection_without_a_producer_has_none_where_one_was() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(DIM, "");
        for round in 0..4 {
            // The places of connections are used again.
            let mut client =
                if round % 2 == 0 { connect(&service.tcp(), 7) } else { service.header() };
            assert!(ask(&mut client, 1).is_ok() && ask(&mut client, 2).is_ok());
            client.end_sending();
            client.expect_end();
            let mut count = service.count();
            count.send(0, &vector(4, 8));
            assert!(count.answer().is_ok());
            count.end_sending();
            count.expect_end();
        }
        assert_eq!(service.stop().vectors_in_segments, 2 + 2 * 2 + 4);
    });
}

#[test]
fn all_connections_of_a_producer_are_in_its_lane() {
    within(Duration::from_secs(120), || {
        let mut service = Service::start(DIM, "--lanes 3");
        for producer in 1..=6_u64 {
            for (address, border) in
                [(service.tcp(), 0), (service.unix(), 7), (service.tcp(), 24), (service.unix(), 60)]
            {
                let mut client = Client::silent(&address, Mode::Header, DIM);
                let mut bytes = Vec::new();
                encode_hello(&hello(producer), &mut bytes);
                // Requests follow at once, in pieces.
                bytes.extend(client.request(1, &vector(4, 1)));
                bytes.extend(client.request(2, &vector(4, 2)));
                client.send_bytes(&bytes[..border]);
                if border > 0 {
                    std::thread::sleep(Duration::from_millis(20));
                }
                client.send_bytes(&bytes[border..]);
                let greeted = client.hello_answer().expect("an answer");
                let lane = (producer % 3) as u16;
                assert_eq!((greeted.status, greeted.lane), (Status::Ok, lane), "{producer}");
                for sequence in [1, 2] {
                    let answer = client.answer();
                    assert_eq!((answer.sequence, place(&answer).1), (sequence, lane));
                    assert!(answer.is_ok());
                }
            }
        }
        let totals = service.stop();
        assert_eq!((totals.vectors_in_segments, totals.connections_left), (12, 0), "{totals}");
    });
}

/// Restarts with other numbers of lanes; once somebody has moved all segments away.
#[test]
fn a_restart_remembers() {
    within(Duration::from_secs(120), || {
        let folder = folder();
        let start =
            |lanes: u32| try_start(folder.path(), DIM, &format!("--lanes {lanes}")).unwrap();
        let address = |server: &Server| Address::Tcp(server.tcp().unwrap());
        let mut before = Vec::new();
        for (lanes, from) in [(2, 1), (1, 3), (3, 5), (2, 7)] {
            let server = start(lanes);
            for producer in [4, 5] {
                let mut client = connect(&address(&server), producer);
                for sequence in 1..from + 2 {
                    let answer = ask(&mut client, sequence);
                    assert!(answer.is_ok(), "{sequence} of {producer} on {lanes} lanes");
                    let known = (producer, sequence, place(&answer));
                    match before.iter().find(|(p, s, _)| (*p, *s) == (producer, sequence)) {
                        Some(earlier) => assert_eq!(*earlier, known),
                        None => before.push(known),
                    }
                }
            }
            let totals = server.stop();
            assert_eq!(totals.vectors_in_segments, 4, "{totals}");
            for lane in 0..lanes {
                if from == 3 {
                    for path in data::files(&folder.path().join("data"), lane).keys() {
                        std::fs::rename(path, folder.path().join("moved")).unwrap();
                    }
                }
            }
        }
    });
}

/// A stored answer to a repeat comes once the first request is on the disk; both kinds of
/// connection are told.
#[test]
fn a_repeat_says_what_is_stored() {
    within(Duration::from_secs(120), || {
        let folder = folder();
        for start in 0..2 {
            let server = try_start(folder.path(), DIM, "--commit-interval 20ms").unwrap();
            let address = Address::Tcp(server.tcp().unwrap());
            let mut stored = Client::silent(&address, Mode::Header, DIM);
            let greeted = stored.greet(&Hello { ack: AckLevel::Stored, ..hello(7) });
            assert_eq!(greeted.map(|answer| answer.ack), Some(AckLevel::Stored));
            let (mut received, mut told) = (connect(&address, 7), 0);
            for sequence in [1, 2, 3, 2, 1] {
                // Both at once: one of them is the first.
                received.send(sequence, &vector(4, sequence as u32));
                let answer = ask(&mut stored, sequence);
                assert!(answer.is_ok(), "start {start}: {sequence}");
                let through = answer.place.unwrap().stored_through;
                assert!(through >= sequence, "start {start}: {through} for {sequence}");
                let other = received.answer();
                assert_eq!(place(&other), place(&answer));
                told = other.place.unwrap().stored_through.max(told);
            }
            // By an answer or by a watermark, which follows at once.
            wait_until("what is stored", || {
                assert_eq!(received.take_answers(), []);
                let last = received.watermarks.last().map_or(0, |last| last.stored_through);
                told.max(last) == 3
            });
            drop((stored, received));
            let totals = server.stop();
            assert_eq!(totals.vectors_in_segments, if start == 0 { 3 } else { 0 }, "{totals}");
        }
    });
}

#[test]
fn without_a_log_a_producer_is_refused() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(DIM, "--sink null");
        for producer in [1, u64::MAX, 1 << 56] {
            let mut client = Client::silent(&service.tcp(), Mode::Header, DIM);
            let answer = client.greet(&hello(producer)).expect("an answer");
            assert_eq!(answer.status, Status::NoSuchProducer);
            client.expect_end();
        }
        service.stop();
    });
}
