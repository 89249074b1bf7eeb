//! Limits of the system: descriptors, memory, huge pages, CPUs.

use std::time::{Duration, Instant};

use rustix::process::Resource;
use slipring_ingest::protocol::Status;
use slipring_test_support::{wait_until, within};

use crate::support::client::{Address, Client};
use crate::support::process::{Place, Process, refused, serve, serve_in_shell};
use crate::support::{segments, vector};

/// A connection that may be refused for lack of a place: whether it is served.
fn is_served(client: &mut Client) -> bool {
    client.try_send_bytes(&client.request(0, &vector(4, 1))).is_ok()
        && !client.bytes_of_answer().is_empty()
}

/// Idle clients take every descriptor they can get. Those of the sink they don't get, so whoever
/// has a place is served.
#[test]
fn idle_clients_leave_the_sink_its_descriptors() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let words = place.words("--segment-bytes 20000 --pool 2MiB");
        let mut process = Process::start(serve_in_shell("ulimit -n 64", &words));
        let address = process.tcp();
        let mut clients: Vec<Client> = (0..100).map(|_| Client::count(&address, 4)).collect();
        let served = clients.iter_mut().map(is_served).filter(|served| *served).count();
        assert!((20..64).contains(&served), "{served} of 100 were served");
        // More rows than memory holds: segments are opened, completed and opened again.
        let vectors: Vec<f32> = (0..64).flat_map(|id| vector(4, id)).collect();
        for _ in 0..600 {
            clients[0].send(0, &vectors);
            assert!(clients[0].answer().is_ok());
        }
        drop(clients);
        let ended = process.stop();
        let rows = 64 * 600 + served as u64;
        assert_eq!((ended.code, ended.total("vectors_in_segments")), (Some(0), rows), "{ended:?}");
        assert!(ended.total("segments") > 1 && ended.stderr.contains("ulimit -n"), "{ended:?}");
        assert_eq!(segments::ids(&place.data(), 4).len() as u64, rows);
    });
}

/// The limit sinks below what is open while it runs. Accepting pauses, without spinning and without
/// an end, and goes on when there is room again.
#[test]
fn no_descriptor_left_is_waited_out() {
    within(Duration::from_secs(60), || {
        let place = Place::new();
        let mut process = Process::start(serve(&place.words("")));
        let address = process.tcp();
        let mut first = Client::count(&address, 4);
        assert!(is_served(&mut first));
        process.limit(Resource::Nofile, Some(8));
        let start = Instant::now();
        let mut waiting: Vec<Client> = (0..50).map(|_| Client::count(&address, 4)).collect();
        for client in &mut waiting {
            client.send(0, &vector(4, 2));
        }
        std::thread::sleep(Duration::from_millis(500));
        assert!(
            waiting.iter_mut().all(|client| client.take_answers().is_empty()),
            "one was accepted below the limit"
        );
        assert!(is_served(&mut first), "those that are there are served");
        process.limit(Resource::Nofile, Some(1024));
        for client in &mut waiting {
            assert!(client.answer().is_ok(), "each waited for its turn");
        }
        let paused = start.elapsed();
        drop((first, waiting));
        let ended = process.stop();
        assert_eq!((ended.code, ended.total("connections")), (Some(0), 51), "{ended:?}");
        // Pauses of a tenth of a second each; a spinning thread counts none or thousands.
        let pauses = ended.total("accept_pauses");
        let most = 2 + paused.as_millis() as u64 / 50;
        assert!((1..=most).contains(&pauses), "{pauses} pauses in {paused:?}");
    });
}

#[test]
fn ten_thousand_connections_opened_and_dropped() {
    within(Duration::from_secs(120), || {
        for shell in ["ulimit -n 64", "ulimit -n 1024"] {
            let place = Place::new();
            let mut process = Process::start(serve_in_shell(shell, &place.words("")));
            let Address::Tcp(address) = process.tcp() else { unreachable!("it listens on TCP") };
            for connection in 0..5_000u32 {
                let stream = std::net::TcpStream::connect(address).unwrap();
                // Some with half a frame, some with a reset.
                if connection % 3 == 0 {
                    let _sent = std::io::Write::write(&mut &stream, &[1, 0, 0, 0, 9]);
                }
                if connection % 5 == 0 {
                    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
                }
            }
            wait_until("a new client is served", || {
                is_served(&mut Client::count(&process.tcp(), 4))
            });
            let ended = process.stop();
            assert_eq!(ended.code, Some(0), "{ended:?}");
            assert!(
                ended.total("connections") + ended.total("over_connection_cap") > 4_000,
                "{ended:?}"
            );
        }
    });
}

#[test]
fn too_few_descriptors_to_begin_with_are_named() {
    let place = Place::new();
    refused(
        serve_in_shell("ulimit -n 16", &place.words("")),
        1,
        &["descriptors is 16", "ulimit -n"],
    );
}

#[test]
fn memory_beyond_a_limit_is_refused_by_its_name() {
    let place = Place::new();
    refused(
        serve_in_shell("ulimit -v 1000000", &place.words("--pool 2GiB")),
        1,
        &["RLIMIT_AS", "ulimit -v"],
    );
    refused(serve(&place.words("--pool 1000TiB")), 2, &["--pool"]);
    refused(serve(&place.words("--pool 500000GiB")), 1, &["pool"]);
}

/// The limit of its memory sinks while it runs: what is mapped so far goes round, who needs more
/// than that waits, and is answered when there is memory again. A frame that can't be kept takes
/// the place of the one that has waited longest.
#[test]
fn memory_that_is_refused_later_is_waited_out() {
    within(Duration::from_secs(60), || {
        // One output and three carry buffers are mapped at the start.
        let place = Place::new();
        let words = "--sink null --dim 1 --max-vectors 65535 --in-flight 16 --pool 32MiB --carry-bytes 64MiB";
        let mut process = Process::start(serve(&place.words(words)));
        let address = process.tcp();
        let mut other = Client::count(&address, 1);
        other.send(0, &[1.0]);
        assert!(other.answer().is_ok());
        // Its output holds what it doesn't read.
        let mut deaf = Client::count(&address, 1);
        let mut late: Vec<Client> = (0..5).map(|_| Client::header(&address, 1)).collect();
        let request = deaf.request(0, &vec![1.0; 65_535]);
        deaf.send_until_stopped(&request);
        let start = Instant::now();
        process.limit(Resource::As, Some(process.address_bytes() + (1 << 19)));
        other.send(0, &[2.0]);
        std::thread::sleep(Duration::from_millis(300));
        assert!(other.take_answers().is_empty(), "it was answered without memory");
        process.limit(Resource::As, None);
        assert_eq!(other.answer().scores, [2.0]);
        drop(deaf);
        process.limit(Resource::As, Some(process.address_bytes() + (1 << 19)));
        for client in &mut late {
            let half = client.request(0, &[1.0; 1000])[..2000].to_vec();
            client.send_bytes(&half);
            std::thread::sleep(Duration::from_millis(50));
        }
        for client in &mut late[..2] {
            assert_eq!(client.answer().status, Some(Status::Busy), "it waited longest");
        }
        process.limit(Resource::As, None);
        let refused = start.elapsed();
        drop((other, late));
        let ended = process.stop();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.total("over_carry_cap"), 2, "{ended:?}");
        assert!(ended.stderr.contains("ulimit -v"), "{ended:?}");
        // It asks fifty times a second, for answers and for frames; a spinning thread does it
        // thousands of times.
        let refusals = ended.total("memory_refusals");
        let most = 100 + refused.as_millis() as u64 / 5;
        assert!((3..=most).contains(&refusals), "{refusals} refusals in {refused:?}");
    });
}

#[test]
fn huge_pages_that_are_required_and_absent_are_named() {
    // Those that lie ready, and those that the kernel would make.
    let pages = ["free_hugepages", "nr_overcommit_hugepages"].map(|name| {
        let path = format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{name}");
        std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0u64)
    });
    let pages: u64 = pages.iter().sum();
    println!("this machine has up to {pages} huge pages of 2 MiB; a pool beyond them is asked for");
    let place = Place::new();
    let pool = format!("--pages require-2m --pool {}MiB", (pages + 8) * 2);
    refused(serve(&place.words(&pool)), 1, &["nr_hugepages"]);
    // Preferred, they are done without.
    assert_eq!(Process::start(serve(&place.words("--pages prefer-2m"))).stop().code, Some(0));
}

#[test]
fn cpus_that_do_not_exist_are_usage() {
    let place = Place::new();
    refused(serve(&place.words("--cpus 1023")), 2, &["--cpus", "1023"]);
    refused(serve(&place.words("--cpus 5000")), 2, &["--cpus", "5000"]);
    refused(serve(&place.words("--stage-cpus 1023")), 2, &["--stage-cpus", "1023"]);
    refused(serve(&place.words("--lanes 2 --cpus 0")), 2, &["--cpus"]);
    refused(serve(&place.words("--cpus x")), 2, &["--cpus"]);
}
