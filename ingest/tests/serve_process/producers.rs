//! A producer and a service that is killed: every request is in the log once.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;
use slipring_ingest::wire::frames::{AckLevel, Hello, Mode, Status, encode_hello};
use slipring_test_support::within;

use crate::support::client::Client;
use crate::support::process::{Place, Process, serve};
use crate::support::{data, vector};

const REQUESTS: u64 = 400;
const PRODUCER: u64 = 9;
/// Requests that are sent before the first answer is read.
const DEPTH: u64 = 32;

/// What the producer knows of itself.
struct Producer {
    /// Sent, and not answered.
    unanswered: Vec<u64>,
    next: u64,
    answered: u64,
}

impl Producer {
    /// Sends what is unanswered and then new requests, until the service is gone or all are
    /// answered. After `answers` of them `kill` is called.
    fn run(&mut self, service: &Process, ack: AckLevel, answers: u64, kill: impl FnOnce()) {
        let mut client = Client::silent(&service.tcp(), Mode::Header, 4);
        let mut bytes = Vec::new();
        encode_hello(&Hello { ack, producer: PRODUCER, ..Hello::new(4) }, &mut bytes);
        let mut again = self.unanswered.clone().into_iter();
        let (mut kill, mut seen, mut sent) = (Some(kill), 0, 0);
        let mut greeted = false;
        loop {
            while sent < DEPTH {
                let new = (self.next <= REQUESTS).then_some(self.next);
                let Some(sequence) = again.next().or(new) else { break };
                if Some(sequence) == new {
                    self.unanswered.push(sequence);
                    self.next += 1;
                }
                bytes.extend(client.request(sequence, &vector(4, sequence as u32)));
                sent += 1;
            }
            if client.try_send_bytes(&std::mem::take(&mut bytes)).is_err() {
                return;
            }
            if !greeted {
                let Some(answer) = client.hello_answer() else { return };
                assert_eq!(answer.status, Status::Ok);
                greeted = true;
            }
            if sent == 0 {
                return;
            }
            let Some((sequence, _)) = client.next_if_served() else { return };
            self.unanswered.retain(|waiting| *waiting != sequence);
            (sent, seen, self.answered) = (sent - 1, seen + 1, self.answered + 1);
            if seen == answers {
                kill.take().into_iter().for_each(|kill| kill());
            }
        }
    }
}

#[test]
fn a_producer_that_repeats_over_kills_is_stored_once() {
    within(Duration::from_secs(240), || {
        for ack in [AckLevel::Stored, AckLevel::Received] {
            let place = Place::new();
            let words = place.words("--lanes 2 --segment-bytes 8KiB --commit-interval 5ms");
            let mut producer = Producer { unanswered: Vec::new(), next: 1, answered: 0 };
            let mut kills = 0;
            for round in 0.. {
                let service = Process::start(serve(&words));
                if ack == AckLevel::Received {
                    // An answer says little: everything is sent again.
                    producer.unanswered = (1..producer.next).collect();
                }
                let kill = || {
                    service.signal(Signal::KILL);
                    kills += 1;
                };
                producer.run(&service, ack, if round < 12 { 3 + 17 * round % 61 } else { 0 }, kill);
                if producer.next > REQUESTS && producer.unanswered.is_empty() && round >= 12 {
                    let mut service = service;
                    assert_eq!(service.stop().code, Some(0));
                    break;
                }
            }
            assert!(kills >= 8 && producer.answered >= REQUESTS, "{kills} kills");
            let mut found = BTreeMap::new();
            for (lane, rows) in data::rows(&place.data(), 4) {
                for row in rows {
                    *found.entry(row[0] as u64).or_insert(0) += 1;
                    assert_eq!(u64::from(lane), PRODUCER % 2);
                }
            }
            let once: BTreeMap<u64, i32> = (1..=REQUESTS).map(|sequence| (sequence, 1)).collect();
            assert_eq!(found, once, "{ack:?}");
        }
    });
}
