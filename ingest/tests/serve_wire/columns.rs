//! Ids, rows and what else only header mode carries.

use std::time::Duration;

use slipring_ingest::sink::for_each_rows;
use slipring_ingest::wire::frames::{Hello, Mode, Status, encode_request, encode_request_with_ids};
use slipring_test_support::{Draw, within};

use crate::MODES;
use crate::support::client::Client;
use crate::support::service::Service;
use crate::support::{data, score, vector};

const DIM: u32 = 4;

/// The row that an answer names is the row in the segment, over connections of all modes and after
/// a restart of the count by refusals.
#[test]
fn answers_name_the_rows_of_the_segment() {
    within(Duration::from_secs(120), || {
        for words in ["", "--stages threads", "--slots 2 --pool 16KiB"] {
            let mut service = Service::start(DIM, &format!("--max-vectors 8 {words}"));
            let mut draw = Draw::new(5);
            let mut clients: Vec<Client> =
                MODES.map(|mode| Client::new(&service.tcp(), mode, DIM)).into();
            clients.push(service.header());
            let (mut rows, mut named) = (Vec::new(), 0);
            for id in 0..300 {
                let client = &mut clients[draw.below(4) as usize];
                let count = 1 + draw.below(8) as usize;
                let mut vectors = vector(4, id).repeat(count);
                let at_fault = draw.below(4 * count as u64) as usize;
                let is_bad = draw.below(4) == 0;
                if is_bad {
                    vectors[at_fault] = f32::NAN;
                }
                client.send(id.into(), &vectors);
                let answer = client.answer();
                if let Some(place) = answer.place {
                    let (first_row, detail) =
                        if is_bad { (0, at_fault as u32 / 4) } else { (rows.len() as u64, 0) };
                    let said = (place.lane, place.first_row, place.detail);
                    assert_eq!(said, (0, first_row, detail), "{words}: {answer:?}");
                    named += 1;
                }
                if !is_bad {
                    assert_eq!(answer.scores, vec![score(4, id); count]);
                    rows.extend(vec![id; count]);
                }
            }
            assert!(named > 100);
            drop(clients);
            service.stop();
            assert_eq!(data::ids(&service.data(), 4), rows, "{words}");
        }
    });
}

#[test]
fn scores_come_only_where_they_are_asked_for() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(DIM, "");
        let mut client = service.header();
        for id in 0..100u32 {
            let mut bytes = client.request(id.into(), &vector(4, id));
            let asks = id % 3 == 0;
            if !asks {
                bytes[4] = 0;
            }
            client.send_bytes(&bytes);
            let answer = client.answer();
            assert!(answer.is_ok() && answer.sequence == u64::from(id), "{answer:?}");
            assert_eq!(answer.scores, vec![score(4, id); usize::from(asks)]);
        }
        drop(client);
        assert_eq!(service.stop().vectors_in_segments, 100);
    });
}

/// With an id column, requests without ids are refused in every mode; without one, requests with
/// ids are. The connection of a refused request lives on.
#[test]
fn ids_are_neither_invented_nor_dropped() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(DIM, "--max-vectors 8 --sink null --columns id");
        for (mode, status) in [(Mode::Count, None), (Mode::Header1, Some(Status::IdsMissing))] {
            let mut client = Client::new(&service.tcp(), mode, DIM);
            for id in 0..3 {
                client.send(id.into(), &vector(4, id));
                let answer = client.answer();
                assert_eq!((answer.status, answer.scores.len()), (status, 0), "{mode:?}");
            }
        }
        let mut client = Client::silent(&service.tcp(), Mode::Header, DIM);
        let answer = client.greet(&Hello::new(DIM)).expect("an answer");
        assert_eq!((answer.status, answer.limits.columns.id), (Status::IdsMissing, true));
        client.expect_end();
        let mut client = Client::silent(&service.tcp(), Mode::Header, DIM);
        let answer = client.greet(&Hello { ids: true, ..Hello::new(DIM) }).expect("an answer");
        assert_eq!(answer.status, Status::Ok);
        let (mut bytes, vectors) = (Vec::new(), vector(4, 5).repeat(8));
        // In pieces of every size, so that ids are cut in place and copied.
        for _ in 0..60 {
            encode_request_with_ids(DIM, 1, &[u64::MAX; 8], &vectors, true, &mut bytes);
            encode_request(Mode::Header, DIM, 2, &vectors, &mut bytes);
        }
        let mut writer = client.second_handle();
        let sender = std::thread::spawn(move || {
            let mut draw = Draw::new(8);
            let mut left = &bytes[..];
            while !left.is_empty() {
                let (piece, others) = left.split_at(left.len().min(1 + draw.below(400) as usize));
                writer.send_bytes(piece);
                left = others;
            }
        });
        for request in 0..60 {
            let answer = client.answer();
            let row = answer.place.expect("a place").first_row;
            assert_eq!((answer.scores, row), (vec![score(4, 5); 8], request * 8));
            assert_eq!(client.answer().status, Some(Status::IdsMissing));
        }
        sender.join().unwrap();
        drop(client);
        assert_eq!(service.stop().vectors_in_segments, 480);

        let mut service = Service::start(DIM, "--max-vectors 8");
        let mut client = service.header();
        let mut bytes = Vec::new();
        encode_request_with_ids(DIM, 1, &[7], &vector(4, 5), true, &mut bytes);
        client.send_bytes(&bytes);
        assert_eq!(client.answer().status, Some(Status::NoSuchColumns));
        client.send(2, &vector(4, 6));
        assert_eq!(client.answer().scores, [score(4, 6)]);
        drop(client);
        assert_eq!(service.stop().vectors_in_segments, 1);
    });
}

fn now_us() -> i64 {
    let since_1970 = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    i64::try_from(since_1970.as_micros()).unwrap()
}

/// The ids that were sent, and the times at which they arrived, are in the segments: of frames in
/// one piece and in several, on every layout of stages.
#[test]
fn ids_and_times_arrive_in_the_segments() {
    within(Duration::from_secs(120), || {
        for words in ["", "--stages threads", "--slots 2 --pool 16KiB"] {
            let mut service =
                Service::start(DIM, &format!("--max-vectors 8 --columns id,time {words}"));
            let mut client = Client::silent(&service.tcp(), Mode::Header, DIM);
            client.greet(&Hello { ids: true, ..Hello::new(DIM) }).expect("an answer");
            let (mut draw, mut sent, start_us) = (Draw::new(21), Vec::new(), now_us());
            for request in 0..300 {
                let count = 1 + draw.below(8) as usize;
                let ids: Vec<u64> = (0..count).map(|_| draw.below(u64::MAX)).collect();
                let mut bytes = Vec::new();
                let vectors = vector(4, 5).repeat(count);
                encode_request_with_ids(DIM, request, &ids, &vectors, false, &mut bytes);
                let (first, later) = bytes.split_at(draw.below(bytes.len() as u64) as usize);
                client.send_bytes(first);
                client.send_bytes(later);
                let place = client.answer().place.expect("a place");
                assert_eq!(place.first_row, sent.len() as u64, "{words}");
                sent.extend(ids);
            }
            drop(client);
            service.stop();
            let (mut ids, mut times_us) = (Vec::<u64>::new(), vec![start_us]);
            for_each_rows(&service.data(), |_, rows| {
                ids.extend(&rows.ids);
                times_us.extend(&rows.times_us);
            })
            .unwrap();
            times_us.push(now_us());
            assert_eq!((ids == sent, times_us.len()), (true, sent.len() + 2), "{words}");
            assert!(times_us.is_sorted(), "{words}: {times_us:?}");
        }
    });
}
