//! The IO thread allocates nothing in the steady state: a global allocator counts what the thread
//! of lane 0 asks for, over a hundred thousand requests in whole and in broken frames, good ones
//! and refused ones, over rings that run full.
//!
//! One test a process: the allocator is the process's, and so is the name of the thread.

mod counting;

#[path = "../serve_support/mod.rs"]
mod support;

use std::time::Duration;

use slipring_ingest::io::Counter;
use slipring_ingest::protocol::{Mode, Status};

use slipring_test_support::{Draw, wait_until, within};
use support::client::{Address, Client};
use support::service::Service;
use support::{score, vector};

const DIM: usize = 16;
const CLIENTS: u64 = 4;
const REQUESTS: u32 = 100_000;
/// Requests under way at once: more than the ring holds.
const BURST: u32 = 40;

/// `requests` requests in bursts that are written in two pieces, so that a frame breaks in each.
/// Every fifth is refused.
fn converse(client: &mut Client, draw: &mut Draw, requests: u32) {
    let mut bytes = Vec::new();
    for _ in 0..requests / BURST {
        bytes.clear();
        for id in 0..BURST {
            let mut values = vector(DIM, id).repeat(1 + (id % 8) as usize);
            if id % 5 == 0 {
                values[3] = f32::NAN;
            }
            bytes.extend(client.request(id.into(), &values));
        }
        let (first, second) = bytes.split_at(draw.below(bytes.len() as u64) as usize);
        client.send_bytes(first);
        std::thread::yield_now();
        client.send_bytes(second);
        for id in 0..BURST {
            let answer = client.answer();
            if id % 5 == 0 {
                assert!([None, Some(Status::NotFinite)].contains(&answer.status), "{answer:?}");
            } else {
                assert_eq!(answer.scores, vec![score(DIM, id); 1 + (id % 8) as usize]);
            }
        }
    }
}

/// Every client at once, as often as said.
fn converse_all(clients: &mut [Client], requests: u32) {
    std::thread::scope(|scope| {
        for (seed, client) in (0..).zip(clients) {
            scope.spawn(move || converse(client, &mut Draw::new(seed), requests));
        }
    });
}

#[test]
fn the_io_thread_allocates_nothing_in_the_steady_state() {
    within(Duration::from_secs(120), || {
        // An output of 188 KiB is larger than every other buffer.
        let mut service = Service::start(
            DIM as u32,
            "--max-vectors 8 --slots 32 --pool 64KiB --wait backoff --in-flight 3000 --segment-bytes 1MiB",
        );
        wait_until("one thread is lane-0", || counting::watch("lane-0"));
        let address =
            |number: u64| if number.is_multiple_of(2) { service.tcp() } else { service.unix() };
        let client = |number: u64| {
            let mode = if number < CLIENTS / 2 { Mode::Count } else { Mode::Header };
            Client::new(&address(number), mode, DIM as u32)
        };
        let mut clients: Vec<Client> = (0..CLIENTS).map(client).collect();
        // Buffers are made when they are first needed, and go round from then on.
        converse_all(&mut clients, 8_000);
        take_all_buffers(&mut clients, &service.tcp());
        assert!(counting::allocations() > 0, "the counter doesn't count");
        counting::reset();
        converse_all(&mut clients, REQUESTS / CLIENTS as u32);
        assert_eq!(counting::allocations(), 0, "the IO thread allocated");
        counting::stop();
        drop(clients);
        let totals = service.stop();
        let (_, classes) = &totals.classes[0];
        assert_eq!(classes.0.direct.gets, 0, "{totals}");
        assert!(classes.0.hit_rate() > 0.99, "{totals}");
        let counts = totals.counts;
        assert!(counts[Counter::Requests] > u64::from(REQUESTS), "{counts}");
        assert!(
            counts[Counter::CopiedBytes] > 0
                && counts[Counter::UncopiedBytes] > 0
                && counts[Counter::Stalls] > 0,
            "{counts}"
        );
    });
}

/// All clients with an unfinished frame at once: as many carry buffers as there can be.
fn take_all_buffers(clients: &mut [Client], address: &Address) {
    let requests: Vec<Vec<u8>> =
        clients.iter().map(|client| client.request(0, &vector(DIM, 0))).collect();
    for (client, request) in clients.iter_mut().zip(&requests) {
        client.send_bytes(&request[..5]);
    }
    // Another's answer comes from a later round.
    let mut other = Client::count(address, DIM as u32);
    for _ in 0..20 {
        other.send(0, &vector(DIM, 1));
        assert!(other.answer().is_ok());
    }
    drop(other);
    for (client, request) in clients.iter_mut().zip(&requests) {
        client.send_bytes(&request[5..]);
        let mut answers = Vec::new();
        wait_until("the frame is answered", || {
            answers.extend(client.take_answers());
            !answers.is_empty()
        });
    }
}
