//! The hello of header mode: what the server says of itself, what it refuses and by which name, and
//! that no request is taken without one.

use std::time::Duration;

use slipring_ingest::wire::frames::{
    AckLevel, Hello, HelloAnswer, Limits, Mode, Status, WireColumns, encode_hello,
};
use slipring_test_support::within;

use crate::support::client::Client;
use crate::support::service::Service;
use crate::support::{data, score, vector};

const DIM: u32 = 4;

fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_hello(&Hello::new(DIM), &mut bytes);
    bytes
}

fn silent(service: &Service) -> Client {
    Client::silent(&service.tcp(), Mode::Header, DIM)
}

#[test]
fn the_answer_has_the_server_s_own_values() {
    within(Duration::from_secs(60), || {
        let mut service =
            Service::start(DIM, "--max-vectors 8 --in-flight 5 --columns time --lanes 1");
        let columns = WireColumns { id: false, time: true };
        let limits = Limits { columns, ..Limits::new(DIM, 8) };
        let (status, lane, in_flight_max, ack) = (Status::Ok, 0, 5, AckLevel::Received);
        let expected = HelloAnswer { status, limits, lane, in_flight_max, ack };
        let mut client = silent(&service);
        assert_eq!(client.greet(&Hello::new(DIM)), Some(expected));
        client.send(1, &vector(4, 1));
        assert!(client.answer().is_ok());
        // A refusal has them too, so a client learns the dimension.
        for dim in [0, 5, u32::MAX] {
            let mut client = silent(&service);
            let refused = HelloAnswer { status: Status::WrongDimension, ..expected };
            assert_eq!(client.greet(&Hello::new(dim)), Some(refused));
            client.expect_end();
        }
        drop(client);
        service.stop();
    });
}

/// Each field that doesn't exist yet, with the status that names it. The connection closes, and
/// what was sent behind the hello leaves nothing.
#[test]
fn each_field_is_refused_by_name() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(DIM, "--max-vectors 8");
        let fields = [
            (4, Status::WrongDimension),
            (8, Status::WrongElementType),
            (9, Status::NoSuchAck),
            (10, Status::NoSuchColumns),
            (11, Status::ReservedNotZero),
            (12, Status::NoSuchToken),
            (13, Status::NoSuchToken),
            (14, Status::ReservedNotZero),
        ];
        for (at, status) in fields {
            let mut client = silent(&service);
            let mut bytes = hello();
            bytes[at] ^= 2;
            bytes.extend(client.request(1, &vector(4, 1)));
            client.send_bytes(&bytes);
            let answer = client.hello_answer().expect("an answer");
            assert_eq!((answer.status, answer.limits.dim), (status, DIM), "byte {at}");
            client.expect_end();
        }
        let totals = service.stop();
        for (_, status) in fields {
            assert!(totals.counts.answers(status) > 0, "{status} isn't counted");
        }
        assert_eq!(totals.vectors_in_segments, 0);
    });
}

#[test]
fn a_hello_may_break_at_every_byte() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(DIM, "");
        let mut sent = 0;
        for address in [service.tcp(), service.unix()] {
            let mut bytes = hello();
            let hello_bytes = bytes.len();
            bytes.extend(Client::silent(&address, Mode::Header, DIM).request(7, &vector(4, 7)));
            for border in 1..bytes.len() {
                let mut client = Client::silent(&address, Mode::Header, DIM);
                client.send_bytes(&bytes[..border]);
                if border >= hello_bytes {
                    assert_eq!(client.hello_answer().map(|answer| answer.status), Some(Status::Ok));
                }
                std::thread::sleep(Duration::from_millis(1));
                client.send_bytes(&bytes[border..]);
                if border < hello_bytes {
                    assert_eq!(client.hello_answer().map(|answer| answer.status), Some(Status::Ok));
                }
                assert_eq!(client.answer().scores, [score(4, 7)], "border at {border}");
                sent += 1;
            }
        }
        let totals = service.stop();
        assert_eq!(totals.vectors_in_segments, sent);
        assert_eq!(data::ids(&service.data(), 4).len() as u64, sent);
    });
}

#[test]
fn a_request_needs_a_hello_and_a_connection_has_one() {
    within(Duration::from_secs(60), || {
        let mut service = Service::start(DIM, "");
        let mut client = silent(&service);
        client.send(9, &vector(4, 9));
        let answer = client.answer();
        assert_eq!((answer.status, answer.sequence), (Some(Status::HelloMissing), 0));
        client.expect_end();
        // Whatever else is wrong with it: a flag, the dimension, the reserved field, the count.
        for at in [5, 4, 11, 15, 7] {
            let mut client = silent(&service);
            let mut bytes = client.request(9, &vector(4, 9));
            bytes[at] |= 0x80;
            client.send_bytes(&bytes);
            let answer = client.answer();
            let said = (answer.status, answer.sequence);
            assert_eq!(said, (Some(Status::HelloMissing), 0), "byte {at}");
            client.expect_end();
        }
        // A second hello, and a kind that is neither: the requests before them are answered.
        for kind in [1, 3] {
            let mut client = service.header();
            let mut bytes = client.request(1, &vector(4, 1));
            let mut second = hello();
            second[3] = kind;
            bytes.extend(second);
            bytes.extend(client.request(2, &vector(4, 2)));
            client.send_bytes(&bytes);
            assert!(client.answer().is_ok());
            assert_eq!(client.answer().status, Some(Status::BadKind), "kind {kind}");
            client.expect_end();
        }
        assert_eq!(service.stop().vectors_in_segments, 2);
    });
}
